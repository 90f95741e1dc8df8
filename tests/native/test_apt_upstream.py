"""Does a repository serve the archive that this machine's own apt asks, through the edge, as its owner signed it?"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import debs
from tests.harness.apt import Apt, architecture
from tests.harness.clients import program, run
from tests.harness.running import Up, get
from tests.native.test_upstreams import reachable

pytestmark = [pytest.mark.native, pytest.mark.live]
RING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def archive() -> tuple[str, str]:
    """Address and distribution of the first archive that this machine's apt asks."""
    words = subprocess.run(
        [program("apt-get"), "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    if len(words) < 2 or not RING.exists():
        pytest.skip("this machine's apt asks no archive whose keys are installed")
    return reachable(words[0]), words[1]


@pytest.fixture(scope="module")
def mirrored(node: Up) -> tuple[str, str, str]:
    """Our address, the owner's, and the distribution."""
    url, release = archive()
    place = f"{node.workspace}/archive"
    node.entrepot("repo", "create", place, "--public", url=node.edge)
    node.entrepot("upstream", "add", place, "deb", url, "--private-network", url=node.edge)
    return f"{node.edge}/{place}/deb", url, release


def pointed(root: Path, url: str, release: str) -> Apt:
    apt = Apt(root)
    (apt.etc / "sources.list.d/us.list").write_text(f"deb [signed-by={RING}] {url} {release} main\n")
    return apt


def test_apt_reads_a_foreign_archive_and_keeps_its_signature(mirrored: tuple[str, str, str], tmp_path: Path) -> None:
    ours, theirs, release = mirrored
    apt = pointed(tmp_path / "ours", ours, release)
    apt.update()
    apt.update()
    for name, url in (("cold", ours), ("warm", ours), ("direct", theirs)):
        (tmp_path / name).mkdir()
        using = apt if url == ours else pointed(tmp_path / "theirs", theirs, release)
        if url == theirs:
            using.update()
        using.get("download", "hello", cwd=tmp_path / name)
    (cold,), (warm,), (direct,) = (list((tmp_path / name).glob("*.deb")) for name in ("cold", "warm", "direct"))
    assert cold.read_bytes() == warm.read_bytes() == direct.read_bytes()


def test_debootstrap_from_it(mirrored: tuple[str, str, str], tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("debootstrap unpacks as root only")
    ours, _, release = mirrored
    root = tmp_path / "root"
    command = [program("debootstrap"), "--foreign", "--variant=minbase", f"--arch={architecture()}"]
    run([*command, f"--keyring={RING}", release, str(root), ours])
    assert (root / "bin/sh").exists()
    shutil.rmtree(root)


def test_c14_a_distribution_published_here_is_never_taken_from_elsewhere(
    node: Up, mirrored: tuple[str, str, str]
) -> None:
    ours, _, release = mirrored
    credential = {"Authorization": f"Bearer {node.token}"}
    other = f"{release}-backports"
    put = get(f"{ours}/upload/{other}/main/x.deb", credential, "PUT", debs.deb("acme", "1.0", architecture()))
    assert put.status == 201
    text = get(f"{ours}/dists/{other}/InRelease").body.decode()
    assert f"Label: {node.workspace}/archive" in text
    assert get(f"{ours}/dists/{other}/main/i18n/Translation-en.xz").status == 404
    assert get(f"{ours}/dists/{other}/contrib/binary-{architecture()}/Packages.gz").status == 404
    assert f"Label: {node.workspace}/archive" not in get(f"{ours}/dists/{release}/InRelease").body.decode()
