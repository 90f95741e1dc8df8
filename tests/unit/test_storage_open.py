"""Opening: what is damaged is noticed before it is trusted, and made anew where it can be (THREATS E7, E8)."""

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from storage import open as opening
from storage.errors import Damaged
from storage.index.index import Dump
from storage.open import CacheMark, clear_away, rebuild_index
from storage.upkeep.verify import verify
from tests.harness.stores import content, opened, publish


async def filled(root: Path) -> Dump:
    with opened(root, memory_bytes_max=4000) as store:
        for n in range(5):
            await publish(store, f"f{n}", b"data %d" % n * (1 if n else 2000))
        return store.index.dump()


@pytest.mark.parametrize("how", ["missing", "empty", "short", "one page less", "garbage", "other store"])
async def test_e7_an_index_that_cannot_be_trusted_is_made_anew(tmp_path: Path, how: str) -> None:
    root = tmp_path / "s"
    dump = await filled(root)
    data = root / "index" / "data.mdb"
    whole = data.read_bytes()
    if how == "missing":
        data.unlink()
    elif how == "empty":
        data.write_bytes(b"")
    elif how == "short":
        data.write_bytes(whole[:5000])
    elif how == "one page less":
        data.write_bytes(whole[:-4096])
    elif how == "garbage":
        data.write_bytes(random.Random(1).randbytes(len(whole)))
    else:
        await filled(tmp_path / "other")
        data.write_bytes((tmp_path / "other" / "index" / "data.mdb").read_bytes())
    with opened(root) as store:
        assert store.index.dump() == dump
        with store.catalog.read() as reading:
            assert content(store, reading, "f0") == b"data 0" * 2000
        assert (await publish(store, "more", b"more")).serial == 6
    assert verify(root, deep=True).problems == []


async def test_e7_an_edge_without_a_trustworthy_index_starts_empty(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await publish(origin, "a", b"a")
        assert origin.journal is not None
        assert edge.applier is not None
        bodies = origin.journal.follow({}).read()
        edge.applier.apply_raw(bodies)
    (tmp_path / "e" / "index" / "data.mdb").write_bytes(b"")
    with opened(tmp_path / "e", role="edge") as edge:
        assert edge.applier is not None
        assert edge.applier.heads() == {}
        assert edge.applier.apply_raw(bodies) == 1


async def test_a_store_says_what_it_is(tmp_path: Path) -> None:
    await filled(tmp_path)
    with pytest.raises(Damaged, match="origin"), opened(tmp_path, role="edge"):
        raise AssertionError("opened")
    identity = (tmp_path / "store.json").read_bytes()
    for wrong in (b"", b"{}", identity.replace(b'"format":1', b'"format":2')):
        (tmp_path / "store.json").write_bytes(wrong)
        with pytest.raises(Damaged), opened(tmp_path):
            raise AssertionError("opened")
    (tmp_path / "store.json").unlink()
    with pytest.raises(Damaged, match="journal is there"), opened(tmp_path):
        raise AssertionError("opened")
    (tmp_path / "store.json").write_bytes(identity)
    with opened(tmp_path) as store:
        assert store.index.dump().rows


async def test_opening_again_and_again_changes_nothing(tmp_path: Path) -> None:
    dump = await filled(tmp_path)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    fds = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with opened(tmp_path) as store:
            assert store.index.dump() == dump
            assert store.reap() == 0
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == files
    assert len(os.listdir("/proc/self/fd")) == fds


async def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "staging" / "x.part").write_bytes(b"half an upload")
    (tmp_path / "packs" / "00000fff.pack").write_bytes(b"a large upload that was never decided")
    with opened(tmp_path):
        assert list((tmp_path / "staging").iterdir()) == []
        assert not (tmp_path / "packs" / "00000fff.pack").exists()


async def test_a_rebuild_waits_for_the_node_to_stop(tmp_path: Path) -> None:
    await filled(tmp_path)
    with opened(tmp_path) as store:
        with pytest.raises(Damaged, match="running"):
            rebuild_index(tmp_path)
        assert store.index.dump().rows


async def test_a_rebuild_takes_an_abandoned_pack_up_to_where_it_is_whole(tmp_path: Path) -> None:
    dump = await filled(tmp_path)
    pack = tmp_path / "packs" / "00000001.pack"
    pack.write_bytes(pack.read_bytes() + b"ENTR torn")
    assert rebuild_index(tmp_path) == (5, 0)
    with opened(tmp_path) as store:
        assert store.index.dump() == dump
        assert (await publish(store, "more", b"more")).serial == 6
    assert verify(tmp_path, deep=True).problems == []


def cached_in(root: Path, data: bytes | None = None) -> bool:
    with opened(root, role="edge") as store, store.cache_intake.stage() as staged:
        staged.write(b"cached")
        staged.seal()
        found = store.cached.find(staged.sha256) is not None
        if data is not None:
            store.cached.put(staged)
        return found


def mark(root: Path, boot: str, *, clean: bool) -> None:
    (root / "cache" / "state.json").write_bytes(msgspec.json.encode(CacheMark(boot, clean)))


def test_the_cache_is_kept_where_it_can_be_trusted(tmp_path: Path) -> None:
    here = opening._BOOT_ID.read_text().strip()
    assert not cached_in(tmp_path, b"cached")
    assert cached_in(tmp_path), "closed in order"
    mark(tmp_path, here, clean=False)
    assert cached_in(tmp_path), "killed, and the machine went on"
    mark(tmp_path, "another boot", clean=True)
    assert cached_in(tmp_path), "shut down in order, with the machine"
    mark(tmp_path, "another boot", clean=False)
    assert not cached_in(tmp_path, b"cached"), "the machine went down under it"
    (gone,) = tmp_path.glob("cache.gone-*")
    assert list((gone / "packs").iterdir()), "what was there does not hold up the start"
    assert clear_away(tmp_path) == 1
    assert not gone.exists()
    (tmp_path / "cache" / "state.json").write_bytes(b"")
    assert not cached_in(tmp_path, b"cached"), "nobody knows"
    data = tmp_path / "cache" / "index" / "data.mdb"
    data.write_bytes(data.read_bytes()[:-4096])
    assert not cached_in(tmp_path), "its index is broken"


WORKER = """
import sys
from pathlib import Path
from storage.open import open_store
store = open_store(Path(sys.argv[1]), role="edge", worker=1)
print(len(store.cached.packs()), flush=True)
sys.stdin.readline()
store.close()
"""


def test_a_second_worker_neither_probes_nor_wipes(tmp_path: Path) -> None:
    with opened(tmp_path, role="edge") as store:
        with store.cache_intake.stage() as staged:
            staged.write(b"cached")
            staged.seal()
            store.cached.put(staged)
        (tmp_path / "cache" / "state.json").unlink()
        command = [sys.executable, "-c", WORKER, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "1\n"
            worker.communicate("\n")
        assert worker.returncode == 0
        assert not (tmp_path / "cache" / "state.json").exists(), "the last to leave marks it clean, not the first"
    assert msgspec.json.decode((tmp_path / "cache" / "state.json").read_bytes(), type=CacheMark).clean
