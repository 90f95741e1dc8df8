"""How do blobs lie in a file, such that the file alone tells what it holds?

A pack begins with a header of 64 bytes. A record is a header of 80 bytes and the body right behind it; bodies of a
shared pack begin on 64 bytes. A single pack holds one large body at byte 4096 and was written once: received in place,
then given its headers and its name. A sealed shared pack ends with a record that lists its members. A composed pack
holds what a blob does not share with others, as one run of chunks. A recipe says which chunks the record ahead of it
consists of (see storage.blobs.recipes); it follows a run always, and the body of a single pack where that was cut. All
integers are little-endian; headers carry a crc32, bodies an xxh3_64 beside the sha256 that names them.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_64, xxh3_64_digest

from storage import disk
from storage.errors import Damaged
from storage.nouns import Noun


class Extent(Noun, frozen=True):
    """A run of bytes in a pack."""

    pack: int
    offset: int
    length: int


PACK_MAGIC = b"ENTPACK\n"
PACK_VERSION = 1
PACK_HEADER_BYTES = 64
RECORD_MAGIC = b"ENTR"
RECORD_VERSION = 1
RECORD_BYTES = 80
ALIGN_BYTES = 64
SINGLE_START = 4096
"""Where the body of a single pack begins: the room that a receiver leaves for the headers."""

SHARED, SINGLE, COMPOSED = 0, 1, 2
BODY, MEMBERS, RECIPE, RUN = 0, 1, 2, 3
NO_BLOB = bytes(32)
"""Names no blob: in the header of a record that describes a pack itself."""

_PACK = struct.Struct("<8sBB2xIIQ16s")
_RECORD = struct.Struct("<4sBBHQQ32s8s")
_CRC = struct.Struct("<I")
_MEMBER = struct.Struct("<32sQQ")
_READ_BYTES = 1 << 20


class PackHeader(NamedTuple):
    """`first` is the offset of the first record's header."""

    id: int
    kind: int
    first: int
    created_ms: int
    store: bytes


class Record(NamedTuple):
    """A body in a pack: `offset` and `length` are the body's, `sum` its xxh3_64. `sha256` names a blob: that of a
    recipe and of a run the one that they were written for, zeros where there is none."""

    sha256: bytes
    offset: int
    length: int
    sum: bytes
    kind: int
    at_ms: int

    @property
    def stop(self) -> int:
        return self.offset + self.length


def pack_header(header: PackHeader) -> bytes:
    body = _PACK.pack(PACK_MAGIC, PACK_VERSION, header.kind, header.id, header.first, header.created_ms, header.store)
    return (body + _CRC.pack(zlib.crc32(body))).ljust(PACK_HEADER_BYTES, b"\0")


def parse_pack_header(data: bytes) -> PackHeader | None:
    if len(data) < PACK_HEADER_BYTES:
        return None
    body = data[: _PACK.size]
    magic, version, kind, id, first, created_ms, store = _PACK.unpack(body)
    (crc,) = _CRC.unpack_from(data, _PACK.size)
    if magic != PACK_MAGIC or version != PACK_VERSION or crc != zlib.crc32(body):
        return None
    return PackHeader(id, kind, first, created_ms, store)


def record_header(record: Record) -> bytes:
    body = _RECORD.pack(
        RECORD_MAGIC, RECORD_VERSION, record.kind, RECORD_BYTES, record.length, record.at_ms, record.sha256, record.sum
    ).ljust(RECORD_BYTES - _CRC.size, b"\0")
    return body + _CRC.pack(zlib.crc32(body))


def parse_record_header(data: bytes, at: int) -> Record | None:
    """The record whose header are these bytes, which stand at offset `at`."""
    if len(data) < RECORD_BYTES:
        return None
    body = data[: RECORD_BYTES - _CRC.size]
    (crc,) = _CRC.unpack_from(data, len(body))
    magic, version, kind, size, length, at_ms, sha256, sum = _RECORD.unpack_from(body)
    if magic != RECORD_MAGIC or version != RECORD_VERSION or size != RECORD_BYTES or crc != zlib.crc32(body):
        return None
    return Record(sha256, at + RECORD_BYTES, length, sum, kind, at_ms)


def next_record(stop: int) -> int:
    """Where the header of the record behind `stop` stands in a shared pack: its body is aligned."""
    return -(-(stop + RECORD_BYTES) // ALIGN_BYTES) * ALIGN_BYTES - RECORD_BYTES


def single_headers(header: PackHeader, record: Record) -> bytes:
    """The first SINGLE_START bytes of a single pack."""
    assert header.first == SINGLE_START - RECORD_BYTES
    return pack_header(header).ljust(header.first, b"\0") + record_header(record)


def scan(fd: int, start: int, stop: int, *, verify: bool) -> Iterator[Record]:
    """The whole records of a shared pack from `start` (behind a record or the header) to `stop`.

    Ends at the first that is not whole; with `verify` also at the first whose body does not match its sum.
    """
    at = next_record(start)
    while at + RECORD_BYTES <= stop:
        record = parse_record_header(os.pread(fd, RECORD_BYTES, at), at)
        if record is None or record.stop > stop or (verify and body_sum(fd, record) != record.sum):
            return
        yield record
        at = next_record(record.stop)


def body_sum(fd: int, record: Record) -> bytes:
    """The xxh3_64 of a body as it lies on the disk."""
    if record.length <= _READ_BYTES:
        return xxh3_64_digest(disk.read_all(fd, record.length, record.offset))
    state = xxh3_64()
    for offset in range(record.offset, record.stop, _READ_BYTES):
        state.update(disk.read_all(fd, min(_READ_BYTES, record.stop - offset), offset))
    return state.digest()


def records(path: Path, *, start: int = 0, verify: bool = False) -> tuple[PackHeader, list[Record]] | None:
    """Header and records of a pack file, from `start` on where it is given; None where the header is not whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = parse_pack_header(os.pread(fd, PACK_HEADER_BYTES, 0))
        if header is None:
            return None
        size = os.fstat(fd).st_size
        if header.kind != SINGLE:
            return header, list(scan(fd, max(start, PACK_HEADER_BYTES), size, verify=verify))
        record = parse_record_header(os.pread(fd, RECORD_BYTES, header.first), header.first)
        if record is None or record.stop > size or (verify and body_sum(fd, record) != record.sum):
            return header, []
        found = [record, *scan(fd, record.stop, size, verify=verify)]
        return header, [one for one in found if one.stop > start]
    finally:
        os.close(fd)


def read_body(path: Path, record: Record) -> bytes:
    """The body of a record, for small ones. Raises Damaged where it does not match its sum."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        body = disk.read_all(fd, record.length, record.offset)
    finally:
        os.close(fd)
    if xxh3_64_digest(body) != record.sum:
        raise Damaged(f"A record of {path.name} does not match its checksum.", "Restore the pack from a copy.")
    return body


def record_bytes(at: int, sha256: bytes, body: bytes, kind: int, at_ms: int) -> tuple[Record, bytes]:
    """A record whose header stands at `at`, as a noun and as it is written."""
    record = Record(sha256, at + RECORD_BYTES, len(body), xxh3_64_digest(body), kind, at_ms)
    return record, record_header(record) + body


def members_body(members: Sequence[Record]) -> bytes:
    """The body of the closing record."""
    return b"".join(_MEMBER.pack(one.sha256, one.offset, one.length) for one in members)


class PackWriter:
    """A shared pack that this process appends to, and nobody else: it holds the lock of the file.

    `length` is how much of it counts; what stands behind belongs to nothing and is written over.
    """

    def __init__(self, fd: int, path: Path, header: PackHeader, length: int, *, durable: bool) -> None:
        self._fd = fd
        self.path = path
        self.header = header
        self.length = length
        self._durable = durable

    @classmethod
    def create(cls, path: Path, header: PackHeader, *, durable: bool) -> "PackWriter":
        """Raises FileExistsError where the number is taken."""
        fd = disk.create_locked(path)
        try:
            disk.write_all(fd, pack_header(header), 0)
        except OSError:
            path.unlink()
            os.close(fd)
            raise
        if durable:
            disk.settle(fd, "a pack")
            disk.settle_directory(path.parent)
        return cls(fd, path, header, PACK_HEADER_BYTES, durable=durable)

    @classmethod
    def adopt(cls, path: Path, length: int, *, durable: bool) -> "PackWriter | None":
        """Go on with a pack whose writer is gone, `length` of which counts; None where it is in use or damaged."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        header = parse_pack_header(os.pread(fd, PACK_HEADER_BYTES, 0))
        if header is None or not disk.lock(fd) or os.fstat(fd).st_size < length:
            os.close(fd)
            return None
        os.ftruncate(fd, length)
        return cls(fd, path, header, length, durable=durable)

    @classmethod
    def open(cls, path: Path, length: int, *, durable: bool) -> "PackWriter":
        """A pack to be closed, under the write lock, whoever holds its own. Raises Damaged where it is not there."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Damaged(f"The pack {path.name} is not there.", "Restore it from a copy.") from None
        header = parse_pack_header(os.pread(fd, PACK_HEADER_BYTES, 0))
        if header is None or os.fstat(fd).st_size < length:
            os.close(fd)
            raise Damaged(f"The pack {path.name} is damaged.", "Restore it from a copy.")
        return cls(fd, path, header, length, durable=durable)

    def is_gone(self) -> bool:
        """Has the file lost its name?"""
        return os.fstat(self._fd).st_nlink == 0

    def append(self, bodies: Sequence[tuple[bytes, bytes | bytearray]], at_ms: int) -> tuple[list[Record], int]:
        """Write (sha256, body) pairs behind `length` and make them durable; the records, and where they end.

        `length` stays: the index alone says how much of a pack counts.
        """
        start = at = next_record(self.length)
        parts: list[bytes | bytearray] = []
        made = []
        for sha256, body in bodies:
            record = Record(sha256, at + RECORD_BYTES, len(body), xxh3_64_digest(body), BODY, at_ms)
            made.append(record)
            following = next_record(record.stop)
            parts += (record_header(record), body, bytes(following - record.stop))
            at = following
        parts.pop()
        disk.write_parts(self._fd, parts, start)
        if self._durable:
            disk.settle(self._fd, "a pack")
        return made, made[-1].stop

    def close_with(self, members: Sequence[Record], at_ms: int) -> int:
        """Write the closing record; returns the final length."""
        body = members_body(members)
        at = next_record(self.length)
        record, written = record_bytes(at, NO_BLOB, body, MEMBERS, at_ms)
        disk.write_all(self._fd, written, at)
        if self._durable:
            disk.settle(self._fd, "a pack")
        return record.stop

    def settle(self) -> None:
        disk.settle(self._fd, "a pack")

    def cut(self, length: int) -> None:
        """Give back the room behind `length`. Not needed for truth, so a failure changes nothing."""
        try:
            os.ftruncate(self._fd, length)
        except OSError as error:
            if error.errno not in disk.NO_ROOM:
                raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def expect_header(path: Path, id: int, store: bytes) -> PackHeader:
    """The header of pack `id`. Raises Damaged where it is not this pack of this store."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = parse_pack_header(os.pread(fd, PACK_HEADER_BYTES, 0))
    finally:
        os.close(fd)
    if header is None or header.id != id or header.store != store:
        raise Damaged(f"Pack {id:08x} does not begin as it should.", "Restore it from a copy.")
    return header
