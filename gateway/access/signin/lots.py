"""Who may have a thread wait for somebody outside, and for how long does he keep it from others?

A thread waits for an identity provider that a Workspace has chosen, so whoever sets up slow ones would have all the
threads there are (THREATS A8, D2). Each Workspace has a lot of them, which it keeps until its thread is back, whether
or not anybody still waits for it: who hangs up frees nothing. What waits for its turn waits in its own Workspace's
queue. Lots are kept only while something is under way or waits, so there are no more of them than requests.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import cast

import trio

THREADS_MAX = 16
LOT_THREADS_MAX = 2
"""Of one Workspace."""


class _Lot:
    __slots__ = ("places", "users")

    def __init__(self) -> None:
        self.places = trio.Semaphore(LOT_THREADS_MAX)
        self.users = 0


class Under[Result]:
    """Work that is under way in a thread. `ended` is set when it is over; `error` is what it raised."""

    __slots__ = ("_result", "ended", "error")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.error: BaseException | None = None
        self._result: Result | None = None

    def end(self, result: Result | None, error: BaseException | None) -> None:
        self._result, self.error = result, error
        self.ended.set()

    def given(self) -> Result:
        """What came of it, once it is over. Raises what it raised."""
        if self.error is not None:
            raise self.error
        return cast(Result, self._result)


class Lots:
    """The threads of one worker."""

    def __init__(self) -> None:
        self._all = trio.Semaphore(THREADS_MAX)
        self._lots: dict[str, _Lot] = {}

    def __repr__(self) -> str:
        return f"<Lots {len(self._lots)}>"

    async def take(self, workspace: str) -> None:
        """Wait for a thread. It is used by `start`, or given back."""
        lot = self._lots.setdefault(workspace, _Lot())
        lot.users += 1
        try:
            await lot.places.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                lot.places.release()
                raise
        except BaseException:
            self._left(workspace, lot)
            raise

    def give_back(self, workspace: str) -> None:
        lot = self._lots[workspace]
        self._all.release()
        lot.places.release()
        self._left(workspace, lot)

    def start[Result](
        self, workspace: str, work: Callable[[], Result], heard: Callable[[Under[Result]], None]
    ) -> Under[Result]:
        """Do blocking `work` in the thread that was taken. `heard` is called when it is over, ahead of who waits for
        that. It is nobody's to cancel, and gives the thread back by itself."""
        under, loop = Under[Result](), trio.lowlevel.current_trio_token()

        def end(result: Result | None, error: BaseException | None) -> None:
            self.give_back(workspace)
            under.end(result, error)
            heard(under)

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:
                error = raised
            with suppress(trio.RunFinishedError):  # the worker has ended meanwhile
                loop.run_sync_soon(end, result, error)

        here = copy_context()
        try:
            trio.lowlevel.start_thread_soon(lambda: here.run(run), lambda _: None)
        except BaseException:
            self.give_back(workspace)
            raise
        return under

    def _left(self, workspace: str, lot: _Lot) -> None:
        lot.users -= 1
        if not lot.users:
            del self._lots[workspace]
