"""Looking a store over: a whole one is whole, and any damage is found and named (THREATS E8, F11)."""

import os
import random
from pathlib import Path

import pytest

from storage.errors import Damaged
from storage.index.index import Index
from storage.index.keys import seal
from storage.upkeep.verify import verify
from tests.harness.stores import opened, publish

FLIPS = int(os.environ.get("ENTREPOT_FLIPS", "40"))


async def filled(root: Path) -> None:
    with opened(root, memory_bytes_max=4000, pack_bytes_max=3000) as store:
        for n in range(8):
            await publish(store, f"f{n}", random.Random(n).randbytes(500 if n else 9000))


async def test_a_whole_store_is_whole_also_while_it_runs(tmp_path: Path) -> None:
    await filled(tmp_path)
    for deep in (False, True):
        report = verify(tmp_path, deep)
        assert report.problems == []
        assert report.is_whole
        assert (report.entries, report.blobs, report.bytes) == (8, 8, 9000 + 7 * 500)
        assert report.packs >= 3
        assert report.rows > 40
    with pytest.raises(Damaged):
        verify(tmp_path / "nowhere")


async def test_e8_any_flipped_bit_of_a_journal_or_a_stored_body_is_found(tmp_path: Path) -> None:
    await filled(tmp_path)
    chance = random.Random(8)
    files = [*(tmp_path / "journal").iterdir(), *(tmp_path / "packs").iterdir()]
    for _ in range(FLIPS):
        path = chance.choice(files)
        data = path.read_bytes()
        # What is padding belongs to nothing: zeros between records, and behind the headers of segments and packs.
        at = chance.choice([n for n in range(len(data)) if data[n]])
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        found = not verify(tmp_path, deep=True).is_whole
        path.write_bytes(data)
        assert found, f"byte {at} of {path.name}"
    assert verify(tmp_path, deep=True).is_whole


async def test_missing_and_short_packs_are_named(tmp_path: Path) -> None:
    await filled(tmp_path)
    first, second = sorted((tmp_path / "packs").iterdir())[:2]
    first.unlink()
    os.truncate(second, 100)
    problems = " ".join(verify(tmp_path).problems)
    assert f"Pack {first.stem} is not there" in problems
    assert f"Pack {second.stem} has 100 bytes" in problems


async def test_an_index_that_does_not_follow_from_the_journal_is_found(tmp_path: Path) -> None:
    await filled(tmp_path)
    index = Index(tmp_path / "index")
    with index.env.begin(write=True) as txn:
        txn.put(b"acme\0main\0generic\0sneaked", seal(b"\x93\xa7sneaked\x00\xc4\x00"), db=index.tables.packages)
    index.close()
    assert verify(tmp_path).is_whole
    assert "packages" in " ".join(verify(tmp_path, deep=True).problems)


async def test_a_broken_row_is_found(tmp_path: Path) -> None:
    await filled(tmp_path)
    index = Index(tmp_path / "index")
    with index.env.begin(write=True) as txn:
        txn.put(b"w", b"12345678 not its checksum", db=index.tables.labels)
    index.close()
    assert "'labels'" in " ".join(verify(tmp_path).problems)


async def test_a_broken_index_is_told_and_not_opened(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "index" / "data.mdb").write_bytes(b"")
    assert "rebuild-index" in " ".join(verify(tmp_path).problems)
