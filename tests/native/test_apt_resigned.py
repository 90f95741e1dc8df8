"""Does apt believe a foreign archive under our own keys: verified with its owner's first, at both doors?"""

import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import debs
from tests.harness.apt import Apt, architecture
from tests.harness.clients import program
from tests.harness.running import Up, get
from tests.native.test_apt_upstream import RING, archive

pytestmark = pytest.mark.native
SUITE = "signed"


def put(node: Up, place: str, name: str, version: str = "1.0", suite: str = SUITE) -> bytes:
    data = debs.deb(name, version, architecture())
    credential = {"Authorization": f"Bearer {node.token}"}
    answer = get(f"{node.edge}/{place}/deb/upload/{suite}/main/x.deb", credential, "PUT", data)
    assert answer.status == 201, answer.body
    return data


def ring(node: Up, place: str, path: Path) -> Path:
    path.write_bytes(get(f"{node.origin}/{place}/deb/key.gpg").body)
    return path


@pytest.fixture(scope="module")
def owner(node: Up) -> str:
    """A repository of our own that stands for a foreign archive."""
    place = f"{node.workspace}/owner"
    node.entrepot("repo", "create", place, "--public")
    put(node, place, "acme-owned")
    return place


def drawing(node: Up, name: str, address: str, keyring: Path, *more: str) -> str:
    """A repository that draws on the archive and signs anew; the edge knows it when this returns."""
    place = f"{node.workspace}/{name}"
    node.entrepot("repo", "create", place, "--public", url=node.edge)
    resign = ("--private-network", "--resign", str(keyring))
    node.entrepot("upstream", "add", place, "deb", address, *resign, *more, url=node.edge)
    return place


def pointed(node: Up, root: Path, base: str, suite: str = SUITE) -> Apt:
    apt = Apt(root)
    apt.source(base, suite, "main", get(f"{base}/key.asc").body)
    return apt


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_apt_trusts_our_key_alone_and_gets_the_owners_packages(node: Up, owner: str, tmp_path: Path, door: str) -> None:
    address = f"{node.origin}/{owner}/deb"
    place = drawing(node, f"anew-{door}", address, ring(node, owner, tmp_path / "owner.gpg"), "--fresh", "1s")
    base = f"{getattr(node, door)}/{place}/deb"
    apt = pointed(node, tmp_path / "apt", base)
    assert "Get:" in apt.update()
    apt.get("download", "acme-owned", cwd=tmp_path)
    ours = (tmp_path / f"acme-owned_1.0_{architecture()}.deb").read_bytes()
    assert ours == debs.deb("acme-owned", "1.0", architecture())
    theirs = pointed(node, tmp_path / "theirs", address)
    (theirs.etc / "sources.list.d/us.sources").write_text(
        (theirs.etc / "sources.list.d/us.sources").read_text().replace(address, base)
    )
    assert "NO_PUBKEY" in theirs.update(ok=False), "the owner's own signature is not passed on"
    texts = {get(f"{one}/dists/{SUITE}/Release").body for one in (address, base)}
    assert len(texts) == 1, "the owner's text stands as it is"
    put(node, owner, f"acme-more-{door}")
    end = time.monotonic() + 20
    while f"acme-more-{door}" not in apt.cache("pkgnames") and time.monotonic() < end:
        apt.update()
        time.sleep(0.5)
    apt.get("download", f"acme-more-{door}", cwd=tmp_path)


def test_f13_what_another_key_signed_is_refused(node: Up, owner: str, tmp_path: Path) -> None:
    place = f"{node.workspace}/stranger"
    node.entrepot("repo", "create", place, "--public")
    put(node, place, "acme-stranger")
    stranger = ring(node, place, tmp_path / "stranger.gpg")
    place = drawing(node, "wrong", f"{node.origin}/{owner}/deb", stranger)
    for door in (node.origin, node.edge):
        for name in ("InRelease", "Release", "Release.gpg"):
            answer = get(f"{door}/{place}/deb/dists/{SUITE}/{name}")
            assert answer.status == 502, answer.body
        assert b"not signed by the keys" in get(f"{node.origin}/{place}/deb/dists/{SUITE}/InRelease").body
        assert get(f"{door}/{place}/deb/dists/absent/InRelease").status == 404


def test_c14_a_distribution_published_here_is_our_own_again(node: Up, owner: str, tmp_path: Path) -> None:
    keyring = ring(node, owner, tmp_path / "owner.gpg")
    place = drawing(node, "claimed", f"{node.origin}/{owner}/deb", keyring)
    apt = pointed(node, tmp_path / "apt", f"{node.edge}/{place}/deb")
    apt.update()
    assert "acme-owned" in apt.cache("pkgnames")
    put(node, place, "acme-ours")
    apt.get("update", "--allow-releaseinfo-change", "--error-on=any")
    assert apt.cache("pkgnames").split() == ["acme-ours"]


def test_a_keyring_that_is_none_is_refused(node: Up, owner: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gpg"
    broken.write_bytes(b"no keyring")
    with pytest.raises(AssertionError, match="no keyring of OpenPGP"):
        drawing(node, "broken", f"{node.origin}/{owner}/deb", broken)
    resign = ("--private-network", "--resign", str(ring(node, owner, tmp_path / "owner.gpg")))
    with pytest.raises(AssertionError, match="not signed anew"):
        node.entrepot("upstream", "add", f"{node.workspace}/broken", "pypi", f"{node.origin}/x/", *resign)


@pytest.mark.live
def test_the_archive_of_this_machine_under_our_key(node: Up, tmp_path: Path) -> None:
    url, release = archive()
    place = drawing(node, "debian", url, RING)
    apt = pointed(node, tmp_path / "apt", f"{node.edge}/{place}/deb", release)
    apt.update()
    apt.get("download", "hello", cwd=tmp_path)
    (package,) = tmp_path.glob("hello_*.deb")
    listed = subprocess.run(
        [program("dpkg-deb"), "--contents", str(package)], capture_output=True, text=True, check=True
    )
    assert "usr/bin/hello" in listed.stdout
