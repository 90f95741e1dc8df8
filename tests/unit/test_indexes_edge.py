"""What does an edge serve of a signed set when its origin is away, and is what it holds then as fresh as it can be? And
what is believed of a foreign archive's manifest?"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from cache.asking.upstream import Remote
from formats import ROOMS
from formats.deb.indexes import date
from formats.deb.upstream import believed
from formats.kit.contract import Listed, Manifest
from gateway.front.reads.signed import Place
from gateway.indexes.bringing import Asking
from gateway.indexes.generations import Generation, Serials
from gateway.indexes.sets import Sets
from storage.errors import Unavailable, UpstreamFailed
from tests.harness.stores import opened as store_in
from tests.unit.test_indexes import DAY_MS, PLACE, START_MS, World


class Parent:
    """A parent that answers with `generation`, or not at all."""

    def __init__(self, generation: Generation | None) -> None:
        self.generation, self.asked = generation, 0

    def fetch_document(self, url: str, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.generation is None:
            raise UpstreamFailed("nobody is there")
        return SimpleNamespace(status=200, body=msgspec.msgpack.encode(self.generation))


def generation(at_ms: int, serial: int = 1) -> Generation:
    return Generation(
        Serials(serial, 1),
        at_ms,
        at_ms // 1000,
        at_ms + DAY_MS,
        b"text",
        {"clear": b"sealed"},
        (),
        (),
        at_ms + 14 * DAY_MS,
    )


def edge(root: Path, store: Any, parent: Parent) -> tuple[World, Asking, Sets]:
    world = World(store, root)
    asking = Asking(world.generations, store.catalog, cast("Remote", parent), "http://parent", "token")
    sets = Sets(store.catalog, world.generations, asking, store.cached, cast("Any", None), lambda _: None)
    return world, asking, sets


async def brought(sets: Sets, plan: Manifest | Listed) -> tuple[Generation, str]:
    request = cast("Any", SimpleNamespace(outcome=""))
    found = await sets._brought(request, PLACE, cast("Any", ROOMS["deb"]), Serials(1, 1), plan)
    return found, request.outcome


async def test_a_cut_off_edge_serves_what_is_valid_and_nothing_that_is_over(tmp_path: Path) -> None:
    with store_in(tmp_path / "store") as store:
        parent = Parent(generation(START_MS))
        world, _, sets = edge(tmp_path, store, parent)
        plan = Manifest("stable", "text/plain", "clear")
        assert (await brought(sets, plan))[1] == ""
        parent.generation = None
        world.at_ms += 14 * DAY_MS - 1
        found, outcome = await brought(sets, plan)
        assert (found.seals, outcome) == ({"clear": b"sealed"}, "STALE")
        world.at_ms += 1
        with pytest.raises(Unavailable, match="valid no longer") as refused:
            await brought(sets, plan)
        assert refused.value.retry_after_s
        found, outcome = await brought(sets, Listed("stable", "text/plain", path="main/source/Sources.gz"))
        assert outcome == "STALE", "documents go on being found"
        parent.generation = generation(world.at_ms)
        assert (await brought(sets, plan))[0].until_ms == world.at_ms + 14 * DAY_MS


async def test_what_an_edge_holds_is_renewed_though_nobody_asks(tmp_path: Path) -> None:
    with store_in(tmp_path / "store") as store:
        parent = Parent(generation(START_MS))
        world, asking, _ = edge(tmp_path, store, parent)
        world.generations.keep(PLACE, generation(START_MS))
        world.generations.keep(Place("acme", "main", "deb", "other/updates"), generation(START_MS))
        await asking.renew()
        assert parent.asked == 0, "nothing is due"
        world.at_ms += DAY_MS
        parent.generation = None
        await asking.renew()
        assert parent.asked == 2, "what fails is asked for the next time"
        parent.generation = generation(world.at_ms, 2)
        await asking.renew()
        assert not world.generations.due()
        held = world.generations.held(PLACE)
        assert held is not None
        assert held.until_ms == world.at_ms + 14 * DAY_MS


# ---------------------------------------------------------------- foreign manifests


def release(suite: str = "stable", codename: str = "trixie", at_ms: int = START_MS, until_ms: int = 0) -> bytes:
    until = f"Valid-Until: {date(until_ms)}\n" if until_ms else ""
    return f"Origin: x\nSuite: {suite}\nCodename: {codename}\nDate: {date(at_ms)}\n{until}SHA256:\n".encode()


def test_what_is_believed_of_a_foreign_manifest() -> None:
    now = START_MS + DAY_MS
    assert believed(release(), "stable", b"", now) == believed(release(), "trixie", b"", now) == 0
    assert believed(release(until_ms=now + 60_000), "stable", b"", now) == 60
    assert believed(release(), "stable", release(), now) == 0


@pytest.mark.parametrize(
    ("body", "before", "why"),
    [
        (release("oldstable", "bookworm"), b"", "answered with the distribution"),
        (release(until_ms=START_MS + 1_000), b"", "valid no longer"),
        (release(), release(at_ms=START_MS + 1_000), "older than the one before"),
        (b"Suite: stable\n", b"", "no date"),
        (b"Suite: stable\nDate: yesterday\n", b"", "no date"),
        (release() + b"Valid-Until: some day\n", b"", "cannot be read"),
        (b"", b"", "no date"),
    ],
)
def test_d1_what_is_not_believed(body: bytes, before: bytes, why: str) -> None:
    with pytest.raises(UpstreamFailed, match=why):
        believed(body, "stable", before, START_MS + DAY_MS)
