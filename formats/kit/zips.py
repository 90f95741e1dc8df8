"""What is in this zip archive, if only one thing can be?

The records must tile the file exactly, from the first byte to the directory and from there to the end: no prefix, gap,
overlap, comment or trailer. The local header of each entry must agree with its line in the directory. So every reader
sees the same entries, whether it goes by the directory or through the file.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from formats.kit.archive import Limits, Member, Names, check_growth, shown
from storage.errors import Invalid, TooLarge

_END = struct.Struct("<4s4H2LH")
_END64_PLACE = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL32 = 0xFFFFFFFF
_FULL16 = 0xFFFF
_FLAG_CRYPT = 0x1 | 0x40 | 0x2000
_FLAG_PATCH = 0x20
_FLAG_TRAILER = 0x8
_FLAG_UTF8 = 0x800
_FLAGS = _FLAG_CRYPT | _FLAG_PATCH | _FLAG_TRAILER | _FLAG_UTF8
_EXTRA_ZIP64 = 0x0001
_EXTRA_NAME = 0x7075
STEP_BYTES = 1 << 20


class _Record(msgspec.Struct, frozen=True):
    """One line of a zip's central directory, decoded."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


class Zip:
    """A checked zip archive over an open file. `members` by name; `read` and `chunks` give one member, verified."""

    def __init__(self, file: BinaryIO, limits: Limits | None = None) -> None:
        """Raises Invalid, TooLarge. Reads the directory and all local headers, no contents."""
        self._file = file
        self._limits = limits or Limits()
        self._size = file.seek(0, io.SEEK_END)
        start, length, count = self._directory()
        records = self._central(start, length, count)
        self._records = {one.name: one for one in records}
        self._data: dict[str, int] = {}
        self._tile(records, start)
        self.members: dict[str, Member] = {}
        names = Names(self._limits)
        for record in records:
            directory = record.name.endswith("/")
            name = record.name.removesuffix("/")
            names.add(name, directory)
            if directory and record.size:
                raise Invalid(f"The archive's directory {shown(name)} has contents.")
            if record.mode & 0o170000 not in (0, 0o100000, 0o040000):
                raise Invalid(f"The archive's entry {shown(name)} is a link or a device.")
            self.members[name] = Member(name, "directory" if directory else "file", record.size)

    def read(self, name: str, bytes_max: int) -> bytes:
        """The contents of the file `name`. Raises Invalid where they are not what the directory says."""
        record = self._records[name]
        if record.size > bytes_max or record.packed > 2 * bytes_max + 1024:
            raise TooLarge(f"The archive's {shown(name)} is over {bytes_max} bytes.")
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """The contents of the file `name` in pieces of at most STEP_BYTES, judged at the end: raises Invalid."""
        record, crc, size = self._records[name], 0, 0
        for data in self._plain(record):
            crc = zlib.crc32(data, crc)
            size += len(data)
            if size > record.size:
                break
            yield data
        if size != record.size:
            raise Invalid(f"The archive's {shown(name)} is not as long as it says.")
        if crc != record.crc:
            raise Invalid(f"The archive's {shown(name)} does not match its checksum.")

    def _plain(self, record: _Record) -> Iterator[bytes]:
        at, end = self._data[record.name], self._data[record.name] + record.packed
        inflater = zlib.decompressobj(-15)
        while at < end:
            piece = self._at(at, min(STEP_BYTES, end - at))
            at += len(piece)
            if record.method == 0:
                yield piece
                continue
            while True:
                try:
                    data = inflater.decompress(piece, STEP_BYTES)
                except zlib.error:
                    raise Invalid(f"The archive's {shown(record.name)} is damaged.") from None
                yield data
                piece = inflater.unconsumed_tail
                if not piece and len(data) < STEP_BYTES:
                    break
            if inflater.eof:
                break
        if record.method and (not inflater.eof or inflater.unused_data or at < end):
            raise Invalid(f"The archive's {shown(record.name)} is not as long as it says.")

    def _at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise Invalid("The zip archive is cut short.")
        return data

    def _directory(self) -> tuple[int, int, int]:
        """(offset, length, entries) of the central directory, which must end where the end record begins."""
        at = self._size - _END.size
        if at < 0:
            raise Invalid("This is not a zip archive.")
        mark, disk, first, here, count, length, offset, comment = _END.unpack(self._at(at, _END.size))
        if mark != b"PK\5\6" or comment:
            raise Invalid("The zip archive does not end with its directory.", "Build it without comment or trailer.")
        if disk or first or here != count:
            raise Invalid("The zip archive is one of several volumes.")
        place = at - _END64_PLACE.size
        if place >= 0 and self._at(place, 4) == b"PK\6\7":
            offset, length, count, at = self._directory64(place, (offset, length, count))
        elif count == _FULL16 or _FULL32 in (length, offset):
            raise Invalid("The zip archive lacks its zip64 directory record.")
        if offset + length != at:
            raise Invalid("The zip archive has bytes that belong to no entry.")
        if count > self._limits.entries_max:
            raise TooLarge(f"The archive has more than {self._limits.entries_max} entries.")
        return offset, length, count

    def _directory64(self, place: int, short: tuple[int, int, int]) -> tuple[int, int, int, int]:
        _, disk, at, disks = _END64_PLACE.unpack(self._at(place, _END64_PLACE.size))
        if disk or disks != 1 or at + _END64.size != place:
            raise Invalid("The zip archive's zip64 locator is wrong.")
        mark, size, _, _, this, first, here, count, length, offset = _END64.unpack(self._at(at, _END64.size))
        if mark != b"PK\6\6" or size != _END64.size - 12 or this or first or here != count:
            raise Invalid("The zip archive's zip64 record is wrong.")
        for full, told, real in zip((_FULL32, _FULL32, _FULL16), short, (offset, length, count), strict=True):
            if told not in (full, real):
                raise Invalid("The zip archive's two directory records disagree.")
        return offset, length, count, at

    def _central(self, start: int, length: int, count: int) -> list[_Record]:
        if length > count * (_CENTRAL.size + 3 * _FULL16) or length > 256 << 20:
            raise Invalid("The zip archive's directory is larger than its entries.")
        data, at, records = self._at(start, length), 0, []
        total = 0
        for _ in range(count):
            if at + _CENTRAL.size > length:
                raise Invalid("The zip archive's directory is cut short.")
            (mark, made, _, flags, method, _, _, crc, packed, size, name_len, extra_len, comment_len, disk, _, mode,
             offset) = _CENTRAL.unpack_from(data, at)  # fmt: skip
            body = at + _CENTRAL.size
            at = body + name_len + extra_len + comment_len
            if mark != b"PK\1\2" or disk or at > length:
                raise Invalid("The zip archive's directory is malformed.")
            raw = data[body : body + name_len]
            extra = _extra(data[body + name_len : body + name_len + extra_len])
            size, packed, offset = _wide(extra, (size, packed, offset))
            unix = mode >> 16 if made >> 8 == 3 else 0
            records.append(_Record(_zip_name(raw, flags), raw, flags & _FLAGS, method, crc, packed, size, offset, unix))
            total += size
        if at != length:
            raise Invalid("The zip archive's directory has entries that it does not count.")
        check_growth(total, self._size, self._limits)
        return records

    def _tile(self, records: list[_Record], end: int) -> None:
        """Each record begins where the one before it ends, from the first byte to the directory."""
        at = 0
        for record in sorted(records, key=lambda one: one.offset):
            if record.offset != at:
                raise Invalid("The zip archive's entries overlap, or leave gaps.")
            at = self._local(record)
        if at != end:
            raise Invalid("The zip archive has bytes that belong to no entry.")

    def _local(self, record: _Record) -> int:
        """Checks the local header of a record; where the next one must begin."""
        if record.flags & (_FLAG_CRYPT | _FLAG_PATCH) or record.method not in (0, 8):
            raise Invalid(f"The archive's {shown(record.name)} is encrypted, or packed in a way few tools read.")
        if record.method == 0 and record.packed != record.size:
            raise Invalid(f"The archive's {shown(record.name)} has two sizes.")
        mark, _, flags, method, _, _, crc, packed, size, name_len, extra_len = _LOCAL.unpack(
            self._at(record.offset, _LOCAL.size)
        )
        rest = self._at(record.offset + _LOCAL.size, name_len + extra_len)
        extra = _extra(rest[name_len:])
        wide = _EXTRA_ZIP64 in extra
        size, packed, _ = _wide(extra, (size, packed, 0))
        told, known = (crc, packed, size), (record.crc, record.packed, record.size)
        later = bool(flags & _FLAG_TRAILER) and not any(told)
        same = (flags & _FLAGS, method, rest[:name_len]) == (record.flags, record.method, record.raw_name)
        if mark != b"PK\3\4" or not same or not (later or told == known):
            raise Invalid(f"The archive's {shown(record.name)} differs between its two headers.")
        self._data[record.name] = record.offset + _LOCAL.size + len(rest)
        end = self._data[record.name] + record.packed
        return end + self._trailer(end, record, wide) if flags & _FLAG_TRAILER else end

    def _trailer(self, at: int, record: _Record, wide: bool) -> int:
        """The length of the data descriptor at `at`, which must repeat what the directory says."""
        data = self._at(at, min(24, self._size - at))
        for mark in (b"PK\7\x08", b""):
            for form in ("<LQQ", "<LLL") if wide else ("<LLL", "<LQQ"):
                if max(record.packed, record.size) > _FULL32 and form == "<LLL":
                    continue
                expected = mark + struct.pack(form, record.crc, record.packed, record.size)
                if data.startswith(expected):
                    return len(expected)
        raise Invalid(f"The archive's {shown(record.name)} is followed by another checksum or size.")


def _zip_name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError:
        raise Invalid("The archive has an entry whose name is not UTF-8, or not marked so.") from None


def _extra(data: bytes) -> dict[int, bytes]:
    """The extra fields by their id. Up to three zero bytes at the end are padding (alignment tools)."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        key, length = struct.unpack_from("<HH", data, at)
        at += 4 + length
        if at > len(data) or key == _EXTRA_NAME or (key == _EXTRA_ZIP64 and key in found):
            raise Invalid("The zip archive has an entry with ambiguous extra fields.")
        found[key] = data[at - length : at]
    if data[at:].strip(b"\0"):
        raise Invalid("The zip archive has an entry with ambiguous extra fields.")
    return found


def _wide(extra: dict[int, bytes], short: tuple[int, int, int]) -> tuple[int, int, int]:
    """(size, packed, offset) with the values of a zip64 field in place of those that are full."""
    field = extra.get(_EXTRA_ZIP64)
    if field is None:
        if _FULL32 in short:
            raise Invalid("The zip archive has an entry that lacks its zip64 field.")
        return short
    if len(field) % 8 or len(field) > 24:
        raise Invalid("The zip archive has an entry with an odd zip64 field.")
    values = list(struct.unpack(f"<{len(field) // 8}Q", field))
    full = [place for place, one in enumerate(short) if one == _FULL32]
    out = list(short)
    # Some writers always put the values in their fixed places, needed or not; they must then say the same.
    places = full if len(values) == len(full) else list(range(len(values)))
    for place, value in zip(places, values, strict=True):
        if out[place] not in (_FULL32, value) or value >> 63:
            raise Invalid("The zip archive has an entry with two sizes.")
        out[place] = value
    if any(place not in places for place in full):
        raise Invalid("The zip archive has an entry that lacks its zip64 field.")
    return out[0], out[1], out[2]
