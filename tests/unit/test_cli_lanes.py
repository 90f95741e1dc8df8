"""Do files, the parts of files, and what is made in memory have one bound together when they are pushed?"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.cli.packages.lanes import Lanes

COUNT = 4
SETTLE_SECONDS = 0.05
"""So long whoever may begin has time to."""


class Crowd:
    """Who is at work together: each stays until there are as many as may be, and for a moment more."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._changed = threading.Condition()
        self.now = self.most = 0

    @contextmanager
    def working(self, size: int = 1) -> Iterator[None]:
        with self._changed:
            self.now += size
            self.most = max(self.most, self.now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._wanted, 10)
        threading.Event().wait(SETTLE_SECONDS)
        yield
        with self._changed:
            self.now -= size


def test_parts_and_files_take_lanes_of_the_same_few() -> None:
    """Two large files in eight parts each, and ten small ones: without the lanes seven would be sent at a time."""
    lanes, crowd, sent = Lanes(COUNT), Crowd(COUNT), list[str]()

    def part(name: str) -> None:
        with crowd.working():
            sent.append(name)

    def file(name: str) -> None:
        if name.startswith("large"):
            lanes.parts(part, [f"{name}.{number}" for number in range(8)])
        else:
            with lanes.lane():
                part(name)

    lanes.files(file, ["large1", "large2", *(f"small{number}" for number in range(10))])
    lanes.close()
    assert crowd.most == COUNT
    assert len(set(sent)) == len(sent) == 26


def test_what_is_made_in_memory_has_a_bound_in_bytes() -> None:
    lanes, crowd = Lanes(8, memory_bytes_max=100), Crowd(90)

    def file(size: int) -> int:
        with lanes.memory(size), crowd.working(min(size, 100)):
            return size

    assert lanes.files(file, [30] * 12) == [30] * 12
    assert crowd.most == 90
    assert lanes.files(file, [500, 30, 500]) == [500, 30, 500], "what is larger than all there is goes alone"
    assert crowd.most == 100
    lanes.close()


def test_a_failure_keeps_what_has_not_begun_from_beginning() -> None:
    lanes, begun = Lanes(2), list[int]()
    gate = threading.Event()

    def file(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("refused")
        gate.wait(SETTLE_SECONDS)

    with pytest.raises(ValueError, match="refused"):
        lanes.files(file, list(range(50)))
    lanes.close()
    assert len(begun) < 10
