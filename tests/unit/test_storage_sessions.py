"""Resumable uploads: they stand where their file ends, belong to one writer at a time, and outlive a restart."""

import os
import time
from pathlib import Path

import pytest

from storage.blobs.sessions import BEGUN_SECONDS_MAX, Session, Sessions
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid, RangeRefused, TooMany
from storage.nouns import File, PutFile
from tests.harness.stores import content, draft, opened


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "sessions", seconds_max=100, sessions_max=3)


def begun(sessions: Sessions, length: int = -1) -> Session:
    return sessions.start("t1", "acme", "main", length, ("md5",), {"path": "a/b"})


def test_bytes_are_appended_across_restarts_and_workers(sessions: Sessions, tmp_path: Path) -> None:
    session = begun(sessions, 6)
    with sessions.append(session, 0) as appending:
        appending.write(b"one")
        assert appending.offset == 3
    again = Sessions(tmp_path / "sessions")
    found = again.get(session.id)
    assert found == session
    assert again.offset(found) == 3
    with again.append(found, -1) as appending:
        appending.write(memoryview(b"two"))
    with again.finish(found) as staged:
        assert bytes(staged.data()) == b"onetwo"
        assert staged.digests.keys() == {"md5"}
    assert sessions.offset(session) == 6, "discarding the stage leaves the upload to be finished again"


def test_a_wrong_offset_is_told_the_right_one(sessions: Sessions) -> None:
    session = begun(sessions)
    with sessions.append(session, 0) as appending:
        appending.write(b"abc")
    for offset in (0, 2, 4):
        with pytest.raises(RangeRefused, match="stands at 3"), sessions.append(session, offset):
            raise AssertionError("opened")


def test_two_writers_conflict(sessions: Sessions) -> None:
    session = begun(sessions)
    with sessions.append(session, 0):
        with pytest.raises(Conflict), sessions.append(session, 0):
            raise AssertionError("opened")
        with pytest.raises(Conflict):
            sessions.finish(session)
    sessions.finish(session).discard()


def test_an_upload_that_is_not_all_there_cannot_be_finished(sessions: Sessions) -> None:
    session = begun(sessions, 10)
    with sessions.append(session, 0) as appending:
        appending.write(b"abc")
    with pytest.raises(Invalid, match="announced 10 bytes and has 3"):
        sessions.finish(session)
    with sessions.append(session, 3) as appending:
        appending.write(b"defghij")
    sessions.finish(session).discard()


@pytest.mark.parametrize("id", ["", "..", "../../etc/passwd", "a" * 31, "a" * 33, "a" * 31 + "/", "a" * 32, "é" * 32])
def test_ids_that_are_none_are_absent(sessions: Sessions, id: str) -> None:
    with pytest.raises(Absent):
        sessions.get(id)


def test_what_another_process_finishes_meanwhile_is_no_fault(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was listed, and is gone when it is looked at."""
    gone = tmp_path / "sessions" / "gone.data"
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([gone] if pattern == "*.data" else []))
    assert sessions.expire() == 0


def test_sessions_are_bounded_and_expire(sessions: Sessions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = [begun(sessions) for _ in range(3)]
    with pytest.raises(TooMany):
        begun(sessions)
    sessions.remove(made[0])
    begun(sessions)
    (tmp_path / "sessions" / "half.data").write_bytes(b"")
    later = time.time() + 101
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Absent):
        sessions.get(made[1].id)
    with sessions.append(made[1], 0):
        assert sessions.expire() == 2, "one is being written to"
    later += BEGUN_SECONDS_MAX
    assert sessions.expire() == 2, "that one, and the one that was never wholly begun"
    assert list((tmp_path / "sessions").iterdir()) == []


@pytest.mark.parametrize("size", [10, 3 << 20])
async def test_a_finished_upload_is_committed_in_place(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with opened(tmp_path) as store:
        assert store.committer is not None
        session = store.sessions.start("t1", "acme", "main")
        with store.sessions.append(session, 0) as appending:
            appending.write(data)
        inode = (tmp_path / "sessions" / f"{session.id}.data").stat().st_ino
        with store.sessions.finish(session) as staged:
            file = File("big", "1", staged.sha256, staged.size)
            await store.committer.commit(lambda reading: Decided(draft(PutFile("generic", "pkg", file))), [staged])
        store.sessions.remove(session)
        assert list((tmp_path / "sessions").iterdir()) == []
        kept = {path.stat().st_ino for path in (tmp_path / "packs").iterdir()}
        assert (inode in kept) is (size > 1 << 20)
        with store.catalog.read() as reading:
            assert content(store, reading, "big") == data


def test_an_upload_that_became_a_pack_is_not_written_to_again(sessions: Sessions, tmp_path: Path) -> None:
    """Its process was killed between the commit and the removal of the session."""
    session = begun(sessions)
    os.link(tmp_path / "sessions" / f"{session.id}.data", tmp_path / "00000001.pack")
    with pytest.raises(Absent), sessions.append(session, 0):
        raise AssertionError("opened")
    assert list((tmp_path / "sessions").iterdir()) == []
    assert (tmp_path / "00000001.pack").exists()


# ---------------------------------------------------------------- parts at the same time


def parted(sessions: Sessions, length: int, parts: int) -> Session:
    return sessions.start("t1", "acme", "main", length, (), None, parts)


def test_parts_are_written_at_the_same_time_and_are_one_whole(sessions: Sessions, tmp_path: Path) -> None:
    """Three parts of 4, 4 and 2 bytes, by several workers; each stands where its own bytes end."""
    session = parted(sessions, 10, 3)
    assert [session.bounds(part) for part in range(3)] == [(0, 4), (4, 8), (8, 10)]
    other = Sessions(tmp_path / "sessions")
    with sessions.append(session, 0, 2) as last, other.append(session, -1, 0) as first:
        last.write(b"ij")
        first.write(b"abc")
        with pytest.raises(Conflict), other.append(session, -1, 2):
            pass
        with pytest.raises(Conflict):
            other.finish(session)
    assert [other.offset(session, part) for part in range(3)] == [3, 0, 2]
    assert other.offset(session) == 5
    with pytest.raises(Invalid):
        other.finish(session)
    for part, data in ((0, b"d"), (1, b"efgh")):
        with other.append(other.get(session.id), -1, part) as appending:
            appending.write(data)
    with sessions.finish(session) as staged:
        assert bytes(staged.data()) == b"abcdefghij"
    sessions.remove(session)
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_part_takes_no_more_than_it_has_room_for(sessions: Sessions) -> None:
    session = parted(sessions, 10, 3)
    with sessions.append(session, 0, 0) as appending:
        appending.write(b"abc")
        with pytest.raises(Invalid):
            appending.write(b"de")
    assert sessions.offset(session, 0) == 3, "what was kept before stays"
    with pytest.raises(Invalid), sessions.append(session, -1) as appending:
        appending.write(b"a")
    with pytest.raises(RangeRefused), sessions.append(session, 1, 0):
        pass
    for part in (3, 99):
        with pytest.raises(Absent), sessions.append(session, -1, part):
            pass
        with pytest.raises(Absent):
            sessions.offset(session, part)
    whole = begun(sessions)
    with pytest.raises(Absent), sessions.append(whole, -1, 0):
        pass


@pytest.mark.parametrize(("length", "parts"), [(-1, 2), (1, 2), (10, 0), (100, 65)])
def test_parts_need_a_length_and_are_few(sessions: Sessions, length: int, parts: int) -> None:
    with pytest.raises(Invalid):
        parted(sessions, length, parts)


def test_parts_whose_session_was_never_wholly_begun_are_removed(sessions: Sessions, tmp_path: Path) -> None:
    session = parted(sessions, 10, 2)
    (tmp_path / "sessions" / f"{session.id}.json").unlink()
    old = time.time() - BEGUN_SECONDS_MAX - 10
    for path in (tmp_path / "sessions").iterdir():
        os.utime(path, (old, old))
    sessions.expire()
    assert list((tmp_path / "sessions").iterdir()) == []


def test_c3_no_workspace_takes_all_the_uploads_that_there_are(tmp_path: Path) -> None:
    """A few thousand cheap requests would else keep everybody from uploading for a week."""
    sessions = Sessions(tmp_path / "sessions", sessions_max=10, sessions_workspace_max=2)
    kept = [sessions.start(owner, "acme", "main") for owner in ("t1", "t2")]
    with pytest.raises(TooMany, match="of this workspace"):
        sessions.start("t3", "acme", "other")
    theirs = [sessions.start("t4", "theirs", "main") for _ in range(2)]
    assert len({one.id[8:] for one in (*kept, *theirs)}) == 4
    assert {len(one.id) for one in kept} == {32}
    sessions.remove(kept[0])
    assert sessions.get(sessions.start("t1", "acme", "main").id).workspace == "acme"
