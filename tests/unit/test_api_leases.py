"""Does an edge tell by the API what it would not serve? THREATS F2: neither past a lease, nor of what a hole closes."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.access.peers.leases import EdgeLease
from gateway.console.api import ROUTES
from storage.index.holes import CLOSES_ALL, Hole
from tests.harness.consoles import Console
from tests.unit.test_api_permissions import address, filled

LEASE_S = 30.0
SHORT_S = 5
MAIN = "/repositories/acme/main"
OF_ONE = [
    route
    for route in ROUTES
    if route.method == "GET" and "<repository>" in route.rule and not route.rule.endswith("/test")
    if "/pulls/" not in route.rule  # the origin answers these
]


@dataclass
class Follower:
    """What the edge has heard, and when."""

    whole_s: float = field(default_factory=time.monotonic)
    last_contact_s: float = field(default_factory=time.monotonic)
    closed_s: float = 0.0
    missing: tuple[Hole, ...] = ()
    synced: bool = True

    def holes(self) -> tuple[Hole, ...]:
        return self.missing

    def lacks(self, closes: str) -> None:
        """A change that may have taken something away there; for long enough."""
        self.missing = (Hole("acme", 3, "main", "bad", 5, "KeyError at fold.py:1", (b"x",), (closes,), "build"),)
        self.closed_s = time.monotonic() - 2 * LEASE_S


class Edge:
    def __init__(self, console: Console, follower: Follower) -> None:
        self.console = console
        self.follower = follower

    async def statuses(self, role: str) -> dict[str, tuple[int, str]]:
        """Of all that can be read of acme/main: the status, and when to come back."""
        told = {}
        for route in OF_ONE:
            got = await self.console.call(role, "GET", address(route, self.console))
            told[route.rule] = (got.status, got.headers.get("retry-after", ""))
        return told

    async def status(self, role: str, path: str) -> int:
        return (await self.console.call(role, "GET", path)).status

    async def found(self, query: str, role: str = "node admin") -> tuple[set[str], int]:
        """The repositories of what a search finds, and how many it left out."""
        got = await self.console.call(role, "GET", f"/search?q={query}")
        assert got.status == 200, got.body
        places = {f"{one['workspace']}/{one['repository']}" for one in got.json["items"]}
        return places, got.json.get("left_out", 0)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    follower = Follower()
    console = await filled(tmp_path, lease=EdgeLease(follower, LEASE_S))
    assert (await console.call("main admin", "PATCH", MAIN, {"lease_s": SHORT_S})).status == 200
    console.add_package("other", "main", "pypi", "theirs")
    console.add_binned("acme", "open", "pypi", "gone")
    yield Edge(console, follower)
    console.ledger.close()


async def test_f2_all_of_one_repository_ends_with_its_own_lease_and_comes_back(edge: Edge) -> None:
    assert len(OF_ONE) >= 18
    assert set((await edge.statuses("node admin")).values()) == {(200, "")}
    strangers = await edge.statuses("stranger")
    edge.follower.whole_s = time.monotonic() - 2 * SHORT_S
    assert set((await edge.statuses("node admin")).values()) == {(503, "2")}
    assert await edge.statuses("stranger") == strangers, "B9: who may not know of it is told nothing else"
    for role, path in (
        ("anonymous", "/repositories/acme/open/packages?format=pypi"),
        ("node admin", "/repositories/acme/open/keys"),
        ("node admin", "/repositories/other/main/packages?format=pypi"),
        ("node admin", "/workspaces/acme"),
    ):
        assert await edge.status(role, path) == 200, path
    edge.follower.whole_s = time.monotonic()
    assert set((await edge.statuses("node admin")).values()) == {(200, "")}


async def test_f2_what_is_told_of_many_leaves_it_out_and_says_so(edge: Edge) -> None:
    everywhere = {"acme/main", "acme/open", "other/main"}
    assert await edge.found("format:pypi") == (everywhere, 0)
    edge.follower.whole_s = time.monotonic() - 2 * SHORT_S
    for sort in ("name", "updated"):
        assert await edge.found(f"format:pypi&sort={sort}") == (everywhere - {"acme/main"}, 1)
    assert await edge.found("repository:open") == ({"acme/open"}, 0), "nothing is left out of what is asked for"
    assert await edge.found("repository:main", "stranger") == ({"other/main"}, 0), "B9: nor of what he may not know"
    assert await edge.found("status:deleted") == ({"acme/open"}, 1)
    listed = (await edge.console.call("node admin", "GET", "/repositories")).json
    assert "main" not in [one["name"] for one in listed["items"] if one["workspace"] == "acme"]
    assert listed["left_out"] == 1
    assert "left_out" not in (await edge.console.call("anonymous", "GET", "/repositories")).json
    usage = (await edge.console.call("acme admin", "GET", "/workspaces/acme/usage")).json
    assert ([one["repository"] for one in usage["repositories"]], usage["left_out"]) == (["open"], 1)


async def test_f2_a_workspace_that_a_hole_closes_is_told_as_it_is_served(edge: Edge) -> None:
    edge.follower.lacks("acme")
    assert set((await edge.statuses("node admin")).values()) == {(503, "2")}
    for path in (
        "/workspaces/acme",
        "/workspaces/acme/members",
        "/workspaces/acme/usage",
        "/repositories/acme/open/keys",
    ):
        assert await edge.status("acme admin", path) == 503, path
    assert await edge.status("anonymous", "/repositories/acme/open/packages?format=pypi") == 200
    assert await edge.status("stranger", "/repositories/other/main/packages?format=pypi") == 200
    assert await edge.found("format:pypi") == ({"acme/open", "other/main"}, 1)
    assert await edge.found("status:deleted") == (set(), 2), "a bin is never for everybody"
    edge.follower.lacks(CLOSES_ALL)
    assert await edge.status("stranger", "/repositories/other/main/packages?format=pypi") == 503
    edge.follower.missing, edge.follower.closed_s = (), 0.0
    assert set((await edge.statuses("node admin")).values()) == {(200, "")}
    assert await edge.status("acme admin", "/workspaces/acme") == 200


async def test_f2_past_the_leave_of_the_edge_itself_nothing_is_told(edge: Edge) -> None:
    edge.follower.whole_s = time.monotonic() - 2 * LEASE_S
    for role, path in (("node admin", "/search?q=thing"), ("node admin", "/repositories"), ("node admin", "/whoami")):
        assert await edge.status(role, path) == 503, path
    told = (await edge.console.call("node admin", "GET", "/status")).json
    assert "heads" not in told
