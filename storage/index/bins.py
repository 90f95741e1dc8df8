"""What was deleted and can come back, how long is it kept, and how much is that?

Three fold tables: what is in each bin, by when it is to be emptied, and how much it holds. The bytes are cited in
`refs` like those of files, so nothing of it is swept; `usage` is of what is visible, and `bin_usage` of what is not.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from storage.digest import sha256
from storage.index.keys import below, join, seal, split, unseal, until
from storage.index.references import References
from storage.index.tables import Tables, Txn
from storage.nouns import Binned, File, PutFile

_BINNED = msgspec.msgpack.Decoder(Binned)
_encode = msgspec.msgpack.Encoder().encode
ID_CHARS = 20


class Due(NamedTuple):
    """Something whose time in the bin is over."""

    workspace: str
    repository: str
    id: str


def id_of(format: str, package: str, version: str, file: str = "") -> str:
    """The id of what is deleted under these names; `file` is the File without a Version, else the build of it."""
    name = "\0".join((format, package, version, file))
    return f"bin_{sha256(name.encode()).hex()[: ID_CHARS - 4]}"


def files_of(binned: Binned) -> list[tuple[str, File]]:
    """Package and File of what it holds."""
    return [(one.package, one.file) for one in binned.changes if isinstance(one, PutFile)]


def size_of(binned: Binned) -> int:
    """The bytes that it holds."""
    return sum(max(file.size, 0) for _, file in files_of(binned) if file.sha256)


# ---------------------------------------------------------------- what the fold does


def put(txn: Txn, tables: Tables, references: References, ws: str, repo: str, binned: Binned) -> None:
    """Into the bin, in the place of what had its id."""
    drop(txn, tables, references, ws, repo, binned.id)
    for _, file in files_of(binned):
        references.binned(ws, repo, file, 1)
    txn.put(join(ws, repo, binned.id), seal(_encode(binned)), db=tables.bins)
    txn.put(until(binned.until_ms, join(ws, repo, binned.id).decode()), seal(b""), db=tables.bin_due)


def drop(txn: Txn, tables: Tables, references: References, ws: str, repo: str, id: str) -> None:
    """Out of the bin, whatever becomes of it."""
    key = join(ws, repo, id)
    value = txn.get(key, db=tables.bins)
    if value is not None:
        _forget(txn, tables, references, ws, repo, key, value)


def _forget(txn: Txn, tables: Tables, references: References, ws: str, repo: str, key: bytes, value: bytes) -> None:
    before = _BINNED.decode(unseal(value, "bins"))
    for _, file in files_of(before):
        references.binned(ws, repo, file, -1)
    discard(txn, tables, key, before)


def first(txn: Txn, tables: Tables, prefix: bytes, most: int) -> list[tuple[bytes, Binned]]:
    """The first of what is in bins below `prefix`, with their keys."""
    return [(key, _BINNED.decode(unseal(value, "bins"))) for key, value in islice(_rows(txn, tables, prefix), most)]


def discard(txn: Txn, tables: Tables, key: bytes, binned: Binned) -> None:
    """Its rows, and nothing of what they stand for."""
    txn.delete(key, db=tables.bins)
    txn.delete(until(binned.until_ms, key.decode()), db=tables.bin_due)


# ---------------------------------------------------------------- what is read


def get(txn: Txn, tables: Tables, ws: str, repo: str, id: str) -> Binned | None:
    """What has this id in the bin of a Repository."""
    value = txn.get(join(ws, repo, id), db=tables.bins)
    return None if value is None else _BINNED.decode(unseal(value, "bins"))


def held(txn: Txn, tables: Tables, ws: str = "", repo: str = "", after: str = "") -> Iterator[tuple[str, str, Binned]]:
    """Workspace, Repository and what is in its bin, by id behind `after`; of all of them without names."""
    prefix = below(ws, repo) if ws else b""
    start = join(ws, repo, after) + b"\0" if after else b""
    for key, value in _rows(txn, tables, prefix, start):
        at = split(key)
        yield at[0], at[1], _BINNED.decode(unseal(value, "bins"))


def ids(txn: Txn, tables: Tables, ws: str, repo: str) -> Iterator[str]:
    """The ids of what is in the bin of a Repository; nothing of it is decoded."""
    for key, _ in _rows(txn, tables, below(ws, repo)):
        yield split(key)[2]


def due(txn: Txn, tables: Tables, now_ms: int) -> Iterator[Due]:
    """What is to be emptied by now, the longest overdue first. Not what goes with its Repository."""
    with txn.cursor(db=tables.bin_due) as cursor:
        going = cursor.first()
        while going and cursor.key() < until(now_ms + 1):
            one = Due(*cursor.key()[8:].decode().split("\0"))
            if not any(txn.get(join(one.workspace, name), db=tables.leaving) for name in ("", one.repository)):
                yield one
            going = cursor.next()


def _rows(txn: Txn, tables: Tables, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    with txn.cursor(db=tables.bins) as cursor:
        going = cursor.set_range(start or prefix) if start or prefix else cursor.first()
        while going and cursor.key().startswith(prefix):
            yield bytes(cursor.key()), bytes(cursor.value())
            going = cursor.next()
