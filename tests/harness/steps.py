"""Which steps does something take? Every function that it calls, ours and the interpreter's, in their order.

Two things that take the same steps over rows of the same size take the same time, whatever a clock says on a busy
machine: so a test can hold a promise about time and look at none.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

OWN = tuple(str(Path(__file__).parents[2] / floor) for floor in ("gateway", "cache", "formats", "storage"))


@contextmanager
def watching(seen: list[str]) -> Iterator[None]:
    """Put into `seen` the names of what is called by our own code meanwhile, in this thread."""

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if not frame.f_code.co_filename.startswith(OWN):
            return
        if event == "call":
            seen.append(f"{Path(frame.f_code.co_filename).stem}:{frame.f_code.co_qualname}")
        elif event == "c_call":
            seen.append(f"{Path(frame.f_code.co_filename).stem}:{frame.f_lineno} {argument.__qualname__}")

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def steps(what: Callable[[], object]) -> list[str]:
    """The names of what `what` has our own code call."""
    seen: list[str] = []
    with watching(seen):
        what()
    return seen
