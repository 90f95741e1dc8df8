"""Where do the members of a .deb lie? It is an ar archive of two or three members in a fixed order (deb(5))."""

import io
import re
from typing import BinaryIO

import msgspec

from storage.errors import Invalid

MAGIC = b"!<arch>\n"
MEMBERS_MAX = 16
_HEADER = re.compile(rb"([!-~]{1,16}) *[0-9 ]{12}[0-9 ]{6}[0-9 ]{6}[0-7 ]{8}([0-9]{1,10}) *`\n", re.DOTALL)
_HEADER_BYTES = 60
_CONTROL = re.compile(r"control\.tar(\.gz|\.xz|\.zst)?")
_DATA = re.compile(r"data\.tar(\.gz|\.xz|\.zst|\.bz2)?")
_MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\0", ".zst": b"\x28\xb5\x2f\xfd", ".bz2": b"BZh"}


class Place(msgspec.Struct, frozen=True):
    """Where a member's bytes lie in the file."""

    name: str
    at: int
    size: int


class Members(msgspec.Struct, frozen=True):
    """The two that matter."""

    control: Place
    data: Place


class Slice(io.RawIOBase):
    """A run of a file's bytes, as a file of its own."""

    def __init__(self, file: BinaryIO, place: Place) -> None:
        super().__init__()
        self._file = file
        self._start = place.at
        self._size = place.size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), self._size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def tell(self) -> int:
        return self._at


def members(file: BinaryIO) -> Members:
    """The members of a package. Raises Invalid for whatever dpkg would not take, and for what readers differ about."""
    end = file.seek(0, io.SEEK_END)
    found = _places(file, end)
    if not found or found[0].name != "debian-binary" or found[0].size > 64:
        raise Invalid("This is no Debian package.", "It begins with the member debian-binary.")
    file.seek(found[0].at)
    if not re.fullmatch(rb"2\.[0-9]{1,4}\n[^\x00]*", file.read(found[0].size)):
        raise Invalid("This Debian package is of a version that is not known.", "Build it with dpkg-deb.")
    wanted = [one for one in found[1:] if not one.name.startswith("_")]
    if len(wanted) != 2 or not _CONTROL.fullmatch(wanted[0].name) or not _DATA.fullmatch(wanted[1].name):
        raise Invalid(
            "The package does not consist of debian-binary, control.tar and data.tar.",
            "Build it with dpkg-deb, compressed with gzip, xz or zstd.",
        )
    for one in wanted:
        _check_form(file, one)
    return Members(*wanted)


def _check_form(file: BinaryIO, place: Place) -> None:
    """dpkg goes by a member's name, our reader by its first bytes: they must say the same."""
    file.seek(place.at)
    first = file.read(min(6, place.size))
    found = next((ending for ending, magic in _MAGIC.items() if first.startswith(magic)), "")
    if place.name.partition(".tar")[2] != found:
        raise Invalid(f"The package's {place.name} is compressed in another way than its name says.")


def _places(file: BinaryIO, end: int) -> list[Place]:
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise Invalid("This is no Debian package.", "A .deb is an ar archive.")
    found: list[Place] = []
    at = len(MAGIC)
    while at < end:
        if len(found) == MEMBERS_MAX:
            raise Invalid(f"The package has more than {MEMBERS_MAX} members.")
        file.seek(at)
        match = _HEADER.fullmatch(file.read(_HEADER_BYTES))
        if match is None:
            raise Invalid("The package has a damaged ar header.")
        place = Place(match[1].decode("ascii").removesuffix("/"), at + _HEADER_BYTES, int(match[2]))
        at = place.at + place.size
        if at > end or any(one.name == place.name for one in found):
            raise Invalid("The package is cut short, or has a member twice.")
        found.append(place)
        if at & 1 and at < end:
            file.seek(at)
            if file.read(1) != b"\n":
                raise Invalid("The package has bytes between its members.")
            at += 1
    return found
