"""A journal cut at any byte: what is whole comes back, what is torn goes, and writing goes on (THREATS E2)."""

import os
import random
import shutil
from pathlib import Path

import pytest
import trio

from storage.errors import Damaged
from storage.index.index import Dump
from storage.journal.frames import FRAME_BYTES, HEADER_BYTES
from storage.open import rebuild_index
from tests.harness.stores import content, opened, publish, write

SAMPLE = int(os.environ.get("ENTREPOT_TORN_SAMPLE", "24"))


async def three_entries(root: Path) -> tuple[bytes, list[int], list[Dump]]:
    """A store's journal, the ends of its frames, and the index after each."""
    with opened(root) as store:
        ends, dumps = [HEADER_BYTES], [store.index.dump()]
        for n in range(3):
            await publish(store, f"f{n}", b"data %d" % n)
            ends.append(store.index.committed().offset)
            dumps.append(store.index.dump())
    return (root / "journal" / "00000001.seg").read_bytes(), ends, dumps


async def test_e2_a_journal_torn_at_any_byte_rebuilds_to_the_entries_before_it(tmp_path: Path) -> None:
    data, ends, dumps = await three_entries(tmp_path / "s")
    edges = {cut for end in ends for cut in (end - 1, end, end + 1, end + FRAME_BYTES)} - {ends[-1] + 1}
    chosen = sorted({cut for cut in edges if cut <= len(data)} | set(random.Random(2).sample(range(len(data)), SAMPLE)))
    for cut in chosen:
        (tmp_path / "s" / "journal" / "00000001.seg").write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends[1:])
        assert rebuild_index(tmp_path / "s") == (whole, 0)
        with opened(tmp_path / "s") as store:
            assert store.index.dump() == dumps[whole], cut
            if cut in (ends[1], ends[1] + 5):
                assert (await publish(store, "next", b"next")).serial == 2
    (tmp_path / "s" / "journal" / "00000001.seg").write_bytes(data)


async def test_e2_torn_bytes_behind_the_end_are_cut_and_whole_frames_applied(tmp_path: Path) -> None:
    """The index stays at the first entry while the journal goes on, cut anywhere: as after a kill between the two."""
    root = tmp_path / "s"
    with opened(root) as store:
        await publish(store, "f0", b"data 0")
        dumps = [store.index.dump()]
        ends = [store.index.committed().offset]
        store.index.env.copy(str(_made(tmp_path / "early")))
        for n in (1, 2):
            await publish(store, f"f{n}", b"data %d" % n)
            dumps.append(store.index.dump())
            ends.append(store.index.committed().offset)
    segment = root / "journal" / "00000001.seg"
    data = segment.read_bytes()
    packs = {path: path.read_bytes() for path in (root / "packs").iterdir()}
    for cut in sorted({*ends, *(end + 3 for end in ends[:-1]), *random.Random(3).sample(range(ends[0], len(data)), 8)}):
        shutil.copy(tmp_path / "early" / "data.mdb", root / "index" / "data.mdb")
        segment.write_bytes(data[:cut])
        for path, body in packs.items():
            path.write_bytes(body)
        with opened(root) as store:
            whole = sum(end <= cut for end in ends) - 1
            assert store.index.dump() == dumps[whole]
            assert segment.stat().st_size == ends[whole], "the torn tail is cut"
            with store.catalog.read() as reading:
                assert content(store, reading, f"f{whole}") == b"data %d" % whole
            assert (await publish(store, "next", b"next")).serial == whole + 2


def _made(path: Path) -> Path:
    path.mkdir()
    return path


async def test_e8_damage_ahead_of_whole_frames_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    data, ends, _ = await three_entries(tmp_path)
    rotten = bytearray(data)
    rotten[ends[1] + 20] ^= 1
    (tmp_path / "journal" / "00000001.seg").write_bytes(rotten)
    with pytest.raises(Damaged, match="damaged at byte"):
        rebuild_index(tmp_path)
    assert (tmp_path / "journal" / "00000001.seg").read_bytes() == rotten, "nothing is thrown away"


async def test_a_journal_shorter_than_the_index_says_stops_everything(tmp_path: Path) -> None:
    data, _, _ = await three_entries(tmp_path)
    (tmp_path / "journal" / "00000001.seg").write_bytes(data[:-1])
    with pytest.raises(Damaged, match="shorter"), opened(tmp_path):
        raise AssertionError("opened")


async def test_an_entry_whose_bytes_are_gone_stops_everything(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "f0", b"data 0")
        store.index.env.copy(str(_made(tmp_path / "early")))
        length = store.blobs.packs()[0].bytes
        await publish(store, "f1", b"data 1")
        pack = store.blobs.path(1)
    shutil.copy(tmp_path / "early" / "data.mdb", tmp_path / "index" / "data.mdb")
    os.truncate(pack, length)
    with pytest.raises(Damaged, match="in no pack"), opened(tmp_path):
        raise AssertionError("opened")
    assert rebuild_index(tmp_path) == (2, 1), "told apart from a whole store, and served without that file"


@pytest.mark.parametrize("size", [0, 1, 40, 63, 64])
async def test_e2_a_new_segment_torn_at_birth_is_begun_again(tmp_path: Path, size: int) -> None:
    with opened(tmp_path, segment_bytes_max=100) as store:
        await publish(store, "f0", b"data 0")
        await publish(store, "f1", b"data 1")
        dump = store.index.dump()
    last = sorted((tmp_path / "journal").iterdir())[-1]
    born = last.read_bytes()[:size]
    (tmp_path / "journal" / f"{int(last.stem) + 1:08d}.seg").write_bytes(born)
    with opened(tmp_path, segment_bytes_max=100) as store:
        assert store.index.dump() == dump
        assert (await write(store)).serial == 2
        assert (await publish(store, "f2", b"data 2")).serial == 3
    assert rebuild_index(tmp_path) == (3, 0)


async def test_segments_follow_each_other_and_rebuild_in_order(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes_max=600) as store:
        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(publish, store, f"f{n}", b"data %d" % n)
        for n in range(5):
            await publish(store, f"g{n}", b"more %d" % n)
        dump = store.index.dump()
    assert len(list((tmp_path / "journal").iterdir())) >= 3
    assert rebuild_index(tmp_path) == (45, 0)
    with opened(tmp_path) as store:
        assert store.index.dump() == dump
