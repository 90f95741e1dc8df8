"""Where is a blob cut, so that its next version finds what has not changed?

Decided by what the bytes are, never by a name (measured on real version series, see the README): zip archives whose
members are large (native wheels) at those members, uncompressed tars at their members, everything large and not
compressed (models, datasets) by its content alone; and by content between the cuts. All else stays whole: compressed
streams share nothing with their next version. Pure: bytes come through `read`. The cut points are part of the format,
since edges find out with them what they have: golden ones are frozen in a test, and the library is pinned.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from blake3 import blake3
from pyfastcdc import FastCDC

Read = Callable[[int, int], bytes]
"""(offset, length) to that many bytes of the blob; fewer only at its end."""

ARCHIVE_BYTES_MIN = 4 << 20
CONTENT_BYTES_MIN = 16 << 20
ZIP_MEMBER_BYTES_MIN = 16 << 10
TAR_MEMBER_BYTES_MIN = 64 << 10
AVERAGE_BYTES = 50 << 10
"""What FastCDC is told; with what it skips first, chunks are 64 KB long on average."""
CHUNK_BYTES_MIN = AVERAGE_BYTES // 4
CHUNK_BYTES_MAX = AVERAGE_BYTES * 4
MEMBERS_MAX = 200_000
DIRECTORY_BYTES_MAX = 64 << 20
_WINDOW_BYTES = 8 << 20

_PACKED = (
    b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07", b"!<arch>\n", b"\xed\xab\xee\xdb", b"hsqs", b"\x89PNG\r\n", b"\xff\xd8\xff", b"OggS", b"fLaC",
    b"\x1aE\xdf\xa3", b"LZIP", b"\x1f\x9d",
)  # fmt: skip
"""How compressed streams begin, and packages that hold little else."""

_EOCD = struct.Struct("<4sHHHHIIH")
_ZIP64_PLACE = struct.Struct("<4sIQI")
_ZIP64_END = struct.Struct("<4sQHHIIQQQQ")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4s22xHH")
_U64 = struct.Struct("<Q")
_FULL32 = 0xFFFFFFFF
_BLOCK = 512


class Cut(IntEnum):
    """How a blob is cut. Stored in its row and in recipes: never renumber."""

    UNDECIDED = 0
    SMALL = 1
    PACKED = 2
    MEMBERS = 3
    ENTRIES = 4
    CONTENT = 5

    @property
    def why(self) -> str:
        """In words for people."""
        return _WHY[self]


_WHY = {
    Cut.UNDECIDED: "not looked at yet",
    Cut.SMALL: "whole: too small to gain anything",
    Cut.PACKED: "whole: compressed, so that versions share no bytes",
    Cut.MEMBERS: "cut at the members of a zip archive",
    Cut.ENTRIES: "cut at the members of a tar archive",
    Cut.CONTENT: "cut by its content",
}


class Chunk(NamedTuple):
    """`length` bytes from `start` on, named by their blake3."""

    start: int
    length: int
    key: bytes


def decide(read: Read, size: int) -> tuple[Cut, Sequence[int]]:
    """How a blob is to be cut, and where it must be cut in any case (increasing, without the ends). Reads little."""
    if size < ARCHIVE_BYTES_MIN:
        return Cut.SMALL, ()
    head = read(0, _BLOCK)
    if head[:4] == b"PK\x03\x04":
        members = _zip_members(read, size)
        large = [one for one in members if one[1] - one[0] >= ZIP_MEMBER_BYTES_MIN]
        gains = 2 * sum(stop - start for start, stop in large) >= size
        return (Cut.MEMBERS, _edges(large, size)) if gains else (Cut.PACKED, ())
    if _is_tar(head):
        return Cut.ENTRIES, _edges(_tar_members(read, size), size)
    if not _is_tensors(head, size) and (head.startswith(_PACKED) or head[4:8] == b"ftyp"):
        return Cut.PACKED, ()
    return (Cut.CONTENT, ()) if size >= CONTENT_BYTES_MIN else (Cut.SMALL, ())


def chunks(read: Read, size: int, edges: Sequence[int]) -> Iterator[Chunk]:
    """All of a blob as chunks, in order, cut at the edges and by content between them."""
    start = 0
    for stop in (*edges, size):
        yield from _between(read, start, stop)
        start = stop


def key_of(data: bytes | bytearray | memoryview) -> bytes:
    return blake3(data).digest()


def _is_tensors(head: bytes, size: int) -> bool:
    """Is it a safetensors file? Its first bytes are a length, and may look like anything."""
    return head[8:9] == b"{" and int(_U64.unpack_from(head)[0]) < size


def _between(read: Read, start: int, stop: int) -> Iterator[Chunk]:
    """A stretch cut by content. What a chunk is follows from at most CHUNK_BYTES_MAX bytes from its start on, so the
    window that they were read through changes nothing."""
    cutter = FastCDC(AVERAGE_BYTES, min_size=CHUNK_BYTES_MIN, max_size=CHUNK_BYTES_MAX)
    while start < stop:
        wanted = min(_WINDOW_BYTES, stop - start)
        window = memoryview(read(start, wanted))
        if len(window) != wanted:
            raise EOFError("the blob is shorter than its size")
        last = start + wanted == stop
        done = 0
        for length in _lengths(cutter, window):
            if not last and done + CHUNK_BYTES_MAX > wanted:
                break
            piece = window[done : done + length]
            yield Chunk(start + done, length, key_of(piece))
            done += length
        start += done


def _lengths(cutter: FastCDC, window: memoryview) -> Iterator[int]:
    if len(window) <= CHUNK_BYTES_MIN:
        yield len(window)
        return
    for chunk in cutter.cut_buf(window):
        yield chunk.length


def _edges(members: Sequence[tuple[int, int]], size: int) -> list[int]:
    """Begin and end of each of these, without what lies in a former one."""
    edges: list[int] = []
    for start, stop in sorted(members):
        for edge in (start, stop):
            if 0 < edge < size and (not edges or edge > edges[-1]):
                edges.append(edge)
    return edges


# ---------------------------------------------------------------- zip (APPNOTE 4.3)


def _zip_members(read: Read, size: int) -> list[tuple[int, int]]:
    """(begin, end) of each member's data as the central directory tells; none where it is not to be believed."""
    found = _directory(read, size)
    if found is None:
        return []
    offset, length = found
    directory = read(offset, length)
    members: list[tuple[int, int]] = []
    at = 0
    while at + _CENTRAL.size <= len(directory) and len(members) < MEMBERS_MAX:
        fields = _CENTRAL.unpack_from(directory, at)
        if fields[0] != b"PK\x01\x02":
            break
        packed, plain, names, extra, comment = fields[8:13]
        header = fields[16]
        tail = directory[at + _CENTRAL.size + names : at + _CENTRAL.size + names + extra]
        packed, header = _wide(tail, plain, packed, header)
        at += _CENTRAL.size + names + extra + comment
        if packed < ZIP_MEMBER_BYTES_MIN:
            continue
        local = read(header, _LOCAL.size) if header < size else b""
        if len(local) != _LOCAL.size or local[:4] != b"PK\x03\x04":
            return []
        _, own_names, own_extra = _LOCAL.unpack(local)
        start = header + _LOCAL.size + own_names + own_extra
        if start + packed > size:
            return []
        members.append((start, start + packed))
    return members


def _directory(read: Read, size: int) -> tuple[int, int] | None:
    """(offset, length) of the central directory."""
    tail_bytes = min(size, _EOCD.size + 0xFFFF + _ZIP64_PLACE.size)
    tail = read(size - tail_bytes, tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _EOCD.size > len(tail):
        return None
    fields = _EOCD.unpack_from(tail, at)
    length, offset = fields[5], fields[6]
    if _FULL32 in (length, offset) and at >= _ZIP64_PLACE.size:
        magic, _, place, _ = _ZIP64_PLACE.unpack_from(tail, at - _ZIP64_PLACE.size)
        wide = read(place, _ZIP64_END.size) if magic == b"PK\x06\x07" and place < size else b""
        if len(wide) != _ZIP64_END.size or wide[:4] != b"PK\x06\x06":
            return None
        length, offset = _ZIP64_END.unpack(wide)[8:10]
    return (offset, length) if offset + length <= size and length <= DIRECTORY_BYTES_MAX else None


def _wide(extra: bytes, plain: int, packed: int, header: int) -> tuple[int, int]:
    """Packed size and header offset with the 64-bit values of the extra field 0x0001, in the order of 4.5.3."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            if plain == _FULL32:
                next(values, 0)
            packed = next(values, packed) if packed == _FULL32 else packed
            header = next(values, header) if header == _FULL32 else header
            break
        at += 4 + length
    return packed, header


# ---------------------------------------------------------------- tar (POSIX pax, ustar and GNU)


def _is_tar(block: bytes) -> bool:
    if len(block) < _BLOCK or block[257:262] != b"ustar":
        return False
    told = _number(block[148:156])
    return told == sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _tar_members(read: Read, size: int) -> list[tuple[int, int]]:
    """(begin, end) of the data of each large member, as far as the headers can be followed."""
    members: list[tuple[int, int]] = []
    at, pax = 0, -1
    for _ in range(MEMBERS_MAX):
        block = read(at, _BLOCK) if at < size else b""
        if not _is_tar(block):
            break
        length, kind = _number(block[124:136]), block[156:157]
        if length < 0:
            break
        if kind == b"x":
            pax = _pax_size(read(at + _BLOCK, min(length, 1 << 20)))
        else:
            if kind not in b"LKg" and pax >= 0:
                length, pax = pax, -1
            if length >= TAR_MEMBER_BYTES_MIN and kind not in b"LKg123456" and at + _BLOCK + length <= size:
                members.append((at + _BLOCK, at + _BLOCK + length))
        at += _BLOCK + -(-length // _BLOCK) * _BLOCK
    return members


def _number(field: bytes) -> int:
    """An octal or base-256 number of a header; -1 where it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    try:
        return int(field.split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


def _pax_size(body: bytes) -> int:
    """The size that a pax header gives for the next member, -1 for none. Records are "LENGTH KEY=VALUE\\n"."""
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 12)
        digits = body[at:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        if length <= space - at:
            return -1
        key, _, value = body[space + 1 : at + length].partition(b"=")
        if key == b"size" and value.strip().isdigit():
            return int(value)
        at += length
    return -1
