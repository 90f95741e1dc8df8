"""An edge whose disk is 100 % full: hits and misses are answered, and it recovers by itself (THREATS E5)."""

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest

from bench.hostile.speaking import Ended, Reset
from cache.keeping.eviction import LOOK_SECONDS
from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.harness.upstreams import Item, noise, upstream
from tests.harness.waiting import until
from tests.native.test_crowd import crowd, fetches

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system"),
]

DISK = "96m"
FULL = "is full"
CROWD = 200
SIZES = (900, 60_000, 400_000, 3_000_000)


def data_of(n: int) -> bytes:
    seed = hashlib.sha256(b"full %d" % n).digest()
    return seed * (SIZES[n % len(SIZES)] // 32)


def path_of(n: int) -> str:
    return f"/{(PRIVATE, PUBLIC)[n % 2]}/generic/files/{n}.bin"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def heard(pair: Pair, n: int) -> None:
    """Until the edge knows this one and all before it, of which it fetches nothing."""
    until(lambda: pair.edge.ask("HEAD", path_of(n), pair.token).status == 200, f"the edge hears of {n}")


def ask(pair: Pair, n: int) -> tuple[int, bool]:
    said = pair.edge.ask("GET", path_of(n), pair.token)
    assert said.status == 200, (n, said.status, said.body[:300])
    return said.status, said.body == data_of(n)


def test_e5_a_full_edge_serves_all_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    with small_disk(folder / "edge"), Pair(folder, workers=2) as pair:
        for n in range(60):
            said = pair.origin.ask("PUT", path_of(n), pair.token, data_of(n))
            assert said.status == 201, said.body
        heard(pair, 59)
        warm = range(12)
        assert {ask(pair, n) for n in warm} == {(200, True)}
        fill(folder / "edge" / "filler")
        assert os.statvfs(folder / "edge").f_bavail == 0
        for _ in range(3):
            assert {ask(pair, n) for n in range(60)} == {(200, True)}, "hits and misses alike"
        taken = pair.edge.ask("PUT", f"/{PRIVATE}/generic/new.bin", pair.token, b"x" * 5000)
        assert taken.status in (201, 503), taken.body  # the origin took it; this edge may not see it yet
        (folder / "edge" / "filler").unlink()
        end = time.monotonic() + 60
        while ask(pair, 30) != (200, True) or not kept(pair, 30):
            assert time.monotonic() < end, "with room again it keeps what it fetches"
            time.sleep(0.2)
        assert {ask(pair, n) for n in range(60)} == {(200, True)}
        assert "Traceback" not in pair.words()


def test_e5_on_a_full_disk_a_guaranteed_repository_keeps_its_share(tmp_path: Path) -> None:
    """Of what the disk leaves to the cache. The others are served all the same, past it where there is no room."""
    folder = tmp_path / "pair"
    shares = {"shares": [f"{PUBLIC}=40-"], "small_share_min": 0.02}
    with small_disk(folder / "edge"), Pair(folder, workers=2, cache=shares) as pair:
        large = [n for n in range(120) if n % 4 in (2, 3)]  # 400 KB of the one, 3 MB of the other
        for n in large:
            assert pair.origin.ask("PUT", path_of(n), pair.token, data_of(n)).status == 201
        heard(pair, large[-1])
        guaranteed = [n for n in large if n % 2][:4]
        others = [n for n in large if not n % 2] * 2
        assert {ask(pair, n) for n in guaranteed} == {(200, True)}
        filler = folder / "edge" / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, os.statvfs(folder / "edge").f_bavail * 4096 - (30 << 20))
        for _ in range(3):
            assert {ask(pair, n) for n in others} == {(200, True)}
            time.sleep(2 * LOOK_SECONDS)
            assert [kept(pair, n) for n in guaranteed] == [True] * len(guaranteed), "though nobody asks for it"
        fill(filler)
        assert os.statvfs(folder / "edge").f_bavail == 0
        for _ in range(2):
            assert {ask(pair, n) for n in large} == {(200, True)}, "hits and misses alike"
        assert any(kept(pair, n) for n in guaranteed), "of what is left it has its part"
        assert "Traceback" not in pair.words()


def foreign_body(n: int) -> bytes:
    return noise((900, 60_000, 400_000, 3_000_000)[n % 4], n)


def jar_of(n: int) -> str:
    return f"a/b/{n}/b-{n}.jar"


def wheel_of(n: int) -> str:
    return f"six-{n}.0-py3-none-any.whl"


def test_e5_a_full_edge_passes_foreign_files_and_pages_on_and_tells_its_operator(tmp_path: Path) -> None:
    """By path (maven), by a page that is learned (pypi), and a page of its own that nobody asked for before."""
    folder = tmp_path / "pair"
    with small_disk(folder / "edge"), upstream() as server, Pair(folder, workers=2) as pair:
        anchors = []
        for n in range(16):
            body = foreign_body(n)
            server.items[f"/{jar_of(n)}"] = server.items[f"/files/{wheel_of(n)}"] = Item(body)
            digest = hashlib.sha256(body).hexdigest()
            anchors.append(f'<a href="../../files/{wheel_of(n)}#sha256={digest}">{wheel_of(n)}</a>')
        for n in range(20, 28):  # nobody tells how long these are
            server.items[f"/{jar_of(n)}"] = Item(foreign_body(n), chunked=True)
        lie = {"X-Checksum-Sha1": "0" * 40}
        server.items[f"/{jar_of(31)}"] = Item(foreign_body(31), chunked=True, headers=lie)
        page = "<!DOCTYPE html><html><body>" + "\n".join(anchors) + "</body></html>"
        server.items["/simple/six/"] = Item(page.encode(), headers={"Content-Type": "text/html"})
        for format, at in (("maven", ""), ("pypi", "simple/")):
            code, _, errors = pair.entrepot(
                "upstream", "add", PUBLIC, format, f"{server.url}/{at}", "--private-network"
            )
            assert code == 0, errors

        def got(path: str) -> tuple[int, bytes]:
            said = pair.edge.ask("GET", f"/{PUBLIC}/{path}", pair.token)
            return said.status, said.body

        def jar(n: int) -> bool:
            return got(f"maven/{jar_of(n)}") == (200, foreign_body(n))

        wheels: dict[str, str] = {}

        def wheel(n: int) -> bool:
            return got(wheels[wheel_of(n)]) == (200, foreign_body(n))

        until(lambda: jar(0), "the edge hears of the upstream")
        assert all(jar(n) for n in range(4))
        filler = folder / "edge" / "filler"
        for turn in range(2):
            fill(filler)
            assert os.statvfs(folder / "edge").f_bavail == 0
            status, listed = got("pypi/simple/six/")
            assert status == 200
            for href in re.findall(r'href="([^"#]+)', listed.decode()):
                wheels[href.rpartition("/")[2]] = urljoin("pypi/simple/six/", href).removeprefix(f"/{PUBLIC}/")
            assert len(wheels) == 16
            assert [n for n in range(8) if not jar(n)] == [], "what is here, and what is not"
            assert [n for n in range(8 * turn, 8 * turn + 8) if not wheel(n)] == []
            assert [n for n in range(20 + 4 * turn, 24 + 4 * turn) if not jar(n)] == []
            with pytest.raises((Reset, Ended)):
                jar(31)
            ranged = pair.edge.ask("HEAD", f"/{PUBLIC}/maven/{jar_of(11)}", pair.token)
            assert ranged.status == 200
        assert got("maven/a/b/99/b-99.jar")[0] == 404
        until(lambda: FULL in pair.edge.log.read_text(), "the operator is told")
        assert pair.edge.log.read_text().count(FULL) == 1, "once"
        code, told, _ = pair.entrepot("status", node=pair.edge)
        assert code == 0
        assert told["disk_full"]
        filler.unlink()
        until(lambda: "there is room on the disk again" in pair.edge.log.read_text(), "the operator is told")
        until(lambda: jar(11) and held(pair, foreign_body(11)), "with room again it keeps what it fetches")
        assert not pair.entrepot("status", node=pair.edge)[1]["disk_full"]
        assert [n for n in range(16) if not (jar(n) and wheel(n))] == []
        assert "Traceback" not in pair.words()


def kept(pair: Pair, n: int) -> bool:
    """Is it in a pack of the edge's cache?"""
    return held(pair, data_of(n))


def held(pair: Pair, body: bytes) -> bool:
    packs = sorted((pair.edge.data / "cache" / "packs").glob("*.pack"))
    return any(body in path.read_bytes() for path in packs)


def test_e5_a_crowd_at_a_full_node_is_one_fetch_of_a_foreign_file(tmp_path: Path) -> None:
    """Of an edge at its parent, and of an origin at the registry itself; whether its length is told or not."""
    folder = tmp_path / "pair"
    with small_disk(folder / "edge"), small_disk(folder / "origin"), upstream() as server, Pair(folder) as pair:
        told = {n: foreign_body(4 * n + 3) for n in range(4)}
        for n, body in told.items():
            server.items[f"/{jar_of(n)}"] = Item(body, chunked=n == 3)
        code, _, errors = pair.entrepot("upstream", "add", PUBLIC, "maven", f"{server.url}/", "--private-network")
        assert code == 0, errors

        def paths(n: int) -> str:
            return f"/{PUBLIC}/maven/{jar_of(n)}"

        until(lambda: pair.edge.ask("GET", paths(0), pair.token).status == 200, "the edge hears of the upstream")
        fill(folder / "edge" / "filler")
        assert os.statvfs(folder / "edge").f_bavail == 0
        for n in (1, 3):
            assert crowd(pair, paths(n), pair.token, CROWD) == [(200, told[n])] * CROWD
            assert fetches(pair, paths(n)) == 1
        (folder / "edge" / "filler").unlink()
        fill(folder / "origin" / "filler")
        assert os.statvfs(folder / "origin").f_bavail == 0
        with ExitStack() as stack:
            speakers = [stack.enter_context(pair.origin.speaker()) for _ in range(CROWD)]
            for speaker in speakers:
                asked = f"GET {paths(2)} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {pair.token}\r\n\r\n"
                speaker.send(asked.encode())
            said = [speaker.hear() for speaker in speakers]
        assert [(one.status, one.body == told[2]) for one in said] == [(200, True)] * CROWD
        assert server.count(f"/{jar_of(2)}") == 1
        assert "Traceback" not in pair.words()
