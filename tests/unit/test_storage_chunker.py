"""Where blobs are cut: decided by content, the same whatever the window, frozen (THREATS F12: a hostile archive)."""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.blobs import chunker
from storage.blobs.chunker import CHUNK_BYTES_MAX, Chunk, Cut, Read, chunks, decide, key_of
from tests.harness.versions import edited, layer, model, wheel


def reader(data: bytes) -> Read:
    return lambda at, length: data[at : at + length]


def cut(data: bytes) -> tuple[Cut, list[Chunk]]:
    manner, edges = decide(reader(data), len(data))
    return manner, list(chunks(reader(data), len(data), edges))


def shared(old: bytes, new: bytes) -> float:
    """The part of `new` whose chunks are in `old`."""
    known = {chunk.key for chunk in cut(old)[1]}
    return sum(chunk.length for chunk in cut(new)[1] if chunk.key in known) / len(new)


def test_chunks_are_the_blob_and_carry_its_keys() -> None:
    data = model()
    manner, found = cut(data)
    assert manner is Cut.CONTENT
    assert b"".join(data[one.start : one.start + one.length] for one in found) == data
    assert all(key_of(data[one.start : one.start + one.length]) == one.key for one in found)
    assert max(one.length for one in found) <= CHUNK_BYTES_MAX
    assert 50_000 < len(data) / len(found) < 85_000


def test_golden_cut_points() -> None:
    """Stored chunks and those of other nodes are found by these: a change of them is a change of the format."""
    found = cut(model(7))[1]
    assert [one.start for one in found[:12]] == GOLDEN
    assert key_of(b"".join(one.key for one in found)).hex() == GOLDEN_KEYS
    assert [one.start for one in cut(wheel([1, 2, 3] * 4))[1][:8]] == GOLDEN_WHEEL


GOLDEN = [0, 111090, 168661, 233457, 264465, 469265, 529485, 585183, 710598, 845485, 917027, 1020885]
GOLDEN_KEYS = "6dc09baf21e1fd292aa7a546682bbe74edfba99cc289cf2170885c6cf7d82ecc"
GOLDEN_WHEEL = [0, 42, 33300, 111608, 167763, 192801, 231984, 260721]


def test_the_window_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = model(3)
    whole = cut(data)[1]
    for window in (1 << 20, (3 << 20) + 1, CHUNK_BYTES_MAX * 2):
        monkeypatch.setattr(chunker, "_WINDOW_BYTES", window)
        assert cut(data)[1] == whole


def test_a_next_version_shares_what_has_not_changed() -> None:
    data = model()
    assert shared(data, edited(data, 5 << 20, 1 << 20)) > 0.9
    assert shared(wheel(list(range(20))), wheel([99, *range(1, 20)], comment=b"another")) > 0.9
    assert shared(layer(list(range(20))), layer([99, *range(1, 20)], mtime=1_700_000_000)) > 0.9
    assert shared(layer(list(range(20)), format=tarfile.GNU_FORMAT), layer(list(range(20)))) > 0.9


@pytest.mark.parametrize(
    ("data", "manner"),
    [
        (b"small", Cut.SMALL),
        (model(size=3 << 20), Cut.SMALL),
        (model(size=5 << 20), Cut.SMALL),
        (model(), Cut.CONTENT),
        (gzip.compress(model(), 0), Cut.PACKED),
        (lzma.compress(model(size=6 << 20), preset=0), Cut.PACKED),
        (b"!<arch>\n" + model(), Cut.PACKED),
        (b"GGUF" + model(), Cut.CONTENT),
        (struct.pack("<Q", 0x8B1F) + b"{" + model(), Cut.CONTENT),
        (wheel(list(range(12))), Cut.MEMBERS),
        (wheel(list(range(600)), member_bytes=9000), Cut.PACKED),
        (layer(list(range(15))), Cut.ENTRIES),
        (b"PK\x03\x04" + model(), Cut.PACKED),
        (wheel(list(range(12)))[:-30], Cut.PACKED),
    ],
    ids=["tiny", "3M", "5M", "model", "gzip", "xz", "deb", "gguf", "safetensors", "wheel", "small members", "tar",
         "no zip", "cut off"],
)  # fmt: skip
def test_how_is_it_cut(data: bytes, manner: Cut) -> None:
    assert decide(reader(data), len(data))[0] is manner
    assert manner.why


def test_large_archives_are_followed_beyond_four_gigabytes() -> None:
    """Zip64 and pax sizes, over a blob of holes that is never in memory."""
    info = tarfile.TarInfo("weights")
    info.size = gap = 9 << 30
    head = info.tobuf(tarfile.PAX_FORMAT)
    start = len(head)

    def read(at: int, length: int) -> bytes:
        return (head[at : at + length] + bytes(length))[:length]

    manner, edges = decide(read, start + gap + 1024)
    assert manner is Cut.ENTRIES
    assert list(edges) == [start, start + gap]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hostile_archives_are_cut_somewhere_or_not_at_all(data: st.DataObject) -> None:
    """Whatever stands in headers and directories: no error, and the chunks are the blob."""
    blob = bytearray(data.draw(st.sampled_from((WHEEL, LAYER))))
    spots = st.integers(0, len(blob) - 1) | st.integers(len(blob) - 700, len(blob) - 1) | st.integers(0, 600)
    for at in data.draw(st.lists(spots, max_size=12)):
        blob[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF, ord("7"))))
    found = cut(bytes(blob))[1]
    assert sum(one.length for one in found) == len(blob)
    assert all(0 < one.length <= CHUNK_BYTES_MAX for one in found)


WHEEL = wheel(list(range(11)))
LAYER = layer(list(range(15)))


def test_zip64_places_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo("weights"), "w", force_zip64=True) as member:
            member.write(model(size=5 << 20))
    data = out.getvalue()
    manner, edges = decide(reader(data), len(data))
    assert manner is Cut.MEMBERS
    assert edges[1] - edges[0] == 5 << 20
