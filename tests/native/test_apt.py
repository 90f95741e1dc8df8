"""Does the real apt work against us as against an official archive: private and public, at both doors?"""

import subprocess
import threading
from pathlib import Path

import pytest

from tests.harness import debs
from tests.harness.apt import Apt, architecture
from tests.harness.clients import program, run
from tests.harness.running import Up, get

pytestmark = pytest.mark.native

NEW = (201, 200)


def put(node: Up, base: str, path: str, data: bytes) -> None:
    answer = get(f"{base}/{path}", {"Authorization": f"Bearer {node.token}"}, "PUT", data)
    assert answer.status in NEW, answer.body


def pointed(node: Up, root: Path, base: str, suite: str, component: str = "main", **more: str) -> Apt:
    """An apt that knows the repository at `base` and has a token for it."""
    apt = Apt(root)
    key = get(f"{base}/key.asc", {"Authorization": f"Bearer {node.token}"})
    assert key.status == 200
    apt.source(base, suite, component, key.body, **more)
    apt.authorise(base, node.token)
    return apt


@pytest.mark.parametrize("door", ["origin", "edge"])
@pytest.mark.parametrize("access", ["private", "public"])
def test_published_seen_and_fetched(node: Up, tmp_path: Path, door: str, access: str) -> None:
    base, suite = f"{getattr(node, door)}/{getattr(node, access)}/deb", f"seen-{door}"
    first = debs.deb("acme-tool", "1.0-1", architecture(), Depends="acme-data (>= 1.0)")
    put(node, base, f"upload/{suite}/main/tool.deb", first)
    put(node, base, f"upload/{suite}/main/data.deb", debs.deb("acme-data", "1:1.0", "all", ending=".zst"))
    apt = pointed(node, tmp_path / "apt", base, suite)
    if access == "public":
        (apt.etc / "auth.conf.d/us.conf").unlink()
    assert "Get:" in apt.update()
    assert "Hit:" in apt.update()
    assert "Get:" not in apt.update()
    apt.get("download", "acme-tool", "acme-data", cwd=tmp_path)
    assert (tmp_path / f"acme-tool_1.0-1_{architecture()}.deb").read_bytes() == first
    planned = apt.get("install", "--simulate", "acme-tool")
    assert "Inst acme-data (1:1.0" in planned
    assert "a package" in apt.cache("show", "acme-tool")
    put(node, base, f"upload/{suite}/main/tool.deb", debs.deb("acme-tool", "2.0-1", architecture()))
    assert "Get:" in apt.update()
    assert "Inst acme-tool (2.0-1" in apt.get("install", "--simulate", "acme-tool")


@pytest.mark.parametrize("form", ["xz", "gz", "zst", ""])
def test_every_form_of_an_index_is_read(node: Up, tmp_path: Path, form: str) -> None:
    base, suite = f"{node.edge}/{node.public}/deb", "forms"
    for number in range(40):
        put(node, base, f"upload/{suite}/main/x.deb", debs.deb(f"acme-form-{number}", "1.0-1", architecture()))
    order = f'Acquire::CompressionTypes::Order {{ "{form or "uncompressed"}"; }};'
    apt = Apt(tmp_path / "apt", order)
    apt.source(base, suite, "main", get(f"{base}/key.asc").body)
    words = apt.update()
    assert "Get:" in words
    assert apt.cache("pkgnames", "acme-form-").count("acme-form-") == 40
    log = get(f"{base}/dists/{suite}/main/binary-{architecture()}/Packages{'.' if form else ''}{form}")
    assert log.status == 200


def test_an_update_never_fails_while_others_publish(node: Up, tmp_path: Path) -> None:
    """Every index that a manifest names is there, by its hash, at the edge too (O12)."""
    base, suite = f"{node.edge}/{node.private}/deb", "busy"
    put(node, base, f"upload/{suite}/main/x.deb", debs.deb("acme-busy", "1.0", architecture()))
    apt = pointed(node, tmp_path / "apt", base, suite)
    done = threading.Event()
    failed: list[BaseException] = []

    def publish() -> None:
        number = 0
        try:
            while not done.is_set():
                number += 1
                door = node.origin if number % 2 else node.edge
                there = f"{door}/{node.private}/deb"
                put(node, there, f"upload/{suite}/main/x.deb", debs.deb("acme-busy", f"1.{number}", architecture()))
                get(f"{there}/dists/{suite}/InRelease", {"Authorization": f"Bearer {node.token}"})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(12):
            apt.update()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    apt.update()
    shown = apt.cache("policy", "acme-busy")
    assert "Candidate: 1." in shown


def test_strangers_and_wrong_tokens_get_nothing(node: Up, tmp_path: Path) -> None:
    base, suite = f"{node.edge}/{node.private}/deb", "closed"
    put(node, base, f"upload/{suite}/main/x.deb", debs.deb("acme-closed", "1.0", architecture()))
    apt = pointed(node, tmp_path / "apt", base, suite)
    apt.authorise(base, node.token[:-4] + "0000")
    assert "401" in apt.update(ok=False)
    (apt.etc / "auth.conf.d/us.conf").unlink()
    assert "401" in apt.update(ok=False)


def test_another_key_is_not_believed(node: Up, tmp_path: Path) -> None:
    base = f"{node.origin}/{node.public}/deb"
    put(node, base, "upload/keys/main/x.deb", debs.deb("acme-keys", "1.0", architecture()))
    put(node, f"{node.origin}/{node.private}/deb", "upload/keys/main/x.deb", debs.deb("acme-keys", "1.0"))
    apt = Apt(tmp_path / "apt")
    other = get(f"{node.origin}/{node.private}/deb/key.asc", {"Authorization": f"Bearer {node.token}"})
    apt.source(base, "keys", "main", other.body)
    assert "NO_PUBKEY" in apt.update(ok=False)


def test_f13_a_key_is_changed_without_a_client_that_fails(node: Up, tmp_path: Path) -> None:
    """At the edge: who has the old key or both is served while both sign; who has the old one alone is not after."""
    place = f"{node.private.partition('/')[0]}/rotated"
    node.entrepot("repo", "create", place, url=node.origin)
    base, suite = f"{node.edge}/{place}/deb", "rotated"
    put(node, base, f"upload/{suite}/main/x.deb", debs.deb("acme-rotated", "1.0", architecture()))
    before = pointed(node, tmp_path / "before", base, suite)
    before.update()
    new = node.entrepot("key", "add", place, url=node.edge)
    old, listed = node.entrepot("key", "list", place, url=node.edge)["items"]
    assert listed == new
    before.update()
    during = pointed(node, tmp_path / "during", base, suite)
    during.update()
    node.entrepot("key", "retire", place, old["fingerprint"], url=node.edge)
    assert node.entrepot("key", "list", place, url=node.edge)["items"] == [new]
    during.update()
    pointed(node, tmp_path / "after", base, suite).update()
    assert "NO_PUBKEY" in before.update(ok=False)


def test_dput_uploads_a_source_package_and_apt_fetches_it(node: Up, tmp_path: Path) -> None:
    door = node.edge.removeprefix("http://")
    made = debs.source("acme-src", "1.2-1")
    made["acme-src_1.2-1_all.deb"] = debs.deb("acme-src", "1.2-1", "all")
    made["acme-src_1.2-1_amd64.changes"] = debs.changes("acme-src", "1.2-1", made, "sid", "contrib/misc")
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    config = tmp_path / "dput.cf"
    config.write_text(
        f"[us]\nfqdn = {door}\nmethod = http\nincoming = /t/{node.token}/{node.private}/deb/incoming\n"
        "allow_unsigned_uploads = 1\nrun_dinstall = 0\n"
    )
    changes = str(tmp_path / "acme-src_1.2-1_amd64.changes")
    run([program("dput"), "-U", "-c", str(config), "us", changes])
    base = f"{node.edge}/{node.private}/deb"
    apt = pointed(node, tmp_path / "apt", base, "sid", "contrib", kinds="deb deb-src")
    apt.update()
    into = tmp_path / "into"
    into.mkdir()
    apt.get("source", "--download-only", "acme-src", cwd=into)
    assert {path.name for path in into.iterdir()} == {name for name in made if not name.endswith((".deb", ".changes"))}
    for path in into.iterdir():
        assert path.read_bytes() == made[path.name]
    apt.get("download", "acme-src", cwd=into)
    assert (into / "acme-src_1.2-1_all.deb").read_bytes() == made["acme-src_1.2-1_all.deb"]
    (tmp_path / "acme-src_1.2-1_all.deb").write_bytes(debs.deb("acme-src", "1.2-1", "all", Section="other"))
    bad = {name: (tmp_path / name).read_bytes() for name in made if not name.endswith(".changes")}
    Path(changes).write_bytes(debs.changes("acme-src", "1.2-1", bad, "sid"))
    assert "Upload failed: 409" in run([program("dput"), "-U", "-f", "-c", str(config), "us", changes], ok=False)


def test_a_package_of_dpkg_itself(node: Up, tmp_path: Path) -> None:
    """Built by dpkg-deb in each compression, pushed by our command line, unpacked again from what apt fetched."""
    for kind in ("xz", "gzip", "zstd", "none"):
        tree = tmp_path / kind
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share/acme").mkdir(parents=True)
        (tree / "usr/share/acme/data").write_text(kind)
        (tree / "usr/share/acme/absolute").symlink_to("/etc/passwd")
        (tree / "DEBIAN/control").write_bytes(debs.control(f"acme-{kind}", "1.0", "all"))
        built = tmp_path / f"acme-{kind}.deb"
        run([program("dpkg-deb"), "--root-owner-group", f"-Z{kind}", "--build", str(tree), str(built)])
        node.entrepot("push", str(built), f"{node.private}/deb/dpkg/main", url=node.edge)
    apt = pointed(node, tmp_path / "apt", f"{node.edge}/{node.private}/deb", "dpkg")
    apt.update()
    for kind in ("xz", "gzip", "zstd", "none"):
        apt.get("download", f"acme-{kind}", cwd=tmp_path)
        listed = subprocess.run(
            [program("dpkg-deb"), "--contents", str(tmp_path / f"acme-{kind}_1.0_all.deb")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "usr/share/acme/data" in listed.stdout
