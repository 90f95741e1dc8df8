"""Is a repository used from where its rules say and nowhere else, at origin and edge, reading and writing? Real nodes.

THREATS B1, B2, C4: an answer that was remembered for one address is given to no other; nobody says for himself where he
is; and no way of asking goes round the rules.
"""

import hashlib
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.running import Got
from tests.unit.test_front_nearest import geo_file

pytestmark = pytest.mark.native

PROXY, INSIDE, OUTSIDE = "127.0.0.9", "127.0.0.70", "127.0.0.2"
FILE = f"/{PRIVATE}/generic/tool.bin"
OPEN = f"/{PUBLIC}/generic/open.bin"


class Link:
    """One connection from an address of loopback."""

    def __init__(self, node: Served, source: str, token: str = "") -> None:
        host = urllib.parse.urlsplit(node.url)
        self._link = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60, source_address=(source, 0))
        self._own = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Got:
        self._link.request(method, path, body, self._own | dict(headers or {}))
        answer = self._link.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def close(self) -> None:
        self._link.close()


def asked(
    node: Served,
    source: str,
    path: str,
    token: str = "",
    *,
    method: str = "GET",
    body: bytes | None = None,
    **more: str,
) -> Got:
    """One request on a connection of its own; `more` are headers with _ for -."""
    link = Link(node, source, token)
    try:
        return link.ask(method, path, body, {name.replace("_", "-"): value for name, value in more.items()})
    finally:
        link.close()


class Places:
    """An origin and an edge that believe one proxy and know countries; what is private is for INSIDE and Germany."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        sections = {"proxies": {"trusted": [f"{PROXY}/32"]}, "regions": {"geo": str(geo_file(folder))}}
        self.pair = Pair(folder, **sections)  # type: ignore[arg-type]
        self.nodes = (self.pair.origin, self.pair.edge)
        for path in (FILE, OPEN):
            assert self.pair.origin.ask("PUT", path, self.pair.token, b"0123456789").status == 201
        self.run("network", "allow", PRIVATE, "--network", "127.0.0.64/26", "--note", "office")
        self.run("network", "allow", PRIVATE, "--country", "DE")
        rules = self.run("network", "deny", PRIVATE)["rules"]
        assert [one["action"] for one in rules] == ["allow", "allow", "deny"]

    def run(self, *command: str) -> dict[str, Any]:
        """At the edge, which has seen it when this returns."""
        code, told, errors = self.pair.entrepot(*command, node=self.pair.edge)
        assert code == 0, errors
        made: dict[str, Any] = told
        return made

    def token(self, *options: str) -> str:
        return str(self.run("token", "create", "t", "--repository", PRIVATE, "--write", *options)["token"])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    made = Places(tmp_path_factory.mktemp("networks"))
    yield made
    made.pair.stop()


def test_b1_the_same_bytes_are_answered_by_where_they_come_from(places: Places) -> None:
    """A hit that was remembered for one address is refused to the next one, on connections old and new."""
    token = places.pair.token
    for node in places.nodes:
        inside, outside = Link(node, INSIDE, token), Link(node, OUTSIDE, token)
        for _ in range(3):
            assert inside.ask("GET", FILE).body == b"0123456789"
            refused = outside.ask("GET", FILE)
            assert (refused.status, b"0123" in refused.body) == (403, False)
            assert b"network" in refused.body
            assert asked(node, INSIDE, FILE, token).status == 200
            assert asked(node, OUTSIDE, FILE, token).status == 403
        for method, more in (("HEAD", {}), ("GET", {"Range": "bytes=0-3"}), ("GET", {"If-None-Match": "*"})):
            assert inside.ask(method, FILE, None, more).status in (200, 206, 304)
            assert outside.ask(method, FILE, None, more).status == 403
        assert asked(node, INSIDE, FILE).status == 401
        assert asked(node, OUTSIDE, FILE).status == 401, "a rule tells nothing to whom the place is hidden from"
        assert asked(node, OUTSIDE, "/demo/never/generic/x", token).status == 404
        inside.close()
        outside.close()


def test_c4_every_way_in_asks_the_rules_and_says_no_in_its_own_words(places: Places) -> None:
    token = places.pair.token
    for node in places.nodes:
        for path, said in (
            (f"/{PRIVATE}/pypi/simple/", b"network"),
            (f"/{PRIVATE}/npm/left-pad", b"network"),
            (f"/v2/{PRIVATE}/image/tags/list", b"DENIED"),
            (f"/v2/{PRIVATE}/image/manifests/latest", b"DENIED"),
            (f"/{PRIVATE}/deb/dists/stable/InRelease", b"network"),
            (f"/{PRIVATE}/maven/com/acme/a/maven-metadata.xml", b"network"),
        ):
            got = asked(node, OUTSIDE, path, token)
            assert (got.status, said in got.body) == (403, True), (path, got.status, got.body)
            assert asked(node, INSIDE, path, token).status in (200, 404), path
        for method, path in (
            ("PUT", f"/{PRIVATE}/generic/new.bin"),
            ("DELETE", FILE),
            ("PUT", f"/{PRIVATE}/npm/thing"),
            ("POST", f"/v2/{PRIVATE}/image/blobs/uploads/"),
            ("POST", f"/v2/demo/open/image/blobs/uploads/?mount=sha256:{'0' * 64}&from={PRIVATE}/image"),
        ):
            got = asked(node, OUTSIDE, path, token, method=method, body=b"x")
            assert got.status in ((403,) if "mount" not in path else (202, 403)), (method, path, got.status)
        assert asked(node, INSIDE, FILE, token).status == 200


def test_b2_who_says_for_himself_where_he_is_is_not_believed(places: Places) -> None:
    token = places.pair.token
    edge_token = (places.pair.edge.data / "up-edge.token").read_text().strip()
    for node in places.nodes:
        for claim in (
            {"X-Forwarded-For": INSIDE},
            {"X-Real-IP": INSIDE},
            {"Forwarded": f"for={INSIDE}"},
            {"X-Entrepot-Client": INSIDE},
            {"X-Entrepot-Client": INSIDE, "X-Entrepot-Relayed": "1"},
            {"X-Entrepot-Client": INSIDE, "X-Entrepot-Edge": token},
            {"X-Entrepot-Client": INSIDE, "X-Entrepot-Edge": "ent_" + "x" * 38},
            {"X-Entrepot-Peer": INSIDE},
        ):
            link = Link(node, OUTSIDE, token)
            for _ in range(2):
                assert link.ask("GET", FILE, None, claim).status == 403, claim
            assert link.ask("PUT", f"/{PRIVATE}/generic/claimed.bin", b"x", claim).status == 403, claim
            link.close()
        proxy = Link(node, PROXY, token)
        for said, status in (
            (INSIDE, 200),
            (OUTSIDE, 403),
            ("203.0.113.5", 200),  # Germany
            ("198.51.100.1", 403),  # Canada
            (f"{INSIDE}, 198.51.100.1", 403),
            (f"198.51.100.1, {INSIDE}", 200),
            (f"{INSIDE}, {PROXY}", 200),
        ):
            for _ in range(2):
                assert proxy.ask("GET", FILE, None, {"X-Forwarded-For": said}).status == status, said
        assert proxy.ask("GET", FILE).status == 403, "the proxy itself is a client like others"
        proxy.close()
        assert asked(node, PROXY, FILE, token, X_Forwarded_For="unknown").status == 400
    vouched = {"X_Entrepot_Client": INSIDE, "X_Entrepot_Edge": edge_token}
    assert asked(places.pair.origin, OUTSIDE, FILE, token, **vouched).status == 200, "an edge may say so"
    assert asked(places.pair.origin, OUTSIDE, FILE, token).status == 403


def test_c4_a_write_through_an_edge_is_judged_by_where_its_client_is(places: Places) -> None:
    bound = places.token("--network", "127.0.0.64/26")
    free = places.token()
    for number, node in enumerate(places.nodes):
        for name, token, source, status in (
            ("a", free, INSIDE, 201),
            ("b", free, OUTSIDE, 403),
            ("c", bound, INSIDE, 201),
            ("d", bound, OUTSIDE, 401),
        ):
            path = f"/{PRIVATE}/generic/{number}/{name}.bin"
            got = asked(node, source, path, token, method="PUT", body=b"x")
            assert got.status == status, (name, got.status, got.body)
        for method, path, body in (("GET", "/-/api/v1/whoami", None), ("POST", "/-/api/v1/eula", b'{"revision":"1"}')):
            for source, allowed in ((INSIDE, True), (OUTSIDE, False)):
                got = asked(node, source, path, bound, method=method, body=body, Content_Type="application/json")
                assert (got.status != 401) == allowed, (method, source, got.status, got.body)
    assert INSIDE in places.pair.origin.logged(), "the log of the origin names the client of what an edge handed on"


def test_rules_are_tried_changed_and_in_the_audit(places: Places) -> None:
    token = places.pair.token
    for address, allowed, number in ((INSIDE, True, 1), ("203.0.113.5", True, 2), (OUTSIDE, False, 3)):
        told = places.run("network", "test", PRIVATE, "--address", address)
        assert (told["allowed"], told["place"], told["number"]) == (allowed, "repository", number)
    assert places.run("network", "test", PRIVATE, "--address", "203.0.113.5")["country"] == "DE"
    edge = places.pair.edge
    links = [Link(edge, source) for source in (INSIDE, OUTSIDE)]
    assert [link.ask("GET", OPEN).status for link in links for _ in range(2)] == [200] * 4
    places.run("network", "deny", "demo", "--network", f"{OUTSIDE}/32")
    for _ in range(2):
        assert [link.ask("GET", OPEN).status for link in links] == [200, 403], "remembered before, refused now"
    told = places.run("network", "test", PUBLIC, "--address", OUTSIDE)
    assert (told["allowed"], told["place"], told["number"]) == (False, "workspace", 1)
    places.run("network", "allow", PUBLIC, "--network", f"{OUTSIDE}/32")
    assert [link.ask("GET", OPEN).status for link in links] == [200, 200]
    places.run("network", "remove", PUBLIC, "1")
    places.run("network", "remove", "demo", "1")
    assert [link.ask("GET", OPEN).status for link in links] == [200, 200]
    for link in links:
        link.close()
    listed = places.run("audit", "list", "demo", "--limit", "100")
    assert "repository.networks" in str(listed)
    stale = b'{"rules":[],"replaces":[]}'
    path = f"/-/api/v1/repositories/{PRIVATE}/networks"
    assert asked(edge, OUTSIDE, path, token, method="PUT", body=stale, Content_Type="application/json").status == 409
    deadline = time.monotonic() + 30
    while asked(places.pair.origin, OUTSIDE, OPEN).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_b9_a_source_elsewhere_is_judged_by_its_own_rules_from_where_the_client_is(places: Places) -> None:
    """Directly and through an edge; test_topology asks an edge that may not see the source."""
    origin, token = places.pair.origin, places.pair.token
    places.run("workspace", "create", "shop")
    places.run("repo", "create", "shop/main")
    layer = b"a layer that is for the office"
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    pushed = f"/v2/{PRIVATE}/image/blobs/uploads/?digest={digest}"
    assert asked(origin, INSIDE, pushed, token, method="POST", body=layer).status == 201
    copy = json.dumps({"source": PRIVATE, "format": "generic", "package": "tool.bin"}).encode()
    for number, node in enumerate(places.nodes):
        for source, statuses in ((OUTSIDE, (202, 403)), (INSIDE, (201, 200))):
            path = f"/v2/shop/main/x{number}/blobs/uploads/?mount={digest}&from={PRIVATE}/image"
            mounted = asked(node, source, path, token, method="POST", body=b"").status
            to = "/-/api/v1/repositories/shop/main/copies"
            copied = asked(node, source, to, token, method="POST", body=copy, Content_Type="application/json").status
            assert (mounted, copied) == statuses, (number, source)
