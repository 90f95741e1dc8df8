"""When was the origin last heard, and since when is something missing? One small record for all workers of an edge.

It lies in the lock file of the one that follows, under the machine's boot id, in monotonic time: that is one clock for
all processes of a machine, a wall clock that jumps prolongs nothing, and after a restart of the machine it says never.
"""

import hashlib
import os
import struct
import time
from pathlib import Path

_CONTACT = struct.Struct("<16sdd?d")
_TIME = struct.Struct("<16sQd")
_TIME_AT = 64
_TIME_MAX_MS = 1 << 53
_CLOSED = struct.Struct("<16sd")
_CLOSED_AT = 128
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Contact:
    """When the origin was last heard, last known to be level with, and as of when nothing that it said is missing, for
    all workers of the node.

    A small record in the lock file, under the machine's boot id: after a restart of the machine it says never.
    """

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self._boot = hashlib.sha256(_BOOT_ID.read_bytes()).digest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def write(self, heard_s: float, level_s: float, synced: bool, whole_s: float) -> None:
        os.pwrite(self.fd, _CONTACT.pack(self._boot, heard_s, level_s, synced, whole_s), 0)

    def read(self) -> tuple[float, float, bool, float]:
        """(heard, level, synced, whole): monotonic seconds, 0 for never, and whether the edge was ever level since it
        began or began anew. `whole`: what the origin said until then is all here."""
        raw = os.pread(self.fd, _CONTACT.size, 0)
        if len(raw) != _CONTACT.size:
            return 0.0, 0.0, False, 0.0
        boot, heard_s, level_s, synced, whole_s = _CONTACT.unpack(raw)
        now_s = time.monotonic()
        if boot != self._boot or not all(0 <= at_s <= now_s for at_s in (heard_s, level_s, whole_s)):
            return 0.0, 0.0, False, 0.0
        return heard_s, level_s, synced, whole_s

    def write_closed(self, since_s: float) -> None:
        """Since when something is missing here that may have taken something away, monotonic; 0 = nothing is."""
        os.pwrite(self.fd, _CLOSED.pack(self._boot, since_s), _CLOSED_AT)

    def closed_s(self) -> float:
        raw = os.pread(self.fd, _CLOSED.size, _CLOSED_AT)
        if len(raw) != _CLOSED.size:
            return 0.0
        boot, since_s = _CLOSED.unpack(raw)
        return float(since_s) if boot == self._boot and since_s <= time.monotonic() else 0.0

    def write_time(self, at_ms: int, told_s: float) -> None:
        """The origin's wall clock, and when it was told."""
        os.pwrite(self.fd, _TIME.pack(self._boot, max(0, min(at_ms, _TIME_MAX_MS)), told_s), _TIME_AT)

    def origin_ms(self) -> int:
        """The origin's time now, as it said last and by what has passed since; 0 where it said nothing."""
        raw = os.pread(self.fd, _TIME.size, _TIME_AT)
        if len(raw) != _TIME.size:
            return 0
        boot, at_ms, told_s = _TIME.unpack(raw)
        passed_s = time.monotonic() - told_s
        return at_ms + int(1000 * passed_s) if boot == self._boot and passed_s >= 0 else 0
