"""Is everything that the store promises really there?

Reads, and changes nothing; a node may run meanwhile, since all is compared as of one moment of the index. Without
`deep` every frame of the journal, every row, and the header of every stored blob; with it also every stored byte, and
the index against a fresh fold of the journal.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import msgspec

from storage import entries
from storage.blobs.ledger import BlobRow
from storage.blobs.packs import (
    COMPOSED,
    PACK_HEADER_BYTES,
    RECIPE,
    RECORD_BYTES,
    Extent,
    expect_header,
    parse_record_header,
    read_body,
    records,
)
from storage.blobs.recipes import decode
from storage.blobs.shelf import BlobShelf
from storage.digest import sha256
from storage.errors import Damaged, Problem
from storage.index import leaving
from storage.index.bins import files_of, held
from storage.index.index import NO_HASH, Index
from storage.index.keys import below, split, unseal
from storage.index.tables import BLOB_TABLES, FOLD_TABLES, WORK_TABLES, Txn
from storage.journal.frames import HEADER_BYTES
from storage.journal.journal import End, Journal
from storage.nouns import File
from storage.open import Identity, Probed, probe, read_identity
from storage.upkeep.sweep import keeping_packs

_FILE = msgspec.msgpack.Decoder(File)
_READ_BYTES = 4 << 20
_ROWS = 10_000
PROBLEMS_MAX = 1000


@dataclass
class Report:
    """What was looked at, and what is wrong with it in words (at most PROBLEMS_MAX of them)."""

    entries: int = 0
    rows: int = 0
    packs: int = 0
    blobs: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not self.problems

    def say(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Damage within the block becomes a line of the report."""
        try:
            yield
        except Problem as problem:
            self.say(problem.text())
        except (msgspec.DecodeError, lmdb.Error) as error:
            self.say(str(error))


def verify(root: Path, deep: bool = False) -> Report:
    """Look the store at `root` over. Raises Damaged where it has no identity; everything else is in the Report."""
    report = Report()
    identity = read_identity(root)
    path = root / "index"
    found = probe(path, identity.token, identity.role) if (path / "data.mdb").exists() else Probed.BROKEN
    if found is Probed.BROKEN:
        report.say("The index cannot be read. Stop the node and run `entrepot rebuild-index`.")
        return report
    if found is Probed.OUTDATED:
        report.say("The index was written by another version of Entrepot. The node makes it anew when it starts.")
        return report
    with keeping_packs(root):
        index = Index(path)
        try:
            _look(report, root, identity, index, deep)
        finally:
            index.close()
    return report


def _look(report: Report, root: Path, identity: Identity, index: Index, deep: bool) -> None:
    shelf = BlobShelf(root / "packs", index.env, index.tables.shelf, identity.token, durable=True)
    with index.env.begin() as txn:
        with report.catching():
            _check_rows(report, index, txn)
        with report.catching():
            _check_packs(report, shelf, txn, deep)
        if identity.role == "origin":
            journal = Journal(root / "journal", identity.epoch, identity.token, index)
            with report.catching():
                _check_journal(report, index, journal, txn)
            with report.catching():
                _check_files(report, index, shelf, txn)
            if deep and report.is_whole:
                _check_fold(report, index, journal, txn)
    shelf.close()


def _check_rows(report: Report, index: Index, txn: Txn) -> None:
    for name in FOLD_TABLES + WORK_TABLES:
        for _, value in txn.cursor(db=getattr(index.tables, name)):
            report.rows += 1
            with report.catching():
                unseal(value, name)
    for name in BLOB_TABLES:
        for _, value in txn.cursor(db=getattr(index.tables.shelf, name)):
            report.rows += 1
            if value and name != "chunks":  # hints: whoever asks for one finds out
                with report.catching():
                    unseal(value, name)


def _check_packs(report: Report, shelf: BlobShelf, txn: Txn, deep: bool) -> None:
    lengths: dict[int, int] = {}
    composed: set[int] = set()
    for pack, row in shelf.ledger.packs(txn):
        report.packs += 1
        with report.catching():
            if row.sealed and not shelf.path(pack).exists() and not shelf.ledger.members(txn, pack):
                continue  # a sweep was killed between the two, and the next one forgets the row
            try:
                header = expect_header(shelf.path(pack), pack, shelf.store)
                size = shelf.path(pack).stat().st_size
            except FileNotFoundError:
                raise Damaged(f"Pack {pack:08x} is not there.", "Restore it from a copy.") from None
            if size < row.length:
                report.say(f"Pack {pack:08x} has {size} bytes of {row.length}. Restore it from a copy.")
            lengths[pack] = row.length
            if header.kind == COMPOSED:
                composed.add(pack)
            found = records(shelf.path(pack), verify=deep)
            stops = {PACK_HEADER_BYTES} if found is None else {PACK_HEADER_BYTES, *(one.stop for one in found[1])}
            if row.length not in stops:
                report.say(f"Pack {pack:08x} is broken at byte {max(stops)}. Restore it from a copy.")
    for identity, blob in shelf.ledger.blobs(txn):
        report.blobs += 1
        report.bytes += blob.size
        with report.catching():
            _check_blob(report, shelf, identity, blob, lengths, composed)
            if deep and not shelf.verify(identity) and shelf.holds(identity) is not None:
                report.say(f"Blob {identity.hex()} does not have the bytes it is named by. Restore its pack.")


def _check_blob(
    report: Report, shelf: BlobShelf, identity: bytes, blob: BlobRow, lengths: dict[int, int], composed: set[int]
) -> None:
    if sum(extent.length for extent in blob.extents) != blob.size:
        report.say(f"The extents of blob {identity.hex()} are not its size.")
    if blob.recipe is not None and blob.recipe.offset + blob.recipe.length <= lengths.get(blob.recipe.pack, 0):
        with report.catching():
            _check_recipe(report, shelf, identity, blob, blob.recipe)
    for extent in blob.extents:
        if extent.offset + extent.length > lengths.get(extent.pack, 0):
            report.say(f"Blob {identity.hex()} lies beyond the end of pack {extent.pack:08x}.")
            continue
        if len(blob.extents) > 1 or extent.pack in composed:
            continue  # its extents begin anywhere
        fd = os.open(shelf.path(extent.pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            start = extent.offset - RECORD_BYTES
            record = parse_record_header(os.pread(fd, RECORD_BYTES, start), start)
        finally:
            os.close(fd)
        if record is None or record.sha256 != identity or record.length != extent.length or record.sum != blob.sum:
            report.say(f"Pack {extent.pack:08x} does not hold blob {identity.hex()} where the index says.")


def _check_recipe(report: Report, shelf: BlobShelf, identity: bytes, blob: BlobRow, recipe: Extent) -> None:
    """The recipe must stand where the row says, and describe this blob."""
    start = recipe.offset - RECORD_BYTES
    with shelf.path(recipe.pack).open("rb") as file:
        record = parse_record_header(os.pread(file.fileno(), RECORD_BYTES, start), start)
    if record is None or record.kind != RECIPE or record.sha256 != identity or record.length != recipe.length:
        report.say(f"Pack {recipe.pack:08x} does not hold the recipe of blob {identity.hex()} where the index says.")
        return
    head, _ = decode(read_body(shelf.path(recipe.pack), record))
    if head.size != blob.size or head.sum != blob.sum:
        report.say(f"The recipe of blob {identity.hex()} describes another blob.")


def _frames(index: Index, journal: Journal, txn: Txn) -> Iterator[bytes]:
    """Every body up to the End as of `txn`."""
    end = index.end(txn)
    segments = journal.segments()
    if end is None or not segments:
        return
    for number in segments:
        if number <= end.segment:
            with journal.path(number).open("rb") as file:
                journal.check_header(file.read(HEADER_BYTES), number)
    at = End(segments[0], HEADER_BYTES)
    while at < end:
        bodies, at = journal.read(at, end, _READ_BYTES)
        yield from bodies


def _check_journal(report: Report, index: Index, journal: Journal, txn: Txn) -> None:
    heads: dict[str, tuple[int, bytes]] = {}
    for body in _frames(index, journal, txn):
        report.entries += 1
        entry = entries.read(body)
        serial, hash = heads.get(entry.workspace, (0, NO_HASH))
        if entry.serial != serial + 1 or entry.previous != hash:
            report.say(f"Entry {entry.serial} of {entry.workspace!r} does not follow entry {serial}.")
        heads[entry.workspace] = (entry.serial, sha256(body))
    if heads != index.heads(txn):
        report.say("The index does not end where the journal does. Stop the node and run `entrepot rebuild-index`.")


def _check_files(report: Report, index: Index, shelf: BlobShelf, txn: Txn) -> None:
    for key, value in txn.cursor(db=index.tables.files):
        with report.catching():
            file = _FILE.decode(unseal(value, "files"))
            if file.sha256 and not shelf.ledger.has(txn, file.sha256):
                report.say(f"The bytes of {'/'.join(split(key))} are in no pack. Publish it again.")
    for ws, repo, binned in held(txn, index.tables):
        for package, file in files_of(binned):
            if file.sha256 and not shelf.ledger.has(txn, file.sha256):
                name = f"{ws}/{repo}/{binned.format}/{package}/{file.name}"
                report.say(f"The bytes of {name}, which is in the bin, are in no pack.")


def _check_fold(report: Report, index: Index, journal: Journal, txn: Txn) -> None:
    """Fold the journal once more, beside the index, and compare row by row. What was deleted may still have rows here
    which the fold has cleared away already, or the other way round: then both are compared without those, and without
    what counts them."""
    with tempfile.TemporaryDirectory(prefix="verify-", dir=index.path.parent) as folder:
        again = Index(Path(folder))
        try:
            with again.env.begin(write=True) as fresh:
                for body in _frames(index, journal, txn):
                    again.apply(fresh, entries.read(body), body)
                while again.clear_some(fresh, _ROWS):
                    pass
            with again.env.begin() as fresh:
                names = tuple(name for name in FOLD_TABLES if name != "places")
                leave = _leaving(index, txn)
                if leave:
                    names = tuple(name for name in names if name not in ("refs", "bin_due"))
                mine, theirs = (
                    (row for row in rows if not _is_below(row, leave))
                    for rows in (index.rows(txn, names), again.rows(fresh, names))
                )
                pairs = itertools.zip_longest(mine, theirs)
                wrong = next(((one or other) for one, other in pairs if one != other), None)
        finally:
            again.close()
    if wrong is not None:
        report.say(f"The index table {wrong[0]!r} is not what the journal says. Run `entrepot rebuild-index`.")


def _leaving(index: Index, txn: Txn) -> tuple[bytes, ...]:
    """The prefixes of what was deleted and has rows here."""
    return tuple(
        below(one.workspace, one.repository) if one.repository else below(one.workspace)
        for one in leaving.pending(txn, index.tables)
    )


def _is_below(row: tuple[str, bytes, bytes], prefixes: tuple[bytes, ...]) -> bool:
    """Is it of one of these?"""
    key = row[1].removeprefix(b"p\0") if row[0] == "labels" else row[1]
    return key.startswith(prefixes)
