"""How does the journal lie in a file, and where does a torn one end?

A segment is a header of 64 bytes, then frames: u32 length, u32 crc32 over length and body, body (the msgpack of an
Entry). All integers are little-endian. What does not parse at the end of the last segment is a torn tail; what does
not parse ahead of a frame that does is damage.
"""

import struct
import zlib
from typing import NamedTuple

from storage.nouns import Entry

SEGMENT_MAGIC = b"ENTJRNL\n"
SEGMENT_VERSION = 1
HEADER_BYTES = 64
BODY_BYTES_MAX = 16 << 20

_HEADER = struct.Struct("<8sIIQ16s")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II")
FRAME_BYTES = _FRAME.size
_LENGTH = struct.Struct("<I")
_ENTRY = bytes([0x90 | len(Entry.__struct_fields__)])
"""The first byte of every Entry in msgpack, an array of fewer than 16: what a search for a later frame looks for."""


class Header(NamedTuple):
    """Whose segment this is: its number, the epoch it was begun in, the id of the store."""

    number: int
    epoch: int
    store: bytes


class Parsed(NamedTuple):
    """Whole frames as (offset of the frame, body), and the offset behind the last of them."""

    frames: list[tuple[int, bytes]]
    stop: int


def pack_header(header: Header) -> bytes:
    body = _HEADER.pack(SEGMENT_MAGIC, SEGMENT_VERSION, header.number, header.epoch, header.store)
    return (body + _CRC.pack(zlib.crc32(body))).ljust(HEADER_BYTES, b"\0")


def parse_header(data: bytes) -> Header | None:
    """None where these are not the whole first bytes of a segment."""
    if len(data) < HEADER_BYTES:
        return None
    body = data[: _HEADER.size]
    magic, version, number, epoch, store = _HEADER.unpack(body)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if magic != SEGMENT_MAGIC or version != SEGMENT_VERSION or crc != zlib.crc32(body):
        return None
    return Header(number, epoch, store)


def frame(body: bytes) -> bytes:
    """`body` as it goes to the file; at most BODY_BYTES_MAX, which the caller has checked."""
    assert 0 < len(body) <= BODY_BYTES_MAX
    length = _LENGTH.pack(len(body))
    return length + _CRC.pack(zlib.crc32(body, zlib.crc32(length))) + body


def length_of(head: bytes) -> int:
    """How long the body is of which these are the first bytes of the frame; 0 where it can be none."""
    length = int.from_bytes(head[:4], "little")
    return length if len(head) == FRAME_BYTES and length <= BODY_BYTES_MAX else 0


def at(data: bytes | memoryview, offset: int) -> bytes | None:
    """The body of the whole frame that begins at `offset`, or None."""
    start = offset + FRAME_BYTES
    if start > len(data):
        return None
    length, crc = _FRAME.unpack_from(data, offset)
    if not 0 < length <= BODY_BYTES_MAX or start + length > len(data):
        return None
    body = bytes(data[start : start + length])
    return body if zlib.crc32(body, zlib.crc32(_LENGTH.pack(length))) == crc else None


def parse(data: bytes | memoryview, offset: int = 0) -> Parsed:
    """Every whole frame from `offset` on, up to the first that is not whole."""
    frames = []
    while (body := at(data, offset)) is not None:
        frames.append((offset, body))
        offset += FRAME_BYTES + len(body)
    return Parsed(frames, offset)


def is_unborn(data: bytes) -> bool:
    """Is this a segment whose header never became whole, with no whole frame behind it?"""
    return parse_header(data) is None and not whole_frame_after(data, HEADER_BYTES - FRAME_BYTES - 1)


def whole_frame_after(data: bytes, offset: int) -> bool:
    """Does a whole frame begin anywhere behind `offset`? Then what stands at `offset` is damaged and not torn."""
    found = data.find(_ENTRY, offset + FRAME_BYTES + 1)
    while found >= 0:
        if at(data, found - FRAME_BYTES) is not None:
            return True
        found = data.find(_ENTRY, found + 1)
    return False
