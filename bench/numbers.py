"""What do repeated measurements say? Medians with their ranges, and ratios within the same round."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, erfc, sqrt
from statistics import fmean, median, variance


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some measurements and how far they went."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}-{self.high:.{digits}f}]"


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError on no values: an empty measurement is no zero."""
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """`ours / theirs` of each round, so that what slows the machine slows both; None where a side was not measured."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=False) if b > 0]
    return spread(pairs) if pairs else None


def welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """(t, p) of Welch's test of equal means, for samples so large that t is normal: p is how likely chance alone is
    for a difference as great."""
    means, errors = zip(*((fmean(side), variance(side) / len(side)) for side in (ours, theirs)), strict=True)
    t = (means[0] - means[1]) / sqrt(sum(errors)) if sum(errors) else 0.0
    return t, erfc(abs(t) / sqrt(2))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: always one of the values."""
    if not values:
        raise ValueError("nothing was measured")
    rank = max(1, ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def bytes_of(text: str) -> int:
    """ "64K" → 65536. Raises ValueError."""
    scale = UNITS.get(text[-1:].upper(), 0)
    return int(text[:-1]) * scale if scale else int(text)


def size_text(size: int) -> str:
    """65536 → "64 KB"."""
    for letter in "GMK":
        if size >= UNITS[letter] and size % UNITS[letter] == 0:
            return f"{size // UNITS[letter]} {letter}B"
    return f"{size} B"
