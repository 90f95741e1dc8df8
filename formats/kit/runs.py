"""Into which runs is a long sequence of named fragments cut, so that a change touches one of them?

A name is a *cut* when its checksum says so, one in RUN_NAMES of all; a run goes from one cut to the next. So the runs
follow from the set of names alone: whoever has the same packages has the same runs, in whatever order they came.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

RUN_NAMES = 64

Fragments = list[tuple[str, bytes]]
"""Names with what each gives, sorted by name."""


def is_cut(name: str) -> bool:
    """Does a run begin with this name?"""
    return zlib.crc32(name.encode()) % RUN_NAMES == 0


def cut(fragments: Iterable[tuple[str, bytes]]) -> Iterator[Fragments]:
    """The runs of a sorted sequence; never an empty one."""
    run: Fragments = []
    for name, data in fragments:
        if run and is_cut(name):
            yield run
            run = []
        run.append((name, data))
    if run:
        yield run


def spans(firsts: Sequence[str], changes: Mapping[str, bytes | None]) -> list[tuple[int, int, dict[str, bytes | None]]]:
    """Which runs change: [start, stop) of neighbours, with the changes that fall into them.

    `firsts` are the names that the runs begin with. A run that may lose its first name is taken with the one before it,
    which then goes on.
    """
    found: list[tuple[int, int, dict[str, bytes | None]]] = []
    for name in sorted(changes):
        at = max(0, bisect_right(firsts, name) - 1)
        start, stop = at, min(at + 1, len(firsts))
        if at < len(firsts) and firsts[at] == name and changes[name] is None:
            start = max(0, at - 1)
        if found and (start < found[-1][1] or start == found[-1][0]):
            before, end, inside = found.pop()
            found.append((before, max(stop, end), {**inside, name: changes[name]}))
        else:
            found.append((start, stop, {name: changes[name]}))
    return found


def changed(fragments: Fragments, changes: Mapping[str, bytes | None]) -> Fragments:
    """The fragments with the changes in them; None takes a name out."""
    merged: dict[str, bytes | None] = dict(fragments)
    merged.update(changes)
    return [(name, data) for name in sorted(merged) if (data := merged[name])]
