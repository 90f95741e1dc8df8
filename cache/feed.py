"""What do the bytes of a journal stream mean? Pure: frames in, frames out.

    u32 length, then so many bytes     the body of an Entry
    u32 0, then a beat of 24 bytes     epoch u64, sum of all Serials u64, the sender's clock in ms u64
    u32 0xffffffff                     the receiver is ahead of this journal: start anew

Integers are little-endian. A stream begins with a beat, so that a receiver knows the epoch before the first entry, and
has one each second while nothing else is sent. The sum of the Serials is enough to tell level from behind, and ahead
from both: within one epoch Serials only grow.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from storage.errors import Damaged, Invalid
from storage.frames import BODY_BYTES_MAX

LENGTH = struct.Struct("<I")
_BEAT = struct.Struct("<QQQ")
_ANEW = 0xFFFFFFFF
ANEW = LENGTH.pack(_ANEW)
WORKSPACES_MAX = 100_000
AFTER_BYTES_MAX = WORKSPACES_MAX * 84
_PLACE = re.compile(r"([a-z0-9._-]{1,63}):([0-9]{1,18})")


class Beat(NamedTuple):
    """Where the sender stands."""

    epoch: int
    total: int
    at_ms: int


class Anew(NamedTuple):
    """The sender has less history than the receiver asked for."""


Frame = bytes | Beat | Anew


def entries(bodies: Iterable[bytes]) -> bytes:
    """The frames of entry bodies."""
    return b"".join(LENGTH.pack(len(body)) + body for body in bodies)


def beat(epoch: int, total: int, at_ms: int) -> bytes:
    return LENGTH.pack(0) + _BEAT.pack(epoch, total, at_ms)


class FrameReader:
    """Cuts a byte stream into frames, wherever it was cut on its way."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises Damaged for a length that no entry has."""
        self._waiting += data
        at = 0
        try:
            while (found := self._frame(at)) is not None:
                frame, at = found
                yield frame
        finally:
            del self._waiting[:at]

    def _frame(self, at: int) -> tuple[Frame, int] | None:
        start = at + LENGTH.size
        if start > len(self._waiting):
            return None
        (length,) = LENGTH.unpack_from(self._waiting, at)
        if length == _ANEW:
            return Anew(), start
        stop = start + (length or _BEAT.size)
        if length > BODY_BYTES_MAX:
            raise Damaged("The origin's journal stream is garbled.", "This edge asks again.")
        if stop > len(self._waiting):
            return None
        if not length:
            return Beat(*_BEAT.unpack_from(self._waiting, start)), stop
        return bytes(self._waiting[start:stop]), stop


# ---------------------------------------------------------------- where a follower is


def told_after(after: Mapping[str, int]) -> bytes:
    """The Serials that a follower has, as the body of its request: workspace:serial, one a line."""
    return "".join(f"{name}:{serial}\n" for name, serial in after.items()).encode()


def parse_after(body: bytes) -> dict[str, int]:
    """What `told_after` wrote. Raises Invalid."""
    after: dict[str, int] = {}
    for line in body.decode("ascii", "replace").splitlines():
        match = _PLACE.fullmatch(line)
        if match is None or len(after) >= WORKSPACES_MAX:
            raise Invalid("The places in the journal are malformed.", "Send workspace:serial, one a line.")
        after[match[1]] = int(match[2])
    return after
