"""What do the recipes in the packs tell of blobs and chunks, when the tables are made anew?

A recipe describes the record ahead of it: the chunks that lie there. That of a composed pack names its blob too, whose
other chunks lie wherever packs have them; so those are resolved when all packs are known.
"""

from contextlib import suppress

from storage.blobs.layout import coalesced
from storage.blobs.ledger import BlobRow, ChunkRow
from storage.blobs.packs import BODY, NO_BLOB, Extent, Record, read_body
from storage.blobs.recipes import decode
from storage.blobs.shelf import BlobShelf
from storage.errors import Damaged
from storage.index.tables import Txn


def take_recipe(txn: Txn, shelf: BlobShelf, pack: int, described: Record, recipe: Record) -> None:
    """Let the chunks of a record be found, and its blob know its recipe. One that is damaged tells nothing."""
    with suppress(Damaged):
        head, parts = decode(read_body(shelf.path(pack), recipe))
        at = described.offset
        if sum(part.chunk.length for part in parts if part.here) != described.length:
            return
        for chunk, here in parts:
            if here:
                if shelf.ledger.chunk(txn, chunk.key) is None:
                    shelf.ledger.put_chunk(txn, chunk.key, ChunkRow(pack, at, chunk.length))
                at += chunk.length
        row = shelf.ledger.blob(txn, recipe.sha256)
        if described.kind == BODY and row is not None and row.extents == (Extent(pack, described.offset, row.size),):
            shelf.ledger.lay(
                txn, recipe.sha256, row._replace(cut=head.cut, recipe=Extent(pack, recipe.offset, recipe.length))
            )


def recompose(txn: Txn, shelf: BlobShelf, pack: int, recipe: Record) -> None:
    """A composed blob from its recipe, unless it is known whole or one of its chunks is nowhere."""
    if recipe.sha256 == NO_BLOB or shelf.ledger.has(txn, recipe.sha256):
        return
    with suppress(Damaged):
        head, parts = decode(read_body(shelf.path(pack), recipe))
        chunks = [part.chunk for part in parts]
        places = [shelf.ledger.chunk(txn, chunk.key) for chunk in chunks]
        if not chunks or any(
            place is None or place.length != chunk.length for chunk, place in zip(chunks, places, strict=True)
        ):
            return
        extents = tuple(one.at for one in coalesced(chunks, places) if one.at is not None)
        saved = head.size - sum(part.chunk.length for part in parts if part.here)
        own = Extent(pack, recipe.offset, recipe.length)
        shelf.ledger.lay(txn, recipe.sha256, BlobRow(head.size, head.sum, extents, head.cut, saved, own))
