"""Does an origin tell a follower all that is committed, in order, and where it stands?"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from cache.following import peer
from cache.following.feed import Anew, Beat, Frame, FrameReader
from cache.following.peer import journal_stream
from storage.errors import Conflict
from tests.unit.test_cache_follower import History, history

__all__ = ["history"]


class Journal:
    """An origin's journal whose reader hands out what is committed behind `after`."""

    def __init__(self, history: History, committed: int) -> None:
        self.history = history
        self.committed = committed
        self.epoch = history.epoch

    def follow(self, after: dict[str, int], wanted: Callable[[str], bool]) -> "Journal":
        self.sent = dict(after)
        return self

    @property
    def after(self) -> dict[str, int]:
        return dict(self.sent)

    def read(self, bytes_max: int) -> list[bytes]:
        known = {name: serial for name, serial, _ in self.history.bodies[: self.committed]}
        if any(serial > known.get(name, 0) for name, serial in self.sent.items()):
            raise Conflict("ahead")
        fresh = [one for one in self.history.bodies[: self.committed] if one[1] > self.sent.get(one[0], 0)][:4]
        self.sent |= {name: serial for name, serial, _ in fresh}
        return [body for _, _, body in fresh]


class Catalog:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def moment(self) -> int:
        return self._journal.committed

    @asynccontextmanager
    async def _never(self) -> AsyncIterator[None]:
        yield

    def read(self) -> "Catalog":
        return self

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def heads(self) -> dict[str, tuple[int, bytes]]:
        return {name: (serial, b"") for name, serial, _ in self._journal.history.bodies[: self._journal.committed]}


async def test_the_sender_beats_first_and_tells_what_is_committed(history: History) -> None:
    journal = Journal(history, 10)
    sent: list[Frame] = []
    reader = FrameReader()

    async def send(data: bytes) -> None:
        sent.extend(reader.feed(data))

    with trio.move_on_after(10) as enough:

        async def grow() -> None:
            for _ in range(2000):
                if len([one for one in sent if isinstance(one, bytes)]) == 10:
                    break
                await trio.sleep(0.002)
            journal.committed = 30
            for _ in range(2000):
                if len([one for one in sent if isinstance(one, bytes)]) == 30 and isinstance(sent[-1], Beat):
                    break
                await trio.sleep(0.002)
            enough.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow)
            await journal_stream(Catalog(journal), journal, {}, send)  # type: ignore[arg-type]
    assert isinstance(sent[0], Beat)
    assert sent[0][:2] == (7, 10)
    assert [one for one in sent if isinstance(one, bytes)] == history.behind({})


async def test_f2_the_sender_beats_also_while_it_never_catches_up(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an origin that is published to without a pause would let the leases of its edges run out."""
    monkeypatch.setattr(peer, "BEAT_SECONDS", 0.02)
    journal = Endless(history, 10)
    sent: list[Frame] = []
    reader = FrameReader()

    async def send(data: bytes) -> None:
        sent.extend(reader.feed(data))
        if len([one for one in sent if isinstance(one, Beat)]) > 3:
            enough.cancel()

    with trio.move_on_after(20) as enough:
        await journal_stream(Catalog(journal), journal, {}, send)  # type: ignore[arg-type]
    beats = [one.total for one in sent if isinstance(one, Beat)]
    assert len(beats) > 3
    assert beats == sorted(beats)


class Endless(Journal):
    """One whose reader finds more each time."""

    def read(self, bytes_max: int) -> list[bytes]:
        self.history.append("one")
        self.committed = len(self.history.bodies)
        return super().read(bytes_max)


async def test_f3_the_sender_tells_who_is_ahead_to_start_anew(history: History) -> None:
    journal = Journal(history, 10)
    sent = bytearray()

    async def send(data: bytes) -> None:
        sent.extend(data)

    with trio.fail_after(10):
        await journal_stream(Catalog(journal), journal, {"one": 19}, send)  # type: ignore[arg-type]
    assert list(FrameReader().feed(bytes(sent)))[-1] == Anew()
