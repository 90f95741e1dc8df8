"""How does an edge take in its origin's entries?

In order, in one transaction, chain and epoch checked; what was applied before is passed over. History that differs is
never merged: it is Damaged, and the edge starts anew, beside what it shows until it has all of it.
"""

from collections.abc import Sequence

import msgspec

from storage.digest import sha256
from storage.errors import Damaged
from storage.index.beside import Beside
from storage.index.index import Index
from storage.nouns import SYSTEM, Entry, PutAccount, PutEdge, PutHost, PutToken, PutWorkspace

_ENTRY = msgspec.msgpack.Decoder(Entry)
_OF_SYSTEM = (PutWorkspace, PutToken, PutAccount, PutEdge, PutHost)
_ANEW = "This edge starts anew from its origin."


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
        """Was what is shown taken in by a program that keeps other rows? Then it has to be learned anew."""
        with self._live.env.begin() as txn:
            return self._live.is_outdated(txn)

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
        fresh = 0
        with self._index.env.begin(write=True) as txn:
            epoch = self._index.epoch(txn)
            for body in bodies:
                entry = self._decoded(body)
                if epoch == 0:
                    epoch = entry.epoch
                    self._index.set_epoch(txn, epoch)
                if entry.epoch > epoch:
                    raise Damaged("The origin's journal has begun a new epoch.", _ANEW)
                serial, hash = self._index.head(txn, entry.workspace)
                if entry.serial <= serial:
                    if entry.serial == serial and sha256(body) != hash:
                        raise Damaged("The origin's history is not the one that this edge has.", _ANEW)
                    continue
                self._index.check_chain(txn, entry)
                self._index.apply(txn, entry, body)
                fresh += 1
        return fresh

    def scope(self) -> bytes:
        """By what the SYSTEM rows were chosen for this node, as the origin told it; b"" = they are all."""
        with self._index.env.begin() as txn:
            return self._index.scope(txn)

    def apply_seen(self, body: bytes, hash: bytes) -> int:
        """Apply what this node may see of one entry; 1 = it was new. Raises Damaged as `apply_raw` does."""
        entry = self._decoded(body)
        with self._index.env.begin(write=True) as txn:
            epoch = self._index.epoch(txn)
            if epoch == 0:
                self._index.set_epoch(txn, entry.epoch)
            elif entry.epoch > epoch:
                raise Damaged("The origin's journal has begun a new epoch.", _ANEW)
            serial, known = self._index.head(txn, entry.workspace)
            if entry.serial <= serial:
                if entry.serial == serial and hash != known:
                    raise Damaged("The origin's history is not the one that this edge has.", _ANEW)
                return 0
            self._index.check_chain(txn, entry)
            self._index.apply_seen(txn, entry, hash)
        return 1

    def replace_system(self, body: bytes, hash: bytes, scope: bytes) -> None:
        """Take what this node may see of the SYSTEM journal, as of one Serial, in the place of what it saw.

        Raises Damaged for one that is older than what is here: nothing ever goes back.
        """
        entry = self._decoded(body)
        if entry.workspace != SYSTEM or any(not isinstance(one, _OF_SYSTEM) for one in entry.changes):
            raise Damaged("The origin sent a snapshot of something else.", _ANEW)
        with self._index.env.begin(write=True) as txn:
            epoch = self._index.epoch(txn)
            serial, known = self._index.head(txn, SYSTEM)
            if epoch not in (0, entry.epoch) or serial > entry.serial or (serial == entry.serial and known != hash):
                raise Damaged("The origin's history is not the one that this edge has.", _ANEW)
            self._index.set_epoch(txn, entry.epoch)
            self._index.replace_system(txn, entry, hash, scope)

    def forget_workspace(self, workspace: str) -> set[bytes]:
        """Drop what is here of a Workspace that this node may not see any more; the blobs that no file names now."""
        if self._beside is not None:
            with self._index.env.begin(write=True) as txn:
                self._index.forget_workspace(txn, workspace)
        with self._live.env.begin(write=True) as txn:
            return self._live.forget_workspace(txn, workspace)

    def _decoded(self, body: bytes) -> Entry:
        try:
            return _ENTRY.decode(body)
        except msgspec.DecodeError:
            raise Damaged("The origin sent an entry that cannot be read.", _ANEW) from None

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
