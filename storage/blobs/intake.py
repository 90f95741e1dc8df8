"""How does an upload arrive without being visible, and in one pass?

Bytes are hashed while they come in. Small ones stay in memory; from `memory_bytes_max` on they go to a file that has
room for the headers of a pack at its start, so that a large upload is written once and adopted as it lies. Leaving
without commit discards.
"""

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from xxhash import xxh3_64

from storage import disk
from storage.blobs.packs import SINGLE_START
from storage.digest import Hasher
from storage.errors import Full

MEMORY_BYTES_MAX = 1 << 20
SLOW_REMOVAL_BYTES = 32 << 20
_READ_BYTES = 1 << 20


class Staged:
    """Bytes received and not yet visible: a `with` block that discards them unless they were committed.

    Not for two writers at a time. `sha256`, `size` and `digests` (hex) are readable once sealed; with hashed=False
    there are none, and the bytes cannot be committed.
    """

    def __init__(
        self,
        folder: Path,
        digests: tuple[str, ...] = (),
        *,
        hashed: bool = True,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        path: Path | None = None,
    ) -> None:
        self._folder = folder
        self._hasher = Hasher(digests) if hashed else None
        self._sum = xxh3_64()
        self._memory_bytes_max = memory_bytes_max
        self._memory: bytearray | None = bytearray()
        self._fd = -1
        self._writeback = disk.Writeback(SINGLE_START)
        self._sealed = False
        self._removes_path = True
        self.path: Path | None = None
        self.pack: Path | None = None
        """Its name as a single pack, between being prepared and being committed or discarded."""
        self.pack_id = 0
        self.committed = False
        self.size = 0
        self.sha256 = b""
        self.digests: dict[str, str] = {}
        self.sum = b""
        if path is not None:
            self._spill(path)

    @classmethod
    def of_file(cls, path: Path, fd: int, digests: tuple[str, ...]) -> Self:
        """A sealed Staged over a file that already has its bytes behind SINGLE_START. Reads it all: call in a thread.

        Takes over the locked `fd`. Discarding leaves the file; committing removes its name.
        """
        staged = cls(path.parent, digests)
        staged._memory, staged._fd = None, fd
        staged.path = path
        staged._removes_path = False
        offset = SINGLE_START
        while data := os.pread(fd, _READ_BYTES, offset):
            staged._count(data)
            offset += len(data)
        staged.seal()
        return staged

    @classmethod
    def of_verified(cls, path: Path, fd: int, sha256: bytes, size: int, sum: bytes, memory_bytes_max: int) -> Self:
        """A sealed Staged over a file whose writer has verified it; `sum` is the xxh3_64 of its bytes.

        Takes over the locked `fd`. A small one is read into memory, to go to a shared pack.
        """
        staged = cls(path.parent, hashed=False, memory_bytes_max=memory_bytes_max)
        staged._fd = fd
        staged.path = path
        small = size < memory_bytes_max
        staged._memory = bytearray(disk.read_all(fd, size, SINGLE_START)) if small else None
        staged.size, staged.sha256, staged.sum = size, sha256, sum
        staged._sealed = True
        return staged

    # ------------------------------------------------------------ receiving

    def write(self, data: memoryview | bytes | bytearray) -> None:
        """Hash and keep `data`. Synchronous. Raises Full where the disk has no room."""
        assert not self._sealed, "sealed"
        if self._memory is not None:
            if len(self._memory) + len(data) <= self._memory_bytes_max:
                self._memory += data
                self._count(data)
                return
            self._spill(self._folder / f"{secrets.token_hex(12)}.part")
        with disk.room("for this upload"):
            disk.write_all(self._fd, data, SINGLE_START + self.size)
        self._count(data)
        self._writeback.reach(self._fd, SINGLE_START + self.size)

    def _count(self, data: memoryview | bytes | bytearray) -> None:
        self.size += len(data)
        if self._hasher is not None:
            self._hasher.update(data)
            self._sum.update(data)

    def _spill(self, path: Path) -> None:
        """Go on in a file."""
        memory, self._memory = self._memory, None
        with disk.room("for this upload"):
            self._fd = disk.create_locked(path)
            self.path = path
            if memory:
                disk.write_all(self._fd, memory, SINGLE_START)

    def seal(self) -> None:
        """No more writes; the identity is known from here on."""
        if self._sealed:
            return
        self._sealed = True
        self.sum = self._sum.digest()
        if self._hasher is not None:
            self.sha256 = self._hasher.sha256
            self.digests = self._hasher.others

    # ------------------------------------------------------------ reading it back

    @property
    def start(self) -> int:
        """The offset of the first byte within `descriptor()`."""
        return SINGLE_START if self.path is not None else 0

    @property
    def is_large(self) -> bool:
        """Is it to become a pack of its own?"""
        return self._memory is None and self.size >= self._memory_bytes_max

    def descriptor(self) -> int:
        """A descriptor that reads the bytes from `start` on; it stays ours, and goes with discard."""
        if self._fd < 0:
            assert self._memory is not None, "discarded"
            self._fd = os.memfd_create("staged", os.MFD_CLOEXEC)
            disk.write_all(self._fd, self._memory, 0)
        return self._fd

    def data(self) -> bytes | bytearray:
        """All the bytes, of a Staged that is not large."""
        if self._memory is not None:
            return self._memory
        return disk.read_all(self._fd, self.size, SINGLE_START)

    # ------------------------------------------------------------ the end

    def keep(self) -> None:
        """The index has taken it: what is left of it here is only its former name."""
        self.committed = True
        if self.path is not None:
            with suppress(FileNotFoundError):
                self.path.unlink()

    def discard(self) -> None:
        """Let go of everything that is not committed. Does nothing the second time."""
        fd, self._fd = self._fd, -1
        self._memory = None
        names = [] if self.committed else [self.pack]
        if self._removes_path and not self.committed:
            names.append(self.path)
        self.pack = None
        if self.size >= SLOW_REMOVAL_BYTES and fd >= 0:
            threading.Thread(target=_remove, args=(names, fd), name="discard", daemon=True).start()
        else:
            _remove(names, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _remove(names: list[Path | None], fd: int) -> None:
    """Unlink, then close: the blocks of a large file are freed by the close, which may take long."""
    for name in names:
        if name is not None:
            name.unlink(missing_ok=True)
    if fd >= 0:
        os.close(fd)


class Intake:
    """Where uploads arrive. `free_bytes_min` is the room that an upload must leave."""

    def __init__(self, folder: Path, *, memory_bytes_max: int = MEMORY_BYTES_MAX, free_bytes_min: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.memory_bytes_max = memory_bytes_max
        self.free_bytes_min = free_bytes_min

    def stage(self, digests: tuple[str, ...] = (), *, hashed: bool = True, path: Path | None = None) -> Staged:
        """A place for one upload, with `digests` beside sha256.

        With `path` it is a file of that name from the first byte on (it must not exist, on the same file system), for
        others to read while it grows.
        """
        return Staged(self.folder, digests, hashed=hashed, memory_bytes_max=self.memory_bytes_max, path=path)

    def admit(self, length: int) -> None:
        """Raises Full where `length` bytes (-1: not known) would leave less than `free_bytes_min`."""
        if disk.free_bytes(self.folder) < max(length, 0) + self.free_bytes_min:
            raise Full("There is no room on the disk for this upload.", "Free some space first.", retry_after_s=60)

    def clean(self) -> int:
        """Remove what processes left that are gone; returns how many."""
        count = 0
        for path in self.folder.glob("*.part"):
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if disk.lock(fd):
                        path.unlink()
                        count += 1
                finally:
                    os.close(fd)
        return count
