"""How does a decision become durable, in the one order that loses nothing?

Pack bytes durable → journal durable → index applied → caller told. One thread a process commits in groups: whatever
one turn of the loop asked for goes together, with what was asked for during the last group, so that one set of syncs
serves all of it. The write lock between processes is the write transaction of the index. A decision runs under it,
over a Reading that shows the earlier ones of its group; one that raises fails alone and leaves no trace. An entry is
read back from its bytes and folded, as every edge will do it, before anybody is told (THREATS F10).

A group that cannot be written is taken back while the lock is held: the journal is cut to where it counted. When the
index transaction itself fails the lock is gone for a moment; then the End tells whether another process has meanwhile
found our frames and applied them, which makes the group a success.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lmdb
import msgspec
import trio

from storage import disk
from storage.blobs.intake import Staged
from storage.blobs.shelf import BlobShelf
from storage.errors import Full, Invalid, TooLarge
from storage.index import checking, ending
from storage.index.catalog import Reading
from storage.index.holes import is_of_the_entry, why
from storage.index.index import Index
from storage.index.tables import Txn
from storage.journal import frames
from storage.journal.frames import FRAME_BYTES
from storage.journal.journal import End, Journal
from storage.nouns import Draft, Entry, PutFile
from storage.quotas import Quotas, Reservation
from storage.recovery import catch_up
from storage.spans import mark, step

GROUP_MAX = 100
GROUP_BYTES_MAX = 16 << 20
PREPARING_MAX = 4

_encode = msgspec.msgpack.Encoder().encode
_ENTRY = msgspec.msgpack.Decoder(Entry)
log = logging.getLogger("entrepot.storage")


class _Unfit(Invalid):
    """An entry makes the fold raise."""


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


type Decide = Callable[[Reading], Decided]


class Room(NamedTuple):
    """How much of the disk stays free: for what brings bytes, and for what brings none (deletes, revocations)."""

    uploads_bytes: int = 64 << 20
    changes_bytes: int = 8 << 20


ROOM = Room()


class _Wish:
    """One caller's commit while it waits."""

    __slots__ = ("decide", "failure", "reservation", "result", "size", "staged", "task", "token", "trace")

    def __init__(self, decide: Decide, staged: Sequence[Staged], reservation: Reservation | None) -> None:
        self.decide = decide
        self.reservation = reservation
        self.staged = staged
        self.size = sum(one.size for one in staged if not one.is_large)
        self.task = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        self.trace = mark()
        self.failure: Exception | None = None
        self.result: Committed | None = None


class _Group:
    """A group under the write lock: where its frames go, what they are, which bytes come with them, how each ended."""

    __slots__ = ("at", "failures", "frames", "fresh", "length", "results", "settled")

    def __init__(self, at: End) -> None:
        self.at = at
        self.frames: list[bytes] = []
        self.length = 0
        self.fresh: dict[bytes, Staged] = {}
        self.results: list[tuple[_Wish, Committed]] = []
        self.failures: list[tuple[_Wish, Exception]] = []
        self.settled: list[Reservation] = []


class Committer:
    """The only way into the journal of an origin. `commit` may be called from any task; close it at the end."""

    def __init__(
        self,
        index: Index,
        journal: Journal,
        shelf: BlobShelf,
        quotas: Quotas,
        now_ms: Callable[[], int],
        *,
        room: Room = ROOM,
    ) -> None:
        self._index = index
        self._journal = journal
        self._shelf = shelf
        self._quotas = quotas
        self._now_ms = now_ms
        self._room = room
        self._preparing: trio.CapacityLimiter | None = None
        self._asked: deque[_Wish] = deque()
        self._ringing: trio.lowlevel.TrioToken | None = None
        self._told: queue.SimpleQueue[list[_Wish] | None] = queue.SimpleQueue()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._told.put(None)
        self._thread.join()

    async def commit(
        self, decide: Decide, staged: Sequence[Staged] = (), reservation: Reservation | None = None
    ) -> Committed:
        """Decide and write; returns when it is durable and visible.

        `decide` runs in the commit thread: it only reads, and may be asked again. Of `staged` only what the draft's
        files name is kept. `reservation` is the room that was kept for it, and is spent with it. Raises what `decide`
        raises, Full, OverQuota, TooLarge, Invalid for a name that no key can hold or bytes that nobody brought. Once
        begun it is not cancelled: it ends within a few syncs, one way or the other.
        """
        large = [one for one in staged if one.is_large and one.sha256 and one.pack is None]
        if large:
            self._preparing = self._preparing or trio.CapacityLimiter(PREPARING_MAX)
            await trio.to_thread.run_sync(self._prepare, large, limiter=self._preparing)
        with step("commit"):
            wish = _Wish(decide, staged, reservation)
            self._asked.append(wish)
            if self._ringing is not wish.token:  # each call costs a write to wake the loop up
                self._ringing = wish.token
                wish.token.run_sync_soon(self._hand_over)
            await trio.lowlevel.wait_task_rescheduled(_not_now)
            if wish.failure is not None:
                raise wish.failure
        assert wish.result is not None
        return wish.result

    def _prepare(self, large: Sequence[Staged]) -> None:
        """Large uploads become durable before the lock is taken, so that they hold up nobody."""
        for staged in large:
            if self._shelf.holds(staged.sha256) is None:
                self._shelf.prepare(staged)

    def _hand_over(self) -> None:
        """Once a turn of the loop: all that it asked for becomes one group, and wakes the thread once."""
        self._ringing = None
        wishes: list[_Wish] = []
        while self._asked:
            wishes.append(self._asked.popleft())
        if wishes:
            self._told.put(wishes)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        waiting: deque[_Wish] = deque()
        while waiting or self._open:
            self._hear(waiting)
            if wishes := _group_of(waiting):
                self._serve(wishes)
                _wake(wishes)

    def _hear(self, waiting: deque[_Wish]) -> None:
        """Add what was handed over. Waits only where there is nothing: the syncs of one group collect the next."""
        while self._open and not (waiting and self._told.empty()):
            wishes = self._told.get()
            if wishes is None:
                self._open = False
            else:
                waiting.extend(wishes)

    def _serve(self, wishes: list[_Wish]) -> None:
        try:
            try:
                self._write(wishes)
            except lmdb.Error as error:
                raise disk.judge_index(error, self._index.path) or error from error
        except (Full, _Unfit) as problem:
            if len(wishes) == 1:
                wishes[0].failure = problem
                return
            for wish in wishes:  # a smaller one may still fit, one that is well goes in
                self._serve([wish])
        except Exception as error:
            for wish in wishes:
                wish.failure = error

    def _write(self, wishes: list[_Wish]) -> None:
        """One group, whole: on any error raised here nothing of it is stored."""
        with disk.room("for this change"):
            txn, end = self._begin()
            group = _Group(self._journal.place(end))
            stop = None
            try:
                self._decide(txn, wishes, group)
                if group.frames:
                    self._shelf.write(txn, list(group.fresh.values()))
                    self._quotas.settle(txn, group.settled)
                    stop = self._append(end, group)
                    self._index.set_end(txn, stop)
            except BaseException:
                if stop is not None:
                    self._journal.cut(end)
                self._shelf.roll_back(txn)
                txn.abort()
                raise
            if stop is None:
                txn.abort()
            else:
                self._finish(txn, end)
        if stop is not None:
            self._quotas.spent(group.settled)
        for staged in group.fresh.values():
            staged.keep()
        for wish, result in group.results:
            wish.result = result
        for wish, failure in group.failures:
            wish.failure = failure

    def _begin(self) -> tuple[Txn, End]:
        """The write lock, with everything applied that other processes journaled and did not live to apply."""
        while True:
            txn = self._index.env.begin(write=True)
            try:
                if not catch_up(txn, self._index, self._journal, self._shelf):
                    end = self._index.end(txn)
                    assert end is not None
                    return txn, end
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def _append(self, end: End, group: _Group) -> End:
        try:
            return self._journal.append(group.at, b"".join(group.frames))
        except OSError:
            self._journal.cut(end)
            raise

    def _finish(self, txn: Txn, end: End) -> None:
        """Commit the index. Where that fails, take the group back, unless another process was faster to apply it."""
        try:
            txn.commit()
        except lmdb.Error as error:
            problem = disk.judge_index(error, self._index.path)
            if self._taken_back(end):
                raise problem or error from error

    def _taken_back(self, end: End) -> bool:
        try:
            txn = self._index.env.begin(write=True)
        except lmdb.Error as error:
            disk.die(f"the index cannot be opened for writing any more ({error}); stopping")
        try:
            if self._index.end(txn) != end:
                return False
            self._journal.cut(end)
            self._shelf.roll_back(txn)
            return True
        finally:
            txn.abort()

    # ------------------------------------------------------------ deciding

    def _decide(self, txn: Txn, wishes: list[_Wish], group: _Group) -> None:
        reading = Reading(self._index, txn)
        free_bytes = disk.free_bytes(self._index.path)
        for wish in wishes:
            try:
                least = self._room.uploads_bytes if wish.staged else self._room.changes_bytes
                if free_bytes < least:
                    raise disk.full("for this change")
                result, body, fresh = self._judge(txn, group, wish, reading, wish.decide(reading))
            except Exception as error:
                group.failures.append((wish, error))
                continue
            if body is not None:
                assert result.entry is not None
                at = End(group.at.segment, group.at.offset + group.length)
                self._fold(txn, result.entry, body, at)
                group.frames.append(frames.frame(body))
                group.length += FRAME_BYTES + len(body)
                group.fresh.update(fresh)
                if wish.reservation is not None:
                    group.settled.append(wish.reservation)
            group.results.append((wish, result))

    def _fold(self, txn: Txn, entry: Entry, body: bytes, at: End) -> None:
        """Raises _Unfit for an entry that cannot be folded; its whole group is taken back."""
        try:
            self._index.apply(txn, entry, body, at)
        except Exception as error:
            if not is_of_the_entry(error):
                raise
            log.error("an entry was refused that cannot be folded: %s", why(error))
            raise _Unfit("This change cannot be taken in, so it was not made.", "Report it: this is a bug.") from error

    def _judge(
        self, txn: Txn, group: _Group, wish: _Wish, reading: Reading, decided: Decided
    ) -> tuple[Committed, bytes | None, dict[bytes, Staged]]:
        """The entry of a decision, if it can be written, and the stages it needs. Nothing is written here."""
        draft = decided.draft
        if draft is None or not (draft.changes or draft.once):
            workspace = decided.workspace if draft is None else draft.workspace
            serial = self._index.head(txn, workspace)[0] if workspace else 0
            return Committed(None, serial, decided.value), None, {}
        checking.check(draft)
        ending.check(txn, self._index.tables, draft)
        self._quotas.check(txn, draft, wish.reservation, group.settled)
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
            draft.reason,
            _name_of(reading, draft.actor),
            draft.once,
            wish.trace,
        )
        body = _encode(entry)
        if len(body) > frames.BODY_BYTES_MAX:
            raise TooLarge(
                f"This change takes {len(body)} bytes in the journal, {frames.BODY_BYTES_MAX} is the most.", "Split it."
            )
        return Committed(_as_read(body), serial + 1, decided.value), body, fresh

    def _fresh(self, txn: Txn, group: _Group, wish: _Wish, draft: Draft) -> dict[bytes, Staged]:
        """The stages that the draft's files need and that are not stored yet."""
        fresh: dict[bytes, Staged] = {}
        for change in draft.changes:
            if not isinstance(change, PutFile) or not change.file.sha256:
                continue
            sha256 = change.file.sha256
            if sha256 in fresh or sha256 in group.fresh:
                continue
            staged = next((one for one in wish.staged if one.sha256 == sha256), None)
            if self._shelf.ledger.has(txn, sha256):
                if staged is None or not self._shelf.ledger.is_damaged(txn, sha256):
                    continue
                self._shelf.ledger.remove(txn, sha256)  # what is brought replaces what is rotten
            if staged is None:
                raise Invalid(f"The file {change.file.name!r} names bytes that were not sent.", "Send them with it.")
            self._shelf.prepare(staged)  # done before, unless the store lost them since
            fresh[sha256] = staged
        return fresh


def _as_read(body: bytes) -> Entry:
    """An entry as everybody else will read it. Raises Invalid for one that nobody could."""
    try:
        return _ENTRY.decode(body)
    except msgspec.DecodeError as error:
        log.error("an entry was refused that cannot be read back: %s", why(error))
        raise Invalid("This change cannot be read back, so it was not made.", "Report it: this is a bug.") from error


def _name_of(reading: Reading, actor: str) -> str:
    """What the principal is called at this moment: a token, and whose, or an account; "" for what has no name but its
    id."""
    token = reading.token_by_id(actor) if actor else None
    if token is None:
        account = reading.account(actor) if actor else None
        return "" if account is None else account.name
    owner = reading.account(token.owner) if token.owner else None
    return token.name if owner is None else f"{owner.name} ({token.name})"


def _group_of(waiting: deque[_Wish]) -> list[_Wish]:
    """Take the next group out of what waits."""
    wishes: list[_Wish] = []
    size = 0
    while waiting and len(wishes) < GROUP_MAX and size < GROUP_BYTES_MAX:
        wishes.append(waiting.popleft())
        size += wishes[-1].size
    return wishes


def _wake(wishes: list[_Wish]) -> None:
    """One call into each loop for the whole group."""
    by_token: dict[int, tuple[trio.lowlevel.TrioToken, list[_Wish]]] = {}
    for wish in wishes:
        by_token.setdefault(id(wish.token), (wish.token, []))[1].append(wish)
    for token, some in by_token.values():
        try:
            token.run_sync_soon(_resume, some)
        except trio.RunFinishedError:
            continue


def _resume(wishes: list[_Wish]) -> None:
    for wish in wishes:
        trio.lowlevel.reschedule(wish.task)


def _not_now(_: object) -> trio.lowlevel.Abort:
    """A commit that was begun is not cancelled; the cancellation waits for the task's next checkpoint."""
    return trio.lowlevel.Abort.FAILED
