"""Is the way of one request through edge, shield, origin and upstream one trace, and is nothing secret in it?"""

import json
import secrets
import uuid
from pathlib import Path

import pytest

from tests.harness.collectors import Collector, Seen
from tests.harness.running import get
from tests.harness.topologies import Node, Topology
from tests.harness.upstreams import Item, noise, upstream

pytestmark = pytest.mark.native

SERVER, CLIENT = 2, 3
AT = "org/canary-package/lib/1.0/lib-1.0.jar"


def config_of(folder: Path, collector: Collector, ratio: float, clients_s: float) -> str:
    key = folder / "collector-headers"
    key.write_text("X-Api-Key: canary-collector-key\n")
    return (
        f'[traces]\nendpoint = "{collector.url}"\nheaders_file = "{key}"\nsample_ratio = {ratio}\n'
        f"client_traces_s_max = {clients_s}\n"
    )


def of_role(spans: list[Seen], name: str, kind: int) -> list[Seen]:
    return [one for one in spans if one.resource["entrepot.role"] == name and one.kind == kind]


def and_of_writes_and_errors(world: Topology, edge: Node, mine: str, parent: str, collector: Collector) -> None:
    """The rest of the story, and the search for what must be in no span."""
    # a write goes through the edge to the origin's journal, in one trace too
    written = uuid.uuid4().hex
    url = f"{edge.url}/{mine}/generic/canary-file/1/a.bin"
    credential = {"Authorization": f"Bearer {world.token}"}
    assert get(url, credential | {"traceparent": f"00-{written}-{parent}-01"}, "PUT", b"a" * 1000).status == 201
    spans = collector.until(lambda all: any(one.trace == written and one.name == "commit" for one in all))
    spans = collector.until(lambda all: any(one.trace == written and one.parent == parent for one in all))
    steps = {one.name for one in spans if one.trace == written}
    assert {"relay", "commit", "PUT /{workspace}/{repository}/generic/..."} <= steps

    # what an error says is found under the same id, in the API's dialect as well
    lost = uuid.uuid4().hex
    sampled = {"traceparent": f"00-{lost}-{parent}-01"}
    problem = get(f"{edge.url}/-/api/v1/repositories/canary-space/none?code=canary-code", credential | sampled)
    assert problem.status == 404
    assert json.loads(problem.body)["request_id"] == lost
    assert get(f"{edge.url}/t/{world.token}/{mine}/maven/canary-name", sampled).status in (400, 404)
    collector.until(lambda all: sum(one.trace == lost and one.parent == parent for one in all) >= 2)

    assert collector.headers["x-api-key"] == "canary-collector-key"
    told = b"".join(collector.raw)
    for secret in (world.token.encode(), world.token[4:].encode(), b"canary"):
        assert secret not in told, secret
    metrics = get(f"{edge.url}/-/metrics", credential).body.decode()
    assert 'entrepot_trace_spans_dropped_total{worker="0"} 0' in metrics
    assert "canary-collector-key" not in edge.words() + world.origin.words()


def test_one_request_is_one_trace_over_all_nodes_and_tells_no_secret(tmp_path: Path) -> None:
    """B2, C11: names, tokens and the credential of the collector are in no span; a foreign upstream hears nothing."""
    with (
        Collector() as collector,
        upstream() as foreign,
        Topology(tmp_path / "world", config_of(tmp_path, collector, 0.0, 1000.0)) as world,
    ):
        mine = world.repository("canary-space", "canary-repo")
        world.entrepot("upstream", "add", mine, "maven", foreign.url + "/", "--private-network")
        shield = world.edge("gate", "asia", shield=True)
        edge = world.edge("tokyo", "asia", parents=[shield])
        edge.until(f"/{mine}/maven/absent/a/1/a-1.jar", 404, world.token)
        data = noise(3_000_000)
        foreign.items[f"/{AT}"] = Item(data)
        assert collector.seen == [], "a ratio of nothing traces nothing by itself"

        trace, parent = uuid.uuid4().hex, secrets.token_hex(8)
        said = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "vendor=value"}
        got = get(f"{edge.url}/{mine}/maven/{AT}", said | {"Authorization": f"Bearer {world.token}"})
        assert (got.status, got.body == data) == (200, True)
        assert got.headers["entrepot-request-id"] == trace

        def whole(spans: list[Seen]) -> bool:
            mine = [one for one in spans if one.trace == trace]
            return (
                len({one.resource["service.instance.id"] for one in mine if one.kind == SERVER}) == 3
                and any(one.name == "ask upstream" for one in mine)
                and any(one.parent == parent for one in mine)
            )

        spans = collector.until(whole)
        assert {one.trace for one in spans} == {trace}, "one trace, and no other"
        assert {one.state for one in spans} == {"vendor=value"}
        by_id = {one.id: one for one in spans}
        assert len(by_id) == len(spans)
        first = next(one for one in spans if one.parent == parent)
        assert first.name == "GET /{workspace}/{repository}/maven/..."
        assert first.facts["http.response.status_code"] == 200
        assert first.facts["http.response.body.size"] == len(data)
        assert first.facts["entrepot.principal.kind"] == "tok"

        asked = next(
            one for one in spans if one.name == "ask upstream" and one.facts["http.response.status_code"] == 200
        )
        nodes, here = [], asked
        while here.parent != parent:
            nodes.append((here.kind, here.resource["service.instance.id"]))
            here = by_id[here.parent]
        at = [node for kind, node in [*nodes, (here.kind, here.resource["service.instance.id"])] if kind == SERVER]
        assert len(at) == len(set(at)) == 3, "upstream under origin under shield under edge"
        assert asked.resource["entrepot.role"] == "origin"
        assert here is first
        parents = [one for one in spans if one.name == "ask parent"]
        assert {one.facts["server.address"] for one in parents} >= {
            shield.peers.removeprefix("https://"), world.origin.peers.removeprefix("https://")
        }  # fmt: skip
        assert any(one.name == "fill" for one in spans)
        assert all("traceparent" not in one.headers and "tracestate" not in one.headers for one in foreign.asked)
        for node in (edge, shield, world.origin):
            assert any(line.get("trace") == trace for line in node.served()), f"{node.name} logs the same id"

        and_of_writes_and_errors(world, edge, mine, parent, collector)


def test_c1_a_client_cannot_make_a_node_trace_and_a_collector_that_is_away_costs_nothing(tmp_path: Path) -> None:
    """By default a client's traceparent is not heeded; not by way of an edge either."""
    with (
        Collector() as collector,
        Topology(tmp_path / "world", config_of(tmp_path, collector, 0.0, 0.0)) as world,
    ):
        mine = world.repository("mine", "one", public=True)
        edge = world.edge("tokyo", "asia")
        for node in (world.origin, edge):
            for number in range(5):
                sampled = {"traceparent": f"00-{uuid.uuid4().hex}-{secrets.token_hex(8)}-01"}
                credential = {"Authorization": f"Bearer {world.token}"}
                assert get(f"{node.url}/-/api/v1/whoami", sampled | credential).status == 200
                path = f"{node.url}/{mine}/generic/{node.name}/{number}/a.bin"
                assert get(path, sampled | credential, "PUT", b"a").status == 201
        for node in (edge, world.origin):
            assert node.stop() == 0
        assert collector.raw == [], "nothing was traced, and nothing is left at the drain"


def test_what_waits_is_sent_at_the_drain_and_what_cannot_be_is_counted(tmp_path: Path) -> None:
    with Collector() as collector, Topology(tmp_path / "world", config_of(tmp_path, collector, 1.0, 0.0)) as world:
        credential = {"Authorization": f"Bearer {world.token}"}
        collector.until(lambda all: any(one.name.startswith("GET /-/api") for one in all))
        collector.status = 400
        for _ in range(3):
            assert get(f"{world.origin.url}/-/api/v1/whoami", credential).status == 200
        world.origin.until("/-/api/v1/whoami", 200, world.token)
        dropped = 'entrepot_trace_spans_dropped_total{worker="0"} '
        while (told := get(f"{world.origin.url}/-/metrics", credential).body.decode()).split(dropped)[1][0] == "0":
            assert dropped in told
        assert "does not take them" in world.origin.words()
        collector.status = 200
        mark = "00-" + uuid.uuid4().hex + "-" + secrets.token_hex(8) + "-00"
        before = len(collector.seen)
        assert get(f"{world.origin.url}/nowhere", credential | {"traceparent": mark}).status == 404
        assert world.origin.stop() == 0
        assert len(collector.seen) > before, "sent at the drain, if not before"
