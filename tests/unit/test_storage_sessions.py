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
