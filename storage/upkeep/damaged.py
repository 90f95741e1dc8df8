"""Which files lack bytes that a scrub found damaged, since some moment? Those in bins too: they can come back.

Walks all files, which damage is rare enough for.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from storage.blobs.shelf import BlobShelf
from storage.index import leaving
from storage.index.bins import held
from storage.index.index import Index
from storage.index.keys import split, unseal
from storage.notices import Damage
from storage.nouns import File, PutFile

BLOBS_MAX = 10_000
_FILE = msgspec.msgpack.Decoder(File)


class Missing(NamedTuple):
    """A File of a Repository that cannot be given out, and since when that is known."""

    workspace: str
    repository: str
    damage: Damage
    found_ms: int


def damaged_blobs(shelf: BlobShelf) -> dict[bytes, int]:
    """What was found damaged and is not whole again, with when it was found."""
    with shelf.env.begin() as txn:
        return dict(shelf.ledger.damaged(txn, BLOBS_MAX))


def missing_files(index: Index, blobs: dict[bytes, int]) -> Iterator[Missing]:
    """The files that need one of these blobs. Blocking."""
    with index.env.begin() as txn:
        for key, value in txn.cursor(db=index.tables.files):
            file = _FILE.decode(unseal(value, "files"))
            if file.sha256 in blobs:
                ws, repo, format, package, name = split(key)
                if leaving.is_leaving(txn, index.tables, ws, repo):
                    continue  # it was deleted, and nobody waits for it
                yield Missing(ws, repo, Damage(format, package, file.version, name, file.sha256), blobs[file.sha256])
        for ws, repo, binned in held(txn, index.tables):
            for change in binned.changes if not leaving.is_leaving(txn, index.tables, ws, repo) else ():
                if isinstance(change, PutFile) and change.file.sha256 in blobs:
                    file = change.file
                    damage = Damage(change.format, change.package, file.version, file.name, file.sha256)
                    yield Missing(ws, repo, damage, blobs[file.sha256])
