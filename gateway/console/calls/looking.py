"""How much may one page of a list look at?

Lists that leave out what their caller may not know of look at rows that they do not show, and a narrow token over a
large repository would have all of them looked at for one page (THREATS A8, B9). So a page ends at LOOKS_MAX rows, shown
or not, and goes on behind the last of them: it may be short, or empty, and not the last. How many rows there are that
he may not know of can be guessed from that, as it can from the time it takes; what they are called cannot.
"""

from collections.abc import Callable, Iterable

from gateway.console.calls.cursors import Hidden
from gateway.console.shapes.shown import Shown

LOOKS_MAX = 5_000
"""Well above the items of a page: who may know of everything never meets it."""


class Looked[T]:
    """What a page found, and `next`, where the list goes on; None = it is at its end."""

    __slots__ = ("found", "next")

    def __init__(self, found: list[T], next: str | None) -> None:
        self.found = found
        self.next = next

    def shown(self, show: Callable[[T], Shown]) -> Shown:
        return {"items": [show(one) for one in self.found], "next": self.next}


def look[T](rows: Iterable[T], limit: int, name: Callable[[T], str], may: Callable[[T], bool]) -> Looked[T]:
    """At most `limit` of `rows` that may be known, of at most LOOKS_MAX that are looked at. `rows` are in the order of
    their `name`, and are read as far as they are looked at. It blocks."""
    found: list[T] = []
    for looks, one in enumerate(rows, 1):
        known = may(one)
        if known and len(found) == limit:
            return Looked(found, name(found[-1]))
        if known:
            found.append(one)
        if looks >= LOOKS_MAX:
            return Looked(found, name(one) if known else Hidden(name(one)))
    return Looked(found, None)
