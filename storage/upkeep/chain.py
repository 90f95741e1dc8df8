"""Is the history as it was written? Every bit of the journal's files, the chain of hashes, and heads that were signed.

Needs the files alone: the node may run, be stopped, or have lost its index. What the index says is compared where it
can be read. A frame is covered by its crc, an entry by the next one of its Workspace, and the last one by a head, so a
changed bit is found wherever it is, and a history that was written anew is found by any head of the old one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from storage.digest import sha256
from storage.errors import Damaged
from storage.index.history import Head
from storage.index.index import NO_HASH, Index
from storage.journal import frames
from storage.journal.frames import HEADER_BYTES, Header
from storage.journal.journal import End, EntryHead, segments_in
from storage.open import Identity, Probed, probe, read_identity

_HEAD = msgspec.msgpack.Decoder(EntryHead)
PROBLEMS_MAX = 100


@dataclass
class Checked:
    """What was read, and what is wrong with it in words. `heads` are the last Serial and hash by Workspace."""

    entries: int = 0
    segments: int = 0
    signed: int = 0
    heads: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


class Committed(NamedTuple):
    """What an index says: how far the journal counts, and the heads."""

    end: End
    heads: dict[str, tuple[int, bytes]]


class Chain:
    """The hashes of each Workspace, entry by entry. `claims` are heads that somebody holds: epoch, Workspace, Serial
    and hash that must be passed."""

    def __init__(self, checked: Checked, claims: Iterable[Head] = ()) -> None:
        self._checked = checked
        self._claims: dict[tuple[int, str, int], list[bytes]] = {}
        for one in claims:
            self._claims.setdefault((one.epoch, one.workspace, one.serial), []).append(one.hash)

    def take(self, body: bytes) -> None:
        """The next entry."""
        try:
            entry = _HEAD.decode(body)
        except msgspec.MsgspecError:
            self._checked.say("An entry cannot be read.")
            return
        heads = self._checked.heads
        serial, hash = heads.get(entry.workspace, (0, NO_HASH))
        if entry.serial != serial + 1 or entry.previous != hash:
            self._checked.say(f"Entry {entry.serial} of {entry.workspace!r} does not follow entry {serial}.")
        self._checked.entries += 1
        mine = sha256(body)
        heads[entry.workspace] = (entry.serial, mine)
        for claimed in self._claims.pop((entry.epoch, entry.workspace, entry.serial), ()):
            self._checked.signed += 1
            if claimed != mine:
                self._checked.say(
                    f"Entry {entry.serial} of {entry.workspace!r} is not the one that was signed: the history was "
                    "written anew."
                )

    def end(self) -> None:
        """Whatever was claimed and did not come is missing."""
        for _, workspace, serial in self._claims:
            self._checked.say(f"Entry {serial} of {workspace!r}, of which there is a signed head, is not there.")


def check_journal(root: Path, claims: Iterable[Head] = ()) -> Checked:
    """Look at the journal of the origin at `root`. Raises Damaged where it has no identity."""
    identity = read_identity(root)
    checked = Checked()
    known = _committed(root, identity)
    chain = Chain(checked, claims)
    for body in _bodies(root / "journal", identity, known, checked):
        chain.take(body)
    chain.end()
    if known is not None and not checked.problems and known.heads != checked.heads:
        checked.say("The index does not end where the journal does.")
    return checked


def _committed(root: Path, identity: Identity) -> Committed | None:
    """As of now; None without an index that can be read."""
    path = root / "index"
    if not (path / "data.mdb").exists() or probe(path, identity.token, identity.role) is Probed.BROKEN:
        return None
    index = Index(path)
    try:
        with index.env.begin() as txn:
            end = index.end(txn)
            return None if end is None else Committed(end, index.heads(txn))
    finally:
        index.close()


def _bodies(folder: Path, identity: Identity, known: Committed | None, checked: Checked) -> Iterator[bytes]:
    numbers = segments_in(folder)
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        checked.say("A segment of the journal is missing.")
    for number in numbers:
        if known is not None and number > known.end.segment:
            break
        data = (folder / f"{number:08d}.seg").read_bytes()
        checked.segments += 1
        if known is not None and number == known.end.segment:
            if len(data) < known.end.offset:
                checked.say(f"Segment {number} has {len(data)} bytes of {known.end.offset}.")
            data = data[: known.end.offset]
        header = frames.parse_header(data)
        if header is None or data[:HEADER_BYTES] != frames.pack_header(Header(number, header.epoch, identity.token)):
            checked.say(f"Segment {number} of the journal does not begin as it should.")
        at = HEADER_BYTES
        while (body := frames.at(data, at)) is not None:
            yield body
            at += frames.FRAME_BYTES + len(body)
        if at != len(data):
            checked.say(f"Segment {number} of the journal is damaged at byte {at}.")


def check_bodies(bodies: Iterable[bytes], first: Head, claims: Iterable[Head]) -> Checked:
    """Look at entries of one Workspace that were taken out of the journal, behind the entry `first`."""
    checked = Checked()
    if first.serial < 0 or len(first.hash) != len(NO_HASH):
        raise Damaged("This is no place in a history.")
    checked.heads[first.workspace] = (first.serial, first.hash)
    chain = Chain(checked, claims)
    for body in bodies:
        chain.take(body)
    chain.end()
    return checked
