"""How does the index catch up with what a dead process left, and how is it made anew from journal and packs?

Both run under the write lock, within a transaction of the caller's. A journaled entry was preceded by its bytes being
durable, so what it names is in some pack, if only behind the length that the index knows: packs describe themselves.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from storage import disk, entries
from storage.blobs.ledger import PackRow
from storage.blobs.packs import BODY, COMPOSED, MEMBERS, PACK_HEADER_BYTES, RECIPE, SHARED, SINGLE, Record, records
from storage.blobs.relearning import recompose, take_recipe
from storage.blobs.shelf import BlobShelf, PackHandle
from storage.entries import NotUnderstood
from storage.errors import Damaged
from storage.index.index import Index
from storage.index.tables import Txn
from storage.journal.frames import FRAME_BYTES, HEADER_BYTES
from storage.journal.journal import End, Journal
from storage.nouns import Entry, PutFile


def wanted_by(entry: Entry) -> set[bytes]:
    """The blobs that an entry's files need."""
    return {one.file.sha256 for one in entry.changes if isinstance(one, PutFile) and one.file.sha256}


# ---------------------------------------------------------------- what a dead process left behind the End


def catch_up(txn: Txn, index: Index, journal: Journal, shelf: BlobShelf) -> bool:
    """Apply what was journaled and not indexed, cut what is torn. True where the transaction must be committed first.

    Raises Damaged where an entry does not follow, or its bytes are nowhere: whole frames are never thrown away.
    """
    end = index.end(txn)
    assert end is not None, "an index without an End is rebuilt"
    if not journal.is_ragged(end):
        return False
    stray = journal.stray(end)
    if stray.frames:
        journal.settle(end, stray.stop)
    found = [(at, body, _read(body)) for at, body in stray.frames]
    wanted = {sha256 for _, _, entry in found for sha256 in wanted_by(entry) if not shelf.ledger.has(txn, sha256)}
    if wanted and (lost := salvage(txn, shelf, wanted)):
        raise Damaged(
            f"The journal names {len(lost)} blobs that are in no pack.", "Restore the packs from a copy, then start."
        )
    for at, body, entry in found:
        index.check_chain(txn, entry)
        index.apply(txn, entry, body, at)
    if stray.torn:
        journal.cut(stray.stop)
    index.set_end(txn, stray.stop)
    return True


def _read(body: bytes) -> Entry:
    """Raises Damaged for what a later version wrote and must be understood: it says who may do what."""
    try:
        return entries.read(body)
    except NotUnderstood as error:
        raise Damaged(
            f"The journal was written by a later version of Entrepot ({error}).", "Run that version, or a later one."
        ) from error


def salvage(txn: Txn, shelf: BlobShelf, wanted: set[bytes]) -> set[bytes]:
    """Look for blobs behind the known length of packs and in packs without a row; returns those not found."""
    lost = set(wanted)
    for pack, path in packs_in(shelf.root):
        row = shelf.ledger.pack(txn, pack)
        if row is not None and (row.sealed or path.stat().st_size <= row.length):
            continue
        found = records(path, start=row.length if row is not None else 0, verify=True)
        if found is None or found[0].id != pack or found[0].store != shelf.store:
            continue
        header, kept = found
        useful = [one for one in kept if one.kind == BODY and one.sha256 in lost]
        if not useful:
            continue
        handle = PackHandle(path)
        disk.settle(handle.fd, "a pack")
        if row is None:
            row = PackRow(header.kind == SINGLE, header.created_ms, 0, 0)
        shelf.ledger.put_pack(txn, pack, row._replace(length=useful[-1].stop))
        shelf.ledger.add(txn, pack, useful)
        lost.difference_update(one.sha256 for one in useful)
    return lost


def sweep_strays(txn: Txn, shelf: BlobShelf) -> int:
    """Remove packs that no row names and no process holds: uploads that were never decided. Returns how many."""
    count = 0
    for pack, path in packs_in(shelf.root):
        if shelf.ledger.pack(txn, pack) is None:
            with suppress(FileNotFoundError):
                handle = PackHandle(path)
                if disk.lock(handle.fd):
                    path.unlink()
                    count += 1
    return count


# ---------------------------------------------------------------- everything anew


class Progress(NamedTuple):
    """How far a rebuild is: `done` of `total` packs, then of the journal's bytes, with the entries so far."""

    of: str
    done: int
    total: int
    entries: int = 0

    def __str__(self) -> str:
        entries = f", {self.entries:,} entries" if self.entries else ""
        return f"{100 * self.done // max(self.total, 1)} % of the {self.of}{entries}"


def rebuild(
    txn: Txn, index: Index, journal: Journal, shelf: BlobShelf, tell: Callable[[Progress], None] = lambda progress: None
) -> tuple[int, set[bytes]]:
    """Fill an empty index from the packs and the journal; the number of entries, and the blobs that a file names
    and no pack holds. `tell` hears of every pack and entry.

    Raises Damaged for a journal that is broken anywhere but at its very end.
    """
    composed: list[tuple[int, Record]] = []
    packs = list(packs_in(shelf.root))
    for number, (pack, path) in enumerate(packs):
        tell(Progress("packs", number, len(packs)))
        composed += _take_pack(txn, shelf, pack, path)
    for pack, recipe in composed:
        recompose(txn, shelf, pack, recipe)
    index.set_store(txn, shelf.store)
    index.set_epoch(txn, journal.epoch)
    index.set_stamp(txn)
    segments = journal.segments()
    stop = End(next(iter(segments), 1), HEADER_BYTES)
    lengths = {number: journal.path(number).stat().st_size for number in segments}
    total = sum(lengths.values())
    before = dict(zip(segments, itertools.accumulate(lengths.values(), initial=0), strict=False))
    count = 0
    for at, body in journal.walk():
        entry = _read(body)
        index.check_chain(txn, entry)
        index.apply(txn, entry, body, at)
        stop = End(at.segment, at.offset + FRAME_BYTES + len(body))
        count += 1
        tell(Progress("journal", before[at.segment] + stop.offset, total, count))
    journal.cut(stop)
    index.set_end(txn, stop)
    # what was named once and is not any more may have been swept
    lost = {sha256 for sha256, _ in txn.cursor(db=index.tables.refs) if not shelf.ledger.has(txn, sha256)}
    return count, lost


def _take_pack(txn: Txn, shelf: BlobShelf, pack: int, path: Path) -> list[tuple[int, Record]]:
    """What lies in a pack; returns the recipes of composed blobs, which need all packs to be known."""
    found = records(path)
    if found is None or found[0].id != pack or found[0].store != shelf.store:
        return []
    header, kept = found
    sealed = header.kind != SHARED or (bool(kept) and kept[-1].kind == MEMBERS)
    if not sealed:
        whole = records(path, verify=True)  # its end may be torn, and what is taken here is never stored again
        kept = whole[1] if whole is not None else []
    if header.kind != SHARED and not kept:
        return []
    length = kept[-1].stop if kept else PACK_HEADER_BYTES
    shelf.ledger.put_pack(txn, pack, PackRow(sealed, header.created_ms, length, 0))
    shelf.ledger.add(txn, pack, kept)
    recipes = []
    for described, recipe in itertools.pairwise(kept):
        if recipe.kind == RECIPE:
            take_recipe(txn, shelf, pack, described, recipe)
            recipes.append((pack, recipe))
    return recipes if header.kind == COMPOSED else []


def packs_in(root: Path) -> Iterator[tuple[int, Path]]:
    """The pack files of a directory, by number."""
    found = []
    for path in root.glob("*.pack"):
        with suppress(ValueError):
            found.append((int(path.stem, 16), path))
    return iter(sorted(found))
