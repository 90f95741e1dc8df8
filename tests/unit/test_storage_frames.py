"""Frames of the journal: whole ones are read, torn ones end it, and a torn end is told from damage (THREATS E2, E8)."""

import msgspec
import pytest

from storage.journal import frames
from storage.journal.frames import Header
from storage.nouns import Entry


def body(serial: int, size: int = 10) -> bytes:
    return msgspec.msgpack.encode(Entry(1, "w", serial, bytes(32), 0, "a" * size, "test", "", ()))


BODIES = [body(1), body(2, 300), body(3, 1)]
DATA = b"".join(frames.frame(one) for one in BODIES)


def test_what_is_written_is_read() -> None:
    parsed = frames.parse(DATA)
    assert [one for _, one in parsed.frames] == BODIES
    assert parsed.stop == len(DATA)


def test_e2_cut_at_every_byte_gives_the_whole_frames_before_it() -> None:
    ends = [0]
    for one in BODIES:
        ends.append(ends[-1] + frames.FRAME_BYTES + len(one))
    for cut in range(len(DATA)):
        parsed = frames.parse(DATA[:cut])
        assert parsed.stop == max(end for end in ends if end <= cut)
        assert [one for _, one in parsed.frames] == BODIES[: ends.index(parsed.stop)]


def test_e8_a_flipped_bit_anywhere_ends_the_frames_ahead_of_it() -> None:
    for at in range(len(DATA)):
        rotten = bytearray(DATA)
        rotten[at] ^= 0x10
        parsed = frames.parse(bytes(rotten))
        assert parsed.stop <= at
        assert [one for _, one in parsed.frames] == BODIES[: len(parsed.frames)]


def test_zeros_are_no_frame() -> None:
    assert frames.parse(bytes(100)) == frames.Parsed([], 0)


def test_a_whole_frame_behind_a_broken_one_is_found() -> None:
    first = frames.FRAME_BYTES + len(BODIES[0])
    rotten = DATA[:20] + b"\xff" + DATA[21:]
    assert frames.whole_frame_after(rotten, 0)
    assert not frames.whole_frame_after(DATA[:first] + DATA[first:-1][:50], first)
    assert not frames.whole_frame_after(b"\x9b" * 200, 0)


def test_a_header_says_whose_segment_it_is() -> None:
    header = Header(7, 99, bytes(range(16)))
    data = frames.pack_header(header)
    assert len(data) == frames.HEADER_BYTES
    assert frames.parse_header(data) == header
    for at in range(44):
        assert frames.parse_header(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None
    assert frames.parse_header(data[:63]) is None


@pytest.mark.parametrize("size", [0, 10, 63])
def test_a_segment_without_a_whole_header_was_never_born(size: int) -> None:
    header = frames.pack_header(Header(1, 1, bytes(16)))
    assert frames.is_unborn(header[:size])
    assert frames.is_unborn(bytes(size + 100))
    assert not frames.is_unborn(header)
    assert not frames.is_unborn(bytes(frames.HEADER_BYTES) + DATA), "a whole frame was lost with this header"
