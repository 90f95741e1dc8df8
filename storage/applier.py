"""How does an edge take in its origin's entries?

In order, in one transaction, chain and epoch checked; what was applied before is passed over. History that differs is
never merged: it is Damaged, and the edge starts anew.
"""

from collections.abc import Sequence

import msgspec

from storage.digest import sha256
from storage.errors import Damaged
from storage.index import Index
from storage.nouns import Entry

_ENTRY = msgspec.msgpack.Decoder(Entry)
_ANEW = "This edge starts anew from its origin."


class Applier:
    """For one follower at a time. Synchronous, one sync a call: call it in a thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Serial and hash of the last entry by workspace."""
        with self._index.env.begin() as txn:
            return self._index.heads(txn)

    def epoch(self) -> int:
        """The epoch followed; 0 before the first entry."""
        with self._index.env.begin() as txn:
            return self._index.epoch(txn)

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

    def _decoded(self, body: bytes) -> Entry:
        try:
            return _ENTRY.decode(body)
        except msgspec.DecodeError:
            raise Damaged("The origin sent an entry that cannot be read.", _ANEW) from None

    def reset_for_resync(self, epoch: int = 0) -> None:
        """Forget everything that was followed, in one transaction. `epoch` is the origin's present one, 0 = the first
        entry tells; entries of earlier epochs are part of the same history."""
        with self._index.env.begin(write=True) as txn:
            self._index.drop_fold(txn)
            self._index.set_epoch(txn, epoch)
