"""What was answered to a request that came with a key, and may the same be answered again?

Part of the fold: what it does follows from the entry and the rows before it, so an answer is there if and only if what
it tells of was done. An origin keeps them for a day; the journal keeps the entries.

    answers   "k", principal, sha256 of the key (32 bytes)   -> Answer
              "n", principal                                 -> how many of them there are (u64)
"""

import struct

import msgspec

from storage.index.keys import below, join, seal, unseal, until
from storage.index.tables import Tables, Txn
from storage.nouns import Entry, Noun, Once

KEPT_MS = 24 * 3600 * 1000
FORGOTTEN_MAX = 4
"""With each answer that is kept at most so many go that have had their time: their number stays that of a day."""

_U64 = struct.Struct("<Q")
_encode = msgspec.msgpack.Encoder().encode


class Answer(Noun, frozen=True):
    """What stays of an entry that came with a key: the request's sha256, the sealed answer, and the Serial."""

    request: bytes
    answer: bytes
    at_ms: int
    workspace: str
    serial: int


_ANSWER = msgspec.msgpack.Decoder(Answer)


def key_of(principal: str, key: bytes) -> bytes:
    """The key of one row; `key` is the sha256 of what the principal named it."""
    return below("k", principal) + key


def remember(txn: Txn, tables: Tables, entry: Entry, once: Once) -> None:
    """Keep the answer of an entry, and let go of some that are old."""
    _forget(txn, tables, entry.at_ms - KEPT_MS)
    name = key_of(once.principal, once.key)
    before = txn.get(name, db=tables.answers)
    if before is None:
        _count(txn, tables, once.principal, 1)
    else:  # it had its time and was not forgotten yet
        old = _ANSWER.decode(unseal(before, "answers"))
        txn.delete(until(old.at_ms) + name, db=tables.answered)
    row = Answer(once.request, once.answer, entry.at_ms, entry.workspace, entry.serial)
    txn.put(name, seal(_encode(row)), db=tables.answers)
    txn.put(until(entry.at_ms) + name, seal(b""), db=tables.answered)


def find(txn: Txn, tables: Tables, principal: str, key: bytes, now_ms: int) -> Answer | None:
    """What was answered to this principal under this key within a day."""
    value = txn.get(key_of(principal, key), db=tables.answers)
    if value is None:
        return None
    found = _ANSWER.decode(unseal(value, "answers"))
    return found if found.at_ms > now_ms - KEPT_MS else None


def kept(txn: Txn, tables: Tables, principal: str, most: int, now_ms: int) -> int:
    """How many answers of a principal are kept; from `most` on those are left out that have had their time."""
    value = txn.get(join("n", principal), db=tables.answers)
    number = 0 if value is None else int(_U64.unpack(unseal(value, "answers"))[0])
    if number < most:
        return number
    prefix, number = below("k", principal), 0
    with txn.cursor(db=tables.answers) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            number += _ANSWER.decode(unseal(cursor.value(), "answers")).at_ms > now_ms - KEPT_MS
            going = cursor.next()
    return number


def _count(txn: Txn, tables: Tables, principal: str, step: int) -> None:
    name = join("n", principal)
    value = txn.get(name, db=tables.answers)
    number = step if value is None else int(_U64.unpack(unseal(value, "answers"))[0]) + step
    if number:
        txn.put(name, seal(_U64.pack(number)), db=tables.answers)
    else:
        txn.delete(name, db=tables.answers)


def _forget(txn: Txn, tables: Tables, before_ms: int) -> None:
    ended: list[bytes] = []
    with txn.cursor(db=tables.answered) as cursor:
        if cursor.first():
            for key in cursor.iternext(values=False):
                if len(ended) == FORGOTTEN_MAX or key[:8] >= until(max(before_ms, 0)):
                    break
                ended.append(key)
    for key in ended:
        name = key[8:]
        txn.delete(key, db=tables.answered)
        txn.delete(name, db=tables.answers)
        _count(txn, tables, name[2:-33].decode(), -1)
