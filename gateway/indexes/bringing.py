"""Where does a new generation come from? At an origin it is made, at an edge it is asked of the parent.

Whoever comes while one is on its way waits for it, and is content with it if it covers what he has seen; so a burst of
publishes makes as many generations as there is time for, and each publisher finds his own package in the next.
"""

import os
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import quote, urlencode

import msgspec
import trio

from cache.asking.bodies import Source
from cache.asking.upstream import Remote
from formats.kit.contract import Indexed
from gateway.access.secrets.signing import SigningKeys
from gateway.front.reads.signed import Place
from gateway.indexes.assembly import Row
from gateway.indexes.generations import Generation, Generations, Serials, serials_of
from gateway.indexes.resigning import Resigning
from storage.blobs.intake import Intake
from storage.blobs.shelf import BlobShelf
from storage.commit import Committer, Decided
from storage.errors import Absent, Problem, UpstreamFailed
from storage.index.catalog import Catalog, Reading
from storage.nouns import Draft, PutRepository, Repository
from storage.spans import note, step, stepped

ANSWER_BYTES_MAX = 256 << 20
READ_BYTES = 1 << 20
ROUNDS_MAX = 8
SYSTEM_ACTOR = "system"


class Sharing:
    """One run at a time for each set in this process; who waits looks at the result."""

    def __init__(self) -> None:
        self._running: dict[Place, trio.Event] = {}

    async def one(
        self, place: Place, enough: Callable[[], Generation | None], run: Callable[[], Awaitable[Generation]]
    ) -> Generation:
        """What is `enough` for the caller, or the result of `run`."""
        for _ in range(ROUNDS_MAX):
            running = self._running.get(place)
            if running is None:
                break
            with step("wait for generation"):
                await running.wait()
            if (found := enough()) is not None:
                return found
        done = trio.Event()
        self._running[place] = done
        try:
            with step("bring generation"):
                note("entrepot.format", place.format)
                return await run()
        finally:
            if self._running.get(place) is done:
                del self._running[place]
            done.set()


class Making:
    """An origin's: implements gateway.indexes.sets.Bring."""

    def __init__(
        self,
        catalog: Catalog,
        generations: Generations,
        committer: Committer,
        signing: SigningKeys,
        cached: BlobShelf,
        intake: Intake,
        now_ms: Callable[[], int],
        resigning: Resigning,
        threads_max: int = 2,
    ) -> None:
        self._catalog = catalog
        self._generations = generations
        self._resigning = resigning
        self._committer = committer
        self._signing = signing
        self._cached = cached
        self._intake = intake
        self._now_ms = now_ms
        self._sharing = Sharing()
        self._threads = trio.CapacityLimiter(threads_max)

    async def generation(self, place: Place, room: Indexed, wanted: Serials, *, foreign: bool = False) -> Generation:
        def enough() -> Generation | None:
            held = self._generations.held(place)
            return held if self._generations.current(held, wanted) else None

        if foreign:
            return await self._sharing.one(place, enough, lambda: self._sign_anew(place, room))
        return await self._sharing.one(place, enough, lambda: self._make(place, room, wanted))

    async def _sign_anew(self, place: Place, room: Indexed) -> Generation:
        """An upstream's manifest under our own keys. Raises Absent, UpstreamFailed."""
        with self._catalog.read() as reading:
            repository = reading.repository(place.workspace, place.repository)
        if repository is None:
            raise Absent("There is no such repository.")
        if not repository.certificates:
            await self.certificates(repository)
        return await trio.to_thread.run_sync(lambda: self._resigning.bring(place, room), limiter=self._threads)

    async def _make(self, place: Place, room: Indexed, wanted: Serials, *, anew: bool = False) -> Generation:
        with self._catalog.read() as reading:
            room.parts(place.set, reading.view(place.workspace, place.repository, place.format))
            repository = reading.repository(place.workspace, place.repository)
        if repository is None:
            raise Absent("There is no such repository.")
        if not repository.certificates:
            await self.certificates(repository)
            with self._catalog.read() as reading:
                wanted = serials_of(reading, place)
        return await trio.to_thread.run_sync(
            lambda: self._generations.make(place, room, wanted, anew=anew), limiter=self._threads
        )

    async def certificates(self, repository: Repository) -> tuple[bytes, ...]:
        """The first key is made when it is needed: first its secret half on the disk, then the other in the journal."""
        at = repository.workspace, repository.name
        made = await trio.to_thread.run_sync(self._signing.ensure, *at, self._now_ms())

        def decide(reading: Reading) -> Decided:
            now = reading.repository(*at)
            if now is None:
                raise Absent("There is no such repository.")
            if now.certificates:
                return Decided(None, now.certificates, at[0])
            put = PutRepository(msgspec.structs.replace(now, certificates=made))
            return Decided(Draft(*at, SYSTEM_ACTOR, "key.create", (put,)), made)

        committed = await self._committer.commit(decide)
        certificates: tuple[bytes, ...] = committed.value
        return certificates

    async def restore(self, place: Place, room: Indexed, row: Row) -> None:
        """A plain form is unpacked from its compressed one; what eviction took is put together again."""
        await self._once(place, room, row.packed or row.sha256)
        if row.packed:
            await trio.to_thread.run_sync(self._unpacked, row, limiter=self._threads)

    async def _once(self, place: Place, room: Indexed, sha256: bytes) -> None:
        if self._cached.holds(sha256) is not None:
            return
        with self._catalog.read() as reading:
            wanted = serials_of(reading, place)
        await self._make(place, room, wanted, anew=True)
        if self._cached.holds(sha256) is None:
            raise Absent("This index is of a generation that is not kept any more.", "Read its manifest again.")

    @stepped("unpack index")
    def _unpacked(self, row: Row) -> None:
        located = self._cached.find(row.packed)
        if located is None:
            raise Absent("This index is of a generation that is not kept any more.", "Read its manifest again.")
        inflater = zlib.decompressobj(31)
        with self._intake.stage() as staged:
            for fd, offset, length in located.extents:
                for at in range(0, length, READ_BYTES):
                    data = inflater.decompress(os.pread(fd, min(READ_BYTES, length - at), offset + at))
                    staged.write(data)
            staged.write(inflater.flush())
            staged.seal()
            assert staged.sha256 == row.sha256, "what was hashed is what was packed"
            self._cached.put(staged)


class Asking:
    """An edge's: implements gateway.indexes.sets.Bring."""

    def __init__(
        self, generations: Generations, catalog: Catalog, remote: Remote, parent: str, token: str, threads_max: int = 8
    ) -> None:
        self._generations = generations
        self._catalog = catalog
        self._remote = remote
        self._parent = parent.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"}
        self._sharing = Sharing()
        self._threads = trio.CapacityLimiter(threads_max)

    async def generation(self, place: Place, room: Indexed, wanted: Serials, *, foreign: bool = False) -> Generation:
        def enough() -> Generation | None:
            held = self._generations.held(place)
            return held if self._generations.current(held, wanted) else None

        return await self._sharing.one(place, enough, lambda: self._ask(place))

    async def _ask(self, place: Place) -> Generation:
        answer = await trio.to_thread.run_sync(
            lambda: self._remote.fetch_document(
                self._url(place), self._headers, bytes_max=ANSWER_BYTES_MAX, private_network=True
            ),
            limiter=self._threads,
            abandon_on_cancel=True,
        )
        if answer.status == 404:
            raise Absent("There is no such set.")
        if answer.status != 200:
            raise UpstreamFailed(f"The origin answered {answer.status}.", "Try again.")
        try:
            generation = msgspec.msgpack.decode(answer.body, type=Generation)
        except msgspec.DecodeError:
            raise UpstreamFailed("The origin's answer makes no sense.", "Are both of the same version?") from None
        held = self._generations.held(place)
        if held is None or generation.serials.cover(held.serials):
            self._generations.keep(place, generation)
        return generation

    async def renew(self) -> None:
        """Ask anew for what is due to be said anew, though nobody asks here: when the origin then goes away, what is
        held is as fresh as it can be. What fails is asked for the next time."""
        for place in await trio.to_thread.run_sync(self._generations.due, limiter=self._threads):
            with suppress(Problem):
                await self._ask(place)

    async def restore(self, place: Place, room: Indexed, row: Row) -> Callable[[int], Source]:
        url = self._url(place, sha256=row.sha256.hex())

        def opener(offset: int) -> Source:
            return self._remote.open_stream(url, self._headers, offset=offset, private_network=True)

        return opener

    async def certificates(self, repository: Repository) -> tuple[bytes, ...]:
        """The origin makes the first key when it is asked for; the journal brings it here a moment later."""
        path = "/".join(quote(part, safe="") for part in (repository.workspace, repository.name))
        answer = await trio.to_thread.run_sync(
            lambda: self._remote.fetch_document(
                f"{self._parent}/-/peer/certificates/{path}", self._headers, private_network=True
            ),
            limiter=self._threads,
            abandon_on_cancel=True,
        )
        if answer.status != 200:
            raise UpstreamFailed(f"The origin answered {answer.status}.", "Try again.")
        return msgspec.msgpack.decode(answer.body, type=tuple[bytes, ...])

    def _url(self, place: Place, sha256: str = "") -> str:
        path = "/".join(quote(part, safe="") for part in (place.workspace, place.repository, place.format))
        query = urlencode({"set": place.set} | ({"sha256": sha256} if sha256 else {}))
        return f"{self._parent}/-/peer/set/{path}?{query}"
