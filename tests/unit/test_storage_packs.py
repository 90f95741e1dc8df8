"""Packs tell by themselves what they hold, and a torn end is found (THREATS E2, E8)."""

import os
from pathlib import Path

from xxhash import xxh3_64_digest

from storage.blobs import packs
from storage.blobs.packs import PackHeader, PackWriter, Record
from storage.digest import sha256

STORE = bytes(range(16))
BODIES = [b"", b"a" * 10, b"b" * 1000, os.urandom(70)]


def written(path: Path) -> tuple[PackWriter, list[Record]]:
    writer = PackWriter.create(path, PackHeader(1, packs.SHARED, packs.PACK_HEADER_BYTES, 5, STORE), durable=True)
    made, stop = writer.append([(sha256(one), one) for one in BODIES], 6)
    writer.length = stop
    return writer, made


def test_records_are_found_again_and_bodies_are_aligned(tmp_path: Path) -> None:
    writer, made = written(tmp_path / "p")
    more, stop = writer.append([(sha256(b"z"), b"z")], 7)
    found = packs.records(tmp_path / "p", verify=True)
    assert found == (writer.header, made + more)
    assert all(one.offset % packs.ALIGN_BYTES == 0 for one in made + more)
    assert stop == (tmp_path / "p").stat().st_size
    tail = packs.records(tmp_path / "p", start=writer.length)
    assert tail is not None
    assert tail[1] == more
    writer.close()


def test_e2_a_pack_cut_at_every_byte_holds_the_records_before_it(tmp_path: Path) -> None:
    writer, made = written(tmp_path / "p")
    writer.close()
    data = (tmp_path / "p").read_bytes()
    for cut in range(packs.PACK_HEADER_BYTES, len(data)):
        (tmp_path / "c").write_bytes(data[:cut])
        found = packs.records(tmp_path / "c")
        assert found is not None
        assert found[1] == [one for one in made if one.stop <= cut]


def test_e8_a_flipped_bit_in_a_body_or_header_is_seen(tmp_path: Path) -> None:
    writer, made = written(tmp_path / "p")
    writer.close()
    data = bytearray((tmp_path / "p").read_bytes())
    for at in (made[2].offset + 5, made[2].offset - 20):
        data[at] ^= 4
        (tmp_path / "c").write_bytes(data)
        found = packs.records(tmp_path / "c", verify=True)
        assert found is not None
        assert found[1] == made[:2]
        data[at] ^= 4


def test_a_sealed_pack_lists_its_members(tmp_path: Path) -> None:
    writer, made = written(tmp_path / "p")
    writer.close_with(made, 8)
    writer.close()
    found = packs.records(tmp_path / "p", verify=True)
    assert found is not None
    assert found[1][-1].kind == packs.MEMBERS
    assert found[1][-1].length == 48 * len(made)


def test_an_abandoned_pack_is_adopted_and_its_tail_cut(tmp_path: Path) -> None:
    writer, made = written(tmp_path / "p")
    writer.append([(sha256(b"z"), b"z")], 7)
    assert PackWriter.adopt(tmp_path / "p", writer.length, durable=True) is None, "its writer lives"
    length = writer.length
    writer.close()
    again = PackWriter.adopt(tmp_path / "p", length, durable=True)
    assert again is not None
    assert (tmp_path / "p").stat().st_size == length
    assert PackWriter.adopt(tmp_path / "p", length, durable=True) is None
    again.close()
    assert PackWriter.adopt(tmp_path / "p", length + 1, durable=True) is None, "shorter than what counts"
    assert PackWriter.adopt(tmp_path / "none", 0, durable=True) is None
    assert made


def test_a_single_pack_has_its_body_where_it_was_received(tmp_path: Path) -> None:
    body = os.urandom(5000)
    record = Record(sha256(body), packs.SINGLE_START, len(body), xxh3_64_digest(body), packs.BODY, 3)
    header = PackHeader(9, packs.SINGLE, packs.SINGLE_START - packs.RECORD_BYTES, 3, STORE)
    (tmp_path / "s").write_bytes(packs.single_headers(header, record) + body)
    assert packs.records(tmp_path / "s", verify=True) == (header, [record])
    (tmp_path / "s").write_bytes(packs.single_headers(header, record) + body[:-1])
    assert packs.records(tmp_path / "s") == (header, [])
    (tmp_path / "s").write_bytes(b"no pack at all")
    assert packs.records(tmp_path / "s") is None
