"""Can a change of the configuration take a node down that runs? (THREATS F10)

A node reads its configuration when it starts and is never sent one. A broken one is refused before anything is opened,
by the name of the key; the node that runs goes on, and so does the one that is started again with the old one.
"""

import subprocess
from pathlib import Path

import pytest

from tests.harness.running import ENTREPOT, clean_environment
from tests.harness.topologies import Topology

pytestmark = pytest.mark.native

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


@pytest.mark.parametrize("what", BROKEN)
def test_f10_a_broken_configuration_is_refused_and_the_running_node_goes_on(tmp_path: Path, what: str) -> None:
    text, said = BROKEN[what]
    with Topology(tmp_path / "world") as world:
        mine = world.repository("mine", "one", public=True)
        assert world.put(mine, "a/1/a.bin", b"a").status == 201
        broken = tmp_path / "broken.toml"
        broken.write_text(text)
        command = [*ENTREPOT, "serve", *world.origin.options, "--config", str(broken)]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60)
        assert done.returncode != 0
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert world.origin.get(f"/{mine}/generic/a/1/a.bin").body == b"a"
        world.origin.stop()
        world.origin.start()
        world.origin.until(f"/{mine}/generic/a/1/a.bin", 200)
