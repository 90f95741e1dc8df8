"""How does `up` have two nodes in processes of their own, and load the program once?

Each is a fork, made before there is a thread, an open store or a secret: whatever there is at that moment a node would
have too. A fork waits until it is told to begin, and ends where nobody will tell it. It has a process group of its own,
so that Ctrl-C reaches it through us, once; its words go to stderr, since stdout is ours.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from gateway.cli.nodes.lifeline import end_with

BEGIN = b"\1"
NAME_BYTES_MAX = 15
_PR_SET_NAME = 15
_TOLD = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


class Fork:
    """A process whose exit code is what `work` gives, once it was told to begin."""

    def __init__(self, name: str, work: Callable[[], int], own: Sequence[int]) -> None:
        """`name` is what the kernel calls it (`ps -o comm`). `own` are descriptors that are ours alone, and are closed
        there."""
        assert len(name) <= NAME_BYTES_MAX
        gate, theirs = socket.socketpair()
        self.descriptor = gate.fileno()
        self._gate = gate
        given = (os.getpid(), name, theirs, work, (*own, gate.fileno()))
        self._process = multiprocessing.get_context("fork").Process(target=_live, args=given, name=name)
        signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
        try:
            with theirs:
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)

    def begin(self) -> None:
        """Let it work; nothing happens where it has ended, which its exit code tells."""
        with contextlib.suppress(OSError):
            self._gate.send(BEGIN)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it lives. A signal that ended it is a negative one."""
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it lives."""
        if self.code is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self) -> None:
        """Until it has ended."""
        self._process.join()


def _live(parent: int, name: str, gate: socket.socket, work: Callable[[], int], own: Sequence[int]) -> None:
    """In the fork, which was born with signals blocked, so that none is taken before there is a group of its own."""
    os.setpgid(0, 0)
    end_with(parent)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
    for descriptor in own:
        os.close(descriptor)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for one in _TOLD:
        signal.signal(one, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
    if gate.recv(len(BEGIN)) != BEGIN:
        return
    gate.close()
    sys.exit(work())
