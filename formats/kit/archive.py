"""Which entries may an archive have, when whoever made it may be lying?

The rules shared by `zips` and `tars`, the two bounded readers of archives. Both only read, and write nothing. They are
stricter than the tools that will unpack the archive later, because the danger is two tools that see different things
in the same bytes: whatever could be read in two ways is refused. Names are relative, UTF-8, without "..", backslash or
control characters, and each only once.
"""

import io
import re
from typing import BinaryIO, Literal

import msgspec

from storage.errors import Invalid, TooLarge

_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_DRIVE = re.compile(r"[A-Za-z]:")


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one archive. The ratio counts only once the contents are over `ratio_from_bytes`."""

    entries_max: int = 50_000
    total_bytes_max: int = 16 << 30
    ratio_max: int = 100
    ratio_from_bytes: int = 64 << 20
    name_bytes_max: int = 4096
    header_bytes_max: int = 1 << 20


class Member(msgspec.Struct, frozen=True):
    """An entry: `name` without a slash at the end, `size` of its contents, `target` of a link."""

    name: str
    kind: Literal["file", "directory", "link"]
    size: int = 0
    target: str = ""


class Names:
    """The names seen so far, and what they may still become."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add(self, name: str, directory: bool) -> None:
        """Raises Invalid for a name that is unsafe, repeated, or both a file and a directory."""
        if len(self._files) >= self._limits.entries_max:
            raise TooLarge(f"The archive has more than {self._limits.entries_max} entries.")
        check_name(name, self._limits.name_bytes_max)
        at = name.find("/")
        while at >= 0:
            parent = name[:at]
            if parent in self._files:
                raise Invalid(f"The archive uses {shown(parent)} as a file and as a directory.")
            if len(self._directories) >= 4 * self._limits.entries_max:
                raise TooLarge("The archive has too many directories.")
            self._directories.add(parent)
            at = name.find("/", at + 1)
        if directory:
            if name in self._files:
                raise Invalid(f"The archive uses {shown(name)} as a file and as a directory.")
            self._directories.add(name)
            return
        if name in self._files or name in self._directories:
            raise Invalid(f"The archive has {shown(name)} twice.")
        self._files.add(name)


def check_name(name: str, bytes_max: int = 4096) -> None:
    """Raises Invalid unless `name` is a relative path that stays where it is unpacked, on any system."""
    if not name or len(name.encode("utf-8", "surrogateescape")) > bytes_max:
        raise Invalid("The archive has an entry whose name is empty or too long.")
    if _ODD.search(name) or _DRIVE.match(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise Invalid(f"The archive has an entry with an unsafe name: {shown(name)}.")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise Invalid("The archive has an entry whose name is not UTF-8.")


def shown(name: str) -> str:
    """A name as a message may hold it."""
    return ascii(name[:120])


def stays_inside(link: str, target: str) -> bool:
    """Does a symbolic link at path `link` point to something within the archive?"""
    if not target or target.startswith("/") or _ODD.search(target) or _DRIVE.match(target):
        return False
    depth = link.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return False
        elif part not in ("", "."):
            depth += 1
    return True


def check_growth(total: int, packed: int, limits: Limits) -> None:
    """Raises TooLarge where `total` bytes of contents are too many for an archive of `packed` bytes."""
    if total > limits.total_bytes_max:
        raise TooLarge(f"The archive's contents are over {limits.total_bytes_max} bytes.")
    if total > limits.ratio_from_bytes and total > limits.ratio_max * packed:
        raise TooLarge(f"The archive's contents are over {limits.ratio_max} times its own size.")


class _Window(io.RawIOBase):
    """The bytes of a file from `start` to its end, as a file of its own."""

    def __init__(self, file: io.FileIO, start: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        place = self._file.seek(offset + self._start if whence == io.SEEK_SET else offset, whence)
        if place < self._start:
            raise ValueError("a place before the beginning")
        return place - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


def received_file(descriptor: int, start: int = 0) -> BinaryIO:
    """What was received (Received.descriptor, Received.start) as a file. Closing it leaves the descriptor open."""
    return io.BufferedReader(_Window(io.FileIO(descriptor, "rb", closefd=False), start))
