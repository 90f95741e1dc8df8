"""Does the sandbox survive whatever a package makes a room do (THREATS D4)?"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from formats.kit.contract import Ask, Blob, Finds
from gateway.config import Sandbox as Limits
from gateway.sandbox import walls
from gateway.sandbox.child import SPENT_KIB
from gateway.sandbox.pool import Sandbox
from storage.errors import Conflict, Invalid, Problem, TooLarge, TooMany, UpstreamFailed
from tests.harness.waiting import comes

ASK = Ask("PUT", "x", "x", (), {}, "http://h/w/r/bad", "w", "r")


async def unpacked(sandbox: Sandbox, deed: str, data: bytes = b"", start: int = 0, context: Any = None) -> Finds:
    number = os.memfd_create("upload")
    try:
        os.write(number, data)
        finds, workdir = await sandbox.unpack("bad", ASK, {}, deed, number, start, Blob(), context)
        with workdir:
            for derived in finds.blobs.values():
                assert (workdir.path / derived.path).read_bytes() == b"derived"
        assert os.pread(number, len(data) + 1, 0) == data
        assert os.lseek(number, 0, os.SEEK_CUR) == len(data), "the position of the upload is nobody's business"
        return finds
    finally:
        os.close(number)


async def unpack(sandbox: Sandbox, deed: str, data: bytes = b"", start: int = 0, context: Any = None) -> bytes:
    return (await unpacked(sandbox, deed, data, start, context)).facts


def children() -> set[int]:
    """The sandbox processes of this test run."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"gateway.sandbox.child" in Path("/proc", child, "cmdline").read_bytes():
                found.add(int(child))
    return found


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)


def made(tmp_path: Path, **limits: Any) -> Sandbox:
    bounds = {"seconds_max": 10.0, "memory_bytes_max": 512 << 20, "derived_bytes_max": 1 << 20, **limits}
    return Sandbox(Limits(**bounds), tmp_path / "work", "tests.harness.rooms")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    one = made(tmp_path)
    yield one
    one.close()
    assert children() == set()


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Sandbox]:
    """One that loses its patience early."""
    one = made(tmp_path, seconds_max=1.0)
    yield one
    one.close()


async def test_a_child_reads_the_upload_and_serves_again(sandbox: Sandbox) -> None:
    assert await unpack(sandbox, "read", b"headbody", 4) == b"body"
    first = await unpack(sandbox, "pid")
    assert await unpack(sandbox, "read", b"again") == b"again"
    assert await unpack(sandbox, "pid") == first


async def test_a_child_of_a_large_process_is_not_taken_for_a_large_one(sandbox: Sandbox) -> None:
    ballast = bytearray(os.urandom(1 << 20) * (2 * SPENT_KIB >> 10))
    first = await unpack(sandbox, "pid")
    assert await unpack(sandbox, "pid") == first
    assert len(ballast) == 2 * SPENT_KIB << 10


async def test_who_reads_an_upstream_does_not_wait_for_an_upload_that_is_taken_apart(sandbox: Sandbox) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unpack, sandbox, "sleep")
        await comes(children)
        with trio.fail_after(5):  # the other takes as long as it is given: 10 s
            assert (await sandbox.learn("bad", "name", b"x", "http://upstream/x")).package.name == "name"
        assert len(children()) == 2
        nursery.cancel_scope.cancel()


async def test_derived_files_live_until_they_were_taken(sandbox: Sandbox) -> None:
    finds = await unpacked(sandbox, "derive", context={"a": [1, None]})
    assert finds.context == {"a": [1, None]}
    assert not Path(finds.facts.decode()).exists()


async def test_large_finds_come_through_and_a_swollen_child_is_not_kept(sandbox: Sandbox) -> None:
    assert len(await unpack(sandbox, "large")) == 20 << 20
    foreign = await sandbox.learn("bad", "name", bytes(3 << 20), "http://upstream/x")
    assert (foreign.package.name, foreign.files[0].name, foreign.files[0].size) == (
        "name",
        "http://upstream/x",
        3 << 20,
    )


DEEDS = [
    "memory", "leave", "write", "fork", "execute", "overwrite", "link", "descriptors", "nonsense", "unknown",
]  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS)
async def test_d4_no_deed_harms_the_next_job(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str], deed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await unpack(sandbox, deed, b"upload")
    assert "secret" not in refused.value.text()
    assert "Traceback" not in refused.value.text()
    assert await unpack(sandbox, "read", b"fine") == b"fine"
    assert list((tmp_path / "work").iterdir()) == []
    logged = capfd.readouterr().err
    assert '"unpack failed"' in logged
    assert "secret" not in logged


@pytest.mark.parametrize("deed", ["loop", "sleep"])
async def test_d4_who_takes_too_long_is_ended(brief: Sandbox, deed: str) -> None:
    with pytest.raises(Invalid, match="too long"):
        await unpack(brief, deed)
    assert children() == set()
    assert await unpack(brief, "read", b"fine") == b"fine"


async def test_d4_derived_files_are_bounded_together(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        await unpack(sandbox, "write_many")
    assert list((tmp_path / "work").iterdir()) == []


async def test_d4_no_network_not_even_loopback(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        with pytest.raises(Invalid):
            await unpack(sandbox, "connect", context=listener.getsockname()[1])
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_problems_come_out_as_themselves(sandbox: Sandbox) -> None:
    with pytest.raises(Conflict, match="taken") as refused:
        await unpack(sandbox, "problem")
    assert refused.value.remedy == "Take another."
    with pytest.raises(TooMany) as told:
        await unpack(sandbox, "busy")
    assert told.value.retry_after_s == 7


@pytest.mark.parametrize("package", ["loop", "unknown"])
async def test_what_an_upstream_says_is_not_the_clients_fault(brief: Sandbox, package: str) -> None:
    with pytest.raises(UpstreamFailed) as refused:
        await brief.learn("bad", package, b"{}", "http://upstream/")
    assert "secret" not in refused.value.text()


async def test_a_child_outlives_the_threads_of_the_loop(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends a child with the thread that started it: that must not be one that ends when it has no work."""
    monkeypatch.setattr("trio._core._thread_cache.IDLE_TIMEOUT", 0.5)  # longer than a child needs to start
    await trio.to_thread.run_sync(lambda: None)
    first = await unpack(sandbox, "pid")
    await comes(lambda: not any(thread.name.startswith("Trio") for thread in threading.enumerate()))
    assert await unpack(sandbox, "pid") == first


async def test_a_child_that_died_while_idle_is_replaced_unseen(sandbox: Sandbox) -> None:
    first = int(await unpack(sandbox, "pid"))
    end(first)
    assert int(await unpack(sandbox, "pid")) != first


async def test_a_caller_who_gives_up_takes_the_work_along(sandbox: Sandbox) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unpack, sandbox, "sleep")
            await comes(children)
            scope.cancel()
    assert children() == set()
    assert await unpack(sandbox, "read", b"fine") == b"fine"


async def test_no_more_children_than_configured(tmp_path: Path) -> None:
    sandbox = made(tmp_path, processes=2)
    seen: list[bytes | str] = []

    async def one() -> None:
        try:
            seen.append(await unpack(sandbox, "pid"))
        except Problem as problem:
            seen.append(problem.text())

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(one)
    sandbox.close()
    assert len(seen) == 8
    assert 1 <= len(set(seen)) <= 2


def test_what_a_killed_worker_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "work" / "old").mkdir(parents=True)
    made(tmp_path)
    assert not (tmp_path / "work" / "old").exists()


@pytest.mark.parametrize("machine", walls.REFUSED)
def test_the_filter_decides_as_meant(machine: str) -> None:
    """Every call number, and a foreign architecture, through an interpreter of the filter's few instructions."""
    code = walls.filter_code(machine)
    ours = walls.ARCHITECTURES[machine]
    refused = {*walls.REFUSED[machine], *walls.EVERYWHERE}
    for number in [*range(600), 0x40000000, 0x40000038, 0xFFFFFFFF]:
        verdict = judged(code, ours, number)
        if number == walls.CLONE3:
            assert verdict == walls.REFUSE | 38
        elif number in refused or number >= 0x40000000:
            assert verdict == walls.REFUSE | 1
        else:
            assert verdict == walls.ALLOW
    assert judged(code, 0x40000003, 1) == walls.KILL


def judged(code: bytes, architecture: int, number: int) -> int:
    words = {walls.NUMBER_AT: number, walls.ARCHITECTURE_AT: architecture}
    at, word = 0, 0
    while True:
        operation = int.from_bytes(code[8 * at : 8 * at + 2], "little")
        yes, no = code[8 * at + 2], code[8 * at + 3]
        operand = int.from_bytes(code[8 * at + 4 : 8 * at + 8], "little")
        at += 1
        if operation == walls.LOAD_WORD:
            word = words[operand]
        elif operation == walls.RETURN:
            return operand
        else:
            holds = word == operand if operation == walls.JUMP_EQUAL else word >= operand
            at += yes if holds else no
