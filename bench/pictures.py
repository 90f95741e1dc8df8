"""How are measurements seen at a glance? As bars beside others, as a story over its time, as curves over what grows."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.numbers import Spread, ratios, spread
from bench.report import Result


def picture(result: Result, path: Path) -> str:
    """Draws the ratios with their ranges, the time line of a story, or curves; says what it did. Needs matplotlib,
    which is a test dependency."""
    drawn = [(row.case, ratio) for row in result.rows if (ratio := ratios(row.ours, row.theirs))]
    if not (drawn or result.moments or result.curves):
        return "no picture: nothing was compared"
    if find_spec("matplotlib") is None:
        return "no picture: matplotlib is not installed"
    # Drawing is rare and matplotlib takes a second to load: it is loaded here and not with the module.
    import matplotlib  # noqa: PLC0415

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    if result.curves:
        sheet = curves(result, pyplot)
    else:
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


def curves(result: Result, pyplot: Any) -> Any:
    """One panel a curve: the median with its range, over what grows, by powers of ten; the goal dashed."""
    rows = -(-len(result.curves) // 2)
    sheet, panels = pyplot.subplots(rows, 2, figsize=(12, 3.4 * rows), layout="constrained", squeeze=False)
    for panel in panels.flat[len(result.curves) :]:
        panel.set_visible(False)
    for curve, panel in zip(result.curves, panels.flat, strict=False):
        amounts = [amount for amount, _ in curve.points]
        told = [spread(values) for _, values in curve.points]
        reach = [[one.median - one.low for one in told], [one.high - one.median for one in told]]
        panel.errorbar(amounts, [one.median for one in told], yerr=reach, fmt="o-", color="#2b6cb0", capsize=3)
        if curve.goal:
            panel.axhline(curve.goal, color="#c53030", linestyle="--", linewidth=1)
        panel.set_xscale("log")
        panel.set_ylim(0, 1.15 * max(curve.goal, *(one.high for one in told)))
        panel.set_xlabel(curve.growing)
        panel.set_ylabel(curve.unit)
        panel.set_title(curve.name, fontsize=10)
        panel.grid(alpha=0.3)
    sheet.suptitle(f"{result.scenario}, {result.conditions.get('date', '')}")
    return sheet
