"""Are workers restarted, drained and never left alone?"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.delivery.processes.serving import hot_turns
from gateway.delivery.processes.workers import COLLECT_AT, WORKER_NAME, listen
from tests.harness.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, and before it was read
        return False


def children_of(pid: int) -> list[int]:
    """The living workers of a supervisor."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [one for one in found if is_alive(one)]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-m", "tests.harness.spawned", str(tmp_path)], cwd=ROOT)
    try:
        until(lambda: all((tmp_path / f"pid-{number}").exists() for number in range(2)))
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def test_workers_drain_at_sigterm(supervisor: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    supervisor.terminate()
    assert supervisor.wait(20) == 0
    assert all((tmp_path / f"drained-{number}").exists() for number in range(2))


def test_a_worker_that_died_is_replaced_and_the_other_left_alone(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    (tmp_path / "die-1").write_text("1")
    until(lambda: (tmp_path / "born-1").read_text() == "xx")
    assert (tmp_path / "born-0").read_text() == "x"
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(20) == 0


@pytest.mark.parametrize("status", ["70", "71"])
def test_e4_a_worker_whose_storage_failed_ends_the_node(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path, status: str
) -> None:
    (tmp_path / "die-1").write_text(status)
    assert supervisor.wait(20) == 70
    assert (tmp_path / "drained-0").exists()
    assert (tmp_path / "born-1").read_text() == "x"


def test_a_hangup_reaches_every_worker_also_one_that_just_starts(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    supervisor.send_signal(signal.SIGHUP)
    until(lambda: all((tmp_path / f"hung-up-{number}").exists() for number in range(2)))
    (tmp_path / "hung-up-1").unlink()
    (tmp_path / "early").touch()
    before = int((tmp_path / "pid-1").read_text())
    (tmp_path / "die-1").write_text("1")
    until(lambda: not is_alive(before))
    until(lambda: len(children_of(supervisor.pid)) >= 2)
    supervisor.send_signal(signal.SIGHUP)
    (tmp_path / "hung-up-0").unlink()
    until(lambda: (tmp_path / "hung-up-0").exists())
    assert not (tmp_path / "hung-up-1").exists()
    (tmp_path / "early").unlink()
    until(lambda: (tmp_path / "hung-up-1").exists())
    until(lambda: (tmp_path / "born-1").read_text() == "xx")
    assert (tmp_path / "born-0").read_text() == "x"


def test_a_worker_holds_nothing_that_is_its_supervisors_alone(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    """A node that was killed can be started again while its workers still finish what they do: its lock is free."""
    with (tmp_path / "lock").open("rb") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pids = [int((tmp_path / f"pid-{number}").read_text()) for number in range(2)]
        for pid in pids:
            assert Path(f"/proc/{pid}/comm").read_text().strip() == WORKER_NAME
            os.kill(pid, signal.SIGSTOP)
        try:
            supervisor.kill()
            supervisor.wait(20)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_workers_do_not_outlive_their_supervisor(supervisor: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    pids = [int((tmp_path / f"pid-{number}").read_text()) for number in range(2)]
    supervisor.kill()
    supervisor.wait(20)
    until(lambda: not any(is_alive(pid) for pid in pids))


def test_listeners_share_a_port() -> None:
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", one.getsockname()[1]) as other:
        assert one.getsockname() == other.getsockname()
    with listen("::1", 0) as six:
        assert six.getsockname()[0] == "::1"


def test_more_workers_than_cores_do_not_spin() -> None:
    assert hot_turns(1) > 0
    assert hot_turns(10_000) == 0


def test_workers_collect_garbage_as_the_interpreter_does() -> None:
    fresh = subprocess.run(
        [sys.executable, "-c", "import gc; print(gc.get_threshold())"], capture_output=True, text=True
    )
    assert fresh.stdout.strip() == str(COLLECT_AT)
