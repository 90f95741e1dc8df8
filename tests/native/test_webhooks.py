"""Is a receiver told what happened, once at least, signed, whatever dies; and nobody of what is not his (D14, D2)?"""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.receivers import Came, Receiver
from tests.harness.running import Got, get
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native

FILES = 40
QUICK = "[webhooks]\nretry_seconds_min = 0.1\nretry_seconds_max = 0.5\nanswer_seconds_max = 5.0\n"
CANARY = "canary0secret0value0of0a0header"
PATH_CANARY = "/services/T0canary/B0path0of0a0url"


def api(world: Topology, method: str, path: str, body: Any = None, *, token: str = "", node: Node | None = None) -> Got:
    headers = {"Authorization": f"Bearer {token or world.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return get(f"{(node or world.origin).url}/-/api/v1{path}", headers, method, data)


def made(world: Topology, workspace: str, name: str, url: str, **more: Any) -> Any:
    body = {"name": name, "url": url, "private_network": True} | more
    got = api(world, "POST", f"/workspaces/{workspace}/webhooks", body)
    assert got.status == 201, got.body
    return json.loads(got.body)


def test_d14_nothing_is_lost_when_the_node_is_killed_and_every_repeat_has_its_id(tmp_path: Path) -> None:
    """A receiver that hangs, then a killed node: all that was published arrives, by the same ids."""
    hanging = threading.Event()

    def answers(came: Came) -> tuple[int, dict[str, str], bytes]:
        if not hanging.is_set():
            hanging.wait(20)
            return 500, {}, b""
        return 200, {}, b"thanks"

    with Receiver(answers) as receiver, Topology(tmp_path, QUICK) as world:
        repository = world.repository("acme", "builds")
        secret = made(world, "acme", "ci", receiver.url, events=["package.published"])["secret"]
        for number in range(FILES):
            assert world.put(repository, f"tool/{number}.bin", b"x%d" % number).status == 201
        before = receiver.until(lambda came: len(came) >= 1)
        world.origin.stop(signal.SIGKILL)
        hanging.set()
        world.origin.start()
        world.origin.until("/-/ready", 200)
        wanted = {f"tool/{number}.bin" for number in range(FILES)}
        receiver.until(lambda came: wanted <= {one.json["data"]["package"] for one in came})
        by_file: dict[str, set[str]] = {}
        for one in receiver.came:
            assert one.signed_by(secret)
            by_file.setdefault(one.json["data"]["package"], set()).add(one.id)
        assert all(len(ids) == 1 for ids in by_file.values()), "a repeat has the id of the first"
        assert len({next(iter(ids)) for ids in by_file.values()}) == FILES
        assert before[0].id in {one.id for one in receiver.came[len(before) :]}, "what was under way came again"


def test_d14_a_workspace_is_told_of_its_own_and_nothing_secret_is_anywhere(tmp_path: Path) -> None:
    """By way of an edge: made, filtered, written by a template, rotated, tried, sent again, played again, removed."""

    def echo(came: Came) -> tuple[int, dict[str, str], bytes]:
        return 200, {"x-request-id": came.headers.get("x-key", ""), "location": came.path}, came.body

    with Receiver(echo) as receiver, Topology(tmp_path, QUICK) as world:
        mine, others = world.repository("acme", "builds"), world.repository("other", "main")
        world.repository("acme", "spare")
        edge = world.edge("first", "eu")
        url = receiver.url + PATH_CANARY
        body = {"name": "all", "url": url, "private_network": True, "headers": {"X-Key": CANARY}}
        got = api(world, "POST", "/workspaces/acme/webhooks", body, node=edge)
        assert got.status == 201, got.body
        secrets = [json.loads(got.body)["secret"]]
        told = [got.body]
        made(world, "other", "theirs", receiver.url + "/other")
        picked = {"repository": "builds", "events": ["package.published"], "query": "name:^lib/ NOT filename:*.txt"}
        made(world, "acme", "picked", receiver.url + "/picked", **picked)
        template = json.dumps({"text": "{{data.package}} by {{data.actor.name}}", "tags": "{{data.tags}}"})
        made(world, "acme", "chat", receiver.url + "/chat", events=["package.*"], template=template)

        for path in ("lib/a.bin", "lib/b.txt", "c.bin"):
            assert world.put(mine, path, b"x", node=edge).status == 201
        assert world.put("acme/spare", "lib/d.bin", b"x").status == 201
        assert world.put(others, "lib/e.bin", b"x").status == 201
        world.entrepot("token", "create", "both", "--repository", "acme/builds", "--repository", "other/main")
        receiver.until(lambda came: {"token.created"} <= {one.event for one in came if one.path == PATH_CANARY})
        receiver.until(lambda came: any(one.path == "/other" and one.event == "token.created" for one in came))
        receiver.until(lambda came: sum(one.path == "/chat" for one in came) == 4)
        receiver.until(lambda came: any(one.path == "/picked" for one in came))

        by_path: dict[str, list[Came]] = {}
        for one in receiver.came:
            by_path.setdefault(one.path, []).append(one)
        assert {one.json["data"]["workspace"] for one in by_path[PATH_CANARY]} == {"acme"}
        assert {one.json["data"]["workspace"] for one in by_path["/other"]} == {"other"}
        assert b"lib/e.bin" not in b"".join(one.body for one in by_path[PATH_CANARY] + by_path["/chat"])
        assert [one.json["data"]["package"] for one in by_path["/picked"]] == ["lib/a.bin"]
        assert sorted(one.json["text"] for one in by_path["/chat"]) == [
            f"{name} by admin" for name in ("c.bin", "lib/a.bin", "lib/b.txt", "lib/d.bin")
        ]
        scopes = [one.json["data"]["scopes"] for one in by_path[PATH_CANARY] if one.event == "token.created"]
        assert scopes == [["acme/builds"]], "not that the token reaches elsewhere (F5)"
        assert all(one.signed_by(secrets[0]) and one.headers["x-key"] == CANARY for one in by_path[PATH_CANARY])

        # another secret, beside the first for an hour
        secrets.append(world.entrepot("webhook", "rotate", "acme/all", "--overlap", "1h", url=edge.url)["secret"])
        pinged = world.entrepot("webhook", "ping", "acme/all", url=edge.url)
        assert (pinged["delivered"], pinged["status"], pinged["event"]) == (True, 200, "ping")
        ping = receiver.events("ping")[0]
        assert [ping.signed_by(one) for one in secrets] == [True, True]

        _tell_again(world, edge, receiver, by_path[PATH_CANARY])
        _look_for_secrets(world, edge, told, secrets)
        world.entrepot("webhook", "delete", "acme/all", url=edge.url)
        assert CANARY not in (world.origin.data / "webhooks.json").read_text()
        assert api(world, "GET", "/workspaces/acme/webhooks/all", node=edge).status == 404


def _tell_again(world: Topology, edge: Node, receiver: Receiver, came: list[Came]) -> None:
    """Sent again, played again: the same ids."""
    first = came[0]
    listed = world.entrepot("webhook", "deliveries", "acme/all", url=edge.url)["items"]
    number = next(one["number"] for one in listed if one["message"] == first.id)
    again = world.entrepot("webhook", "redeliver", "acme/all", str(number), url=edge.url)
    assert (again["message"], again["cause"]) == (first.id, "redelivery")
    before = len(receiver.came)
    world.entrepot("webhook", "replay", "acme/all", "--after", "0", url=edge.url)
    known = {one.id for one in came if one.json["data"]["journal"] == "acme"}
    receiver.until(lambda all: known <= {one.id for one in all[before:]})
    _until(world, "all", lambda one: one["queue"]["lag_entries"] == 0)
    metrics = world.origin.get("/-/metrics", world.token).body
    assert b'entrepot_webhook_lag_entries{workspace="acme",webhook="all"} 0' in metrics


def _look_for_secrets(world: Topology, edge: Node, told: list[bytes], secrets: list[str]) -> None:
    """Nothing of it is told, logged, journaled or shown; `told` begins with the one answer that may hold a secret."""
    metrics = world.origin.get("/-/metrics", world.token).body
    for path in ("", "/all", "/all/deliveries?limit=1000"):
        told.append(api(world, "GET", f"/workspaces/acme/webhooks{path}", node=edge).body)
    told += [api(world, "GET", "/workspaces/acme/audit").body, metrics]
    hidden = (CANARY, PATH_CANARY, *(one.removeprefix("whsec_") for one in secrets))
    for text in told[1:]:
        assert not [one for one in hidden if one.encode() in text], text[:500]
    assert PATH_CANARY.encode() not in told[0]
    for folder in (world.origin.data, edge.data, world.folder):
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in ("webhooks.json", "data.mdb", "lock.mdb"):
                found = [one for one in hidden if one.encode() in file.read_bytes()]
                assert not found, (file, found)
    for database in [*world.origin.data.rglob("data.mdb"), *edge.data.rglob("data.mdb")]:
        assert not [one for one in hidden if one.encode() in database.read_bytes()], database
    assert (world.origin.data / "webhooks.json").stat().st_mode & 0o077 == 0


def test_d14_a_receiver_that_is_away_for_long_is_switched_off_and_loses_nothing(tmp_path: Path) -> None:
    """With two workers, one of which delivers. D2: what is inside is for the node's administrator to point at."""
    well = threading.Event()

    def answers(came: Came) -> tuple[int, dict[str, str], bytes]:
        if came.path == "/gone":
            return 410, {}, b""
        return (200 if well.is_set() else 503), {}, b""

    config = QUICK + "disable_seconds = 1.5\nattempts_max = 50\n"
    with Receiver(answers) as receiver, Topology(tmp_path, config) as world:
        world.origin.stop()
        world.origin.start("--workers", "2")
        world.origin.until("/-/ready", 200)
        repository = world.repository("acme", "builds")
        made(world, "acme", "watch", receiver.url + "/watch", events=["package.*"])
        made(world, "acme", "gone", receiver.url + "/gone", events=["package.*"])
        for number in range(5):
            assert world.put(repository, f"{number}.bin", b"x").status == 201
        for name in ("watch", "gone"):
            assert _until(world, name, lambda one: not one["enabled"])["why"]
        actions = [one["action"] for one in world.entrepot("audit", "list", "acme")["items"]]
        assert actions.count("webhook.disable") == 2
        assert world.put(repository, "5.bin", b"x").status == 201
        quiet = len(receiver.came)
        well.set()
        assert world.entrepot("webhook", "show", "acme/watch")["queue"]["lag_entries"] > 0
        world.entrepot("webhook", "update", "acme/watch", "--enabled")
        wanted = {f"{number}.bin" for number in range(6)}
        receiver.until(lambda came: wanted <= {one.json["data"]["package"] for one in came[quiet:]})
        assert all(one.path == "/watch" for one in receiver.came[quiet:])

        # who administers the workspace alone
        token = world.entrepot("token", "create", "ws", "--workspace", "acme", "--admin")["token"]
        inside = {"name": "inside", "url": receiver.url.replace("http:", "https:")}
        refused = api(world, "POST", "/workspaces/acme/webhooks", inside, token=token)
        assert (refused.status, b"is not on the public Internet" in refused.body) == (400, True)
        inside = {"name": "inside", "url": receiver.url, "private_network": True}
        assert api(world, "POST", "/workspaces/acme/webhooks", inside, token=token).status == 403
        moved = api(world, "PATCH", "/workspaces/acme/webhooks/watch", {"url": receiver.url + "/x"}, token=token)
        assert moved.status == 403, "not to another place inside either"
        assert "inside" not in (world.origin.data / "webhooks.json").read_text()


def _until(world: Topology, name: str, holds: Callable[[Any], bool]) -> Any:
    """Ask about a webhook of acme until that holds."""
    end_s = time.monotonic() + 30
    while not holds(one := world.entrepot("webhook", "show", f"acme/{name}")):
        assert time.monotonic() < end_s, one
        time.sleep(0.2)
    return one
