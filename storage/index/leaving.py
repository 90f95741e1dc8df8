"""Which rows of what was deleted are still here, and how do they go?

Part of the fold. Who deletes a Repository or a Workspace ends its name and all access in one entry; the rows below it,
of which there may be millions, belong to nobody from then on. ROWS_AT_ONCE of them go with the entry. For the rest a
row of `leaving` tells what is left, and each node takes that away by itself, so many in a transaction
(storage.upkeep.clearing): no journal says how far it is. At the end every table is as if all had gone at once.

The name of a Repository can be given again once nothing of it is left; the commit refuses it before (ending.py). A node
that is told so sooner than it is ready, since it follows or makes its index anew, takes the rest away there and then.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from storage.index import bins
from storage.index.keys import below, join, seal, split, touched, unseal
from storage.index.references import References
from storage.index.tables import Table, Tables, Txn, rows_below
from storage.nouns import File, Noun

ROWS_AT_ONCE = 300
"""With 1,000 the lock was held for 148 ms, on a busy machine."""
BINS_READ = 100
_U64_BYTES = 8
_ALL = 1 << 40


class Leaving(Noun, frozen=True):
    """What is left of a Repository or Workspace that was deleted at `at_ms`, by the entry `serial` of its journal.

    `files` are those that it had, in bins too, of which `files_gone` have gone, with `rows_gone` rows in all. It is in
    its `stage`, behind the key `at` where that one deletes nothing. `forgotten`: nobody deleted it, this edge may not
    see it any more.
    """

    at_ms: int
    serial: int
    files: int
    rows_gone: int = 0
    files_gone: int = 0
    stage: int = 0
    at: bytes = b""
    forgotten: bool = False


class Place(NamedTuple):
    """A Repository, or with `repository` "" a Workspace, that is leaving."""

    workspace: str
    repository: str
    held: Leaving


class Step(NamedTuple):
    """So many rows went from a place, so many of them files; `place` is what is left of it then."""

    place: Place
    rows: int
    files: int
    ended: bool


class Took(NamedTuple):
    """So many rows went, so many of them files; `at` is where to go on, `ended` = nothing is left there."""

    rows: int
    files: int = 0
    at: bytes = b""
    ended: bool = True


_LEAVING = msgspec.msgpack.Decoder(Leaving)
_FILE = msgspec.msgpack.Decoder(File)
_encode = msgspec.msgpack.Encoder().encode

_OF_REPOSITORY = ("packages", "versions", "tags", "gone", "claims", "quarantines", "purges", "published", "notices")
_OF_WORKSPACE = (
    "touched", "memberships", "teams", "teammates", "mates", "groups", "roles", "bindings", "providers",
)  # fmt: skip


def begin(
    txn: Txn,
    tables: Tables,
    references: References,
    ws: str,
    repo: str,
    at: tuple[int, int],
    *,
    forgotten: bool = False,
) -> None:
    """Its end, at (ms, Serial): it holds nothing any more as far as anybody counts, and ROWS_AT_ONCE of it go."""
    files = references.ended(ws, repo)
    if not repo:
        for other in [one for one in pending(txn, tables, ws) if one.repository]:
            txn.delete(join(ws, other.repository), db=tables.leaving)
    held = Leaving(*at, files, forgotten=forgotten)
    _step(txn, tables, references, Place(ws, repo, held), ROWS_AT_ONCE)


def some(
    txn: Txn, tables: Tables, references: References, rows_max: int, of: tuple[str, str] | None = None
) -> Step | None:
    """Take some rows of the first that is leaving, or of this Workspace and Repository. None where nothing is."""
    found = pending(txn, tables) if of is None else blocking(txn, tables, *of)
    place = next(iter(found), None)
    return None if place is None else _step(txn, tables, references, place, rows_max)


def finish(txn: Txn, tables: Tables, references: References, ws: str, repo: str) -> None:
    """Take away all that is left of it: something is to be put in its place."""
    for place in blocking(txn, tables, ws, repo):
        _step(txn, tables, references, place, _ALL)


def blocking(txn: Txn, tables: Tables, ws: str, repo: str) -> list[Place]:
    """What has to go before anything can be put into this Repository."""
    return [one for one in pending(txn, tables, ws) if one.repository in ("", repo)]


def pending(txn: Txn, tables: Tables, ws: str = "") -> Iterator[Place]:
    """What is leaving, of one Workspace or of all."""
    if txn.stat(tables.leaving)["entries"]:
        for key, payload in list(rows_below(txn, tables.leaving, "leaving", below(ws) if ws else b"")):
            workspace, repository = split(key)
            yield Place(workspace, repository, _LEAVING.decode(payload))


def find(txn: Txn, tables: Tables, ws: str, repo: str) -> Leaving | None:
    """What is left of this Repository."""
    value = txn.get(join(ws, repo), db=tables.leaving)
    return None if value is None else _LEAVING.decode(unseal(value, "leaving"))


def is_leaving(txn: Txn, tables: Tables, ws: str, repo: str) -> bool:
    """Is what stands here of this Repository only what is still to go?"""
    return any(txn.get(join(ws, name), db=tables.leaving) is not None for name in ("", repo))


# ---------------------------------------------------------------- a step


def _step(txn: Txn, tables: Tables, references: References, place: Place, rows_max: int) -> Step:
    ws, repo, held = place
    stages, left = _stages(txn, tables, references, ws, repo, held), rows_max
    stage, at, files = held.stage, held.at, 0
    while stage < len(stages) and left > 0:
        took = stages[stage](left, at)
        left -= took.rows
        files += took.files
        stage, at = (stage + 1, b"") if took.ended else (stage, took.at)
    held = msgspec.structs.replace(
        held, rows_gone=held.rows_gone + rows_max - left, files_gone=held.files_gone + files, stage=stage, at=at
    )
    if stage < len(stages):
        txn.put(join(ws, repo), seal(_encode(held)), db=tables.leaving)
    else:
        txn.delete(join(ws, repo), db=tables.leaving)
    return Step(Place(ws, repo, held), rows_max - left, files, stage == len(stages))


_Stage = Callable[[int, bytes], Took]
"""(how many rows at most, where the last one stopped)"""


def _stages(txn: Txn, tables: Tables, references: References, ws: str, repo: str, held: Leaving) -> list[_Stage]:
    prefix = below(ws, repo) if repo else below(ws)

    def dropping(table: Table, prefix: bytes = prefix) -> _Stage:
        return lambda most, at: _drop(txn, table, prefix, most)

    stages: list[_Stage] = [
        lambda most, at: _bins(txn, tables, references, prefix, most),
        lambda most, at: _files(txn, tables, references, prefix, most),
        *(dropping(getattr(tables, name)) for name in _OF_REPOSITORY),
    ]
    labels = b"p\0" + prefix
    if repo:
        return [*stages, lambda most, at: _move(txn, tables, labels, held.serial, most, at)]
    return [*stages, *(dropping(getattr(tables, name)) for name in _OF_WORKSPACE), dropping(tables.labels, labels)]


def _drop(txn: Txn, table: Table, prefix: bytes, most: int) -> Took:
    """However many there are, none is held in memory."""
    count = 0
    with txn.cursor(db=table) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            if count == most:
                return Took(count, ended=False)
            going = cursor.delete()
            count += 1
    return Took(count)


def _files(txn: Txn, tables: Tables, references: References, prefix: bytes, most: int) -> Took:
    count = 0
    with txn.cursor(db=tables.files) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            if count >= most:
                return Took(count, count, ended=False)
            references.let_go(_FILE.decode(unseal(cursor.value(), "files")))
            going = cursor.delete()
            count += 1
    return Took(count, count)


def _bins(txn: Txn, tables: Tables, references: References, prefix: bytes, most: int) -> Took:
    """A row of a bin counts as the files that it holds."""
    count = files = 0
    while rows := bins.first(txn, tables, prefix, BINS_READ):
        for key, binned in rows:
            if count >= most:
                return Took(count, files, ended=False)
            for _, file in (held := bins.files_of(binned)):
                references.let_go(file)
            bins.discard(txn, tables, key, binned)
            count, files = count + 1 + len(held), files + len(held)
    return Took(count, files)


def _move(txn: Txn, tables: Tables, prefix: bytes, serial: int, most: int, at: bytes) -> Took:
    """Its packages stand among the touched, at the end of their Repository: whoever remembers one must learn of it, and
    a new Repository of this name must not revive what was remembered of the old one."""
    moved, count = seal(serial.to_bytes(_U64_BYTES, "little")), 0
    with txn.cursor(db=tables.labels) as cursor:
        going = cursor.set_range(at or prefix)
        while going and (key := bytes(cursor.key())).startswith(prefix):
            if count >= most:
                return Took(count, at=key, ended=False)
            _, ws, repo, format, package = split(key)
            before = int.from_bytes(unseal(cursor.value(), "labels"), "little")
            cursor.put(key, moved)
            txn.delete(touched(ws, repo, format, before, package), db=tables.touched)
            txn.put(touched(ws, repo, format, serial, package), seal(b""), db=tables.touched)
            going = cursor.next()
            count += 1
    return Took(count)
