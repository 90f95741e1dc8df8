"""How does a decision become durable, in the one order that loses nothing?

Pack bytes durable → journal durable → index applied → caller told. One thread a process commits in groups: whatever
waits when it is free goes together, so that one set of syncs serves all of it. The write lock between processes is
the write transaction of the index. A decision runs under it, over a Reading that shows the earlier ones of its group;
one that raises fails alone and leaves no trace.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lmdb
import msgspec
import trio

from storage import disk, fold, frames
from storage.blobs import BlobShelf
from storage.catalog import Reading
from storage.digest import sha256
from storage.errors import Damaged, Problem, TooLarge
from storage.frames import FRAME_BYTES
from storage.index import Index
from storage.intake import Staged
from storage.journal import End, Journal
from storage.nouns import Draft, Entry, PutFile
from storage.recovery import recover
from storage.tables import Txn

GROUP_MAX = 100
GROUP_BYTES_MAX = 16 << 20

_encode = msgspec.msgpack.Encoder().encode
_ENTRY = msgspec.msgpack.Decoder(Entry)


class Decided(NamedTuple):
    """What to write (None = nothing) and what the caller gets back. `workspace` names the Serial to report when there
    is nothing to write: what was decided may rest on an entry that an edge has not seen yet."""

    draft: Draft | None
    value: Any = None
    workspace: str = ""


class Committed(NamedTuple):
    """The entry (None where nothing was written), the Serial of its workspace, and the decision's value."""

    entry: Entry | None
    serial: int
    value: Any


class _Wish:
    """One caller's commit while it waits."""

    __slots__ = ("decide", "done", "failure", "result", "staged", "token")

    def __init__(self, decide: Callable[[Reading], Decided], staged: Sequence[Staged]) -> None:
        self.decide = decide
        self.staged = staged
        self.done = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.failure: BaseException | None = None
        self.result: Committed | None = None


class _Group(NamedTuple):
    """A group under the write lock: where its frames go, and what they are."""

    at: End
    parts: list[bytes]
    fresh: dict[bytes, Staged]
    decided: list[tuple[_Wish, Committed]]


class Committer:
    """The only way into the journal of an origin. `commit` may be called from any task; close it at the end."""

    def __init__(self, index: Index, journal: Journal, shelf: BlobShelf, now_ms: Callable[[], int]) -> None:
        self._index = index
        self._journal = journal
        self._shelf = shelf
        self._now_ms = now_ms
        self._queue: queue.SimpleQueue[_Wish | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    async def commit(self, decide: Callable[[Reading], Decided], staged: Sequence[Staged] = ()) -> Committed:
        """Decide and write; returns when it is durable and visible. Raises what `decide` raises, Full, TooLarge.

        Once begun it is not cancelled: the caller's stages are in use until it is known how it ended.
        """
        wish = _Wish(decide, staged)
        self._queue.put(wish)
        with trio.CancelScope(shield=True):
            await wish.done.wait()
        if wish.failure is not None:
            raise wish.failure
        assert wish.result is not None
        return wish.result

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        going = True
        while going:
            first = self._queue.get()
            if first is None:
                return
            wishes, going = self._gather(first)
            self._serve(wishes)
            _wake(wishes)

    def _gather(self, first: _Wish) -> tuple[list[_Wish], bool]:
        wishes = [first]
        size = sum(one.size for one in first.staged)
        while len(wishes) < GROUP_MAX and size < GROUP_BYTES_MAX:
            try:
                wish = self._queue.get_nowait()
            except queue.Empty:
                break
            if wish is None:
                return wishes, False
            wishes.append(wish)
            size += sum(one.size for one in wish.staged)
        return wishes, True

    def _serve(self, wishes: list[_Wish]) -> None:
        ready = [wish for wish in wishes if self._prepared(wish)]
        try:
            self._write(ready)
        except BaseException as error:
            for wish in ready:
                if wish.failure is None and wish.result is None:
                    wish.failure = error

    def _prepared(self, wish: _Wish) -> bool:
        """Large uploads become durable before the lock is taken, so that they hold up nobody."""
        try:
            for staged in wish.staged:
                if staged.is_large and staged.sha256 and not self._holds(staged.sha256):
                    self._shelf.prepare(staged)
        except (Problem, OSError) as error:
            wish.failure = error
            return False
        return True

    def _holds(self, sha256: bytes) -> bool:
        with self._index.env.begin() as txn:
            return self._shelf.ledger.has(txn, sha256)

    def _write(self, wishes: list[_Wish]) -> None:
        try:
            with disk.room("for this commit"), self._index.env.begin(write=True) as txn:
                group = self._settle(txn, wishes)
        except lmdb.Error as error:
            raise disk.judge_index(error, self._index.path) or error from error
        for staged in group.fresh.values():
            staged.keep()
        for wish, result in group.decided:
            wish.result = result

    def _settle(self, txn: Txn, wishes: list[_Wish]) -> _Group:
        """Everything that happens under the write lock; the caller's commit of `txn` makes it count."""
        end = catch_up(txn, self._index, self._journal, self._shelf)
        group = self._decide(txn, wishes, end)
        if not group.parts:
            return group
        try:
            self._shelf.keep(txn, list(group.fresh.values()))
            self._index.set_end(txn, self._append(end, group))
        except BaseException:
            self._shelf.roll_back()
            raise
        return group

    def _append(self, end: End, group: _Group) -> End:
        try:
            return self._journal.append(group.at, b"".join(group.parts))
        except OSError:
            self._journal.cut(end)
            raise

    def _decide(self, txn: Txn, wishes: list[_Wish], end: End) -> _Group:
        at = self._journal.place(end)
        group = _Group(at, [], {}, [])
        reading = Reading(self._index, txn)
        offset = at.offset
        for wish in wishes:
            try:
                decided = wish.decide(reading)
                result, body = self._judge(txn, group, wish, decided)
            except Exception as error:
                wish.failure = error
                continue
            if body is not None:
                assert result.entry is not None
                self._index.apply(txn, result.entry, body, End(at.segment, offset))
                group.parts.append(frames.frame(body))
                offset += FRAME_BYTES + len(body)
            group.decided.append((wish, result))
        return group

    def _judge(
        self, txn: Txn, group: _Group, wish: _Wish, decided: Decided
    ) -> tuple[Committed, bytes | None]:
        """The entry of a decision, if it can be written. Nothing is written here."""
        draft = decided.draft
        if draft is None:
            serial = self._index.head(txn, decided.workspace)[0] if decided.workspace else 0
            return Committed(None, serial, decided.value), None
        fold.check(draft)
        fresh = self._fresh(txn, group, wish, draft)
        serial, previous = self._index.head(txn, draft.workspace)
        entry = Entry(
            self._journal.epoch,
            draft.workspace,
            serial + 1,
            previous,
            self._now_ms(),
            draft.actor,
            draft.action,
            draft.repository,
            draft.changes,
        )
        body = _encode(entry)
        if len(body) > frames.BODY_BYTES_MAX:
            raise TooLarge("This change is larger than a journal entry may be.", "Split it.")
        group.fresh.update(fresh)
        return Committed(entry, serial + 1, decided.value), body

    def _fresh(self, txn: Txn, group: _Group, wish: _Wish, draft: Draft) -> dict[bytes, Staged]:
        """The stages that the draft's files need and that are not stored yet."""
        stages = {one.sha256: one for one in wish.staged if one.sha256}
        fresh: dict[bytes, Staged] = {}
        for change in draft.changes:
            if not isinstance(change, PutFile) or not change.file.sha256:
                continue
            identity = change.file.sha256
            if identity in group.fresh or identity in fresh or self._shelf.ledger.has(txn, identity):
                continue
            if identity not in stages:
                raise ValueError(f"{draft.action} names a blob that nobody brought")
            staged = stages[identity]
            self._shelf.prepare(staged)
            fresh[identity] = staged
        return fresh


def _wake(wishes: list[_Wish]) -> None:
    """One call into each loop for the whole group."""
    by_token: dict[int, tuple[trio.lowlevel.TrioToken, list[_Wish]]] = {}
    for wish in wishes:
        by_token.setdefault(id(wish.token), (wish.token, []))[1].append(wish)

    def wake(some: list[_Wish]) -> None:
        for wish in some:
            wish.done.set()

    for token, some in by_token.values():
        try:
            token.run_sync_soon(wake, some)
        except trio.RunFinishedError:
            continue


def catch_up(txn: Txn, index: Index, journal: Journal, shelf: BlobShelf) -> End:
    """Under the write lock: apply what a process journaled and did not live to index, cut what is torn.

    Returns the End. Raises Damaged where an entry's bytes are nowhere to be found.
    """
    end = index.end(txn)
    if end is None:
        end = End(1, frames.HEADER_BYTES)
        journal.cut(end)
        index.set_end(txn, end)
        return end
    if not journal.is_ragged(end):
        return end
    stray = journal.stray(end)
    if stray.torn:
        journal.cut(stray.stop)
    elif stray.frames:
        journal.settle(stray.stop)
    for at, body in stray.frames:
        entry = _ENTRY.decode(body)
        index.check_chain(txn, entry)
        lost = recover(txn, shelf, wanted_by(entry))
        if lost:
            raise Damaged("An entry of the journal names bytes that are in no pack.", "Restore the packs from a copy.")
        index.apply(txn, entry, body, at)
    index.set_end(txn, stray.stop)
    return stray.stop


def wanted_by(entry: Entry) -> set[bytes]:
    """The blobs that an entry's files need."""
    return {one.file.sha256 for one in entry.changes if isinstance(one, PutFile) and one.file.sha256}


class Applier:
    """An edge's way to apply its origin's entries."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def heads(self) -> dict[str, tuple[int, bytes]]:
        with self._index.env.begin() as txn:
            return self._index.heads(txn)

    def epoch(self) -> int:
        """The epoch followed; 0 before the first entry."""
        with self._index.env.begin() as txn:
            return self._index.epoch(txn)

    def apply_raw(self, bodies: Sequence[bytes]) -> int:
        """Apply entries in order, in one transaction; those already applied are skipped. Returns how many were new.

        Raises Damaged for a broken chain or another epoch; then nothing of `bodies` is applied.
        """
        fresh = 0
        with self._index.env.begin(write=True) as txn:
            epoch = self._index.epoch(txn)
            for body in bodies:
                entry = _ENTRY.decode(body)
                if epoch and entry.epoch < epoch:
                    raise Damaged("The origin's journal went back to an older epoch.", "This edge starts anew.")
                serial, head = self._index.head(txn, entry.workspace)
                if entry.serial <= serial:
                    if entry.serial == serial and sha256(body) != head:
                        raise Damaged("The origin's history differs from what this edge has.", "This edge starts anew.")
                    continue
                self._index.check_chain(txn, entry)
                self._index.apply(txn, entry, body)
                epoch = max(epoch, entry.epoch)
                fresh += 1
            if fresh:
                self._index.set_epoch(txn, epoch)
        return fresh

    def reset_for_resync(self) -> None:
        """Forget everything that was followed, in one transaction: the next entries begin at Serial 1."""
        with self._index.env.begin(write=True) as txn:
            self._index.drop_fold(txn)
            self._index.set_epoch(txn, 0)
