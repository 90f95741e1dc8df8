"""Does apt-file find which package a path is in, from the lists that our own index offers?"""

import shutil
from pathlib import Path

import pytest

from tests.harness import debs
from tests.harness.apt import Apt, architecture
from tests.harness.clients import program, run
from tests.harness.running import Up, get

pytestmark = pytest.mark.native
HOOK = Path("/etc/apt/apt.conf.d/50apt-file.conf")
SUITE = "filed"


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_apt_file_finds_a_path(node: Up, tmp_path: Path, door: str) -> None:
    apt_file = program("apt-file")
    base = f"{getattr(node, door)}/{node.private}/deb"
    credential = {"Authorization": f"Bearer {node.token}"}
    for name, kind, path in (
        ("acme-tool", architecture(), "usr/bin/acme tool"),
        ("acme-data", "all", "usr/share/acme/data.bin"),
        ("acme-more", "all", "usr/share/acme/data.more"),
    ):
        data = debs.deb(name, f"1.{door}", kind, files={path: b"x"})
        answer = get(f"{base}/upload/{SUITE}-{door}/main/x.deb", credential, "PUT", data)
        assert answer.status == 201, answer.body
    apt = Apt(tmp_path / "apt")
    apt.source(base, f"{SUITE}-{door}", "main", get(f"{base}/key.asc", credential).body)
    apt.authorise(base, node.token)
    shutil.copy(HOOK, apt.etc / "apt.conf.d")
    assert "Contents" in apt.update()

    def ask(*words: str) -> list[str]:
        return run([apt_file, *words], env=apt.environment()).splitlines()

    assert ask("search", "usr/share/acme/data") == [
        "acme-data: /usr/share/acme/data.bin",
        "acme-more: /usr/share/acme/data.more",
    ]
    assert ask("search", "bin/acme tool") == ["acme-tool: /usr/bin/acme tool"]
    assert ask("list", "acme-data") == ["acme-data: /usr/share/acme/data.bin"]
    assert "Get:" not in apt.update()
