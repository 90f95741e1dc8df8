"""When is the store looked after, how fast, and how far is that?

A Chore is work over the whole store (sweep, scrub) that some process of the node does: at its hour, or when asked.
Each worker runs one; the lock of a file says whose turn it is, and goes with its process. It is done in bounded steps,
each in a thread, with pauses that keep its rate, and rests that leave the interpreter, the core and the disk to the
clients. A small file tells every worker and the next start how far it is.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import lmdb
import msgspec
import trio

from storage import disk
from storage.errors import Problem

LOOK_SECONDS = 1.0
TELL_SECONDS = 0.5
PAUSE_SECONDS_MIN = 0.001
REST_SHARE = 1.2
"""Of the time of each step: without rests the loop of the same process sends 0.7 of what it could."""
TRY_AGAIN_SECONDS = 60.0
log = logging.getLogger("entrepot.upkeep")


class Told(Protocol):
    """How far a run is."""

    def told(self) -> dict[str, object]: ...


class Run(Protocol):
    """One time through. `steps` yields the bytes that each piece moved; `mark` is where another run may go on."""

    @property
    def progress(self) -> Told: ...
    @property
    def mark(self) -> str: ...
    def steps(self) -> Iterator[int]: ...


OffTheLoop = Callable[[Callable[[], int | None]], Awaitable[int | None]]
"""Where a step is done: in a thread."""


class State(msgspec.Struct):
    """What is told of a Chore: this run or the last one, and sums over all of them since the store was made."""

    running: bool = False
    began_ms: int = 0
    ended_ms: int = 0
    runs: int = 0
    bytes_s: int = 0
    mark: str = ""
    problem: str = ""
    progress: dict[str, object] = {}
    totals: dict[str, int] = {}


class Chore:
    """`begin(mark)` makes a Run. `every_s` 0 = only when asked, or when it is `due`, which microseconds must tell.
    `rate_bytes_s` 0 = half of the time."""

    def __init__(
        self,
        name: str,
        folder: Path,
        begin: Callable[[str], Run],
        now_ms: Callable[[], int],
        *,
        every_s: int = 0,
        rate_bytes_s: int = 0,
        look: Callable[[], Told] | None = None,
        due: Callable[[], bool] | None = None,
        found_damage: Callable[[], None] | None = None,
        look_seconds: float = LOOK_SECONDS,
        off_the_loop: OffTheLoop = trio.to_thread.run_sync,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._begin = begin
        self._now_ms = now_ms
        self._every_s = every_s
        self._rate_bytes_s = rate_bytes_s
        self._look = look
        self._due = due
        self._found_damage = found_damage
        self._damage: tuple[object, ...] = ()
        self._look_seconds = look_seconds
        self._off_the_loop = off_the_loop
        self._lock = folder / f"{name}.lock"
        self._path = folder / f"{name}.json"
        self._wish = folder / f"{name}.wish"
        self._asked = trio.Event()

    def ask(self) -> None:
        """Have it done now; what is under way already goes on, and is done once more behind it."""
        self._wish.touch()
        self._asked.set()

    def state(self) -> State:
        """How far it is, whoever does it."""
        with suppress(OSError, msgspec.DecodeError):
            state = msgspec.json.decode(self._path.read_bytes(), type=State)
            state.running = state.running and not self._is_free()
            return state
        return State()

    def told(self) -> dict[str, object]:
        """The state for programs; `waiting` = asked for and not begun."""
        told = msgspec.structs.asdict(self.state())
        del told["mark"]
        return {"waiting": self.is_wished()} | told

    def look(self) -> dict[str, object]:
        """What a run would do now, where that can be told. Blocking."""
        return self._look().told() if self._look is not None else {}

    def is_wished(self) -> bool:
        """Was it asked for and not begun?"""
        return self._wish.exists()

    def _is_free(self) -> bool:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return disk.lock(fd)
        finally:
            os.close(fd)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with trio.move_on_after(self._look_seconds):
                await self._asked.wait()
            self._asked = trio.Event()
            self._notice(self.state())
            if not self._is_due():
                continue
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if disk.lock(fd) and self._is_due():  # another may just have ended it
                    self._wish.unlink(missing_ok=True)
                    await self._once()
            finally:
                os.close(fd)

    def _is_due(self) -> bool:
        if self._wish.exists():
            return True
        if self._due is not None and self._due():
            state = self.state()
            return not state.problem or self._now_ms() - state.ended_ms >= TRY_AGAIN_SECONDS * 1000
        if not self._every_s:
            return False
        if not self._path.exists():  # the first hour begins now
            self._tell(State(ended_ms=self._now_ms()))
        state = self.state()
        if state.problem:
            return self._now_ms() - state.ended_ms >= TRY_AGAIN_SECONDS * 1000
        return bool(state.mark) or self._now_ms() - max(state.ended_ms, state.began_ms) >= self._every_s * 1000

    def _notice(self, state: State) -> None:
        """Whichever process finds damage, each lets go of what it remembers."""
        progress = state.progress
        damaged, forgotten = progress.get("damaged"), progress.get("forgotten")
        found = state.runs, len(damaged) if isinstance(damaged, list) else 0, forgotten
        if found != self._damage and any(found[1:]) and self._found_damage is not None:
            self._found_damage()
        self._damage = found

    async def _once(self) -> None:
        """One run, from where the last one was stopped."""
        before = self.state()
        run = self._begin(before.mark)
        state = State(True, self._now_ms(), 0, before.runs + 1, totals=before.totals)
        self._tell(state)
        try:
            await self._stepped(run, state)
            state.mark = ""
        except (Problem, OSError, lmdb.Error) as error:
            state.problem = str(error)
            log.error("the %s stopped: %s", self.name, error)
        except Exception as bug:  # it costs this run, and not the process with all its clients
            state.problem = f"A fault of this program: {type(bug).__name__}."
            log.exception("the %s stopped by a fault", self.name)
        except BaseException:
            state.mark = run.mark
            raise
        finally:
            state.running, state.ended_ms = False, self._now_ms()
            state.progress = run.progress.told()
            for name, value in state.progress.items():
                if isinstance(value, int):
                    state.totals[name] = state.totals.get(name, 0) + value
            self._tell(state)

    async def _stepped(self, run: Run, state: State) -> None:
        steps = run.steps()
        began_s = told_s = rested_s = trio.current_time()
        moved = 0
        try:
            while (size := await self._off_the_loop(lambda: next(steps, None))) is not None:
                moved += size
                now_s = trio.current_time()
                due_s = now_s + REST_SHARE * (now_s - rested_s)
                if self._rate_bytes_s:
                    due_s = max(due_s, began_s + moved / self._rate_bytes_s)
                state.bytes_s = int(moved / max(now_s - began_s, 0.001))
                if now_s >= told_s + TELL_SECONDS:
                    told_s = now_s
                    state.progress, state.mark = run.progress.told(), run.mark
                    self._tell(state)
                await trio.sleep(max(due_s - now_s, PAUSE_SECONDS_MIN))
                rested_s = trio.current_time()
        finally:
            steps.close()  # type: ignore[attr-defined]

    def _tell(self, state: State) -> None:
        """A disk that is full loses what is told, nothing else."""
        self._notice(state)
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(state))
            fresh.replace(self._path)
