"""What goes on in the regions all the time? Reads by a Zipf law at every edge, publishes at the origin, and who waits
for them everywhere.

A read is `warm` where this edge has answered for that path before: what it must be able to serve alone. Half of the
readers ask for nothing else, so that they do not hang on what is not to be had while a parent is away. All threads note
what they saw with its time; the phases and the picture look at it afterwards.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Self

from bench.regions.asking import Answer, Asker
from bench.regions.world import Host, World

READERS_AN_EDGE = 4
WARM_READERS = 2
READS_PER_SECOND = 40.0
PUBLISHES_PER_SECOND = 3.0
EXPONENT = 1.1
SIZES = (1_000, 4_000, 20_000, 100_000, 400_000)
VISIBLE_SECONDS_MAX = 150.0
LOOK_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Seen:
    """One read: when it was asked (monotonic), where, for what, and the answer."""

    at_s: float
    edge: str
    public: bool
    warm: bool
    answer: Answer

    @property
    def good(self) -> bool:
        return self.answer.status == 200


@dataclass(frozen=True, slots=True)
class Visible:
    """One publish at one edge: when it was acknowledged (monotonic), and how much later it was there."""

    at_s: float
    edge: str
    lag_ms: float


class Traffic:
    """Runs within its `with`. `paused`: nothing is asked; `quiet`: nothing is published."""

    def __init__(self, world: World, public: str, private: str, packages: int) -> None:
        self.world, self.repositories = world, {True: public, False: private}
        self.seen: list[Seen] = []
        self.visible: list[Visible] = []
        self.refused: list[Answer] = []
        self.paused, self.quiet = threading.Event(), threading.Event()
        self._paths: list[tuple[bool, str]] = []
        self._weights: list[float] = []
        self._warm: dict[str, set[str]] = {host.name: set() for host in world.edges}
        self._awaited: dict[str, deque[tuple[float, str]]] = {host.name: deque() for host in world.edges}
        self._over = threading.Event()
        self._number = 0
        self._fill(packages)
        self._threads = [threading.Thread(target=self._publish, daemon=True)]
        for host in world.edges:
            self._threads.append(threading.Thread(target=self._watch, args=(host,), daemon=True))
            for reader in range(READERS_AN_EDGE):
                self._threads.append(threading.Thread(target=self._read, args=(host, reader), daemon=True))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    # ---------------------------------------------------------------- what there is

    def _fill(self, count: int) -> None:
        """That many packages, half of them private, before anything is measured."""
        names = [self._next() for _ in range(count)]
        askers = threading.local()

        def put(one: tuple[bool, str]) -> None:
            if not hasattr(askers, "own"):
                askers.own = Asker(self.world.origin)
            answer = askers.own.ask("PUT", one[1], self.world.bearer, self._body(one[1]))
            if answer.status != 201:
                raise RuntimeError(f"PUT {one[1]}: {answer}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, names))
        self._paths = names
        random.Random("ranks").shuffle(self._paths)
        self._weights = list(accumulate(1 / rank**EXPONENT for rank in range(1, count + 1)))

    def _next(self) -> tuple[bool, str]:
        self._number += 1
        public = self._number % 2 == 0
        return public, f"{self.repositories[public]}/generic/package-{self._number}/1.0/{self._number}.bin"

    @staticmethod
    def _body(path: str) -> bytes:
        dice = random.Random(path)
        return dice.randbytes(dice.choice(SIZES))

    def published(self, *, public: bool) -> list[str]:
        """Paths of one of the two repositories, the most wanted first."""
        return [path for kind, path in self._paths if kind == public]

    def warm(self, edge: str, *, public: bool) -> list[str]:
        """Of them those that this edge has answered for."""
        return [path for path in self.published(public=public) if path in self._warm[edge]]

    # ---------------------------------------------------------------- what goes on

    def _read(self, host: Host, reader: int) -> None:
        asker, dice = Asker(host), random.Random(f"{host.name} {reader}")
        due_s = time.monotonic()
        while not self._over.is_set():
            due_s = max(due_s + READERS_AN_EDGE / READS_PER_SECOND, time.monotonic() - 0.2)
            if self._over.wait(max(0.0, due_s - time.monotonic())):
                break
            if self.paused.is_set():
                continue
            public, path = self._chosen(host, dice, warm=reader < WARM_READERS)
            warm, at_s = path in self._warm[host.name], time.monotonic()
            answer = asker.ask("GET", path, {} if public else self.world.bearer)
            if answer.status == 200:
                self._warm[host.name].add(path)
            self.seen.append(Seen(at_s, host.name, public, warm, answer))
        asker.close()

    def _chosen(self, host: Host, dice: random.Random, *, warm: bool) -> tuple[bool, str]:
        """By the Zipf law; of what is warm, where that is wanted and found soon."""
        chosen = dice.choices(self._paths, cum_weights=self._weights, k=20 if warm else 1)
        return next((one for one in chosen if one[1] in self._warm[host.name]), chosen[0])

    def _publish(self) -> None:
        """One after the other at the origin; each takes the place of a wanted package."""
        asker, dice = Asker(self.world.origin, 3.0), random.Random("publishes")
        while not self._over.wait(1 / PUBLISHES_PER_SECOND):
            if self.quiet.is_set():
                continue
            public, path = self._next()
            answer = asker.ask("PUT", path, self.world.bearer, self._body(path))
            if answer.status != 201:
                self.refused.append(answer)
                continue
            self.await_everywhere(path)
            self._paths[dice.randrange(len(self._paths) // 2)] = public, path
        asker.close()

    def settle(self) -> None:
        """Until all that was published is visible everywhere; for a quiet time."""
        end_s = time.monotonic() + VISIBLE_SECONDS_MAX
        while any(self._awaited.values()) and time.monotonic() < end_s:
            time.sleep(0.05)

    def await_everywhere(self, path: str) -> None:
        """It was acknowledged just now: when is it visible at each edge?"""
        now_s = time.monotonic()
        for waiting in self._awaited.values():
            waiting.append((now_s, path))

    def _watch(self, host: Host) -> None:
        asker, waiting = Asker(host, 3.0), self._awaited[host.name]
        while not self._over.is_set():
            if not waiting:
                self._over.wait(LOOK_SECONDS)
                continue
            acknowledged_s, path = waiting.popleft()
            while not self._over.is_set():
                status = asker.ask("HEAD", path, self.world.bearer).status
                now_s = time.monotonic()
                if status == 200 or now_s > acknowledged_s + VISIBLE_SECONDS_MAX:
                    self.visible.append(Visible(acknowledged_s, host.name, (now_s - acknowledged_s) * 1e3))
                    break
                self._over.wait(LOOK_SECONDS if now_s - acknowledged_s < 2 else 0.05)
        asker.close()

    # ---------------------------------------------------------------- what was seen

    def reads(
        self,
        since_s: float,
        until_s: float,
        edges: Sequence[str] = (),
        *,
        public: bool | None = None,
        warm: bool = False,
    ) -> list[Seen]:
        """Those that were asked within that time; at these edges (all), of that kind (both), warm ones alone."""
        return [
            one
            for one in self.seen
            if since_s <= one.at_s < until_s
            and (not edges or one.edge in edges)
            and (public is None or one.public == public)
            and (one.warm or not warm)
        ]

    def lags(self, since_s: float, until_s: float, edges: Sequence[str] = ()) -> list[float]:
        """Of publishes that were acknowledged within that time, in milliseconds."""
        return [
            one.lag_ms for one in self.visible if since_s <= one.at_s < until_s and (not edges or one.edge in edges)
        ]
