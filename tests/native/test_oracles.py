"""What does an answer tell of what its caller may not know? Origin and edge, as processes (THREATS B9)."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.access.credentials import tickets
from gateway.access.tokens import signing_key
from gateway.delivery.messages.heads import Head
from tests.harness.running import Got, get
from tests.harness.topologies import Node, Topology
from tests.harness.versions import edited, model

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("oracles") / "world") as made:
        made.repository("acme", "hidden")
        made.repository("quiet", "hidden")
        made.repository("other", "own")
        made.edge("tokyo", "asia")
        yield made


def call(world: Topology, method: str, path: str, body: object = None, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token or world.token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    got = get(f"{world.origin.url}/-/api/v1{path}", headers, method, sent)
    assert got.status < 300, got.body
    return json.loads(got.body) if got.body else None


def token(world: Topology, scope: str, *, admin: bool = False) -> tuple[str, str]:
    """(text, id) of a token for one place."""
    made = call(world, "POST", "/tokens", {"name": f"of {scope}", "grants": [{"scope": scope, "admin": admin}]})
    return made["token"], made["id"]


def plain(got: Got) -> tuple[int, Any]:
    """An answer without what differs from one request to the next."""
    told = json.loads(got.body)
    return got.status, {name: value for name, value in told.items() if name != "request_id"}


def test_b9_who_asks_why_it_may_not_learns_of_no_repository_that_it_may_not_know_of(world: Topology) -> None:
    call(world, "POST", "/users", {"name": "mallory"})
    call(world, "PUT", "/workspaces/acme/members/user:mallory", {"role": "member"})
    mine = call(world, "POST", "/tokens", {"name": "mine", "owner": "user:mallory"})["token"]
    world.repository("acme", "shown", public=True)
    for node in world.nodes:
        at = "/-/api/v1/workspaces/acme/explain?principal=user:mallory&action=read&repository="
        node.until(f"{at}shown", 200, mine)
        there, absent = plain(node.get(f"{at}hidden", mine)), plain(node.get(f"{at}never", mine))
        assert there == absent
        assert (there[0], there[1]["why"]) == (200, "nothing allows it")
        assert node.get(f"{at}hidden", world.token).status == 200, "who gives rights sees what is there"
        assert node.get(f"{at}never", world.token).status == 404


def test_b9_nobody_learns_what_others_have_from_how_his_own_bytes_were_stored(world: Topology) -> None:
    """Their chunks are shared with whoever stores the same: what was there before is told to who may see all."""
    theirs = model(size=17 << 20)
    guess = edited(theirs, 5 << 20, 1 << 20)
    assert world.put("acme/hidden", "weights.bin", theirs).status == 201
    at = "/-/api/v1/repositories/{}/packages/{}?format=generic"
    assert _stored(world.origin, at.format("acme/hidden", "weights.bin"), world.token)["chunks"] > 10
    text, _ = token(world, "other", admin=True)
    assert world.put("other/own", "guess.bin", guess).status == 201
    told = _stored(world.origin, at.format("other/own", "guess.bin"), text)
    assert told["chunks"] > 10
    assert (told["saved_bytes"], told["extents"]) == (None, None)
    storage = json.loads(world.origin.get("/-/api/v1/repositories/other/own/storage", text).body)
    assert storage["saved_bytes"] is None
    assert [one["saved_bytes"] for one in storage["by_cut"].values()] == [None]
    for_all = _stored(world.origin, at.format("other/own", "guess.bin"), world.token)
    assert for_all["saved_bytes"] > len(guess) // 2
    assert for_all["extents"] >= 1


def _stored(node: Node, path: str, token: str) -> Any:
    """How a file lies, once it is cut."""
    end = time.monotonic() + 60
    while not (found := json.loads(node.get(path, token).body)["files"][0]["stored"])["chunks"]:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_b9_a_ticket_that_somebody_signs_himself_tells_nothing_of_other_workspaces(world: Topology) -> None:
    """An edge waits for what is known where a ticket was made. Whoever has a token can make one."""
    edge = world.nodes[1]
    text, id = token(world, "other")
    edge.until("/-/api/v1/whoami", 200, text)
    world.put("quiet/hidden", "more.bin", b"more")

    def asked(workspace: str, serial: int) -> int:
        path = "/quiet/hidden/generic/more.bin"
        host = edge.url.partition("://")[2]
        fields = Head(raw_path=path, host=host)
        body = msgspec.msgpack.encode(
            tickets.Body(
                id, int(time.time() * 1000) + 30_000, "GET", host, tickets.what_of(fields), "127.0.0.0/24", workspace,
                serial,
            )
        )  # fmt: skip
        made = tickets.Ticket(b"", b"", body, signing_key(text).sign(tickets.MARK + body))
        raw = base64.urlsafe_b64encode(msgspec.msgpack.encode(made)).decode().rstrip("=")
        return edge.get(f"{path}?{tickets.ARGUMENT}={raw}").status

    assert [asked("quiet", 1), asked("quiet", 1 << 40), asked("never", 1), asked("never", 1 << 40)] == [404] * 4
    assert asked("other", 1 << 40) == 503, "of its own it is waited for"
