"""How does an origin hear that an edge refused an upload for want of room? The edge tells, once a minute at most.

The origin judges by what it holds itself whether that is so, and tells of it once, whichever and however many edges say
it (THREATS F5: an edge speaks of the workspaces that it may see, and makes at most one notice of each quota a day).
"""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from storage.errors import Problem
from storage.quotas import Quotas

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 60.0


class Refused(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """So many bytes had no room in a Repository, or, with "" for that, in the Workspace."""

    workspace: str
    repository: str
    size: int


Tell = Callable[[Refused], Awaitable[None]]
"""To the origin. Raises Problem."""


class RefusalsUp:
    """The service of a worker of an edge."""

    def __init__(self, quotas: Quotas, tell: Tell) -> None:
        self._quotas = quotas
        self._tell = tell
        self._told_s: dict[tuple[str, ...], float] = {}

    async def run(self) -> None:
        """Until cancelled. What cannot be told now is told later."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Tell what was refused since the last time."""
        now_s = trio.current_time()
        self._told_s = {place: at_s for place, at_s in self._told_s.items() if now_s - at_s < AGAIN_SECONDS}
        for place, one in self._quotas.refusals().items():
            if place not in self._told_s:
                try:
                    await self._tell(Refused(place[0], place[1] if len(place) > 1 else "", one.size))
                except Problem:
                    continue
                self._told_s[place] = now_s
            self._quotas.forget_refusals({place: one})
