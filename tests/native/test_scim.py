"""Does a real SCIM client find nothing to complain of, at the origin and through an edge? And who is deactivated there,
is he out everywhere at once (C6)?

The client is that of a conformance suite, which makes, reads, searches, changes and deletes users and groups from what
the service tells of itself.
"""

from collections.abc import Iterator

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from tests.harness.running import Up, get

pytestmark = pytest.mark.native

CHECKS_MIN = 60
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("scim") / "data", workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def idp(up: Up) -> str:
    return str(up.entrepot("scim", "token", "demo/idp", "--expires", "30d", url=up.edge)["token"])


def client(node: str, idp: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{node}/-/scim/v2/demo", headers={"Authorization": f"Bearer {idp}"}, trust_env=False)


@pytest.mark.parametrize("node", ["origin", "edge"])
def test_the_conformance_suite_has_no_complaint(up: Up, idp: str, node: str) -> None:
    with client(getattr(up, node), idp) as http:
        found = check_server(SyncSCIMClient(http))
    assert [f"{one.title} {one.resource_type}: {one.reason}" for one in found if one.status != Status.SUCCESS] == []
    assert len(found) >= CHECKS_MIN


def test_c6_a_joiner_works_and_a_leaver_is_out_at_every_node(up: Up, idp: str) -> None:
    with client(up.edge, idp) as http:
        made = http.post("/Users", json={"schemas": [USER], "userName": "ann@acme.example"})
        assert made.status_code == 201, made.text
        ann = made.json()["id"]
        group = {"schemas": [GROUP], "displayName": "Web Developers", "members": [{"value": ann}]}
        assert http.post("/Groups", json=group).status_code == 201
        up.entrepot("grant", "give", up.private, "team:web-developers", "--read", "--write", url=up.edge)
        token = up.entrepot("token", "create", "ann's", "--owner", "managed:demo/ann@acme.example", url=up.edge)[
            "token"
        ]
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{up.edge}/{up.private}/generic/ann.txt"
        assert get(address, headers, "PUT", b"from ann").status == 201
        assert get(address, headers).body == b"from ann"
        left = {"schemas": [PATCH], "Operations": [{"op": "Replace", "path": "active", "value": "False"}]}
        assert http.patch(f"/Users/{ann}", json=left).json()["active"] is False
        assert [get(address.replace(up.edge, node), headers).status for node in (up.edge, up.origin)] == [401, 401]
        back = {"schemas": [PATCH], "Operations": [{"op": "Replace", "value": {"active": True}}]}
        assert http.patch(f"/Users/{ann}", json=back).json()["active"] is True
        assert get(address, headers).status == 401, "the old token stays closed"
    told = [one["action"] for one in up.entrepot("audit", "list", "demo")["items"]]
    assert {"scim.user.activate", "scim.user.deactivate", "scim.group.create"} <= set(told)
    assert idp not in up.log.read_text()
