"""Does the OpenTelemetry Collector take what nodes tell, is each step of a change in its trace, and does the audit lead
to it? THREATS B2, C11."""

import json
import secrets
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.harness import debs
from tests.harness.clients import run
from tests.harness.collectors import OtelCollector, Seen
from tests.harness.receivers import Receiver
from tests.harness.running import ENTREPOT, clean_environment, get
from tests.harness.topologies import Topology

pytestmark = pytest.mark.native

CONFIGURATION = """
[traces]
endpoint = "{url}"
sample_ratio = 0.0
client_traces_s_max = 1000.0

[webhooks]
retry_seconds_min = 0.1
retry_seconds_max = 0.2
"""
PARENT = secrets.token_hex(8)


class Trace:
    """A trace that a client began; `sampled` are its headers."""

    def __init__(self, state: str = "") -> None:
        self.id = uuid.uuid4().hex
        self.sampled = {"traceparent": f"00-{self.id}-{PARENT}-01"} | ({"tracestate": state} if state else {})

    def whole(self, collector: OtelCollector, *names: str) -> list[Seen]:
        """Its spans, once those of these names are there and none hangs in the air."""

        def enough(all: list[Seen]) -> bool:
            mine = [one for one in all if one.trace == self.id]
            known = {PARENT, *(one.id for one in mine)}
            return set(names) <= {one.name for one in mine} and all_of(one.parent in known for one in mine)

        return [one for one in collector.until(enough) if one.trace == self.id]


all_of = all


def one_of(spans: list[Seen], name: str, role: str = "") -> Seen:
    found = [one for one in spans if one.name == name and role in ("", one.resource["entrepot.role"])]
    assert found, (name, sorted({(one.name, one.resource["entrepot.role"]) for one in spans}))
    return found[0]


def test_c11_each_step_of_a_change_is_in_its_trace_and_the_audit_leads_there(tmp_path: Path) -> None:
    """A webhook is made, a package published and its index read, through an edge; then the origin loses its index."""
    with OtelCollector(tmp_path) as collector, Receiver() as receiver:
        with Topology(tmp_path / "world", CONFIGURATION.format(url=collector.url)) as world:
            mine = world.repository("canary-space", "canary-repo")
            edge = world.edge("tokyo", "asia")
            credential = {"Authorization": f"Bearer {world.token}"}

            def asked(method: str, path: str, trace: Trace, body: bytes | None = None, **headers: str) -> Any:
                return get(f"{edge.url}{path}", credential | trace.sampled | headers, method, body)

            hook = {
                "name": "canary-hook", "url": f"{receiver.url}/canary-path", "private_network": True,
                "events": ["package.published"], "headers": {"X-Key": "canary-header"},
            }  # fmt: skip
            setting = Trace("not a tracestate, canary")
            path = "/-/api/v1/workspaces/canary-space/webhooks"
            made = asked("POST", path, setting, json.dumps(hook).encode(), **{"Content-Type": "application/json"})
            assert made.status == 201, made.body

            publishing = Trace(" vendor=value , ot=th:8")
            package = debs.deb("canary-package")
            upload = f"/{mine}/deb/upload/canary-suite/main/canary.deb"
            assert asked("PUT", upload, publishing, package).status in (200, 201)
            receiver.until(lambda came: len(came) == 1)
            assert not {"traceparent", "tracestate"} & set(receiver.came[0].headers)

            reading = Trace()
            assert asked("GET", f"/{mine}/deb/dists/canary-suite/InRelease", reading).status == 200

            steps_of_a_call(setting.whole(collector, "commit", "authorise", "relay"))
            steps_of_a_publish(publishing.whole(collector, "commit", "deliver webhook"))
            steps_of_an_index(reading.whole(collector, "sign index", "receive body"))
            the_audit_leads_there(world, setting, publishing, tmp_path)

            world.origin.stop()
            (tmp_path / "world" / "origin" / "index" / "data.mdb").write_bytes(b"")
            world.origin.start()
            world.origin.until("/-/ready", 200)
            rebuilt = one_of(
                collector.until(lambda all: any(one.name == "rebuild index" for one in all)), "rebuild index"
            )
            assert rebuilt.facts["entrepot.entries"] > 3
            assert "the index is made anew" in world.origin.words()

            for secret in (world.token, world.token[4:], "canary", json.loads(made.body)["secret"]):
                assert secret.encode() not in collector.raw, secret
            logged = edge.words() + world.origin.words() + json.dumps(edge.served() + world.origin.served())
            for secret in (world.token[4:], "canary-header", "canary-path", json.loads(made.body)["secret"]):
                assert secret not in logged, secret
            assert publishing.id in logged, "the access log leads to the trace as well"
        assert "error" not in collector.words, collector.words


def steps_of_a_call(spans: list[Seen]) -> None:
    """A call of the API is a part of the request that it is."""
    assert {one.state for one in spans} == {""}, "what is no tracestate is not told on"
    call = one_of(spans, "POST /-/api/...", "origin")
    assert one_of(spans, "authorise", "origin").parent == call.id
    assert one_of(spans, "commit", "origin").parent == call.id
    assert one_of(spans, "relay", "edge").parent == one_of(spans, "POST /-/api/...", "edge").id


def steps_of_a_publish(spans: list[Seen]) -> None:
    """Through the sandbox into the journal, and on to who wanted to be told."""
    assert {one.state for one in spans} == {"vendor=value,ot=th:8", ""}
    request = one_of(spans, "PUT /{workspace}/{repository}/deb/...", "origin")
    allowed = [one for one in spans if one.name == "authorise"]
    assert {one.resource["entrepot.role"] for one in allowed} == {"origin", "edge"}
    assert {one.facts["entrepot.right"] for one in allowed} == {"write"}
    sandbox = one_of(spans, "sandbox unpack", "origin")
    assert (sandbox.parent, sandbox.facts["entrepot.room"]) == (request.id, "deb")
    assert one_of(spans, "wait for a process").parent == sandbox.id
    delivery = one_of(spans, "deliver webhook")
    assert delivery.parent == one_of(spans, "commit", "origin").id
    assert delivery.facts == {
        "entrepot.event": "package.published", "entrepot.cause": "event", "entrepot.attempt": 1,
        "http.response.status_code": 204,
    }  # fmt: skip


def steps_of_an_index(spans: list[Seen]) -> None:
    """Asked of the parent by the edge, made and signed by the origin."""
    assert one_of(spans, "bring generation", "edge").facts["entrepot.format"] == "deb"
    made = one_of(spans, "make generation", "origin")
    assembled = one_of(spans, "assemble index", "origin")
    assert assembled.parent == one_of(spans, "sign index", "origin").parent == made.id
    assert assembled.facts["entrepot.documents"] > 0
    assert one_of(spans, "receive body", "edge").trace == made.trace


def the_audit_leads_there(world: Topology, setting: Trace, publishing: Trace, folder: Path) -> None:
    """What was traced says in which trace, in lists, alone and in an export; what was not says nothing."""
    listed = world.entrepot("audit", "list", "canary-space")["items"]
    by_action = {one["action"]: one["trace"] for one in listed}
    assert by_action["webhook.create"] == setting.id
    assert publishing.id in by_action.values()
    assert by_action["repository.create"] == ""
    [found] = world.entrepot("audit", "list", "canary-space", "--trace", publishing.id)["items"]
    assert world.entrepot("audit", "show", "canary-space", str(found["serial"]))["trace"] == publishing.id
    out = folder / "audit.jsonl"
    environment = clean_environment() | {"ENTREPOT_URL": world.origin.url, "ENTREPOT_TOKEN": world.token}
    run([*ENTREPOT, "audit", "export", "canary-space", "--out", str(out)], env=environment)
    assert publishing.id in {json.loads(line).get("trace") for line in out.read_text().splitlines()}
    assert world.entrepot("audit", "verify", str(out))["whole"]
