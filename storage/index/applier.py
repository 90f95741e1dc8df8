"""How does an edge take in its origin's entries?

In order, in one transaction, chain and epoch checked; what was applied before is passed over. History that differs is
never merged: it is Damaged, and the edge starts anew, beside what it shows until it has all of it. An entry that cannot
be taken in takes nobody down: it becomes a Hole (storage.index.holes), and the next ones are taken in.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from storage import entries
from storage.digest import sha256
from storage.entries import NotUnderstood
from storage.errors import Damaged, UpstreamFailed
from storage.index import ending, holes, leaving
from storage.index.beside import Beside
from storage.index.holes import Hole
from storage.index.index import Index
from storage.index.tables import Txn
from storage.journal.journal import HEAD_DECODER
from storage.nouns import SYSTEM, AnyChange, Entry, PutAccount, PutEdge, PutHost, PutRepository, PutToken, PutWorkspace

log = logging.getLogger("entrepot.storage")
_OF_SYSTEM = (PutWorkspace, PutToken, PutAccount, PutEdge, PutHost)
CLEAR_ROWS = 500
_ANEW = "This edge starts anew from its origin."

_Told = tuple[bytes, bytes]
"""The bytes of an entry, or of what may be seen of it, and the hash of the whole."""
_Fold = Callable[[Txn, Entry, _Told], None]


class Applier:
    """For one follower at a time. Synchronous, one sync a call: call it in a thread."""

    def __init__(self, index: Index) -> None:
        self._live = index
        self._beside: Beside | None = None

    @property
    def _index(self) -> Index:
        """What entries are taken into."""
        return self._live if self._beside is None else self._beside.index

    @property
    def anew(self) -> bool:
        """Is another history being learned beside the one that is shown?"""
        return self._beside is not None

    @property
    def outdated(self) -> bool:
        """Was what is shown taken in by a program that keeps other rows, or by one that could not take in all of it and
        is another one now? Then it has to be learned anew."""
        with self._live.env.begin() as txn:
            missing = holes.holes(txn, self._live.tables)
            return self._live.is_outdated(txn) or any(one.build != holes.build() for one in missing)

    def holes(self) -> tuple[Hole, ...]:
        """The entries that what is shown lacks, since they could not be taken in."""
        with self._live.env.begin() as txn:
            return holes.holes(txn, self._live.tables)

    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Serial and hash of the last entry by workspace."""
        index = self._index  # once: another thread may make another one of it meanwhile
        with index.env.begin() as txn:
            return index.heads(txn)

    def epoch(self) -> int:
        """The epoch followed; 0 before the first entry."""
        index = self._index
        with index.env.begin() as txn:
            return index.epoch(txn)

    def apply_raw(self, bodies: Sequence[bytes]) -> int:
        """Apply entry bodies in order, all or none; returns how many were new.

        Raises Damaged for a gap, a broken chain, another history, or an epoch later than the one followed.
        """
        return self._take([(body, sha256(body)) for body in bodies], self._fold_whole)

    def scope(self) -> bytes:
        """By what the SYSTEM rows were chosen for this node, as the origin told it; b"" = they are all."""
        with self._index.env.begin() as txn:
            return self._index.scope(txn)

    def apply_seen(self, body: bytes, hash: bytes) -> int:
        """Apply what this node may see of one entry; 1 = it was new. Raises Damaged as `apply_raw` does."""
        return self._take([(body, hash)], self._fold_seen)

    def replace_system(self, body: bytes, hash: bytes, scope: bytes) -> None:
        """Take what this node may see of the SYSTEM journal, as of one Serial, in the place of what it saw.

        Raises Damaged for one that is older than what is here: nothing ever goes back.
        """
        unread: NotUnderstood | None = None
        try:
            entry = entries.read(body)
        except NotUnderstood as problem:
            entry, unread = problem.entry, problem
        except msgspec.DecodeError:
            raise UpstreamFailed(
                "The origin's accounts and tokens cannot be read by this version.", "Upgrade this edge."
            ) from None
        if entry.workspace != SYSTEM or any(not isinstance(one, _OF_SYSTEM) for one in entry.changes):
            raise Damaged("The origin sent a snapshot of something else.", _ANEW)
        lost: list[tuple[AnyChange, Exception]] = []
        try:
            self._replace(entry, hash, scope, lost, unread)
        except Exception as error:
            if not holes.is_of_the_entry(error):
                raise
            lost = self._unbearable(entry, entry.changes)
            bad = [change for change, _ in lost]
            good = tuple(one for one in entry.changes if one not in bad)
            self._replace(msgspec.structs.replace(entry, changes=good), hash, scope, lost, unread)

    def _replace(
        self,
        entry: Entry,
        hash: bytes,
        scope: bytes,
        lost: list[tuple[AnyChange, Exception]],
        unread: NotUnderstood | None,
    ) -> None:
        index, made = self._index, list[Hole]()
        with index.env.begin(write=True) as txn:
            epoch = index.epoch(txn)
            serial, known = index.head(txn, SYSTEM)
            if epoch not in (0, entry.epoch) or serial > entry.serial or (serial == entry.serial and known != hash):
                raise Damaged("The origin's history is not the one that this edge has.", _ANEW)
            index.set_epoch(txn, entry.epoch)
            index.replace_system(txn, entry, hash, scope)
            others = [one for one in holes.holes(txn, index.tables) if one.workspace != SYSTEM]
            holes.write(txn, index.tables, others)
            for change, error in lost:
                part = msgspec.structs.replace(entry, changes=(change,))
                made.append(holes.note(txn, index.tables, part, error, replaced=True))
            if unread is not None:
                nothing = msgspec.structs.replace(entry, changes=())
                made.append(holes.note(txn, index.tables, nothing, unread, readable=False))
        _tell(made)

    def _unbearable(self, entry: Entry, changes: tuple[AnyChange, ...]) -> list[tuple[AnyChange, Exception]]:
        """Those of the changes of a snapshot that make the fold raise, each with what it raises."""
        try:
            with self._index.env.begin(write=True) as txn:
                self._index.replace_system(txn, msgspec.structs.replace(entry, changes=changes), b"", b"")
                txn.abort()
        except Exception as error:
            if not holes.is_of_the_entry(error):
                raise
            if len(changes) == 1:
                return [(changes[0], error)]
            half = len(changes) // 2
            return self._unbearable(entry, changes[:half]) + self._unbearable(entry, changes[half:])
        return []

    def forget_workspace(self, workspace: str) -> set[bytes]:
        """Drop what is here of a Workspace that this node may not see any more; the blobs that no file names now."""
        if self._beside is not None:
            with self._index.env.begin(write=True) as txn:
                self._index.forget_workspace(txn, workspace)
        with self._live.env.begin(write=True) as txn:
            return self._live.forget_workspace(txn, workspace)

    def _fold_whole(self, txn: Txn, entry: Entry, told: _Told) -> None:
        self._index.apply(txn, entry, told[0])

    def _fold_seen(self, txn: Txn, entry: Entry, told: _Told) -> None:
        self._index.apply_seen(txn, entry, told[1])

    def _take(self, told: Sequence[_Told], fold: _Fold) -> int:
        """All of them at once; one by one where that raises, and without those that do."""
        self._make_way(told)
        try:
            return self._take_all(told, fold, careful=False)
        except Exception as error:
            if not holes.is_of_the_entry(error):
                raise
        return self._take_all(told, fold, careful=True)

    def _make_way(self, told: Sequence[_Told]) -> None:
        """What was deleted and is not all gone yet makes way for what comes in its place, in short transactions: the
        fold would do it in one, which no revocation could pass."""
        index = self._index
        with index.env.begin() as txn:
            if not any(leaving.pending(txn, index.tables)):
                return
        for place in dict.fromkeys(_place_of(body) for body, _ in told):
            while place is not None:
                with index.env.begin(write=True) as txn:
                    over = ending.ended(txn, index.tables, place[0]) is not None  # nothing comes into that any more
                    if over or index.clear_some(txn, CLEAR_ROWS, place) is None:
                        break

    def _take_all(self, told: Sequence[_Told], fold: _Fold, *, careful: bool) -> int:
        index, fresh, made = self._index, 0, list[Hole]()
        with index.env.begin(write=True) as txn:
            epoch, missing = index.epoch(txn), holes.holes(txn, index.tables)
            for one in told:
                entry, unread = _read(one[0], careful=careful)
                if epoch == 0:
                    epoch = entry.epoch
                    index.set_epoch(txn, epoch)
                if entry.epoch > epoch:
                    raise Damaged("The origin's journal has begun a new epoch.", _ANEW)
                serial, hash = index.head(txn, entry.workspace)
                if entry.serial <= serial:
                    if entry.serial == serial and one[1] != hash:
                        raise Damaged("The origin's history is not the one that this edge has.", _ANEW)
                    continue
                index.check_chain(txn, entry)
                fresh += 1
                error = unread or self._fold_one(txn, entry, one, fold, careful=careful)
                if error is not None:
                    index.pass_over(txn, entry, one[1])
                    made.append(holes.note(txn, index.tables, entry, error, readable=unread is None))
                    missing = holes.holes(txn, index.tables)
                elif missing:
                    missing = holes.mend(txn, index.tables, missing, entry)
        _tell(made)
        return fresh

    def _fold_one(self, txn: Txn, entry: Entry, told: _Told, fold: _Fold, *, careful: bool) -> Exception | None:
        """What it raised, if it leaves no trace of itself."""
        if not careful:
            fold(txn, entry, told)
            return None
        try:
            with self._index.env.begin(write=True, parent=txn) as within:
                fold(within, entry, told)
        except Exception as error:
            if not holes.is_of_the_entry(error):
                raise
            return error
        return None

    def reset_for_resync(self, epoch: int = 0) -> None:
        """Begin anew: entries are taken from the first one on. What is shown stays until `take_over`, where there is
        anything. `epoch` is the origin's present one, 0 = the first entry tells; entries of earlier epochs are part of
        the same history."""
        self.close()
        with self._live.env.begin() as txn:
            shows = bool(self._live.heads(txn))
        if shows:
            self._beside = Beside(self._live)
        with self._index.env.begin(write=True) as txn:
            self._index.drop_fold(txn)
            self._index.set_epoch(txn, epoch)
            self._index.set_stamp(txn)

    def take_over(self) -> None:
        """The other history is whole: show it, in one step."""
        if self._beside is not None:
            self._beside.take_over()
            self.close()

    def close(self) -> None:
        """Let go of a history that is being learned."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.discard()


def _read(body: bytes, *, careful: bool) -> tuple[Entry, Exception | None]:
    """An entry; its head alone, or what of it is understood, where that is not all, and why. Raises DecodeError unless
    `careful`."""
    try:
        entry, passed_over = entries.told(body)
        for tag in passed_over:
            _tell_passed_over(tag)
        return entry, None
    except NotUnderstood as error:
        if not careful:
            raise
        return error.entry, error
    except msgspec.DecodeError as error:
        if not careful:
            raise
        unread = error
    try:
        head = HEAD_DECODER.decode(body)
    except msgspec.DecodeError:
        raise Damaged("The origin sent an entry that cannot be read.", _ANEW) from None
    return Entry(head.epoch, head.workspace, head.serial, head.previous, 0, "", "", "", ()), unread


@cache
def _tell_passed_over(tag: str) -> None:
    """Once: it only informs."""
    log.warning("the origin says something that this version need not know (%s): it is passed over", tag)


def _place_of(body: bytes) -> tuple[str, str] | None:
    """The Workspace and Repository that an entry puts something into, or makes; None where it makes or is of none."""
    try:
        entry = entries.read(body)
    except msgspec.DecodeError:
        return None
    made = [one.repository.name for one in entry.changes if isinstance(one, PutRepository)]
    if entry.workspace == SYSTEM or not (made or entry.repository):
        return None
    return entry.workspace, made[0] if made else entry.repository


def _tell(made: Sequence[Hole]) -> None:
    for one in made:
        closes = "nothing else is refused for it"
        if one.closes:
            named = "every workspace" if holes.CLOSES_ALL in one.closes else ", ".join(one.closes)
            closes = f"private packages of {named} are refused once a lease is over"
        log.error(
            "entry %d of %s (%s) cannot be taken in: %s. It is passed over, and %s. Upgrade this edge, or make the"
            " change anew at the origin.",
            one.serial,
            one.workspace,
            one.action or "unreadable",
            one.why,
            closes,
        )
