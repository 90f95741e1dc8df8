"""How do several processes serve one port, and who looks after them?

Each worker opens its own listening socket with SO_REUSEPORT; the kernel spreads connections. Workers are forks of the
supervisor, which has loaded the program and nothing else: it has no store open and no thread, since neither comes
through a fork whole. The supervisor restarts one that dies, later each time it dies soon, passes SIGTERM and SIGHUP on,
and ends when all have drained. A worker does not outlive its supervisor.

SIGHUP would end a worker that has not come to the point of receiving it, and SIGTERM break off its start: a worker is
born with both blocked, and calls `hear_signals` when it is ready; what came meanwhile is received then. A second
SIGTERM does nothing: whoever tells a whole group of processes tells the workers twice, and the second one broke the
drain off.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkContext, ForkProcess
from types import FrameType
from typing import Any

from gateway.delivery.connections.listening import listen

__all__ = ["hear_signals", "listen", "supervise"]

COLLECT_AT = (2000, 10, 10)
"""As the interpreter begins with; what starts programs may have loaded this one with other thresholds."""
RESTART_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 10.0
KILL_SECONDS = 20.0
LOOK_SECONDS = 0.1
FATAL_CODES = (70, 71)
WORKER_NAME = "entrepot-worker"
"""What the kernel calls a worker (`ps -o comm`), at most 15 bytes."""
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_TOLD = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


class _Seat:
    """One worker's place: the process that sits there, and how often it had to be replaced lately."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: ForkProcess | None = None
        self.started_s = 0.0
        self.failures = 0
        self.start_at_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Does somebody have to be seated now? Notes the failure of who sat here before."""
        if self.process is not None:
            if self.process.is_alive():
                return False
            steady = now_s - self.started_s > STEADY_SECONDS
            self.failures = 0 if steady else self.failures + 1
            self.process = None
            self.start_at_s = now_s + RESTART_SECONDS[min(self.failures, len(RESTART_SECONDS) - 1)]
        return now_s >= self.start_at_s

    def is_fatal(self) -> bool:
        """Did it end in a way that says: do not start me again?"""
        return self.process is not None and self.process.exitcode in FATAL_CODES


def supervise(target: Callable[..., None], args: tuple[Any, ...], workers: int, own: Sequence[int] = ()) -> int:
    """Run `target(*args, number)` in `workers` processes until SIGTERM or SIGINT. Main thread only. Returns 0, or 70.

    A worker that ends with one of FATAL_CODES (storage failed) is not restarted: the node stops and returns 70. `own`
    are descriptors that are the supervisor's alone, and are closed in its workers: a lock is held by whoever has one.
    """
    context = multiprocessing.get_context("fork")
    gc.set_threshold(*COLLECT_AT)
    gc.collect()
    gc.freeze()  # what is loaded by now is shared by all workers for as long as none of them writes to it
    stopping, hung_up = threading.Event(), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        (hung_up if number == signal.SIGHUP else stopping).set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    seats = [_Seat(number) for number in range(workers)]
    failed = False
    try:
        while not (stopping.is_set() or failed):
            failed = any(seat.is_fatal() for seat in seats)
            for seat in seats:
                if not failed and not seat.is_fatal() and seat.is_due(time.monotonic()):
                    _seat_one(context, seat, target, args, own)
            if hung_up.is_set():
                hung_up.clear()
                _pass_on(seats, signal.SIGHUP)
            stopping.wait(LOOK_SECONDS)
    finally:
        _end(seats)
        for one, handler in before.items():
            signal.signal(one, handler)
    return 70 if failed else 0


def _seat_one(
    context: ForkContext, seat: _Seat, target: Callable[..., None], args: tuple[Any, ...], own: Sequence[int]
) -> None:
    work = (os.getpid(), own, target, (*args, seat.number))
    seat.process = context.Process(target=_work, args=work, name=f"worker {seat.number}")
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    try:
        seat.process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
    seat.started_s = time.monotonic()


def _work(supervisor: int, own: Sequence[int], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In the worker: an interrupt at the terminal is the supervisor's to pass on, and its death ends us too.

    Born with all signals of the supervisor blocked, so that none is taken by the handler that came through the fork.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, _heard_before)
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    kernel.prctl(_PR_SET_NAME, WORKER_NAME.encode())
    for descriptor in own:
        os.close(descriptor)
    if os.getppid() == supervisor:
        target(*args)


def hear_signals() -> None:
    """In the worker, once it has handlers for SIGTERM and SIGHUP."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)


def _heard_before(number: int, frame: FrameType | None) -> None:
    """What stands behind the handlers of the worker: whatever comes when those are gone again changes nothing."""


def _pass_on(seats: list[_Seat], number: signal.Signals) -> None:
    for seat in seats:
        if seat.process is not None and seat.process.pid is not None and seat.process.is_alive():
            os.kill(seat.process.pid, number)


def _end(seats: list[_Seat]) -> None:
    """SIGTERM to all, so that they drain at the same time; SIGKILL to what has not ended in time."""
    running = [seat.process for seat in seats if seat.process is not None]
    for process in running:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + KILL_SECONDS
    for process in running:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
