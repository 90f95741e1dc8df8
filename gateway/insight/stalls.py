"""How long did one step on a worker's loop keep all others waiting?

Every task runs until its next await; meanwhile nobody else does. A step over a few milliseconds is counted by its
length, and the longest of the last minute or two is told, so that what stalls a loop is seen where it happens. One
over STALL_S is named in the operator's log, at most once a minute.
"""

from bisect import bisect_left
from math import inf
from time import monotonic

import trio

from gateway.insight.errorlog import report

STEPS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SHORT_S = 0.005
STALL_S = 0.05
WINDOW_S = 60.0


class Stalls(trio.abc.Instrument):
    """Counts long steps. `counts` has one number for each limit of STEPS_S and one for what is over all."""

    def __init__(self) -> None:
        self.counts = [0] * (len(STEPS_S) + 1)
        self._began_s = inf  # the step in which this is put in was not seen to begin
        self._window_s = monotonic()
        self._longest_s = self._before_s = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_s = monotonic()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = monotonic() - self._began_s
        if took > SHORT_S:
            told = self._longest_s > STALL_S
            self._note(took)
            if took > STALL_S and not told:
                report("warning", "the loop stood still", task=task.name.rpartition(".")[2], ms=round(took * 1e3))

    def longest_s(self) -> float:
        """The longest step of this window and the one before."""
        self._turn(monotonic())
        return max(self._longest_s, self._before_s)

    def _note(self, took_s: float) -> None:
        self._turn(monotonic())
        self.counts[bisect_left(STEPS_S, took_s)] += 1
        self._longest_s = max(self._longest_s, took_s)

    def _turn(self, now_s: float) -> None:
        """A window is over: what it held is the one before, unless that is long ago too."""
        if now_s - self._window_s > WINDOW_S:
            self._before_s = self._longest_s if now_s - self._window_s < 2 * WINDOW_S else 0.0
            self._longest_s, self._window_s = 0.0, now_s
