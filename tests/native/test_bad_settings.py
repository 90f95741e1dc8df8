"""Can a change of the configuration take a node down that runs? (THREATS F10)

A node reads its configuration when it starts and is never sent one. A broken one is refused before anything is opened,
by the name of the key; the node that runs goes on, and so does the one that is started again with the old one.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.running import ENTREPOT, clean_environment
from tests.harness.topologies import Topology

pytestmark = pytest.mark.native

FILE = "/mine/one/generic/a/1/a.bin"
BROKEN = {
    "unknown key": ("[cache]\ndisk_bytes_maximum = 5\n", "disk_bytes_maximum"),
    "wrong type": ('[delivery]\nhead_bytes_max = "large"\n', "head_bytes_max"),
    "no TOML": ("[cache\n", "TOML"),
    "no certificate": (
        '[tls]\nport = 1\ncertificates = [["a.test", "/dev/null", "/dev/null"]]\n',
        "/dev/null with the key",
    ),
    "no file": ('[tls]\nport = 1\ncertificates = [["a.test", "/gone.pem", "/gone.key"]]\n', "/gone.pem with the key"),
    "too large to read": ("# " + "x" * (1 << 20) + "\nprot = 1\n", "prot"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("settings") / "world") as made:
        mine = made.repository("mine", "one", public=True)
        assert made.put(mine, "a/1/a.bin", b"a").status == 201
        yield made


@pytest.mark.parametrize("what", BROKEN)
def test_f10_a_broken_configuration_is_refused_and_the_running_node_goes_on(
    world: Topology, tmp_path: Path, what: str
) -> None:
    text, said = BROKEN[what]
    broken = tmp_path / "broken.toml"
    broken.write_text(text)
    command = [*ENTREPOT, "serve", *world.origin.options, "--config", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert world.origin.get(FILE).body == b"a"


def test_f10_the_node_starts_again_with_the_old_one(world: Topology) -> None:
    """After all of those that were refused: none of them has changed anything."""
    world.origin.stop()
    world.origin.start()
    world.origin.until(FILE, 200)
