"""How does a terminal show how large things are beside each other? As bars, in eighths of a character."""

import datetime
from collections.abc import Sequence

BLOCKS = " ▏▎▍▌▋▊▉█"
SHADE = "░"
WIDTH = 50
DAY = datetime.timedelta(days=1)
DAYS_MAX = 1000


def bars(rows: Sequence[tuple[str, int]], width: int = WIDTH) -> str:
    """A line for each: label, bar, number. The largest has `width` characters, and what is not nothing an eighth."""
    most = max((value for _, value in rows), default=0)
    labels = max((len(label) for label, _ in rows), default=0)
    lines = []
    for label, value in rows:
        eighths = max(round(8 * width * value / most), 1) if value else 0
        bar = BLOCKS[8] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")
        lines.append(f"{label:<{labels}} {bar:<{width}} {value:>{len(str(most))}}".rstrip())
    return "\n".join(lines)


def shares(rows: Sequence[tuple[str, int, int, str]], width: int = WIDTH) -> str:
    """A line for each: label, a bar of a part and of the rest of it, words. The largest whole has `width` characters;
    of what is not nothing there is one at least."""
    most = max((part + rest for _, part, rest, _ in rows), default=0)
    labels = max((len(label) for label, _, _, _ in rows), default=0)
    lines = []
    for label, part, rest, words in rows:
        drawn = "".join(
            block * max(round(width * value / most), 1) for block, value in ((BLOCKS[8], part), (SHADE, rest)) if value
        )
        lines.append(f"{label:<{labels}} {drawn:<{width}} {words}".rstrip())
    return "\n".join(lines)


def with_empty_days(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Days (YYYY-MM-DD) in their order, with those between them on which nothing was."""
    known = dict(rows)
    if not known:
        return []
    day, last = datetime.date.fromisoformat(min(known)), datetime.date.fromisoformat(max(known))
    found = list[tuple[str, int]]()
    while day <= last and len(found) < DAYS_MAX:
        found.append((day.isoformat(), known.get(day.isoformat(), 0)))
        day += DAY
    return found
