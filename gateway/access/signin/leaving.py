"""By what does an identity provider know the sessions that it has vouched for, when somebody is to be signed out?

By the name that it gave to who signed in, and by an index or an id of the session there. They are kept here, at the
origin: the journal goes to every edge and forgets nothing. A row is written before its session begins and goes after
that is over in any case; a row without a session means nothing.

    subjects        session id                                     -> Subject
    subjects_known  sha256 of how it is known (32 bytes), session id -> nothing
    subjects_until  ends (u64 ms, big-endian), session id          -> nothing

What this node asks a provider carries its own proof: the id of a request is sealed, so that an answer is one to a
request of this node's, made not long ago, without any being kept.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Any

import lmdb
import msgspec

from gateway.access.signin.idtokens import Claims
from gateway.saml.shapes import Name
from storage.errors import Damaged, Unavailable

SUBJECTS_MAX = 500_000
HINT_CHARS_MAX = 2_000
"""Of an identity token that is kept, to be shown when its person signs out. Where it is longer, the issuer asks him."""
ASKED_MS = 600_000
RANDOM_BYTES = 12
UNSPECIFIED = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"


class Subject(msgspec.Struct, frozen=True, array_like=True):
    """How a provider (its id) knows a session, by any of `known`; it is over at `until_ms` at the latest. `hint` is the
    identity token that it began by, "" = none is kept."""

    provider: str
    known: tuple[bytes, ...]
    name: Name
    indexes: tuple[str, ...]
    until_ms: int
    hint: str = ""

    def __repr__(self) -> str:
        return "Subject(hidden)"


_SUBJECT = msgspec.msgpack.Decoder(Subject)


def known_as(provider: str, issuer: str, audience: str, name: Name) -> bytes:
    """The same for every way to write a name (Core section 2.2.2): what is left out says whose it is anyway."""
    parts = (provider, name.text, name.format or UNSPECIFIED, name.qualifier or issuer, name.sp_qualifier or audience)
    return hashlib.sha256(msgspec.msgpack.encode(parts)).digest()


def known_by(provider: str, what: str, said: str) -> bytes:
    """The same for what an OpenID provider says: `what` is "sub" or "sid"."""
    return hashlib.sha256(msgspec.msgpack.encode((provider, what, said))).digest()


def subject_of(provider: str, claims: Claims, hint: str, until_ms: int) -> Subject:
    """How an OpenID provider knows a session that begins by these claims; `hint` is the token that they are of."""
    session = claims.values.get("sid", "")
    told = (("sub", claims.subject), ("sid", session))
    known = tuple(known_by(provider, what, said) for what, said in told if said)
    kept = hint if len(hint) <= HINT_CHARS_MAX else ""
    return Subject(provider, known, Name(claims.subject), (session,) if session else (), until_ms, kept)


class Subjects:
    """Those of one origin, in the vault's environment. Synchronous; call it in a thread."""

    def __init__(self, env: "lmdb.Environment", txn: Any) -> None:
        self._env = env
        self._subjects = env.open_db(b"subjects", txn=txn)
        self._known = env.open_db(b"subjects_known", txn=txn)
        self._until = env.open_db(b"subjects_until", txn=txn)

    def put(self, session: str, subject: Subject, now_ms: int) -> None:
        """Keep what a session is known by that is about to begin. Raises Unavailable where there are too many."""
        id = session.encode()
        with self._env.begin(write=True) as txn:
            self._purge(txn, now_ms)
            if txn.stat(self._subjects)["entries"] >= SUBJECTS_MAX:
                raise Unavailable("Too many people are signed in.", "Try again later.", retry_after_s=60)
            txn.put(id, msgspec.msgpack.encode(subject), db=self._subjects)
            for one in subject.known:
                txn.put(one + id, b"", db=self._known)
            txn.put(subject.until_ms.to_bytes(8) + id, b"", db=self._until)

    def of(self, session: str) -> Subject | None:
        with self._env.begin() as txn:
            found = txn.get(session.encode(), db=self._subjects)
            return None if found is None else _decoded(found)

    def sessions(self, known: bytes, indexes: frozenset[str]) -> list[str]:
        """Those of this name, and of these indexes, if there are any."""
        found = []
        with self._env.begin() as txn, txn.cursor(db=self._known) as cursor:
            here = cursor.set_range(known)
            while here and bytes(cursor.key())[: len(known)] == known:
                id = bytes(cursor.key())[len(known) :]
                row = txn.get(id, db=self._subjects)
                if row is not None and (not indexes or indexes & set(_decoded(row).indexes)):
                    found.append(id.decode())
                here = cursor.next()
        return found

    def _purge(self, txn: Any, now_ms: int) -> None:
        with txn.cursor(db=self._until) as cursor:
            while cursor.first() and int.from_bytes(bytes(cursor.key())[:8]) <= now_ms:
                id = bytes(cursor.key())[8:]
                row = txn.pop(id, db=self._subjects)
                for known in () if row is None else _decoded(row).known:
                    txn.delete(known + id, db=self._known)
                cursor.delete()


def asking(seal: bytes, provider: str, now_ms: int) -> str:
    """The id of a new request to a provider; it begins as a name in XML does."""
    head = _text(now_ms.to_bytes(8) + secrets.token_bytes(RANDOM_BYTES))
    return f"_{head}.{_sealed(seal, provider, head)}"


def was_asked(seal: bytes, provider: str, id: str, now_ms: int) -> bool:
    """Is this the id of a request to this provider, made here not long ago?"""
    head, _, told = id.removeprefix("_").partition(".")
    if not hmac.compare_digest(_sealed(seal, provider, head).encode(), told.encode("utf-8", "surrogateescape")):
        return False
    at_ms = int.from_bytes(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))[:8])
    return 0 <= now_ms - at_ms <= ASKED_MS


def _sealed(seal: bytes, provider: str, head: str) -> str:
    said = f"entrepot logout {provider} {head}".encode("utf-8", "surrogateescape")
    return _text(hmac.digest(seal, said, "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(row: Any) -> Subject:
    try:
        return _SUBJECT.decode(row)
    except msgspec.MsgspecError:
        raise Damaged("What people sign in with cannot be read.", "Restore the folder signin from a copy.") from None
