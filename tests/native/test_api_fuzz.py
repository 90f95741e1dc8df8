"""Does the API of a real origin answer whatever is sent to it with what its document tells, and never with a fault?

Schemathesis makes the requests from the document that the node serves: every operation, with names that are there and
with others.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.servers import free_port
from gateway.console.api import ROUTES
from tests.harness.running import Up, get

pytestmark = pytest.mark.native

EXAMPLES = 16
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Up]:
    with Up(tmp_path / "data") as made:
        yield made


def fill(node: Up) -> dict[str, str]:
    """Something behind every part that an address can have; the parts by name."""
    workspace, _, repository = node.private.partition("/")
    within = f"/workspaces/{workspace}"
    send(node, "POST", "/users", {"name": "alice"})
    send(node, "PUT", f"{within}/members/user:alice", {"role": "member"})
    send(node, "POST", f"{within}/teams", {"name": "devs"})
    send(node, "POST", f"{within}/services", {"name": "robot"})
    send(node, "PUT", f"{within}/roles/publisher", {"actions": ["read"]})
    send(node, "POST", "/edges", {"name": "second", "region": "asia"})
    idp = send(node, "POST", f"{within}/scim/tokens", {"name": "idp"})["token"]
    send(node, "POST", "/hosts", {"name": "pkgs.example", "scope": workspace})
    at = f"/repositories/{workspace}/{repository}"
    send(node, "POST", f"{at}/upstreams", {"format": "npm", "name": "second", "url": "https://registry.example/"})
    send(node, "POST", f"{at}/quarantine", {"format": "pypi", "package": "thing"})
    send(node, "PUT", f"{at}/replication/asia", {})
    # a port that nobody listens at: whatever is sent there is refused at once
    hook = {"name": "builds", "url": f"http://127.0.0.1:{free_port()}/hook", "private_network": True}
    send(node, "POST", f"{within}/webhooks", hook)
    made = send(node, "POST", "/tokens", {"name": "another", "grants": [{"scope": workspace}]})
    return {
        "workspace": workspace,
        "repository": repository,
        "format": "pypi",
        "package": "thing",
        "user": "alice",
        "passkey": "pky_none",
        "member": "user:alice",
        "team": "devs",
        "service": "robot",
        "role": "publisher",
        "webhook": "builds",
        "number": "1",
        "name": "second",
        "host": "pkgs.example",
        "region": "asia",
        "code": "absent",
        "serial": "1",
        "id": made["id"],
    } | provision(node, workspace, idp)


def provision(node: Up, workspace: str, idp: str) -> dict[str, str]:
    """A user and a group of SCIM, and the token that alone may keep them."""
    headers = {"Authorization": f"Bearer {idp}", "Content-Type": "application/scim+json"}
    made = {"idp": idp}
    for part, kind, named in (("person", "User", "userName"), ("group", "Group", "displayName")):
        body = {"schemas": [f"urn:ietf:params:scim:schemas:core:2.0:{kind}"], named: "first"}
        at = f"{node.origin}/-/scim/v2/{workspace}/{kind}s"
        got = get(at, headers, "POST", msgspec.json.encode(body))
        assert got.status == 201, got.body
        made[part] = msgspec.json.decode(got.body)["id"]
    return made


def send(node: Up, method: str, path: str, body: object) -> Any:
    headers = {"Authorization": f"Bearer {node.token}", "Content-Type": "application/json"}
    got = get(f"{node.origin}/-/api/v1{path}", headers, method, msgspec.json.encode(body))
    assert got.status in (200, 201), got.body
    return msgspec.json.decode(got.body)


def test_no_request_is_answered_by_a_fault_or_by_what_is_not_documented(node: Up) -> None:
    served = get(f"{node.origin}/-/api/v1/openapi.json")
    assert served.status == 200
    schema = schemathesis.openapi.from_dict(msgspec.json.decode(served.body))
    there = fill(node)
    operations = [one.ok() for one in schema.get_all_operations()]
    # what takes away comes last, and the innermost first, so that there is something to ask about until then
    operations.sort(key=lambda one: (one.method == "delete", -one.path.count("/")))
    seen: Counter[int] = Counter()
    for operation in operations:
        ask(node, operation, there, seen)
    # that what is there is not made again is asked for, not left to chance
    headers = {"Authorization": f"Bearer {node.token}", "Content-Type": "application/json"}
    for _ in range(2):
        seen[get(f"{node.origin}/-/api/v1/workspaces", headers, "POST", b'{"name": "twice"}').status] += 1
    assert len(operations) == len(ROUTES)
    assert sum(seen.values()) >= 10 * len(operations)
    assert sum(number for status, number in seen.items() if status < 300) > 200
    assert {201, 204, 400, 404, 409, 412} <= set(seen)


def ask(node: Up, operation: Any, there: dict[str, str], seen: Counter[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), known=st.integers(0, 3))
    def one(case: Any, known: int) -> None:
        if known:
            case.path_parameters.update({name: there[name] for name in case.path_parameters if name in there})
            for name in ("If-Match", "If-None-Match"):
                case.headers.pop(name, None)
            case.query.pop("fields", None)
        if known == 1 and case.method in ("PUT", "PATCH"):
            case.headers["If-Match"] = '"seen"'
        token = there["idp"] if "/-/scim/" in operation.path else node.token
        answer = case.call(base_url=node.origin, headers={"Authorization": f"Bearer {token}"})
        seen[answer.status_code] += 1
        # who asks for some fields alone gets no others, whatever the schema requires
        whole = not (case.query or {}).get("fields")
        case.validate_response(answer, checks=CHECKS if whole else CHECKS[:-1])

    one()
