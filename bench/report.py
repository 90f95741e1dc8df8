"""How are measurements shown? As a table to read, as JSON to compare, as a picture to see at a glance."""

import json
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.numbers import Spread, ratios, spread


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
class Result:
    """What one scenario found. `against` names the other side. A story also has its `moments` and `phases`."""

    scenario: str
    against: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)


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


def picture(result: Result, path: Path) -> str:
    """Draws the ratios with their ranges, or the time line of a story; says what it did. Needs matplotlib, which is a
    test dependency."""
    drawn = [(row.case, ratio) for row in result.rows if (ratio := ratios(row.ours, row.theirs))]
    if not drawn and not result.moments:
        return "no picture: nothing was compared"
    if find_spec("matplotlib") is None:
        return "no picture: matplotlib is not installed"
    # Drawing is rare and matplotlib takes a second to load: it is loaded here and not with the module.
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    sheet = time_line(result, pyplot) if result.moments else bars(result, drawn, pyplot)
    sheet.savefig(path, dpi=110)
    pyplot.close(sheet)
    return f"picture: {path}"


def bars(result: Result, drawn: list[tuple[str, Spread]], pyplot: Any) -> Any:
    """A bar for each ratio."""
    drawn = drawn[::-1]
    sheet, axes = pyplot.subplots(figsize=(9, 0.36 * len(drawn) + 1.4), layout="constrained")
    middles = [ratio.median for _, ratio in drawn]
    reach = [[r.median - r.low for _, r in drawn], [r.high - r.median for _, r in drawn]]
    colours = ["#2f855a" if middle >= 1 else "#b7791f" for middle in middles]
    axes.barh([case for case, _ in drawn], middles, xerr=reach, color=colours, ecolor="#555", capsize=2)
    axes.axvline(1, color="#222", linewidth=1)
    axes.set_xlabel(f"entrepot / {result.against} (median and range of rounds; right of the line is faster)")
    axes.set_title(f"{result.scenario}, {result.conditions.get('date', '')}")
    return sheet


def time_line(result: Result, pyplot: Any) -> Any:
    """What was seen, one below the other over the same time, with the phases behind."""
    sheet, panels = pyplot.subplots(4, 1, figsize=(13, 9), sharex=True, layout="constrained")
    shown = [
        ("share of the answers", [("hits", "hit_share", "#2f855a"), ("refused or lost", "refused_share", "#c53030")]),
        ("public hits lost", [("public hits lost", "public_hits_lost", "#c53030")]),
        ("first byte, ms", [("p99", "first_byte_p99_ms", "#2b6cb0")]),
        ("publish to visible, ms", [("p50", "lag_p50_ms", "#2b6cb0"), ("the worst edge", "lag_worst_ms", "#b7791f")]),
    ]
    for panel, (label, lines) in zip(panels, shown, strict=True):
        for name, key, colour in lines:
            points = [(one.at_s, getattr(one, key)) for one in result.moments if getattr(one, key) >= 0]
            panel.plot([x for x, _ in points], [y for _, y in points], ".-", color=colour, label=name, markersize=3)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.legend(loc="upper right", fontsize="small")
        if label.endswith("ms"):
            panel.set_yscale("log")
        for number, phase in enumerate(result.phases):
            panel.axvspan(phase.since_s, phase.until_s, color="#e2e8f0" if number % 2 else "#edf2f7", zorder=0)
    for phase in result.phases:
        where = (phase.since_s + phase.until_s) / 2
        panels[0].annotate(phase.name, (where, 1.03), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    panels[-1].set_xlabel("seconds")
    sheet.suptitle(f"{result.scenario}, {result.conditions.get('date', '')}")
    return sheet
