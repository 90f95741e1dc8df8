"""How is a sweep raced against everything else, the same way each time?

One seed decides all: which uploads, links, deletions, reads, restarts and crashes there are, and between which two
points of the sweep each of them happens. The parts are the product's own (committer, shelf, index, journal); only the
order is ours, because the sweep stops ahead of every transaction and every file and lets the others act.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from storage.blobs.intake import Staged
from storage.blobs.shelf import Located
from storage.commit import Decided
from storage.digest import sha256
from storage.errors import Invalid
from storage.index.tables import Txn
from storage.nouns import DropFile, DropPackage, DropRepository, File, Package, PutFile, PutPackage
from storage.open import Store
from storage.upkeep.sweep import Rules, Sweep
from tests.harness.stores import draft, opened

LIMITS: dict[str, Any] = {"memory_bytes_max": 2_000, "pack_bytes_max": 6_000}
REPOSITORIES = ("main", "other")
NAMES = tuple("abcdef")
CONTENTS = 12
ACTS = 60


class Crashed(Exception):
    """The sweep was killed here."""


class Raced(Sweep):
    """A sweep that lets others act ahead of each of its transactions, and may be killed there."""

    def __init__(self, *given: Any, between: Callable[[], None]) -> None:
        super().__init__(*given)
        self._between = between

    def _change(self, act: Callable[[Txn], int]) -> int:
        self._between()
        done = super()._change(act)
        self._between()
        return done

    def _batch_of_loose(self, after: bytes) -> list[bytes]:
        self._between()
        return super()._batch_of_loose(after)


class Simulation:
    """One seed. `files` is what must be readable, as (repository, name) to content."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.seed = seed
        self.draw = random.Random(seed)
        self.clock_ms = 1_000_000
        self.files: dict[tuple[str, str], int] = {}
        self.reading: list[tuple[int, Located]] = []
        self.staged: list[tuple[int, Staged]] = []
        self.left = ACTS
        self.trace: list[str] = []
        self.store: Store

    def body(self, n: int) -> bytes:
        """Small and large ones: those lie in packs of their own."""
        return sha256(b"%d" % n) * (10 + 40 * (n % 4))

    def now_ms(self) -> int:
        self.clock_ms += 1
        return self.clock_ms

    # ------------------------------------------------------------ acts, each whole

    async def upload(self) -> None:
        """The bytes may have been received long ago."""
        if not self.staged or self.draw.random() < 0.7:
            n = self.draw.randrange(CONTENTS)
            staged = self.store.intake.stage()
            staged.write(self.body(n))
            staged.seal()
            self.staged.append((n, staged))
            if self.draw.random() < 0.3:
                return self.note("stage", n)
        n, staged = self.staged.pop(self.draw.randrange(len(self.staged)))
        place = self.place()
        with staged:
            await self.put(place, n, [staged])
        self.note("upload", place, n)
        return None

    async def link(self) -> None:
        """A mount: names what is there already, and brings no bytes."""
        n, place = self.draw.randrange(CONTENTS), self.place()
        try:
            await self.put(place, n, [])
        except Invalid:
            assert n not in self.files.values(), "what a file names can be linked"
            return self.note("link refused", place, n)
        return self.note("link", place, n)

    async def put(self, place: tuple[str, str], n: int, staged: list[Staged]) -> None:
        body = self.body(n)
        changes = (
            PutPackage("generic", Package("pkg")),
            PutFile("generic", "pkg", File(place[1], "1", sha256(body), len(body))),
        )
        await self.commit(place[0], changes, staged)
        self.files[place] = n

    async def delete(self) -> None:
        place = self.place()
        await self.commit(place[0], (DropFile("generic", "pkg", place[1]),), [])
        self.files.pop(place, None)
        self.note("delete", place)

    async def delete_many(self) -> None:
        repository = self.draw.choice(REPOSITORIES)
        if self.draw.random() < 0.5:
            await self.commit(repository, (DropPackage("generic", "pkg"),), [])
        else:
            await self.commit("", (DropRepository("acme", repository),), [])
        self.files = {place: n for place, n in self.files.items() if place[0] != repository}
        self.note("delete all", repository)

    async def commit(self, repository: str, changes: Any, staged: list[Staged]) -> None:
        assert self.store.committer is not None
        wanted = draft(*changes, repository=repository)
        await self.store.committer.commit(lambda reading: Decided(wanted), staged)

    async def begin_reading(self) -> None:
        if self.files:
            place = self.draw.choice(sorted(self.files))
            n = self.files[place]
            located = self.store.blobs.find(sha256(self.body(n)))
            assert located is not None, f"{place} has no bytes"
            self.reading.append((n, located))
            self.note("read", place)

    async def end_reading(self) -> None:
        if self.reading:
            n, located = self.reading.pop(self.draw.randrange(len(self.reading)))
            assert located.read() == self.body(n), "who reads, reads on"
            self.note("read on", n)

    async def forget_handles(self) -> None:
        """As if another process looked, which has no file open yet."""
        self.store.blobs._handles.clear()
        self.store.blobs.doubt()

    async def tick(self) -> None:
        self.clock_ms += self.draw.choice((10, 5_000))

    def place(self) -> tuple[str, str]:
        return self.draw.choice(REPOSITORIES), self.draw.choice(NAMES)

    def note(self, *what: object) -> None:
        self.trace.append(" ".join(map(str, what)))

    async def act(self) -> None:
        acts = (
            (6, self.upload), (2, self.link), (5, self.delete), (1, self.delete_many), (3, self.begin_reading),
            (3, self.end_reading), (1, self.forget_handles), (2, self.tick),
        )  # fmt: skip
        (chosen,) = self.draw.choices([one for _, one in acts], [weight for weight, _ in acts])
        self.left -= 1
        await chosen()

    # ------------------------------------------------------------ the run

    async def run(self) -> None:
        """Restarts now and then. Raises AssertionError where something that was promised is not there."""
        try:
            while self.left > 0:
                with opened(self.root, **LIMITS) as self.store:
                    assert self.store.committer is not None
                    self.store.committer._now_ms = self.now_ms
                    for _ in range(self.draw.randrange(3, 20)):
                        await self.act()
                    for _ in range(self.draw.randrange(1, 3)):
                        await self.sweep()
                    await self.check()
                    self.leave()
                self.note("restart")
        except BaseException as error:
            error.add_note(f"seed {self.seed}: " + "; ".join(self.trace))
            raise

    async def sweep(self) -> None:
        """In a thread, as the node does it; the others act while it stands still."""
        store = self.store
        assert store.journal is not None
        rules = Rules(grace_ms=self.draw.choice((0, 2_000)), garbage_share_min=0.1, waste_bytes_min=0)
        mortal = self.draw.random() < 0.3

        def between() -> None:
            if mortal and self.draw.random() < 0.1:
                raise Crashed
            for _ in range(self.draw.choice((0, 0, 1, 2))):
                trio.from_thread.run(self.act)

        run = Raced(store.index, store.journal, store.blobs, self.now_ms, rules, between=between)

        def through() -> None:
            for _ in run.steps():
                between()

        self.note("sweep")
        try:
            await trio.to_thread.run_sync(through)
        except Crashed:
            self.note("sweep crashed")
        assert run.progress.damaged == []
        self.note("swept", run.progress.forgotten, run.progress.copied, run.progress.packs_done)

    async def check(self) -> None:
        """Everything that is named can be read, and the index is what the journal says of it."""
        with self.store.catalog.read() as reading:
            for repository in REPOSITORIES:
                named = {one.name: one for one in reading.view("acme", repository, "generic").files("pkg")}
                assert set(named) == {name for place, name in self.files if place == repository}
                for name, file in named.items():
                    located = self.store.blobs.find(file.sha256)
                    assert located is not None, f"{repository}/{name} has no bytes"
                    assert located.read() == self.body(self.files[repository, name])
        for n, located in self.reading:
            assert located.read() == self.body(n)

    def leave(self) -> None:
        for _, staged in self.staged:
            staged.discard()
        self.staged, self.reading = [], []
