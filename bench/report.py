"""How are measurements shown? As a table to read, as JSON to compare; as a picture by `pictures`."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.numbers import ratios, spread


@dataclass(slots=True)
class Row:
    """One case, measured in rounds. `theirs` is empty where there is nothing to compare with.

    `ours_cpu` and `theirs_cpu`: the server's CPU microseconds for one request, by round. `goal` is what the ratio (or,
    without a comparison, the figure itself) should reach, as text.
    """

    case: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    theirs_cpu: list[float] = field(default_factory=list)
    goal: str = ""
    note: str = ""


@dataclass(slots=True)
class Moment:
    """What was seen in a short while of a long story, which began `at_s` seconds after it; -1 = nothing to tell."""

    at_s: float
    reads: int = 0
    hit_share: float = -1.0
    refused_share: float = -1.0
    public_hits_lost: int = 0
    first_byte_p99_ms: float = -1.0
    lag_p50_ms: float = -1.0
    lag_worst_ms: float = -1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of such a story, in seconds after its beginning."""

    name: str
    since_s: float
    until_s: float


@dataclass(slots=True)
class Curve:
    """How one figure goes while something grows: rounds by the amount there was of `growing`. `goal`: not above it."""

    name: str
    unit: str
    growing: str
    goal: float = 0.0
    points: list[tuple[float, list[float]]] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What one scenario found. `against` names the other side. A story also has its `moments` and `phases`, what was
    measured over something that grows its `curves`."""

    scenario: str
    against: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def figure(values: list[float]) -> str:
    """The median, in as many digits as mean something."""
    if not values:
        return "-"
    middle = spread(values).median
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.1f}" if middle >= 10 else f"{middle:.2f}"


def cells(row: Row, compared: bool) -> list[str]:
    if not compared:
        low_high = f"{spread(row.ours).low:,.2f}-{spread(row.ours).high:,.2f}" if row.ours else "-"
        return [row.case, figure(row.ours), row.unit, low_high, row.goal, row.note]
    ratio, eff = ratios(row.ours, row.theirs), ratios(row.theirs_cpu, row.ours_cpu)
    return [
        row.case,
        figure(row.ours),
        figure(row.theirs),
        row.unit,
        ratio.text() if ratio else "-",
        row.goal,
        figure(row.ours_cpu),
        figure(row.theirs_cpu),
        eff.text() if eff else "-",
        row.note,
    ]


def table(result: Result) -> str:
    """A Markdown table that is also readable as it stands."""
    compared = bool(result.against)
    heads = (
        [
            "case",
            "entrepot",
            result.against,
            "unit",
            "ratio",
            "goal",
            "CPU us",
            f"{result.against} CPU us",
            "eff",
            "note",
        ]
        if compared
        else ["case", "median", "unit", "range", "goal", "note"]
    )
    lines = [heads, *(cells(row, compared) for row in result.rows)]
    keep = [i for i in range(len(heads)) if any(line[i] not in ("", "-") for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in keep}
    text = ["| " + " | ".join(line[i].ljust(widths[i]) for i in keep) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (widths[i] + 2) for i in keep) + "|")
    return "\n".join(text)


def words(result: Result) -> str:
    """Conditions, table, notes."""
    told = [f"{name}: {value}" for name, value in result.conditions.items()]
    return "\n".join(
        [f"# {result.scenario}", "", *told, "", table(result), "", *(f"- {note}" for note in result.notes)]
    )


def as_json(result: Result) -> str:
    """All rounds, and the ratios' spreads."""
    rows: list[dict[str, Any]] = []
    for row in result.rows:
        ratio, eff = ratios(row.ours, row.theirs), ratios(row.theirs_cpu, row.ours_cpu)
        told = {"ratio": asdict(ratio) if ratio else None, "cpu_ratio": asdict(eff) if eff else None}
        rows.append(asdict(row) | told)
    return json.dumps(asdict(result) | {"rows": rows}, indent=1)
