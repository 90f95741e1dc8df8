"""How is a person shown what each place with a share has of a node's cache?"""

from collections.abc import Sequence
from typing import Any

from gateway.cli.terminal.plotting import BLOCKS, SHADE, shares
from gateway.cli.terminal.sizes import size_of

BAR_CELLS = 30
LEGEND = f"{BLOCKS[8]} held, {SHADE} room up to its most, or up to what it is guaranteed"


def cached_for(portions: Sequence[Any]) -> list[str]:
    """A line for each, with a bar of what it holds and may still take; the largest has BAR_CELLS characters."""
    bars = [(one["place"], one["bytes"], _room(one), _words(one)) for one in portions]
    return ["cached for:", shares(bars, BAR_CELLS), LEGEND] if bars else []


def _room(portion: Any) -> int:
    room: int = (portion["most_bytes"] or portion["guaranteed_bytes"]) - portion["bytes"]
    return max(0, room)


def _words(portion: Any) -> str:
    most, guaranteed = portion["most_bytes"], portion["guaranteed_bytes"]
    told = [size_of(portion["bytes"])]
    told += [f"at most {size_of(most)}"] if most else []
    told += [f"{size_of(guaranteed)} guaranteed"] if guaranteed else []
    return ", ".join(told)
