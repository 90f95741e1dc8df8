"""Commits: one order, groups that share their syncs, refusals without a trace, a way back from every failure."""

import errno
import os
from pathlib import Path
from typing import Any

import lmdb
import pytest
import trio

from storage import disk
from storage.commit import GROUP_MAX, Committer, Decided, Room
from storage.errors import Conflict, Full, Invalid, Problem, TooLarge
from storage.index import fold
from storage.index.catalog import Reading
from storage.index.keys import label_format, label_package, label_repository, label_token, label_workspace
from storage.journal import frames
from storage.nouns import (
    SYSTEM,
    DropFile,
    DropRepository,
    File,
    Package,
    PutFile,
    PutPackage,
    PutRepository,
    PutTag,
    PutToken,
    PutWorkspace,
    Repository,
    Token,
    Workspace,
)
from storage.open import rebuild_index
from tests.harness.stores import content, draft, opened, publish, write

LARGE = os.urandom(3 << 20)


async def test_what_is_acknowledged_is_there_also_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = await publish(store, "small.txt", b"hello")
        second = await publish(store, "large.bin", LARGE)
        assert (first.serial, second.serial) == (1, 2)
        assert list(store.intake.folder.iterdir()) == []
    with opened(tmp_path) as store, store.catalog.read() as reading:
        assert content(store, reading, "small.txt") == b"hello"
        assert content(store, reading, "large.bin") == LARGE
        assert reading.serial("acme") == 2


async def test_the_order_is_pack_journal_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        events = []
        real, seen = os.fdatasync, store.catalog.moment()

        def noted(fd: int) -> None:
            assert store.catalog.moment() == seen, "the index was committed before what it rests on"
            events.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix)
            real(fd)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", noted)
            await publish(store, "b", b"b")
        assert events == [".pack", ".seg"]
        assert store.catalog.moment() > seen


async def test_a_group_shares_its_syncs_and_later_decisions_see_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0
    real = disk.settle

    def counted(fd: int, name: str) -> None:
        nonlocal syncs
        syncs += 1
        real(fd, name)

    with opened(tmp_path) as store:
        monkeypatch.setattr(disk, "settle", counted)
        committer = store.committer
        assert committer is not None
        results: list[object] = []

        async def create() -> None:
            def decide(reading: Reading) -> Decided:
                if reading.repository("acme", "main") is not None:
                    raise Conflict("taken")
                return Decided(draft(PutRepository(Repository("acme", "main"))), "made")

            try:
                results.append((await committer.commit(decide)).value)
            except Conflict:
                results.append("taken")

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(create)
        assert sorted(map(str, results)) == ["made"] + ["taken"] * 49
        assert syncs < 25


async def test_a_refused_decision_leaves_no_trace(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        before, moment = store.index.dump(), store.catalog.moment()

        def refuse(reading: Reading) -> Decided:
            raise Conflict("no")

        assert store.committer is not None
        with store.intake.stage() as staged:
            staged.write(LARGE)
            staged.seal()
            with pytest.raises(Conflict):
                await store.committer.commit(refuse, [staged])
        assert store.index.dump() == before
        assert store.catalog.moment() == moment
        assert store.blobs.find(staged.sha256) is None
        assert len(list(store.blobs.root.iterdir())) == 1, "a refused large upload keeps no pack"


async def test_nothing_to_write_reports_where_the_workspace_stands(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        assert store.committer is not None
        for decided in (Decided(None, "same", "acme"), Decided(draft(), "same")):
            done = await store.committer.commit(lambda reading, decided=decided: decided)  # type: ignore[misc]
            assert (done.entry, done.serial, done.value) == (None, 1, "same")


async def test_the_same_bytes_are_stored_once(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(publish, store, f"small-{n}", b"same")
        for n in range(3):
            await publish(store, f"large-{n}", LARGE)
        packs = store.blobs.packs()
        assert sum(pack.live_bytes for pack in packs) == 4 + len(LARGE)
        assert len(list(store.blobs.root.iterdir())) == 2
        with store.catalog.read() as reading:
            assert content(store, reading, "large-2") == LARGE


async def test_a_bug_in_one_decision_fails_that_one_alone(tmp_path: Path) -> None:
    def bug(reading: Reading) -> Decided:
        raise ZeroDivisionError

    with opened(tmp_path) as store:
        assert store.committer is not None
        with pytest.raises(ZeroDivisionError):
            await store.committer.commit(bug)
        assert (await publish(store, "a", b"a")).serial == 1


@pytest.mark.parametrize(
    "change",
    [
        PutFile("generic", "p", File("a", "1", bytes(32), 3)),  # bytes that nobody sent
        PutPackage("generic", Package("x" * 600)),
        PutPackage("generic", Package("a\0b")),
        PutFile("generic", "p", File("f" * 481, "1", b"", 3)),
    ],
)
async def test_changes_that_cannot_be_kept_are_refused(tmp_path: Path, change: Any) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(Invalid):
            await write(store, change)
        assert (await publish(store, "a", b"a")).serial == 1


async def test_an_entry_beyond_the_limit_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BODY_BYTES_MAX", 1000)
    with opened(tmp_path) as store:
        with pytest.raises(TooLarge):
            await write(store, PutPackage("generic", Package("p", 0, bytes(2000))))
        assert (await publish(store, "a", b"a")).serial == 1


async def test_changes_go_to_their_own_journal(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for wrong in (
            draft(PutWorkspace(Workspace("acme"))),
            draft(PutRepository(Repository("other", "main"))),
            draft(PutPackage("generic", Package("p")), workspace=SYSTEM),
            draft(PutPackage("generic", Package("p")), repository=""),
        ):
            assert store.committer is not None
            with pytest.raises(ValueError, match="journal"):
                await store.committer.commit(lambda reading, wrong=wrong: Decided(wrong))  # type: ignore[misc]
        with pytest.raises(Invalid):
            await write(store, PutWorkspace(Workspace(SYSTEM)), workspace=SYSTEM, repository="")


async def test_labels_move_with_what_they_name(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        token = Token("t1", "ci", bytes(32), ())
        await write(store, PutWorkspace(Workspace("acme")), workspace=SYSTEM, repository="")
        await write(store, PutToken(token), workspace=SYSTEM, repository="")
        await write(store, PutRepository(Repository("acme", "main")))
        await publish(store, "a", b"a", package="one")
        await publish(store, "b", b"b", package="two")

        def labels() -> list[int]:
            with store.catalog.read() as reading:
                return [
                    reading.label(label_workspace("acme")),
                    reading.label(label_token("t1")),
                    reading.label(label_repository("acme", "main")),
                    reading.label(label_format("acme", "main", "generic")),
                    reading.label(label_package("acme", "main", "generic", "one")),
                    reading.label(label_package("acme", "main", "generic", "two")),
                ]

        assert labels() == [1, 2, 1, 3, 2, 3]
        await write(store, DropFile("generic", "one", "a"))
        assert labels() == [1, 2, 1, 4, 4, 3]
        await write(store, DropRepository("acme", "main"))
        assert labels() == [1, 2, 5, 5, 5, 5], "nothing remembered of a dropped repository may live on"


async def test_e5_no_room_for_the_pack_fails_that_request_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        before = store.index.dump()
        for suffix in (".pack", ".seg"):
            with monkeypatch.context() as patched:
                _no_room_in(patched, suffix)
                with pytest.raises(Full):
                    await publish(store, "b", b"b")
            assert store.index.dump() == before
            assert store.blobs.find(b"b") is None
        assert (await publish(store, "b", b"b")).serial == 2
    with opened(tmp_path) as store, store.catalog.read() as reading:
        assert content(store, reading, "b") == b"b"


def _no_room_in(patched: pytest.MonkeyPatch, suffix: str) -> None:
    """Half of what goes to such a file is written, then the disk is full."""
    real = os.pwrite

    def stingy(fd: int, data: Any, offset: int) -> int:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith(suffix):
            return real(fd, data, offset)
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(data)[: len(data) // 2], offset)

    patched.setattr(os, "pwrite", stingy)


async def test_e5_the_larger_of_a_group_does_not_take_the_smaller_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        await publish(store, "first", b"first")
        real, outcome = os.pwrite, {}

        def stingy(fd: int, data: Any, offset: int) -> int:
            if len(data) > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data, offset)

        async def one(name: str, size: int) -> None:
            try:
                await publish(store, name, bytes([len(outcome)]) * size)
                outcome[name] = "kept"
            except Full:
                outcome[name] = "full"

        monkeypatch.setattr(os, "pwrite", stingy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "large", 200_000)
            for n in range(5):
                nursery.start_soon(one, f"small-{n}", 100 + n)
        assert outcome == {"large": "full"} | {f"small-{n}": "kept" for n in range(5)}


async def test_e5_room_is_kept_for_changes_that_bring_no_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, room=Room(1000, 100)) as store:
        await publish(store, "a", b"a")
        monkeypatch.setattr(disk, "free_bytes", lambda where: 500)
        with pytest.raises(Full):
            await publish(store, "b", b"b")
        await write(store, DropFile("generic", "pkg", "a"))
        monkeypatch.setattr(disk, "free_bytes", lambda where: 50)
        with pytest.raises(Full):
            await write(store, DropFile("generic", "pkg", "a"))


def lmdb_error(kind: type[lmdb.Error], code: int) -> lmdb.Error:
    """An error as the library makes it."""
    error = kind("mdb_txn_commit")
    error.__dict__["code"] = code
    return error


class FailingIndex:
    """An environment whose write transactions fail to commit, as on a full disk; everything else is the real one's."""

    def __init__(self, env: lmdb.Environment, failures: int, meanwhile: Any = None) -> None:
        self._env = env
        self._failures = failures
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def begin(self, **options: Any) -> Any:
        txn = self._env.begin(**options)
        if not options.get("write") or not self._failures:
            return txn
        return FailingTxn(txn, self)

    def fail(self, txn: Any) -> None:
        self._failures -= 1
        txn.abort()
        if self._meanwhile is not None:
            self._meanwhile()
        raise lmdb_error(lmdb.DiskError, errno.ENOSPC)


class FailingTxn:
    def __init__(self, txn: Any, index: FailingIndex) -> None:
        self._txn = txn
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def commit(self) -> None:
        self._index.fail(self._txn)


async def test_e5_an_index_that_cannot_commit_takes_the_journal_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        sizes = {path: path.stat().st_size for path in tmp_path.glob("[jp]*/*")}
        real = store.index.env
        store.index.env = FailingIndex(real, 1)  # type: ignore[assignment]
        with pytest.raises(Full):
            await publish(store, "b", b"b")
        store.index.env = real
        assert {path: path.stat().st_size for path in tmp_path.glob("[jp]*/*")} == sizes
        assert (await publish(store, "c", b"c")).serial == 2
    with opened(tmp_path) as store, store.catalog.read() as reading:
        assert content(store, reading, "b") is None
        assert content(store, reading, "c") == b"c"


async def test_taking_a_group_back_leaves_earlier_ones_alone(tmp_path: Path) -> None:
    """A group without small bytes does not touch the shared pack, so neither may its failure."""
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        await publish(store, "b", b"b")
        real = store.index.env
        store.index.env = FailingIndex(real, 1)  # type: ignore[assignment]
        with pytest.raises(Full):
            await publish(store, "large", LARGE)
        store.index.env = real
        with store.catalog.read() as reading:
            assert content(store, reading, "a") == b"a"
            assert content(store, reading, "b") == b"b"
        await publish(store, "c", b"c")


async def test_frames_that_another_process_applied_meanwhile_count(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        real, committer = store.index.env, store.committer
        assert committer is not None

        def other_process() -> None:
            store.index.env = real
            txn, _ = committer._begin()  # finds the frames, applies and commits them
            txn.abort()

        store.index.env = FailingIndex(real, 1, other_process)  # type: ignore[assignment]
        assert (await publish(store, "b", b"b")).serial == 2
        with store.catalog.read() as reading:
            assert content(store, reading, "b") == b"b"
        assert (await publish(store, "c", b"c")).serial == 3


async def test_a_cancelled_caller_still_learns_how_it_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with trio.CancelScope() as scope:
            scope.cancel()
            done = await publish(store, "a", b"a")
        assert done.serial == 1


def test_e4_a_failed_sync_ends_the_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Ended(BaseException):
        pass

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def ended(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(os, "fdatasync", fails)
    monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(Ended, match="70"):
        disk.settle(0, "a pack")
    assert "fdatasync of a pack failed" in capfd.readouterr().err


def test_what_lmdb_says_of_the_disk_becomes_a_problem_or_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    assert isinstance(disk.judge_index(lmdb_error(lmdb.DiskError, errno.ENOSPC), tmp_path), Full)
    assert isinstance(disk.judge_index(lmdb.MapFullError("x"), tmp_path), Full)
    assert disk.judge_index(lmdb.BadDbiError("x"), tmp_path) is None
    assert disk.judge_index(lmdb_error(lmdb.Error, errno.EIO), tmp_path, durable=False) is None
    assert ends == []
    disk.judge_index(lmdb_error(lmdb.Error, errno.EIO), tmp_path)
    disk.judge_index(lmdb.PanicError("x"), tmp_path)
    assert ends == [70, 70]
    monkeypatch.setattr(disk, "free_bytes", lambda where: 0)
    assert isinstance(disk.judge_index(lmdb_error(lmdb.Error, errno.EIO), tmp_path), Full), (
        "a short write on a full disk"
    )


def test_problems_say_what_to_do() -> None:
    problem: Problem = disk.full("for this upload")
    assert problem.remedy
    assert problem.status == 507
    assert Committer.__doc__


async def test_what_one_turn_of_the_loop_asks_for_is_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the first of them waits for no sync of its own: one pack sync and one of the journal serve all forty."""
    with opened(tmp_path) as store:
        await publish(store, "before", b"before")
        synced: list[str] = []
        real = disk.settle

        def noted(fd: int, name: str) -> None:
            synced.append(name)
            real(fd, name)

        monkeypatch.setattr(disk, "settle", noted)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(publish, store, f"file {number}", b"%d" % number)
        assert synced == ["a pack", "the journal"]


async def test_more_than_a_group_holds_is_committed_in_several(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        serials: list[int] = []

        async def one(number: int) -> None:
            serials.append((await publish(store, f"file {number}", b"%d" % number)).serial)

        async with trio.open_nursery() as nursery:
            for number in range(2 * GROUP_MAX + 1):
                nursery.start_soon(one, number)
        assert sorted(serials) == list(range(1, 2 * GROUP_MAX + 2))


async def test_f10_what_edges_could_not_take_in_is_refused_alone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes of an entry are read back and folded, as edges do it, before anybody is told that it was made."""
    good = fold._FOLDS[PutFile]

    def raising(at: fold.Fold, change: PutFile) -> None:
        good(at, change)
        if change.file.name == "bad":
            raise KeyError("bad")

    monkeypatch.setitem(fold._FOLDS, PutFile, raising)
    ended: dict[str, str] = {}
    with opened(tmp_path) as store:

        async def one(name: str) -> None:
            try:
                await publish(store, name, name.encode(), package=name)
                ended[name] = "made"
            except Invalid as problem:
                ended[name] = problem.message

        async with trio.open_nursery() as nursery:
            for name in ("a", "bad", "c", "d"):
                nursery.start_soon(one, name)
        assert ended == dict.fromkeys("acd", "made") | {"bad": "This change cannot be taken in, so it was not made."}
        with store.catalog.read() as reading:
            assert [one.name for one in reading.view("acme", "main", "generic").packages()] == ["a", "c", "d"]
            assert reading.serial("acme") == 3
        wrong: Any = 7
        with pytest.raises(Invalid, match="read back"):
            await write(store, PutTag("generic", "a", "latest", wrong))
        assert (await write(store, PutTag("generic", "a", "latest", "1"))).serial == 4
    assert rebuild_index(tmp_path) == (4, 0)
