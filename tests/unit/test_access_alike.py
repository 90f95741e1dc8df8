"""Does whoever is refused cause the same work, whether what he asked for is there or not? THREATS B9, C10.

`python -m bench timing` measures it; here the steps are counted and compared, which no busy machine can disturb.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from formats import ROOMS
from gateway.access.limits.rates import Rates, Table
from gateway.access.rights.verdicts import identify, judge_sight, judge_workspace, sees_workspace
from gateway.config import Limits
from gateway.delivery.messages.heads import Head, parse
from gateway.front.admission import Admission
from gateway.front.charging import Charging
from gateway.front.conductor import Front
from storage.errors import Absent, Problem
from storage.nouns import (
    SYSTEM,
    Draft,
    Grant,
    NetworkRule,
    PutRepository,
    PutWorkspace,
    Repository,
    Upstream,
    Workspace,
)
from tests.harness.consoles import API, Console
from tests.harness.ledgers import NOW_MS
from tests.harness.steps import steps, watching

WHO = ("anonymous", "stranger", "neighbour", "unknown")
NOTHING: Any = cast("Any", None)
HIDDEN, NEVER = "secret", "nowork"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """`secret` is a Workspace with many private Repositories, of which `main` has a large row; `neighbour` may use
    another one in `acme`, where `main` is private, too."""
    made = Console(tmp_path_factory.mktemp("alike"))
    large = Repository(
        HIDDEN, "main", at_ms=NOW_MS - 1000, quota_bytes=1 << 40,
        upstreams=tuple(Upstream(f"r{n}", f"https://upstream.example/{n}/") for n in range(20)),
        networks=tuple(NetworkRule(False, (f"10.{n}.0.0/16",)) for n in range(50)),
    )  # fmt: skip
    with_rows = [large, *(Repository(HIDDEN, f"more-{n}", at_ms=NOW_MS - 1000) for n in range(30))]
    made.ledger.write(Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace(HIDDEN, NOW_MS - 1000)),)))
    for one in with_rows:
        made.ledger.write(Draft(HIDDEN, one.name, "t", "t", (PutRepository(one),)))
    made.add_token("neighbour", Grant("acme/open", True))
    yield made
    made.ledger.index.close()


def front_of(console: Console, folder: Path) -> Front:
    rates = Rates(Table(folder / "rates", 60.0), Limits())
    return Front(
        console.ledger.catalog, ROOMS, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, Admission(ROOMS),
        Charging(rates, None),
    )  # fmt: skip


def head_of(console: Console, who: str, path: str) -> Head:
    token = console.tokens[who]
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    head = parse(f"GET {path} HTTP/1.1\r\nHost: a\r\n{shown}\r\n".encode())
    head.peer, head.scheme = "192.0.2.1", "http"
    return head


PATHS = ("{}/generic/x", "{}/pypi/simple/x/", "{}/npm/x", "{}/deb/dists/stable/Release", "{}/nosuch/x")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("path", PATHS)
def test_b9_a_read_of_packages_takes_the_same_steps(console: Console, tmp_path: Path, who: str, path: str) -> None:
    front, found = front_of(console, tmp_path), []
    for place in (f"{HIDDEN}/main", f"{HIDDEN}/void", f"{NEVER}/main", "acme/main", "acme/void"):
        head = head_of(console, who, "/" + path.format(place))
        answer = front.look(head)
        assert answer is not None
        assert answer.status in (401, 404)
        found.append(steps(partial(front.look, head)))
    assert len(found[0]) > 50
    for other in found[1:]:
        assert other == found[0]


@pytest.mark.parametrize("who", WHO[:3])
@pytest.mark.parametrize("action", ["read", "admin", "people"])
def test_b9_a_workspace_is_refused_in_the_same_steps(console: Console, who: str, action: str) -> None:
    """However many Repositories it has: it took 61 us longer, measured, when all of them were read for it."""
    with console.ledger.catalog.read() as reading:
        principal = identify(reading, console.tokens[who] or None, NOW_MS)

        def judged(ws: str) -> None:
            with pytest.raises(Problem):
                judge_workspace(reading, principal, ws, action)

        hidden, never = steps(partial(judged, HIDDEN)), steps(partial(judged, NEVER))
        seen = [steps(partial(sees_workspace, reading, principal, ws)) for ws in (HIDDEN, NEVER)]
    assert hidden == never
    assert seen[0] == seen[1]
    assert sum(one.split()[-1].endswith("get") for one in seen[0]) == 1, "one look-up, not one for each"


@pytest.mark.parametrize("who", WHO[1:3])
def test_b9_a_scope_is_refused_in_the_same_steps(console: Console, who: str) -> None:
    with console.ledger.catalog.read() as reading:
        principal = identify(reading, console.tokens[who], NOW_MS)

        def judged(ws: str, name: str) -> None:
            with pytest.raises(Absent):
                judge_sight(reading, principal, ws, name)

        found = [steps(partial(judged, *place)) for place in ((HIDDEN, "main"), (HIDDEN, "void"), (NEVER, "main"))]
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(
    ("there", "absent"),
    [
        (f"/workspaces/{HIDDEN}", f"/workspaces/{NEVER}"),
        (f"/repositories/{HIDDEN}/main", f"/repositories/{HIDDEN}/void"),
        (f"/repositories?workspace={HIDDEN}", f"/repositories?workspace={NEVER}"),
        (f"/workspaces/{HIDDEN}/explain?principal=user:x", f"/workspaces/{NEVER}/explain?principal=user:x"),
    ],
)
async def test_b9_the_api_refuses_in_the_same_steps(console: Console, who: str, there: str, absent: str) -> None:
    token = console.tokens[who]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found = []
    for address in (there, absent) * 2:
        seen: list[str] = []
        with watching(seen):
            got = await console.ask("GET", API + address, headers)
        assert got.status in (401, 404)
        found.append(seen)
    assert len(found[2]) > 50
    assert found[2] == found[3]
