"""Do an origin and an edge come up by one command, and go down with it however it ends?

The nodes are stand-ins; what prepares their data, starts, watches and stops them is the product's own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access.bootstrap import EDGE_FILE_NAME, alone
from gateway.access.tokens import well_formed

SECONDS_MAX = 30
Up = subprocess.Popen[str]


class Runner:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.started: list[Up] = []

    def __call__(self, *more: str, json: bool = True) -> Up:
        command = [sys.executable, "-m", "tests.harness.standing_in", "up", "--data", str(self.data)]
        command += ["--origin-port", "0", *([] if "--edge-port" in more else ["--edge-port", "0"])]
        command += [*more, *(["--json"] if json else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def behave(self, role: str, manner: str) -> None:
        (self.data / role).mkdir(parents=True, exist_ok=True)
        (self.data / role / "behave").write_text(manner)

    def called(self, role: str) -> Any:
        return json.loads((self.data / role / "called").read_text())


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path / "data")
    yield runner
    for process in runner.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS_MAX)


def first_line(process: Up) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def end(process: Up) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS_MAX)
    return process.returncode, out, err


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a process that has ended and was not yet collected is not alive
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_one_line_when_ready_and_a_clean_end(up: Runner) -> None:
    process = up("--workers", "2")
    facts = first_line(process)
    assert set(facts) == {"origin", "edge", "workspace", "repository", "public", "token"}
    assert (facts["workspace"], facts["repository"], facts["public"]) == ("demo", "main", "open")
    assert well_formed(facts["token"])
    origin, edge = up.called("origin"), up.called("edge")
    for role, called in (("origin", origin), ("edge", edge)):
        assert facts[role] == f"http://127.0.0.1:{called['port']}"
        assert (called["role"], called["workers"], called["parent"]) == (role, 2, process.pid)
        assert Path(f"/proc/{called['pid']}/comm").read_text().strip() == f"entrepot-{role}"
    assert edge["parents"] == [facts["origin"]]
    assert edge["parent_token"] == (up.data / "edge" / EDGE_FILE_NAME).read_text().strip()
    process.send_signal(signal.SIGTERM)
    code, more, err = end(process)
    assert (code, more) == (0, "")
    assert not is_alive(origin["pid"])
    assert not is_alive(edge["pid"])
    assert facts["token"] not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_ways_to_say_stop(up: Runner, number: signal.Signals) -> None:
    process = up()
    first_line(process)
    process.send_signal(number)
    assert end(process)[0] == 0


def test_people_are_told_what_to_type_next(up: Runner) -> None:
    process = up(json=False)
    assert process.stdout is not None
    lines = []
    while not (lines and "Ctrl-C" in lines[-1]):
        lines.append(process.stdout.readline())
        assert lines[-1], "ended early"
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 0
    text = "".join(lines)
    edge = f"http://127.0.0.1:{up.called('edge')['port']}"
    assert f"export ENTREPOT_URL={edge} ENTREPOT_TOKEN=ent_" in text
    assert "pip install --index-url " in text
    assert "twine upload " in text
    assert f"npm config set registry {edge}/demo/main/npm/" in text
    assert text.count("ent_") == 1


def test_started_again_it_has_another_admin_token_and_the_same_edge_token(up: Runner) -> None:
    seen = []
    for _ in range(2):
        process = up()
        seen.append((first_line(process)["token"], (up.data / "edge" / EDGE_FILE_NAME).read_text()))
        process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 0
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


@pytest.mark.parametrize("role", ["origin", "edge"])
def test_a_node_that_does_not_come_up_ends_it_all(up: Runner, role: str) -> None:
    up.behave(role, "die")
    code, out, err = end(up())
    assert (code, out) == (1, "")
    assert json.loads(err.splitlines()[-1])["error"]["message"] == f"The {role} ended by itself with code 3."
    other = up.data / ("edge" if role == "origin" else "origin") / "called"
    assert not other.exists() or not is_alive(json.loads(other.read_text())["pid"])


def test_a_node_that_dies_takes_the_other_along(up: Runner) -> None:
    process = up()
    first_line(process)
    os.kill(up.called("edge")["pid"], signal.SIGKILL)
    code, _, err = end(process)
    assert code == 1
    assert "The edge ended by itself" in err
    assert not is_alive(up.called("origin")["pid"])


def test_a_node_that_does_not_hear_is_killed(up: Runner) -> None:
    up.behave("edge", "deaf")
    process = up()
    first_line(process)
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 1
    assert not is_alive(up.called("edge")["pid"])


def test_two_on_the_same_data_are_refused(up: Runner) -> None:
    first = up()
    first_line(first)
    code, out, err = end(up())
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "conflict"
    assert first.poll() is None


def test_a_port_in_use_is_told_before_anything_starts(up: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = end(up("--edge-port", str(port)))
    assert (code, out) == (2, "")
    assert str(port) in json.loads(err)["error"]["message"]
    assert not (up.data / "origin" / "called").exists()


def test_a_killed_up_leaves_no_node_behind(up: Runner) -> None:
    """Each asked the kernel for a SIGTERM at its parent's death, and has nothing that is the parent's alone: what
    was killed can be started again at once."""
    process = up()
    first_line(process)
    pids = [up.called(role)["pid"] for role in ("origin", "edge")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.wait(SECONDS_MAX)
    with alone(up.data):
        assert all(is_alive(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + SECONDS_MAX
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_c11_a_node_has_nothing_of_what_is_made_ready_for_it(up: Runner) -> None:
    """It was forked before: no secret, no open store, no port that is held for another."""
    facts = first_line(up())
    for role in ("origin", "edge"):
        called = up.called(role)
        assert facts["token"] not in called["tokens"]
        assert called["held"] == []


def test_a_fork_that_nobody_lets_begin_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys; from gateway.cli.nodes.forking import Fork; "
        "one = Fork('test', lambda: 7, []); two = Fork('test', lambda: 7, [one.descriptor]); "
        "one.begin(); one.wait(); print(one.code, two._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    code, pid = done.stdout.split()
    assert code == "7"
    deadline = time.monotonic() + SECONDS_MAX
    while is_alive(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
