"""Which blobs are in the packs that no table knows?

Packs describe themselves, so what a process wrote durably and did not live to note down can be found again, and the
tables of a shelf can be made anew from its packs alone.
"""

import os
from contextlib import suppress
from pathlib import Path

from storage import disk, packs
from storage.blobs import BlobShelf
from storage.ledger import PackRow
from storage.packs import BODY, MEMBERS, SINGLE
from storage.tables import Txn


def recover(txn: Txn, shelf: BlobShelf, wanted: set[bytes]) -> set[bytes]:
    """Note the `wanted` blobs that are in packs and not in the tables; returns those that are nowhere."""
    missing = {sha256 for sha256 in wanted if not shelf.ledger.has(txn, sha256)}
    for path in sorted(shelf.root.glob("*.pack")):
        if not missing:
            break
        missing -= note(txn, shelf, path, missing)
    return missing


def rebuild(txn: Txn, shelf: BlobShelf) -> None:
    """Fill empty tables from the packs alone."""
    for path in sorted(shelf.root.glob("*.pack")):
        note(txn, shelf, path, None)


def note(txn: Txn, shelf: BlobShelf, path: Path, wanted: set[bytes] | None) -> set[bytes]:
    """Note the blobs of one pack that are `wanted` (None = all) and not known; returns which they were."""
    pack = int(path.stem, 16)
    known = shelf.ledger.pack(txn, pack)
    found = packs.records(path, start=known.length if known is not None else 0, verify=True)
    if found is None:
        return set()
    header, records = found
    kept = [one for one in records if one.kind == BODY and (wanted is None or one.sha256 in wanted)]
    kept = [one for one in kept if not shelf.ledger.has(txn, one.sha256)]
    if not kept:
        return set()
    sealed = header.kind == SINGLE or any(one.kind == MEMBERS for one in records)
    stop = max(one.stop for one in kept)
    if known is None:
        shelf.ledger.put_pack(txn, pack, PackRow(sealed, header.created_ms, stop, 0))
    else:
        shelf.ledger.grow(txn, pack, stop, sealed=sealed)
    shelf.ledger.add(txn, pack, kept)
    return {one.sha256 for one in kept}


def clean(shelf: BlobShelf) -> int:
    """Remove packs that no row knows and no process holds; returns how many. Only after the journal is caught up."""
    with shelf.env.begin() as txn:
        known = {pack for pack, _ in shelf.ledger.packs(txn)}
    count = 0
    for path in shelf.root.glob("*.pack"):
        if int(path.stem, 16) in known:
            continue
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if disk.lock(fd):
                    path.unlink()
                    count += 1
            finally:
                os.close(fd)
    return count
