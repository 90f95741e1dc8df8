"""What is in this tar archive, plain or compressed, if only one thing can be?

One compressed stream (gzip, bzip2, xz, zstd, told by its first bytes) with nothing behind it, nothing but zeros behind
the last entry, sizes that two readers take alike, links that stay inside.
"""

import bz2
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import msgspec
import zstandard

from formats.kit.archive import Limits, Member, Names, check_growth, shown, stays_inside
from storage.errors import Invalid, TooLarge

_STEP = 1 << 16


class _Inflater(Protocol):
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...


class _Gzip:
    """zlib's object with the manners of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail


class _Unpacked(io.RawIOBase):
    """The plain stream within a compressed file: forward only, bounded, exactly one stream long."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        super().__init__()
        self._limits = limits
        self._packed = file.seek(0, io.SEEK_END)
        file.seek(0)
        self._file = file
        magic = file.read(6)
        file.seek(0)
        self._inflater: _Inflater | None = None
        self._source: BinaryIO | zstandard.ZstdDecompressionReader = file
        if magic[:2] == b"\x1f\x8b":
            self._inflater = _Gzip()
        elif magic[:3] == b"BZh":
            self._inflater = bz2.BZ2Decompressor()
        elif magic == b"\xfd7zXZ\0":
            self._inflater = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=128 << 20)
        elif magic[:4] == b"\x28\xb5\x2f\xfd":
            window = zstandard.ZstdDecompressor(max_window_size=8 << 20)
            self._source = window.stream_reader(file, read_across_frames=True, closefd=False)
        self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0, "nobody reads a hostile archive without a bound"
        data = self._inflate(min(size, _STEP)) if self._inflater else self._source.read(min(size, _STEP))
        self._given += len(data)
        check_growth(self._given, self._packed, self._limits)
        return data

    def _inflate(self, size: int) -> bytes:
        assert self._inflater is not None
        data = b""
        while not data and not self._inflater.eof:
            hungry = self._inflater.needs_input
            more = self._file.read(_STEP) if hungry else b""
            data = self._inflater.decompress(more, size)
            if not data and hungry and not more and not self._inflater.eof:
                raise Invalid("The archive is cut short.")
        if self._inflater.eof and (self._inflater.unused_data or self._file.read(1)):
            raise Invalid("Something follows the end of the archive.")
        return data


_EXTENSIONS = frozenset((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE))
_LONG_NAMES = frozenset((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
# What tarfile and the decompressors raise on bytes that they cannot make sense of; its authors do not list it.
_CONFUSED = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    OSError,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
    struct.error,
    MemoryError,
)


class Header(tarfile.TarInfo):
    """A tar header with the size of its extension headers bounded before they are read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError:
            if bytes(buf).strip(b"\0"):
                # tarfile would take it for the end, and what follows for nothing.
                raise Invalid("The archive has a damaged header.") from None
            raise
        if header.size < 0 or (header.type in _EXTENSIONS | _LONG_NAMES and header.size > Limits().header_bytes_max):
            raise Invalid("The archive has an entry with an impossible size.")
        return header


class Tar(msgspec.Struct, frozen=True):
    """What scan_tar found: `members` by name in their order, and the `contents` that were wanted."""

    members: dict[str, Member]
    contents: dict[str, bytes]


def scan_tar(file: BinaryIO, want: Callable[[str], bool], want_bytes_max: int, limits: Limits | None = None) -> Tar:
    """Walk a tar archive once, compressed in whichever way its first bytes say.

    `want` is asked for each file by name; its contents must fit `want_bytes_max`. Raises Invalid, TooLarge.
    """
    limits = limits or Limits()
    names, members, contents = Names(limits), dict[str, Member](), dict[str, bytes]()
    try:
        stream = _Unpacked(file, limits)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header, encoding="utf-8") as archive:
            archive.stream = True  # tarfile then keeps no list of what it has passed
            for entry in archive:
                if len(members) >= limits.entries_max:
                    raise TooLarge(f"The archive has more than {limits.entries_max} entries.")
                member = _member(entry)
                if member.name == "":
                    continue
                names.add(member.name, member.kind == "directory")
                members[member.name] = member
                if member.kind == "file" and want(member.name):
                    contents[member.name] = _contents(archive, entry, want_bytes_max)
            # Behind the last entry: what is left in the buffer of tarfile's own stream, and then of ours.
            while archive.fileobj is not None and (block := archive.fileobj.read(_STEP)):
                if block.strip(b"\0"):
                    raise Invalid("Something follows the last entry of the archive.")
    except _CONFUSED:
        raise Invalid("The archive is damaged, or not a tar archive.") from None
    return Tar(members, contents)


def _member(entry: tarfile.TarInfo) -> Member:
    name = entry.name.removeprefix("./").rstrip("/") if entry.isdir() else entry.name.removeprefix("./")
    if entry.isdir():
        return Member("" if name in (".", "") else name, "directory")
    if any(key.startswith("GNU.sparse.") for key in entry.pax_headers):
        # Readers that know these give the entry another name, size and contents than those that do not.
        raise Invalid(f"The archive's entry {shown(name)} is sparse, which few tools read.")
    if "size" in entry.pax_headers and entry.size < 8 << 30:
        raise Invalid(f"The archive gives {shown(name)} two sizes.")
    if entry.issparse() or not (entry.isreg() or entry.issym() or entry.islnk()):
        raise Invalid(f"The archive's entry {shown(name)} is a device, or of a kind that few tools read.")
    if entry.isreg():
        return Member(name, "file", entry.size)
    target = entry.linkname
    inside = stays_inside(name, target) if entry.issym() else stays_inside("", target.removeprefix("./"))
    if not inside or entry.size:
        raise Invalid(f"The archive's link {shown(name)} leads out of it.")
    return Member(name, "link", 0, target)


def _contents(archive: tarfile.TarFile, entry: tarfile.TarInfo, bytes_max: int) -> bytes:
    if entry.size > bytes_max:
        raise TooLarge(f"The archive's {shown(entry.name)} is over {bytes_max} bytes.")
    source = archive.extractfile(entry)
    data = source.read(bytes_max + 1) if source else b""
    if len(data) != entry.size:
        raise Invalid("The archive is cut short.")
    return data


def names_in_tar(file: BinaryIO, total_bytes_max: int, entries_max: int = 200_000) -> list[str] | None:
    """The names of all that is no directory in a tar archive, compressed or not; None where it is larger than this.

    For lists only: nothing is judged that an unpacking tool would judge. Raises Invalid for what is no tar archive or
    is cut short, TooLarge for one that grows as no honest archive does.
    """
    limits = Limits(total_bytes_max=1 << 62, ratio_max=300)
    found: list[str] = []
    try:
        stream = _Unpacked(file, limits)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header, encoding="utf-8") as archive:
            archive.stream = True
            for entry in archive:
                if entry.offset_data + entry.size > total_bytes_max or len(found) >= entries_max:
                    return None
                if not entry.isdir():
                    found.append(entry.name)
    except _CONFUSED:
        raise Invalid("The archive is damaged, or not a tar archive.") from None
    return found
