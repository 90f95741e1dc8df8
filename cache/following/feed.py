"""What do the bytes of a journal stream mean? Pure: frames in, frames out.

    u32 length, then so many bytes     the body of an Entry
    u32 0, then a beat of 24 bytes     epoch u64, sum of all Serials u64, the sender's clock in ms u64
    u32 0xffffffff                     the receiver is ahead of this journal: start anew
    u32 0xfffffffe, u8 kind, u32 length, so many bytes
        p   sha256 (32), body          an Entry of which the receiver may not see everything, and the hash of the whole
        s   scope (32), sha256 (32), body   all that the receiver may see of the SYSTEM journal, as of one Entry
        f   name                       a workspace that the receiver may not see any more
        S   signature (64)             the origin's word for every byte before it

Integers are little-endian. A stream begins with a beat, so that a receiver knows the epoch before the first entry, and
has one each second while nothing else is sent. The sum of the Serials is enough to tell level from behind, and ahead
from both: within one epoch Serials only grow.
"""

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from storage.errors import Damaged, Invalid, UpstreamFailed
from storage.journal.frames import BODY_BYTES_MAX

LENGTH = struct.Struct("<I")
_BEAT = struct.Struct("<QQQ")
_ANEW = 0xFFFFFFFF
ANEW = LENGTH.pack(_ANEW)
_MARKED = 0xFFFFFFFE
_MARK = struct.Struct("<IBI")
_HASH_BYTES = 32
SIGNATURE_BYTES = 64
MARKED_BYTES_MAX = 256 << 20
"""Of one marked frame, which both ends hold in memory as a whole. A snapshot of what an edge may see of accounts,
tokens and hosts is one: a token with one grant takes about 169 bytes of it."""
UNSEALED_BYTES_MAX = MARKED_BYTES_MAX + (64 << 20)
_DOMAIN = b"entrepot journal stream 1"
WORKSPACES_MAX = 100_000
AFTER_BYTES_MAX = WORKSPACES_MAX * 84
_NAME = re.compile(rb"[a-z0-9._-]{1,63}")
_PLACE = re.compile(r"([a-z0-9._-]{1,63}):([0-9]{1,18})")


class Beat(NamedTuple):
    """Where the sender stands."""

    epoch: int
    total: int
    at_ms: int


class Anew(NamedTuple):
    """The sender has less history than the receiver asked for."""


class Seen(NamedTuple):
    """What the receiver may see of an Entry; `hash` is that of the whole."""

    hash: bytes
    body: bytes


class Snapshot(NamedTuple):
    """What the receiver may see of the SYSTEM journal: the changes of `body` and nothing else, as of its Serial.

    `scope` says by what it was chosen: a receiver that tells the same one goes on by entries.
    """

    scope: bytes
    hash: bytes
    body: bytes


class Forget(NamedTuple):
    """A workspace that the receiver may not see any more."""

    workspace: str


class Signed(NamedTuple):
    """The origin's signature of every byte of the stream before it."""

    signature: bytes


Special = Seen | Snapshot | Forget | Signed
Frame = bytes | Beat | Anew | Special


def entries(bodies: Iterable[bytes]) -> bytes:
    """The frames of entry bodies."""
    return b"".join(LENGTH.pack(len(body)) + body for body in bodies)


def beat(epoch: int, total: int, at_ms: int) -> bytes:
    return LENGTH.pack(0) + _BEAT.pack(epoch, total, at_ms)


def marked(frame: Special) -> bytes:
    """The bytes of a frame that is no plain Entry; its head alone where it is more than a frame may have."""
    match frame:
        case Seen(hash, body):
            kind, payload = b"p", hash + body
        case Snapshot(scope, hash, body):
            kind, payload = b"s", scope + hash + body
        case Forget(workspace):
            kind, payload = b"f", workspace.encode()
        case Signed(signature):
            kind, payload = b"S", signature
    if len(payload) > MARKED_BYTES_MAX:
        return _MARK.pack(_MARKED, kind[0], min(len(payload), _ANEW))  # its length is enough to be told why
    return _MARK.pack(_MARKED, kind[0], len(payload)) + payload


def _special(kind: int, payload: bytes) -> Special:
    if kind == b"p"[0] and len(payload) > _HASH_BYTES:
        return Seen(payload[:_HASH_BYTES], payload[_HASH_BYTES:])
    if kind == b"s"[0] and len(payload) > 2 * _HASH_BYTES:
        return Snapshot(payload[:_HASH_BYTES], payload[_HASH_BYTES : 2 * _HASH_BYTES], payload[2 * _HASH_BYTES :])
    if kind == b"f"[0] and _NAME.fullmatch(payload):
        return Forget(payload.decode())
    if kind == b"S"[0] and len(payload) == SIGNATURE_BYTES:
        return Signed(payload)
    raise _garbled()


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
        if length == _MARKED:
            return self._marked(at)
        stop = start + (length or _BEAT.size)
        if length > BODY_BYTES_MAX:
            raise _garbled()
        if stop > len(self._waiting):
            return None
        if not length:
            return Beat(*_BEAT.unpack_from(self._waiting, start)), stop
        return bytes(self._waiting[start:stop]), stop

    def _marked(self, at: int) -> tuple[Frame, int] | None:
        start = at + _MARK.size
        if start > len(self._waiting):
            return None
        _, kind, length = _MARK.unpack_from(self._waiting, at)
        if length > MARKED_BYTES_MAX and kind == b"s"[0]:
            raise too_much(length)
        if length > MARKED_BYTES_MAX:
            raise _garbled()
        stop = start + length
        if stop > len(self._waiting):
            return None
        return _special(kind, bytes(self._waiting[start:stop])), stop


def too_much(length: int) -> UpstreamFailed:
    """A snapshot that no frame holds."""
    return UpstreamFailed(
        f"What this edge may see of accounts, tokens and hosts takes {length >> 20} MiB, and"
        f" {MARKED_BYTES_MAX >> 20} MiB is the most that is sent at once.",
        "Give it fewer workspaces, or all of them (*), which needs no snapshot; or let go of tokens that nobody uses.",
    )


def _garbled() -> Damaged:
    return Damaged("The origin's journal stream is garbled.", "This edge asks again.")


# ---------------------------------------------------------------- the origin's word, through whatever parent it comes


class Sealer:
    """Signs a stream as it is sent: each Signed frame covers everything before it, and the question it answers.

    `nonce` is the receiver's, fresh for each connection, so that no stream can be played again.
    """

    def __init__(self, sign: Callable[[bytes], bytes], nonce: bytes, name: str) -> None:
        self._sign = sign
        self._sum = _sum_of(nonce, name)

    def sealed(self, data: bytes) -> bytes:
        """`data` with the signature behind it."""
        self._sum.update(data)
        whole = data + marked(Signed(self._sign(self._sum.digest())))
        self._sum.update(whole[len(data) :])
        return whole


class SealedReader(FrameReader):
    """Gives out frames only once the origin's signature covers them (THREATS F4, F5)."""

    def __init__(self, verify: Callable[[bytes, bytes], bool], nonce: bytes, name: str) -> None:
        super().__init__()
        self._verify = verify
        self._sum = _sum_of(nonce, name)
        self._held: list[Frame] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are signed now. Raises UpstreamFailed for a signature that is not the origin's."""
        self._waiting += data
        at = 0
        try:
            while (found := self._frame(at)) is not None:
                frame, stop = found
                piece = bytes(self._waiting[at:stop])
                at = stop
                if not isinstance(frame, Signed):
                    self._hold(frame, piece)
                    continue
                if not self._verify(frame.signature, self._sum.digest()):
                    raise UpstreamFailed("A parent tells what the origin has not signed.", "Another parent is asked.")
                self._sum.update(piece)
                held, self._held, self._held_bytes = self._held, [], 0
                yield from held
        finally:
            del self._waiting[:at]

    def _frame(self, at: int) -> tuple[Frame, int] | None:
        try:
            return super()._frame(at)
        except Damaged as problem:  # nobody has signed it: it says nothing of the origin's history
            raise UpstreamFailed(problem.message, "Another parent is asked.") from problem

    def _hold(self, frame: Frame, piece: bytes) -> None:
        self._sum.update(piece)
        self._held.append(frame)
        self._held_bytes += len(piece)
        if self._held_bytes > UNSEALED_BYTES_MAX:
            raise UpstreamFailed("A parent sends without end what the origin has not signed.")


def _sum_of(nonce: bytes, name: str) -> "hashlib._Hash":
    return hashlib.sha256(b"\0".join((_DOMAIN, name.encode(), nonce)))


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
