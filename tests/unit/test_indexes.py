"""Do big documents stay true whatever becomes of the cache, the clock and the others: lost runs, lost documents, two
makers, a process that ended halfway, a clock that jumps? Every document against one that is made from nothing."""

import gzip
import hashlib
import lzma
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.keeping.shelf import Shelf
from formats import ROOMS
from formats.deb.facts import DistributionFacts, FileFacts, Spot, packed
from formats.kit.contract import Indexed
from gateway.access.secrets.signing import SigningKeys, certificates_in, keyring, opened
from gateway.front.reads.signed import Place
from gateway.indexes.assembly import PARTS, RUN, Assembly, Row
from gateway.indexes.generations import KIND, Generation, Generations, Serials, serials_of
from storage.errors import Absent, Full
from storage.nouns import AnyChange, DropFile, File, Package, PutFile, PutPackage, PutRepository, Repository
from storage.open import Store
from tests.harness.stores import opened as store_in
from tests.harness.stores import publish, write

DEB: Indexed = ROOMS["deb"]  # type: ignore[assignment]
PLACE = Place("acme", "main", "deb", "stable")
START_MS = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000
BYTES = b"what every package here is made of"


class World:
    """An origin's makers over one store; more of them are more workers."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store, self.root, self.at_ms = store, root, START_MS
        self.signing = SigningKeys(root / "signing.json")
        self.shelf = Shelf(store.cache_env)
        self.assembly = Assembly(self.shelf, store.cached, store.cache_intake, lambda _: None)
        self.generations = self.another()

    def another(self) -> Generations:
        assembly = Assembly(self.shelf, self.store.cached, self.store.cache_intake, lambda _: None)
        return Generations(self.store.catalog, self.shelf, assembly, self.signing, lambda: self.at_ms)

    async def begin(self) -> None:
        certificates = self.signing.ensure("acme", "main", START_MS)
        facts = DistributionFacts(("main",), ("amd64",), contents=False)
        await write(self.store, PutRepository(Repository("acme", "main", certificates=certificates)))
        await publish(self.store, "bytes", BYTES)
        await write(self.store, PutPackage("deb", Package("d/stable", START_MS, packed(facts))))

    async def put(self, *numbers: int, version: str = "1.0") -> None:
        await write(self.store, *(change for number in numbers for change in package(number, version)))

    async def drop(self, *numbers: int) -> None:
        await write(self.store, *(DropFile("deb", key_of(n), f"{key_of(n)[2:]}.deb") for n in numbers))

    def make(self, *, anew: bool = False) -> Generation:
        with self.store.catalog.read() as reading:
            wanted = serials_of(reading, PLACE)
        return self.generations.make(PLACE, DEB, wanted, anew=anew)

    def document(self, row: Row) -> bytes:
        located = self.store.cached.find(row.sha256)
        assert located is not None
        return located.read()

    def truth(self) -> bytes:
        """The index as the room's fragments make it, one after the other."""
        with self.store.catalog.read() as reading:
            view = reading.view("acme", "main", "deb")
            given = [DEB.fragments("stable", one.name, view) for one in view.packages()]
        return b"".join(one.get("main/binary-amd64/Packages", b"") for one in given)

    def check(self, generation: Generation) -> None:
        """Every form of the index is the truth, and the manifest says so."""
        truth = self.truth()
        plain = generation.by_path("main/binary-amd64/Packages")
        assert plain is not None
        assert (plain.size, plain.sha256) == (len(truth), hashlib.sha256(truth).digest())
        for ending, unpacked in ((".gz", gzip.decompress), (".xz", lzma.decompress)):
            row = generation.by_path(f"main/binary-amd64/Packages{ending}")
            assert row is not None
            assert unpacked(self.document(row)) == truth
            assert f" {row.sha256.hex()} {row.size:>12} {row.path}\n".encode() in generation.body
        sealed = generation.seals["clear"]
        assert opened(sealed, self.signing.ensure("acme", "main", 0)) == generation.body

    def lose(self, kind: str) -> int:
        """Every record of a kind is gone, as eviction or a crash of the machine may take it."""
        found = [key for key, _ in self.shelf.scan(kind)]
        for key in found:
            self.shelf.drop(kind, key)
        return len(found)


def key_of(number: int) -> str:
    return f"b/{hashlib.sha256(b'%d' % number).hexdigest()[:6]}-{number}"


def package(number: int, version: str) -> list[AnyChange]:
    key = key_of(number)
    facts = FileFacts("deb", f"Package: {key[2:]}\nVersion: {version}\n", "amd64", (Spot("stable", "main"),))
    file = File(f"{key[2:]}.deb", version, hashlib.sha256(BYTES).digest(), len(BYTES), facts=packed(facts))
    return [PutPackage("deb", Package(key, START_MS)), PutFile("deb", key, file)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path / "store") as opened_store:
        yield opened_store


@pytest.fixture
async def world(store: Store, tmp_path: Path) -> World:
    made = World(store, tmp_path)
    await made.begin()
    await made.put(*range(400))
    return made


# ---------------------------------------------------------------- what is lost


async def test_lost_runs_are_made_anew(world: World) -> None:
    first = world.make()
    world.check(first)
    assert world.lose(RUN) > 4
    await world.put(1_000)
    world.check(world.make())


async def test_a_lost_part_or_generation_is_made_anew_with_equal_bytes(world: World) -> None:
    first = world.make()
    for kind in (PARTS, KIND):
        assert world.lose(kind) == 1
    again = world.make()
    world.check(again)
    assert again.rows == first.rows, "they follow from the packages alone"


async def test_a_lost_document_is_put_together_again(world: World) -> None:
    first = world.make()
    row = first.by_path("main/binary-amd64/Packages.gz")
    assert row is not None
    world.store.cached.forget(row.sha256)
    assert world.store.cached.find(row.sha256) is None
    assert world.make(anew=True).rows == first.rows
    world.check(first)


async def test_nothing_new_is_the_same_generation(world: World) -> None:
    assert world.make() == world.make()


async def test_a_process_that_ended_between_the_parts_leaves_no_half_set(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents are written, then the part's state, then the generation: whatever of it is there is no harm (E1)."""
    before = world.make()
    await world.put(2_000)

    def broken(*_: object) -> None:
        raise Full("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(world.generations, "keep", broken)
        with pytest.raises(Full):
            world.make()
    assert world.generations.held(PLACE) == before, "who asks meanwhile gets the former set, whole"
    after = world.make()
    world.check(after)
    assert after.modified_s > before.modified_s


# ---------------------------------------------------------------- several makers


async def test_two_makers_make_one_generation(world: World) -> None:
    """Of two workers one makes it, the other takes what he made."""
    with world.store.catalog.read() as reading:
        wanted = serials_of(reading, PLACE)
    found: list[Generation] = []
    makers = [world.another() for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: found.append(one.make(PLACE, DEB, wanted))) for one in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        await trio.to_thread.run_sync(thread.join)
    assert len(found) == 4
    assert len({one.seals["clear"] for one in found}) == 1
    world.check(found[0])


async def test_a_claim_of_a_dead_maker_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.shelf.claim(PLACE.key(), 0.05)
    world.check(world.make())


# ---------------------------------------------------------------- the clock


async def test_the_manifest_grows_younger_though_the_clock_goes_back(world: World) -> None:
    first = world.make()
    world.at_ms -= 40 * DAY_MS
    await world.put(3_000)
    second = world.make()
    assert second.modified_s == first.modified_s + 1
    world.at_ms += 1_000 * DAY_MS
    third = world.make()
    assert third.body != second.body, "what was valid no longer is said anew"
    assert third.rows == second.rows
    assert third.modified_s == world.at_ms // 1000


async def test_a_day_later_it_is_said_anew_and_is_never_over_while_it_is_asked_for(world: World) -> None:
    first = world.make()
    assert first.until_ms == START_MS + 14 * DAY_MS
    assert not world.generations.due()
    world.at_ms += DAY_MS
    assert world.generations.due() == [PLACE]
    assert not world.generations.over(first)
    second = world.make()
    assert second.until_ms == world.at_ms + 14 * DAY_MS
    assert not world.generations.due()
    world.at_ms += 14 * DAY_MS
    assert world.generations.over(second)


# ---------------------------------------------------------------- former generations (O12)


async def test_o12_former_documents_stay_known(world: World) -> None:
    seen: list[tuple[Row, bytes]] = []
    for number in range(5):
        await world.put(4_000 + number)
        generation = world.make()
        row = generation.by_path("main/binary-amd64/Packages.xz")
        assert row is not None
        seen.append((row, world.document(row)))
    last = world.make()
    for row, data in seen:
        assert last.by_identity(row.sha256) == row
        assert world.document(row) == data


# ---------------------------------------------------------------- any history


@given(
    st.lists(
        st.tuples(st.sampled_from(("put", "change", "drop", "lose run", "lose parts", "make")), st.integers(0, 90)),
        min_size=1,
        max_size=14,
    )
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_history_ends_in_the_truth(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    root = tmp_path_factory.mktemp("history")

    async def run() -> None:
        with store_in(root / "store") as store:
            world = World(store, root)
            await world.begin()
            await world.put(*range(80))
            there = set(range(80))
            for what, number in steps:
                if what in ("put", "change"):
                    await world.put(number, version="1.0" if what == "put" else "2.0")
                    there.add(number)
                elif what == "drop" and number in there:
                    await world.drop(number)
                    there.discard(number)
                elif what.startswith("lose"):
                    world.lose(RUN if what == "lose run" else PARTS)
                else:
                    world.check(world.make())
            final = world.make()
            world.check(final)
            for kind in (PARTS, RUN):
                world.lose(kind)
            assert world.make(anew=True).rows == final.rows, "as if it had been made from nothing"

    trio.run(run)


def test_there_is_no_set_without_a_distribution(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Absent):
        World(store, tmp_path).generations.make(PLACE, DEB, Serials(0, 0))


# ---------------------------------------------------------------- keys


def test_f13_only_what_was_signed_is_read(tmp_path: Path) -> None:
    signing = SigningKeys(tmp_path / "signing.json")
    ours, other = signing.ensure("a", "b", 1), signing.ensure("a", "c", 1)
    text = b"Origin: x\n- a dash\n\nDate: y\n"
    sealed = signing.seals("a", "b", text, ours)["clear"]
    assert opened(sealed, ours) == text
    assert opened(b"evil: 1\n" + sealed + b"\nevil: 2\n", ours) == text, "what stands around it is nobody's"
    for wrong in (sealed.replace(b"Origin: x", b"Origin: y"), text, b"", sealed[: len(sealed) // 2]):
        with pytest.raises(Exception, match="not signed by the keys"):
            opened(wrong, ours)
    with pytest.raises(Exception, match="not signed by the keys"):
        opened(sealed, other)
    assert certificates_in(keyring(ours + other, armored=True)) == ours + other
    assert certificates_in(keyring(ours, armored=False)) == ours
    for none in (b"", b"x", sealed):
        with pytest.raises(Exception, match="no keyring"):
            certificates_in(none)
