"""How do several processes serve one port, and who looks after them?

Each worker opens its own listening socket with SO_REUSEPORT; the kernel spreads connections. Workers are started by
spawn, since an LMDB environment must not be open across a fork. The supervisor restarts one that dies, passes SIGTERM
on, and ends when all have drained.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from gateway.delivery.listening import listen

__all__ = ["listen", "supervise"]

RESTART_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_SECONDS = 10.0
KILL_SECONDS = 20.0


class _Seat:
    """One worker's place: the process that sits there, and how often it had to be replaced lately."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess | None = None
        self.started_s = 0.0
        self.failures = 0
        self.start_at_s = 0.0


def supervise(target: Callable[..., None], args: tuple[Any, ...], workers: int) -> int:
    """Run `target(*args, number)` in `workers` processes until SIGTERM or SIGINT; 0, or 1 if one could not be kept up.

    A worker that ends with status 70 (storage failed) is not restarted: the node stops.
    """
    context = multiprocessing.get_context("spawn")
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    seats = [_Seat(number) for number in range(workers)]
    code = 0
    while not stopping.is_set():
        for seat in seats:
            _fill(context, seat, target, args)
        stopping.wait(0.1)
        if any(seat.process is not None and seat.process.exitcode in (70, 71) for seat in seats):
            code = 70
            break
    _end(seats)
    return code


def _fill(
    context: multiprocessing.context.SpawnContext, seat: _Seat, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    now = time.monotonic()
    if seat.process is not None:
        if seat.process.is_alive():
            return
        seat.failures = 0 if now - seat.started_s > STEADY_SECONDS else seat.failures + 1
        seat.process = None
        seat.start_at_s = now + RESTART_SECONDS[min(seat.failures, len(RESTART_SECONDS) - 1)]
    if now < seat.start_at_s:
        return
    seat.process = context.Process(target=target, args=(*args, seat.number), name=f"worker {seat.number}")
    seat.process.start()
    seat.started_s = now


def _end(seats: list[_Seat]) -> None:
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
