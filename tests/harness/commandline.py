"""How does a test run the command line hundreds of times, each in a process of its own, and load it once?

A process that has loaded the commands and nothing else forks for each call. The fork has the environment, the folder,
the descriptors and the arguments of the call, as one that a shell started, and ends with its exit code. What only an
interpreter of its own can show, the README's commands show, which a shell runs (native/test_readme_transcript.py).
"""

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

from gateway.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
MESSAGE_BYTES_MAX = 1 << 20


def run(
    arguments: Sequence[str], env: Mapping[str, str], *, timeout: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """`entrepot` with these arguments; what it said, and its exit code."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asked = json.dumps({"arguments": list(arguments), "env": dict(env), "folder": str(Path.cwd())}).encode()
    with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with theirs, Path(os.devnull).open("rb") as nothing:
            descriptors = [one.fileno() for one in (nothing, out, errors, theirs)]
            socket.send_fds(_forking(os.getpid()), [asked], descriptors)
        process = int(ours.recv(32))
        ours.settimeout(timeout)
        try:
            told = ours.recv(32)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout) from None
        assert told, f"entrepot {' '.join(arguments)} was ended by a signal"
        said = []
        for file in (out, errors):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(list(arguments), int(told), *said)


@cache
def _forking(process: int) -> socket.socket:
    """The door to the process that forks, one for each process of tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.harness.commandline", str(theirs.fileno())]
        forking = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def end() -> None:
        if os.getpid() == process:
            ours.close()
            forking.wait(10)

    atexit.register(end)
    return ours


def serve(door: socket.socket) -> None:
    """Fork for each call, until nobody is there to call."""
    for room, commands in COMMANDS.items():
        for _, where, _ in commands if room != "nodes" else ():
            importlib.import_module(".".join(filter(None, ("gateway.cli", room, where.partition(":")[0]))))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they say themselves how they ended
    while True:
        asked, descriptors, _, _ = socket.recv_fds(door, MESSAGE_BYTES_MAX, 4)
        if not asked:
            return
        if os.fork() == 0:
            door.close()
            _call(asked, descriptors)
        for one in descriptors:
            os.close(one)


def _call(asked: bytes, descriptors: Sequence[int]) -> NoReturn:
    """In the fork: carry out the call, say how it ended, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    told = json.loads(asked)
    for number, one in enumerate(descriptors[:3]):
        os.dup2(one, number)
        os.close(one)
    caller = socket.socket(fileno=descriptors[3])
    caller.send(b"%d" % os.getpid())
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["folder"])
    sys.argv = ["entrepot", *told["arguments"]]
    code: object = 1
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    status = code if isinstance(code, int) else int(code is not None)
    caller.send(b"%d" % status)
    os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
