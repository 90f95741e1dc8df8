"""What is kept of the story while it is told: its phases with their times, its figures, and what went wrong."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.numbers import percentile
from bench.regions.traffic import Seen, Traffic
from bench.regions.world import World
from bench.report import Moment, Phase, Row

MOMENT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the phases are, in seconds, and how much there is to ask for."""

    steady_s: float = 20.0
    cut_s: float = 40.0
    lease_s: int = 30
    down_s: float = 8.0
    away_s: float = 25.0
    hits: int = 1_000_000
    packages: int = 400
    lost: int = 20


@dataclass(slots=True)
class Story:
    """`rows` are the figures; `phases` begin and end on the monotonic clock."""

    world: World
    traffic: Traffic
    lengths: Lengths
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    phases: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.phases.append((name, begun_s, time.monotonic()))

    def say(self, case: str, value: float | Sequence[float], unit: str, goal: str = "", note: str = "") -> None:
        """One figure; a phase's figures stand together."""
        values = [float(value)] if isinstance(value, (int, float)) else [float(one) for one in value]
        self.rows.append(Row(case, unit, values, goal=goal, note=note))

    def say_percentiles(self, case: str, values: Sequence[float], unit: str, goal: str = "") -> None:
        for percent in (50, 99):
            if values:
                self.say(f"{case}, p{percent}", percentile(values, percent), unit, goal if percent == 99 else "")
            else:
                self.notes.append(f"{case}: nothing was measured")

    # ---------------------------------------------------------------- for the picture

    def moments(self) -> list[Moment]:
        """Half seconds from the first phase's beginning on, each with what was asked within it."""
        if not self.phases:
            return []
        zero_s, end_s = self.phases[0][1], self.phases[-1][2]
        made = []
        for number in range(int((end_s - zero_s) / MOMENT_SECONDS) + 1):
            since_s = zero_s + number * MOMENT_SECONDS
            reads = self.traffic.reads(since_s, since_s + MOMENT_SECONDS)
            lags = self.traffic.lags(since_s, since_s + MOMENT_SECONDS)
            made.append(_moment(number * MOMENT_SECONDS, reads, lags))
        return made

    def told_phases(self) -> list[Phase]:
        zero_s = self.phases[0][1] if self.phases else 0.0
        return [Phase(name, since_s - zero_s, until_s - zero_s) for name, since_s, until_s in self.phases]


def _moment(at_s: float, reads: Sequence[Seen], lags: Sequence[float]) -> Moment:
    good = [one for one in reads if one.good]
    made = Moment(at_s, len(reads))
    if good:
        made.hit_share = sum(one.answer.outcome == "HIT" for one in good) / len(good)
        made.first_byte_p99_ms = percentile([one.answer.first_byte_ms for one in good], 99)
    if reads:
        made.refused_share = sum(not one.good for one in reads) / len(reads)
        warm = [one for one in reads if one.warm and one.public]
        made.public_hits_lost = sum(not one.good for one in warm)
    if lags:
        made.lag_p50_ms = percentile(lags, 50)
        made.lag_worst_ms = max(lags)
    return made
