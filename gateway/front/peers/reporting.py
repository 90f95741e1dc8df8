"""How does an operator at the origin see how an edge is doing? Each edge says it to its parent, a shield hands it on.

    POST /-/peer/report            of whoever sends it
    POST /-/peer/report/EDGE       of an edge behind a shield

It is said every few seconds, and at once when an entry could not be taken in, or could be in the end. What is lost on
the way is said again; a parent that does not answer is the follower's to tell of.
"""

import random
from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from cache.following.relay import Relay, SmallBody
from gateway.insight.reports import Report, Reports
from gateway.logs.segments import NODE
from storage.errors import Invalid, Problem, Unavailable

EVERY_SECONDS = 10.0
LOOK_SECONDS = 1.0
AGAIN_SECONDS = 4.0
TAKEN = 204


class Hearing(Protocol):
    """Who takes what edges say of themselves."""

    async def hear(self, edge: str, said: bytes) -> None:
        """Raises Invalid, Unavailable."""
        ...


class Kept:
    """An origin's: it keeps them."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def hear(self, edge: str, said: bytes) -> None:
        try:
            report = msgspec.json.decode(said, type=Report)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Invalid("This is no report of an edge.", "Run the same version at both.") from None
        if NODE.fullmatch(edge) is None:
            raise Invalid("An edge is not called this.")
        await trio.to_thread.run_sync(self._reports.keep, edge, report)


class HandedOn:
    """A shield's, and the way of an edge's own word: to the origin, through whichever parent is there. `token` is that
    of an edge without a certificate."""

    def __init__(self, relay: Relay, token: str) -> None:
        self._relay = relay
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def hear(self, edge: str, said: bytes) -> None:
        await self.say(said, f"/{edge}")

    async def say(self, said: bytes, of: str = "") -> None:
        """Raises Unavailable where it is not taken."""
        target = f"/-/peer/report{of}".encode()
        async with await self._relay.forward("POST", target, self._headers, "", len(said), SmallBody(said)) as answer:
            if answer.status != TAKEN:
                raise Unavailable(f"The parent answers a report of an edge with {answer.status}.")


class Reporting:
    """An edge's, of itself."""

    def __init__(self, way: HandedOn, report: Callable[[], Report]) -> None:
        self._way = way
        self._report = report

    async def run(self) -> None:
        """Until cancelled."""
        told, told_s = None, -EVERY_SECONDS
        while True:
            await trio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            now = self._report()
            if trio.current_time() - told_s < EVERY_SECONDS and told is not None and told.holes == now.holes:
                continue
            try:
                await self._way.say(msgspec.json.encode(now))
            except Problem:
                await trio.sleep(AGAIN_SECONDS)
                continue
            told, told_s = now, trio.current_time()
