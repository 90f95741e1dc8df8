"""Who has been vouched for and is not in yet? And which assertions have been used?

An identity provider's answer comes by a POST of another site, which brings no cookie along (SameSite). So what it says
is kept here for a moment, under a code that its browser takes along to the next page, which the cookie comes to.
An assertion is taken once: its id is kept for as long as it could be used.

    arrivals    ends (u64 ms, big-endian), sha256 of the code (32 bytes)         -> Arrival
    assertions  ends (u64 ms, big-endian), sha256 of provider and id (32 bytes)  -> nothing; messages of logout, too

Both are ordered by their ends, so that what is over goes first.
"""

import base64
import hashlib
import secrets
from typing import Any

import lmdb
import msgspec

from gateway.access.signin.vouching import Word
from gateway.saml.shapes import Name
from storage.errors import Damaged, Forbidden, Unauthenticated, Unavailable

WAIT_MS = 120_000
ARRIVALS_MAX = 10_000
ASSERTIONS_MAX = 1_000_000
RANDOM_BYTES = 24
_END = 8


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """Of whom which provider (its id) of which Workspace speaks, and in answer to which request, "" = to none. `relay`
    is what came back of what was sent along. A session that begins by it is over at `until_ms`, 0 = nothing is said,
    and is known there by `name` and `sessions`."""

    workspace: str
    provider: str
    answers: str
    relay: str
    word: Word
    until_ms: int = 0
    name: Name = Name("")
    sessions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Arrival(hidden)"


_ARRIVAL = msgspec.msgpack.Decoder(Arrival)


class Arrivals:
    """Those of one origin, in the vault's environment. Synchronous; call it in a thread."""

    def __init__(self, env: "lmdb.Environment", txn: Any) -> None:
        self._env = env
        self._arrivals = env.open_db(b"arrivals", txn=txn)
        self._assertions = env.open_db(b"assertions", txn=txn)

    def add(self, arrival: Arrival, assertion: str, until_ms: int, now_ms: int) -> str:
        """Keep it, and give back the code that fetches it. Raises Unauthenticated for an assertion that was used
        before, or is over, and Unavailable where too many wait."""
        code = _until(now_ms + WAIT_MS) + secrets.token_bytes(RANDOM_BYTES)
        with self._env.begin(write=True) as txn:
            self._room(txn, self._arrivals, ARRIVALS_MAX, now_ms)
            self._use(txn, arrival.provider, assertion, until_ms, now_ms)
            txn.put(_key(code[:_END], code), msgspec.msgpack.encode(arrival), db=self._arrivals)
        return base64.urlsafe_b64encode(code).decode()

    def use(self, provider: str, message: str, until_ms: int, now_ms: int) -> None:
        """Take another message of a provider's, once. Raises as `add` does."""
        with self._env.begin(write=True) as txn:
            self._use(txn, provider, message, until_ms, now_ms)

    def check(self, provider: str, message: str, until_ms: int, now_ms: int) -> None:
        """Raises Unauthenticated for a message that was taken before, or is over."""
        with self._env.begin() as txn:
            used = txn.get(_used(provider, message, until_ms), db=self._assertions)
        if until_ms <= now_ms or used is not None:
            raise _used_before()

    def _use(self, txn: Any, provider: str, message: str, until_ms: int, now_ms: int) -> None:
        self._room(txn, self._assertions, ASSERTIONS_MAX, now_ms)
        used = _used(provider, message, until_ms)
        if until_ms <= now_ms or txn.get(used, db=self._assertions) is not None:
            raise _used_before()
        txn.put(used, b"", db=self._assertions)

    def _room(self, txn: Any, table: Any, most: int, now_ms: int) -> None:
        """What is over goes. Raises Unavailable where there is no room still."""
        _purge(txn, table, now_ms)
        if txn.stat(table)["entries"] >= most:
            raise Unavailable("Too many people sign in at once.", "Try again.", retry_after_s=60)

    def look(self, code: str, now_ms: int) -> Arrival:
        """Raises Forbidden for a code of nothing."""
        with self._env.begin() as txn:
            return _decoded(txn.get(_place(code, now_ms), db=self._arrivals))

    def take(self, code: str, now_ms: int) -> Arrival:
        """The same, and the code is good for nothing from then on."""
        with self._env.begin(write=True) as txn:
            return _decoded(txn.pop(_place(code, now_ms), db=self._arrivals))


def _place(code: str, now_ms: int) -> bytes:
    try:
        data = base64.b64decode(code.encode(), altchars=b"-_", validate=True)
    except ValueError:
        raise _unknown() from None
    if len(data) != _END + RANDOM_BYTES or int.from_bytes(data[:_END]) <= now_ms:
        raise _unknown()
    return _key(data[:_END], data)


def _decoded(found: Any) -> Arrival:
    if found is None:
        raise _unknown()
    try:
        return _ARRIVAL.decode(found)
    except msgspec.MsgspecError:
        raise Damaged("What people sign in with cannot be read.", "Restore the folder signin from a copy.") from None


def _purge(txn: Any, table: Any, now_ms: int) -> None:
    with txn.cursor(db=table) as cursor:
        while cursor.first() and bytes(cursor.key())[:_END] <= _until(now_ms):
            cursor.delete()


def _until(at_ms: int) -> bytes:
    return at_ms.to_bytes(_END)


def _used(provider: str, message: str, until_ms: int) -> bytes:
    return _key(_until(until_ms), f"{provider}\0{message}".encode())


def _used_before() -> Unauthenticated:
    return Unauthenticated("This answer of your identity provider was used before.", "Begin again.")


def _key(until: bytes, of: bytes) -> bytes:
    return until + hashlib.sha256(of).digest()


def _unknown() -> Forbidden:
    return Forbidden("This sign-in is over, or was never begun.", "Begin again.")
