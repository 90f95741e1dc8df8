"""Is an operator told what nobody did: a quota, a customer's limit, damage; once, wherever it was met (O3, E8, F9)?"""

import json
import time
from pathlib import Path

import pytest

from tests.harness.receivers import Came, Receiver
from tests.harness.running import get
from tests.harness.topologies import Node, Topology
from tests.native.test_upkeep import rot
from tests.native.test_webhooks import api, made

pytestmark = pytest.mark.native

QUOTA = 3 << 20
EVENTS = ["quota.*", "entitlement.limit_reached", "entitlement.expired", "package.damaged"]
PRECIOUS = b"what nobody may lose." * 50


def fetched(node: Node, token: str) -> int:
    return get(f"{node.url}/acme/builds/generic/a.bin", {"Authorization": f"Bearer {token}"}).status


def known(node: Node, token: str) -> None:
    """Until an edge knows a token."""
    end_s = time.monotonic() + 30
    while get(f"{node.url}/acme/builds/generic/a.bin", {"Authorization": f"Bearer {token}"}, "HEAD").status != 200:
        assert time.monotonic() < end_s
        time.sleep(0.02)


def of(receiver: Receiver, kind: str, count: int) -> list[Came]:
    receiver.until(lambda came: sum(one.event == kind for one in came) >= count)
    return receiver.events(kind)


def test_what_is_noticed_anywhere_is_told_by_the_origin_once(tmp_path: Path) -> None:
    with Receiver() as receiver, Topology(tmp_path) as world:
        repository = world.repository("acme", "builds")
        shield = world.edge("shield", "eu", shield=True)
        behind = world.edge("behind", "eu", parents=[shield])
        secret = made(world, "acme", "operators", receiver.url, events=EVENTS)["secret"]
        for name in ("a.bin", "b.bin"):
            assert world.put(repository, name, PRECIOUS + name.encode()).status == 201

        # a quota: an edge behind a shield refuses, and so do both others; then it is nearly used
        world.entrepot("quota", "set", repository, str(QUOTA))
        for node in (behind, shield, world.origin, behind):
            end_s = time.monotonic() + 30
            while world.put(repository, "large.bin", bytes(QUOTA), node).status != 507:
                assert time.monotonic() < end_s
        [reached] = of(receiver, "quota.reached", 1)
        assert reached.signed_by(secret)
        told = reached.json["data"]
        assert (told["quota_bytes"], told["repository"], told["actor"]["id"]) == (QUOTA, "builds", "node")
        assert told["refused_bytes"] == QUOTA
        assert world.put(repository, "fits.bin", bytes(QUOTA - (64 << 10)), behind).status == 201
        [near] = of(receiver, "quota.near", 1)
        assert near.json["data"]["used_bytes"] >= 0.9 * QUOTA

        # a customer's limit, met at two edges
        limits = ("--downloads", "3", "--metadata", "crm=7")
        customer = world.entrepot("entitlement", "create", "acme", "buyer", *limits)
        for node in (behind, shield):
            known(node, customer["token"])
        statuses = [fetched(node, customer["token"]) for node in (behind, shield) * 3]
        assert (statuses.count(200), statuses.count(403)) == (3, 3)
        [limit] = of(receiver, "entitlement.limit_reached", 1)
        told = limit.json["data"]
        assert (told["token"], told["limit"], told["most"], told["used"]) == (customer["id"], "downloads", 3, 3)
        assert told["metadata"] == {"crm": "7"}

        # damage
        rot(world.origin.data / "packs", PRECIOUS + b"a.bin")
        assert api(world, "POST", "/scrub").status in (200, 202)
        [damaged] = of(receiver, "package.damaged", 1)
        told = damaged.json["data"]
        assert (told["package"], [one["name"] for one in told["files"]]) == ("a.bin", ["a.bin"])

        # the audit has them, and a replay tells the same by the same ids
        listed = json.loads(api(world, "GET", "/workspaces/acme/audit?limit=200", node=behind).body)["items"]
        noticed = [one for one in listed if one["actor"]["id"] == "node"]
        kinds = ["entitlement.limit_reached", "package.damaged", "quota.near", "quota.reached"]
        assert sorted(one["action"] for one in noticed) == kinds
        before = len(receiver.came)
        ids = {one.id for one in receiver.came}
        assert len(ids) == before == 4
        world.entrepot("webhook", "replay", "acme/operators", "--after", "0")
        receiver.until(lambda came: len(came) >= before + 4)
        assert {one.id for one in receiver.came} == ids
