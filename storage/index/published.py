"""Which packages have a version of this name, and who published it? Kept by what publishes and deletes.

Part of the fold. A query for versions looks at the names that versions have in one format of a Repository, of which
there are far fewer than packages, and at those packages alone that have one that is asked for.
"""

from collections.abc import Callable, Iterator

import msgspec

from storage.index.keys import below, join, seal, unseal
from storage.index.tables import Tables, Txn, rows_below
from storage.nouns import (
    AnyChange,
    DropFile,
    DropPackage,
    DropVersion,
    Entry,
    File,
    Noun,
    PutFile,
    PutVersion,
    Version,
)

_encode = msgspec.msgpack.Encoder().encode


class Publisher(Noun, frozen=True):
    """Who published a Version first, or what has none: the id of a principal, and what that was called then."""

    id: str
    name: str


_FILE = msgspec.msgpack.Decoder(File)
_PUBLISHER = msgspec.msgpack.Decoder(Publisher)


def follow(txn: Txn, tables: Tables, entry: Entry, change: AnyChange) -> None:
    """Take in a change that is about to be folded."""
    match change:
        case PutVersion(format, package, Version(name)) | PutFile(format, package, File(_, name)):
            key = join(entry.workspace, entry.repository, format, name, package)
            if txn.get(key, db=tables.published) is None:
                txn.put(key, seal(_encode(Publisher(entry.actor, entry.actor_name))), db=tables.published)
        case DropVersion(format, package, version):
            txn.delete(join(entry.workspace, entry.repository, format, version, package), db=tables.published)
        case DropFile(format, package, name):
            _file_went(txn, tables, (entry.workspace, entry.repository, format), package, name)
        case DropPackage(format, package):
            place = (entry.workspace, entry.repository, format)
            for version in _versions(txn, tables, place, package):
                txn.delete(join(*place, version, package), db=tables.published)


def _file_went(txn: Txn, tables: Tables, place: tuple[str, str, str], package: str, name: str) -> None:
    """Where files alone tell of a version, it goes with the last of them."""
    value = txn.get(join(*place, package, name), db=tables.files)
    version = "" if value is None else _FILE.decode(unseal(value, "files")).version
    if version and txn.get(join(*place, package, version), db=tables.versions) is None:
        files = (_FILE.decode(row) for _, row in rows_below(txn, tables.files, "files", below(*place, package)))
        if not any(one.version == version and one.name != name for one in files):
            txn.delete(join(*place, version, package), db=tables.published)


def _versions(txn: Txn, tables: Tables, place: tuple[str, str, str], package: str) -> set[str]:
    """All that are told of a package: by a row, or by its files alone; "" is what has none."""
    prefix = below(*place, package)
    named = {key[len(prefix) :].decode() for key, _ in rows_below(txn, tables.versions, "versions", prefix)}
    return {""} | named | {_FILE.decode(row).version for _, row in rows_below(txn, tables.files, "files", prefix)}


def publisher(txn: Txn, tables: Tables, *names: str) -> Publisher | None:
    """Of workspace, repository, format, version, package."""
    value = txn.get(join(*names), db=tables.published)
    return None if value is None else _PUBLISHER.decode(unseal(value, "published"))


def packages_with(
    txn: Txn, tables: Tables, place: tuple[str, str, str], wanted: Callable[[str], bool]
) -> Iterator[str]:
    """The packages of workspace, repository, format that have a version that is wanted, by version, maybe repeated."""
    prefix = below(*place)
    with txn.cursor(db=tables.published) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            version = cursor.key()[len(prefix) :].partition(b"\0")[0]
            here = prefix + version + b"\0"
            if wanted(version.decode()):
                while going and cursor.key().startswith(here):
                    yield cursor.key()[len(here) :].decode()
                    going = cursor.next()
            else:
                going = cursor.set_range(prefix + version + b"\x01")
