"""Receiving: one pass over the bytes, small ones in memory, large ones in a file, nothing kept unless committed."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from storage import disk
from storage.blobs.intake import Intake
from storage.blobs.packs import SINGLE_START
from storage.errors import Full


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(tmp_path / "staging", memory_bytes_max=1000)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_bytes_come_back_with_their_digests(intake: Intake, size: int) -> None:
    data = os.urandom(size)
    with intake.stage(("sha512", "md5", "sha256")) as staged:
        for at in range(0, size, 300):
            staged.write(memoryview(data)[at : at + 300])
        staged.seal()
        assert staged.sha256 == hashlib.sha256(data).digest()
        assert staged.digests == {"sha512": hashlib.sha512(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
        assert staged.size == size
        assert os.pread(staged.descriptor(), size + 10, staged.start) == data
        assert bytes(staged.data()) == data
        assert staged.is_large is (size > 1000)
        assert staged.start == (SINGLE_START if size > 1000 else 0)


def test_leaving_without_commit_leaves_nothing(intake: Intake) -> None:
    open_before = set(os.listdir("/proc/self/fd"))
    with intake.stage() as staged:
        staged.write(bytes(5000))
        assert list(intake.folder.iterdir()) == [staged.path]
    assert list(intake.folder.iterdir()) == []
    with intake.stage() as staged:
        staged.write(b"small")
        assert os.pread(staged.descriptor(), 10, 0) == b"small"
    assert len(os.listdir("/proc/self/fd")) == len(open_before)


def test_an_envelope_is_not_hashed(intake: Intake) -> None:
    with intake.stage(("sha1",), hashed=False) as staged:
        staged.write(b"x")
        staged.seal()
        assert staged.sha256 == b""
        assert staged.digests == {}


def test_a_named_stage_can_be_read_while_it_grows(intake: Intake, tmp_path: Path) -> None:
    path = tmp_path / "growing.part"
    with intake.stage(path=path) as staged:
        staged.write(b"one")
        assert path.read_bytes()[staged.start :] == b"one"
        staged.write(b"two")
        assert path.read_bytes()[staged.start :] == b"onetwo"
    assert not path.exists()


def test_e5_no_room_is_full_and_the_next_upload_works(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def stingy(fd: int, data: Any, offset: int) -> int:
        if offset >= SINGLE_START + 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(data)[:700], offset)  # short writes are gone on with

    monkeypatch.setattr(os, "pwrite", stingy)
    with intake.stage() as staged:
        for _ in range(3):
            staged.write(bytes(900))
        with pytest.raises(Full):
            staged.write(bytes(900))
    assert list(intake.folder.iterdir()) == []
    with intake.stage() as staged:
        staged.write(b"a" * 2000)
        staged.seal()
        assert staged.data() == b"a" * 2000


def test_other_errors_of_the_disk_are_not_called_full(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OSError, match="Input/output"), intake.stage() as staged:
        staged.write(bytes(2000))


def test_leftovers_of_dead_processes_are_removed_and_those_of_the_living_are_not(intake: Intake) -> None:
    (intake.folder / "dead.part").write_bytes(b"x")
    with intake.stage() as staged:
        staged.write(bytes(2000))
        assert intake.clean() == 1
        assert list(intake.folder.iterdir()) == [staged.path]


def test_an_upload_that_cannot_fit_is_refused_ahead(intake: Intake) -> None:
    intake.admit(1000)
    with pytest.raises(Full):
        intake.admit(disk.free_bytes(intake.folder) * 2)


def test_a_long_upload_lets_go_of_its_beginning_and_keeps_every_byte(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what lies further back than HELD_BYTES leaves the memory, each part once, and none of it is lost."""
    monkeypatch.setattr(disk, "WRITEBACK_BYTES", 8192)
    monkeypatch.setattr(disk, "HELD_BYTES", 32768)
    dropped: list[tuple[int, int]] = []
    real = os.posix_fadvise

    def noted(fd: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        assert offset + length <= SINGLE_START + staged.size - 32768
        dropped.append((offset, length))
        real(fd, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    data = os.urandom(200_000)
    with intake.stage() as staged:
        for at in range(0, len(data), 5000):
            staged.write(data[at : at + 5000])
        staged.seal()
        assert staged.sha256 == hashlib.sha256(data).digest()
        assert disk.read_all(staged.descriptor(), len(data) + 1, staged.start) == data
    assert [offset for offset, _ in dropped] == [
        SINGLE_START,
        *(offset + length for offset, length in dropped[:-1]),
    ]
    assert sum(length for _, length in dropped) >= len(data) - 32768 - 2 * (8192 + 5000)
