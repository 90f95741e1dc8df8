"""Do keys and conditions hold between processes, through an edge, and where the node is killed at any moment?"""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.harness.running import Got, get
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native

WRITERS = 12
KILLS = 5
API = "/-/api/v1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("manners") / "world", "workers = 2\n") as made:
        made.repository("acme", "main")
        made.edge("tokyo", "asia")
        yield made


def ask(world: Topology, node: Node, method: str, path: str, body: Any = None, **headers: str) -> Got:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {"Authorization": f"Bearer {world.token}"}
    raw = None
    if body is not None:
        sent["Content-Type"], raw = "application/json", json.dumps(body).encode()
    return get(f"{node.url}{API}{path}", sent, method, raw)


def test_a_key_holds_at_every_node_and_the_edge_shows_what_was_done(world: Topology) -> None:
    origin, edge = world.nodes
    body = {"name": "ci", "grants": [{"scope": "acme/main"}]}
    first = ask(world, edge, "POST", "/tokens", body, Idempotency_Key='"one"')
    assert first.status == 201
    for node in (origin, edge, origin):
        again = ask(world, node, "POST", "/tokens", body, Idempotency_Key='"one"')
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["idempotency-replayed"] == "?1"
        assert again.headers["entrepot-serial"] == first.headers["entrepot-serial"]
    assert ask(world, edge, "POST", "/tokens", body | {"name": "x"}, Idempotency_Key='"one"').status == 422
    named = [one for one in json.loads(ask(world, edge, "GET", "/tokens").body)["items"] if one["name"] == "ci"]
    assert len(named) == 1
    text = json.loads(first.body)["token"]
    assert edge.get(f"{API}/whoami", text).status == 200
    told = [json.loads(ask(world, node, "GET", "/repositories/acme/none").body) for node in world.nodes]
    assert all(one["type"] == "/-/problems/absent" and len(one["request_id"]) == 32 for one in told)
    assert edge.get(told[1]["type"]).body.startswith(b"## absent")


def test_equal_requests_at_once_are_done_once(world: Topology) -> None:
    """By several processes, some through the edge: each is told the one answer, or that it is worked on."""
    for number in range(4):
        body, key = {"name": f"crowd{number}"}, f'"crowd {number}"'

        def one(at: int, body: Any = body, key: str = key) -> Got:
            return ask(world, world.nodes[at % 2], "POST", "/users", body, Idempotency_Key=key)

        with ThreadPoolExecutor(WRITERS) as pool:
            answers = list(pool.map(one, range(WRITERS)))
        assert {got.status for got in answers} <= {201, 409}
        assert {json.loads(got.body)["code"] for got in answers if got.status == 409} <= {"still-running"}
        assert len({got.body for got in answers if got.status == 201}) == 1
        assert one(0).status == 201


def test_of_writers_that_saw_the_same_one_alone_comes_first(world: Topology) -> None:
    path = "/repositories/acme/main"
    for number in range(4):
        etag = ask(world, world.origin, "GET", path).headers["etag"]

        def write(at: int, etag: str = etag, start: int = 20 + number * WRITERS) -> int:
            return ask(world, world.nodes[at % 2], "PATCH", path, {"lease_s": start + at}, If_Match=etag).status

        with ThreadPoolExecutor(WRITERS) as pool:
            assert sorted(pool.map(write, range(WRITERS))) == [200] + [412] * (WRITERS - 1)


def test_e1_a_key_and_its_change_are_there_together_or_not_at_all(world: Topology) -> None:
    """The origin is killed at any moment of a request; whoever asks again has it done once, and is told one answer."""
    drawn = random.Random(5)
    for number in range(KILLS):
        body, key = {"name": f"killed{number}"}, f"kill-{number}"
        heard: list[Got] = []

        def first(body: Any = body, key: str = key, heard: list[Got] = heard) -> None:
            with suppress(OSError):
                heard.append(ask(world, world.origin, "POST", "/users", body, Idempotency_Key=key))

        asking = threading.Thread(target=first)
        asking.start()
        time.sleep(drawn.uniform(0.0, 0.02))
        world.origin.stop(signal.SIGKILL)
        asking.join(30)
        world.origin.start()
        world.origin.until(f"{API}/whoami", 200, world.token)
        again = ask(world, world.origin, "POST", "/users", body, Idempotency_Key=key)
        assert again.status == 201, again.body
        if heard and heard[0].status == 201:
            assert again.body == heard[0].body
        once = ask(world, world.origin, "POST", "/users", body, Idempotency_Key=key)
        assert (once.body, once.headers["idempotency-replayed"]) == (again.body, "?1")
    found = [one["name"] for one in json.loads(ask(world, world.origin, "GET", "/users?limit=1000").body)["items"]]
    assert sorted(one for one in found if one.startswith("killed")) == [f"killed{number}" for number in range(KILLS)]
