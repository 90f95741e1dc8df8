"""Is a Repository there, is it public, and since when? And how many of a Workspace are public?

Part of the fold. A verdict rests on these rows and not on the Repository itself: they have one size, and where there is
none a row of the same size stands for it, so that who is refused has caused the same work whether it is there or not
(THREATS B9). The Repository is read for who may use it.
"""

import struct
from typing import NamedTuple

from storage.index.keys import join, seal, unseal
from storage.index.tables import Tables, Txn
from storage.nouns import AnyChange, DropRepository, Entry, PutRepository

_ROW = struct.Struct("<??Q")
_COUNT = struct.Struct("<Q")


class Outline(NamedTuple):
    """What is told of a Repository before it is known whether anything may be. `at_ms` is when it came to be."""

    exists: bool
    public: bool
    at_ms: int


NONE = Outline(False, False, 0)
_NO_ROW = seal(_ROW.pack(*NONE))
_NO_COUNT = seal(_COUNT.pack(0))


def follow(txn: Txn, tables: Tables, entry: Entry, change: AnyChange) -> None:
    """Take in a change that is about to be folded."""
    match change:
        case PutRepository(made):
            fresh = Outline(True, made.public, made.at_ms)
            name = made.name
        case DropRepository(_, name):
            fresh = NONE
        case _:
            return
    before = outline(txn, tables, entry.workspace, name)
    key = join(entry.workspace, name)
    if fresh.exists:
        txn.put(key, seal(_ROW.pack(*fresh)), db=tables.outlines)
    else:
        txn.delete(key, db=tables.outlines)
    if fresh.public != before.public:
        count = publics(txn, tables, entry.workspace) + (1 if fresh.public else -1)
        txn.put(join(entry.workspace), seal(_COUNT.pack(count)), db=tables.outlines)


def outline(txn: Txn, tables: Tables, ws: str, name: str) -> Outline:
    """One look-up and one row of one size, whatever is there."""
    value = txn.get(join(ws, name), _NO_ROW, db=tables.outlines)
    return Outline._make(_ROW.unpack(unseal(value, "outlines")))


def publics(txn: Txn, tables: Tables, ws: str) -> int:
    """How many Repositories of a Workspace are public; one look-up, also where there is no such Workspace."""
    value = txn.get(join(ws), _NO_COUNT, db=tables.outlines)
    return int(_COUNT.unpack(unseal(value, "outlines"))[0])
