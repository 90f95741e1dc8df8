"""How does a big document come together from pieces that were compressed before, each for itself?

Each form has a `piece` (one run of the document, compressed) and a `join` that makes one valid file of all pieces:

    gzip   raw deflate, each piece ended by a full flush; one member around them, its checksum combined arithmetically
    xz     one Block a piece within a single Stream, and an Index of their sizes
    zstd   a frame a piece; readers of files take many

`join` gives a head and a tail to write around the pieces as they lie, so nobody holds the document in memory.
"""

import lzma
import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec
import zstandard

GZIP_LEVEL = 6
ZSTD_LEVEL = 9
FORMS = ("gzip", "xz", "zstd")

# A piece is small, and so is the window: the encoder then takes 3 MB instead of 90.
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 3, "dict_size": 256 << 10}]
_XZ_FLAGS = b"\x00\x04"  # checks are CRC64
_XZ_EDGE_BYTES = 12
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_LAST = b"\x03\x00"


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What `join` must know of one piece: plain size and crc32, and for xz the size of its Block without padding."""

    size: int
    crc: int
    unpadded: int = 0


# ---------------------------------------------------------------- making pieces


def piece(form: str, data: bytes) -> tuple[bytes, int]:
    """`data` compressed as one piece, and its unpadded size (xz; else 0). An empty run has no piece."""
    if form == "gzip":
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH), 0
    if form == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data), 0
    assert form == "xz", form
    return _block(lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=_XZ_FILTERS))


def _block(stream: bytes) -> tuple[bytes, int]:
    """The one Block of a Stream, with its padding, and its size without."""
    (backward,) = struct.unpack_from("<I", stream, len(stream) - 8)
    index = len(stream) - _XZ_EDGE_BYTES - (backward + 1) * 4
    assert stream[index : index + 2] == b"\x00\x01", "an Index of one Record"
    unpadded, shift, at = 0, 0, index + 2
    while True:
        unpadded |= (stream[at] & 0x7F) << shift
        if not stream[at] & 0x80:
            return stream[_XZ_EDGE_BYTES:index], unpadded
        at, shift = at + 1, shift + 7


# ---------------------------------------------------------------- joining them


def join(form: str, pieces: Iterable[Piece]) -> tuple[bytes, bytes]:
    """Head and tail of the file that holds these pieces in this order."""
    if form == "gzip":
        crc, size = 0, 0
        for one in pieces:
            crc, size = combined(crc, one.crc, one.size), size + one.size
        return _GZIP_HEAD, _GZIP_LAST + struct.pack("<II", crc, size & 0xFFFFFFFF)
    if form == "zstd":
        # no frame at all would be no zstd file
        return b"" if any(True for _ in pieces) else zstandard.ZstdCompressor().compress(b""), b""
    assert form == "xz", form
    head = b"\xfd7zXZ\x00" + _XZ_FLAGS + struct.pack("<I", zlib.crc32(_XZ_FLAGS))
    records = [(one.unpadded, one.size) for one in pieces]
    index = b"\x00" + _varint(len(records)) + b"".join(_varint(a) + _varint(b) for a, b in records)
    index += bytes(-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    foot = struct.pack("<I", len(index) // 4 - 1) + _XZ_FLAGS
    return head, index + struct.pack("<I", zlib.crc32(foot)) + foot + b"YZ"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# ---------------------------------------------------------------- checksums of what was put together

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_LENGTH_BYTES = 6


def combined(first: int, second: int, second_size: int) -> int:
    """The crc32 of two runs from the crc32 of each and the size of the second."""
    return _times(_shift(second_size), first) ^ second


@lru_cache(16 << 10)
def _shift(size: int) -> int:
    """What shifts a checksum over `size` bytes. Of the runs of a document few change, so few are new."""
    shift = _ONE
    for place, table in enumerate(_tables()):
        digit = size >> (8 * place) & 0xFF
        if digit:
            shift = _times(shift, table[digit])
    return shift


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo crc32's own, bits reflected as there."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(1)
def _tables() -> tuple[tuple[int, ...], ...]:
    """x to the power of 8 * digit * 256**place, by place and digit: a length is shifted over in a few products."""
    tables = []
    step = 1 << 23  # x**8
    for _ in range(_LENGTH_BYTES):
        row = [_ONE]
        for _ in range(255):
            row.append(_times(row[-1], step))
        tables.append(tuple(row))
        step = _times(row[-1], step)
    return tuple(tables)
