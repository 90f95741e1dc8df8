"""What was noticed last, and for which period? Part of the fold: what it does follows from the entry alone.

A row for each cause, which the next period's overwrites: there are no more of them than there are quotas, customers'
limits, and Repositories.
"""

import struct
from typing import NamedTuple

from storage.index.keys import join, seal, unseal
from storage.index.tables import Tables, Txn
from storage.notices import Notice

_ROW = struct.Struct("<QQ")


class Noticed(NamedTuple):
    """For which period something was told last, and of which limit."""

    period_ms: int
    limit: int


def put(txn: Txn, tables: Tables, ws: str, repo: str, told: Notice) -> None:
    row = _ROW.pack(told.period_ms, told.limit)
    txn.put(join(ws, repo, told.kind, told.cause), seal(row), db=tables.notices)


def find(txn: Txn, tables: Tables, ws: str, repo: str, kind: str, cause: str) -> Noticed | None:
    value = txn.get(join(ws, repo, kind, cause), db=tables.notices)
    return None if value is None else Noticed(*_ROW.unpack(unseal(value, "notices")))
