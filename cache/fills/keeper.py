"""How does a finished download become a blob of the cache without being copied?"""

import os
from pathlib import Path
from typing import Protocol

from storage import disk
from storage.blobs.appending import Lane
from storage.blobs.intake import MEMORY_BYTES_MAX, Staged
from storage.blobs.packs import SINGLE_START
from storage.blobs.shelf import BlobShelf, Located
from storage.errors import Unavailable


class Keeper(Protocol):
    """Where finished objects go. Blocking calls from any thread."""

    header_bytes: int
    """Room that a part leaves at its front, so that it can become a pack without being copied."""

    def find(self, sha256: bytes) -> Located | None:
        """A stored object, None where it is not here."""
        ...

    def keep(self, path: Path, size: int, sha256: bytes, sum: bytes, place: str = "") -> None:
        """Store the `size` bytes of the file behind its header room; `sum` is their xxh3_64. They were fetched for
        `place` (workspace/repository, "" = for nobody alone). Raises Full."""
        ...


class Charging(Protocol):
    """Who minds how much of the cache each has: cache.keeping.eviction.Evictor. From any thread."""

    def charge(self, sha256: bytes, place: str) -> Lane: ...

    def grew(self, size: int, place: str = "") -> None: ...


class ShelfKeeper:
    """A Keeper over the cache's shelf."""

    header_bytes = SINGLE_START

    def __init__(
        self, shelf: BlobShelf, charging: Charging | None = None, *, small_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        self._shelf = shelf
        self._charging = charging
        self._small_bytes_max = small_bytes_max

    def find(self, sha256: bytes) -> Located | None:
        return self._shelf.find(sha256)

    def keep(self, path: Path, size: int, sha256: bytes, sum: bytes, place: str = "") -> None:
        """Store a verified file: a large one by a second name, a small one in a shared pack. One that is here already
        stays whose it is. Raises Full."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if not disk.lock(fd):
            os.close(fd)
            raise Unavailable("This download is in use elsewhere.", "Try again.", retry_after_s=1)
        with Staged.of_verified(path, fd, sha256, size, sum, self._small_bytes_max) as staged:
            if self._shelf.holds(sha256) is not None:
                return
            self._shelf.put(staged, self._charging.charge(sha256, place) if self._charging is not None else None)
        if self._charging is not None:
            self._charging.grew(size, place)
