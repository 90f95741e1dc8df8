"""Is a foreign registry asked within its budget, are its lists read to their end, and are its faults masked?

A small server stands in for the registry, since real ones show these faults only when they like. THREATS B5, B7.
"""

import json
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from http.client import HTTPException

import pytest

from tests.harness import images
from tests.harness.registry import Image, bearer, code_of
from tests.harness.running import Up
from tests.harness.upstreams import Item, Upstream, noise, upstream

pytestmark = pytest.mark.native

DOORS = ("origin", "edge")
FRESH_S = 1
STALE_S = FRESH_S + 5
"""No answer is fresh for less than five seconds."""


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as one:
        yield one


@pytest.fixture
def drawing(node: Up, server: Upstream) -> str:
    repository = f"{node.workspace}/manners-{uuid.uuid4().hex[:8]}"
    node.entrepot("repo", "create", repository, url=node.edge)
    fresh = ("--fresh", f"{FRESH_S}s")
    node.entrepot("upstream", "add", repository, "oci", server.url + "/", "--private-network", *fresh, url=node.edge)
    return repository


def through(node: Up, door: str, repository: str, name: str) -> Image:
    return Image(getattr(node, door), f"{repository}/{name}", bearer(node.token))


def manifest(name: str) -> tuple[str, Item]:
    """A manifest of its own bytes: (digest, as its registry answers it)."""
    body = json.dumps(images.manifest(b"{}", name.encode())).encode()
    digest = images.digest_of(body)
    return digest, Item(body, headers={"Content-Type": images.MANIFEST, "Docker-Content-Digest": digest})


def tags(*names: str, following: str = "") -> Item:
    headers = {"Content-Type": "application/json"} | ({"Link": f'<{following}>; rel="next"'} if following else {})
    return Item(json.dumps({"name": "x", "tags": names}, indent=1).encode(), headers=headers)


def listed(image: Image, query: str = "") -> tuple[list[str], str]:
    """One page: (tags, the next page's query)."""
    got = image.ask("GET", f"tags/list{query}")
    assert got.status == 200, got.body
    link = got.headers.get("link", "")
    return json.loads(got.body)["tags"], "?" + urllib.parse.urlsplit(link[1 : link.index(">")]).query if link else ""


def all_listed(image: Image, count: int) -> list[str]:
    found: list[str] = []
    query = f"?n={count}"
    while query:
        page, query = listed(image, query)
        assert len(page) <= count
        found += page
    return found


# ---------------------------------------------------------------- lists in pages


@pytest.mark.parametrize("door", DOORS)
def test_a_list_in_pages_is_read_to_its_end(node: Up, server: Upstream, drawing: str, door: str) -> None:
    """Links of all kinds; what leads elsewhere is asked for at the registry itself."""
    at = "/v2/team/app/tags/list"
    server.items[at] = tags("a", "d", following=f"{at}?last=d")
    server.items[f"{at}?last=d"] = tags("B", "..", following="http://169.254.169.254/v2/team/app/tags/list?last=x")
    server.items[f"{at}?last=x"] = tags("c")
    app = through(node, door, drawing, "team/app")
    assert listed(app) == (["a", "B", "c", "d"], "")
    for count in (1, 2, 3):
        assert all_listed(app, count) == ["a", "B", "c", "d"]
    assert [one.path for one in server.asked] == [at, f"{at}?last=d", f"{at}?last=x"]


def test_the_1100_tags_of_another_node_are_all_listed(node: Up) -> None:
    """Its own pages have 1,000 at most, whatever is asked for."""
    name = uuid.uuid4().hex[:8]
    there = Image(node.origin, f"{node.public}/{name}", bearer(node.token))
    digest = there.push("t0000", b"layer")
    wanted = [f"t{number:04}" for number in range(1_100)]
    raw = there.ask("GET", f"manifests/{digest}").body
    for first in range(0, len(wanted), 32):
        query = urllib.parse.urlencode([("tag", tag) for tag in wanted[first : first + 32]])
        assert there.ask("PUT", f"manifests/{digest}?{query}", raw, Content_Type=images.MANIFEST).status == 201
    repository = f"{node.workspace}/pages-{name}"
    node.entrepot("repo", "create", repository, url=node.edge)
    node.entrepot("upstream", "add", repository, "oci", node.origin + "/", "--private-network", url=node.edge)
    app = through(node, "edge", repository, f"{node.public}/{name}")
    assert len(listed(app)[0]) == 1_000
    assert all_listed(app, 400) == all_listed(app, 5_000) == wanted


@pytest.mark.parametrize("door", DOORS)
def test_b5_a_list_whose_pages_break_off_or_go_in_a_circle_is_none(
    node: Up, server: Upstream, drawing: str, door: str
) -> None:
    for name, second in (
        ("broken", Item(b"", status=500)),
        ("absent", Item(b"", status=404)),
        ("circle", tags("b", following="/v2/circle/tags/list")),
        ("cut", Item(b'{"tags": ["b", "c"]}', cut_at=9)),
        ("html", Item(b"<html>log in</html>", headers={"Content-Type": "text/html"})),
    ):
        server.items[f"/v2/{name}/tags/list"] = tags("a", following=f"/v2/{name}/tags/list?2")
        server.items[f"/v2/{name}/tags/list?2"] = second
        got = through(node, door, drawing, name).ask("GET", "tags/list")
        assert got.status == 502, (name, got.status, got.body)
        assert code_of(got)


@pytest.mark.parametrize("door", DOORS)
def test_foreign_referrers_are_said_to_be_filtered_only_where_they_were(
    node: Up, server: Upstream, drawing: str, door: str
) -> None:
    """A client filters by itself what its registry did not filter, as OCI-Filters-Applied tells it."""
    digest, _ = manifest("subject")
    at, kind = f"/v2/app/referrers/{digest}", "?artifactType=test%2Fsbom"
    told = {"Content-Type": images.INDEX}
    everything = json.dumps(images.index(b"one", b"two")).encode()
    server.items[at] = Item(everything, headers=told)
    server.items[at + kind] = Item(everything, headers=told)
    app = through(node, door, drawing, "app")
    for query in ("", kind):
        got = app.ask("GET", f"referrers/{digest}{query}")
        assert (got.status, got.body, got.headers["content-type"]) == (200, everything, images.INDEX)
        assert "oci-filters-applied" not in got.headers
    other = f"/v2/other/referrers/{digest}"
    server.items[other + kind] = Item(everything, headers={**told, "OCI-Filters-Applied": "artifactType"})
    for _ in range(2):  # on its way, then from the cache
        got = through(node, door, drawing, "other").ask("GET", f"referrers/{digest}{kind}")
        assert (got.body, got.headers["oci-filters-applied"]) == (everything, "artifactType")
    absent = through(node, door, drawing, "absent").ask("GET", f"referrers/{digest}")
    assert absent.status == 404, "clients then look for the fallback tag"
    before = len(server.asked)
    assert app.push("mine", b"our own")
    got = app.ask("GET", f"referrers/{digest}{kind}")
    assert (json.loads(got.body)["manifests"], got.headers["oci-filters-applied"]) == ([], "artifactType")
    assert len(server.asked) == before, "C14: the name is ours by now"


# ---------------------------------------------------------------- budgets and outages


@pytest.mark.parametrize("door", DOORS)
def test_o8_a_429_is_masked_by_what_was_pulled_and_stops_all_questions(
    node: Up, server: Upstream, drawing: str, door: str
) -> None:
    digest, item = manifest(door)
    server.items["/v2/app/manifests/1"] = item
    server.items["/v2/app/tags/list"] = tags("1")
    app = through(node, door, drawing, "app")
    assert app.ask("GET", "manifests/1").headers["docker-content-digest"] == digest
    assert listed(app) == (["1"], "")
    for path in list(server.items):
        server.items[path] = Item(b"", status=429, headers={"Retry-After": "8"})
    time.sleep(STALE_S)
    before = len(server.asked)
    for _ in range(3):
        for method in ("HEAD", "GET"):
            got = app.ask(method, "manifests/1")
            assert (got.status, got.headers["docker-content-digest"]) == (200, digest)
        assert listed(app) == (["1"], "")
    refused = through(node, door, drawing, "other").ask("GET", "manifests/1")
    assert (refused.status, code_of(refused)) == (503, "UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0
    assert len(server.asked) - before <= 2, "one for each of the node's two processes that did not know yet"
    moved, item = manifest(f"{door} moved")
    server.items["/v2/app/manifests/1"] = item
    deadline_s = time.monotonic() + 60
    while app.ask("GET", "manifests/1").headers["docker-content-digest"] != moved:
        assert time.monotonic() < deadline_s, "it is asked again when its time is over"
        time.sleep(0.5)


def test_o8_the_last_request_of_a_budget_is_seen_to_be_the_last(node: Up, server: Upstream, drawing: str) -> None:
    digest, item = manifest("last")
    spent = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}
    server.items["/v2/app/manifests/1"] = Item(item.body, headers={**item.headers, **spent})
    app = through(node, "edge", drawing, "app")
    assert app.ask("GET", "manifests/1").headers["docker-content-digest"] == digest
    server.items["/v2/app/manifests/2"] = item
    before = len(server.asked)
    for door in DOORS:
        assert through(node, door, drawing, "app").ask("GET", f"manifests/{digest}").status == 200
        refused = through(node, door, drawing, "app").ask("GET", "manifests/2")
        assert (refused.status, int(refused.headers["retry-after"]) > 1) == (503, True)
    assert len(server.asked) == before


# ---------------------------------------------------------------- a layer on its way


def broken_off(image: Image, path: str) -> bool:
    """Does a client see that what it got is not the layer?"""
    try:
        return image.ask("GET", path).status >= 500
    except (OSError, HTTPException):
        return True


@pytest.mark.parametrize("door", DOORS)
def test_o7_ranges_of_a_layer_are_answered_while_it_fills(node: Up, server: Upstream, drawing: str, door: str) -> None:
    """The registry stops after 4 of 6 MB: what has come is served, and all of it when it goes on."""
    layer = noise(6 << 20, seed=len(door))
    digest = images.digest_of(layer)
    item = server.items[f"/v2/app/blobs/{digest}"] = Item(layer, pause_at=4 << 20)
    app = through(node, door, drawing, "app")
    for first, last in ((0, 99), (1_000_000, 1_099_999), (3_000_000, 3_000_000)):
        got = app.ask("GET", f"blobs/{digest}", Range=f"bytes={first}-{last}")
        assert (got.status, got.body) == (206, layer[first : last + 1])
        assert got.headers["content-range"] == f"bytes {first}-{last}/{len(layer)}"
        assert got.headers["docker-content-digest"] == digest
    assert app.ask("GET", f"blobs/{digest}", Range=f"bytes={len(layer)}-").status == 416
    item.gate.set()
    assert app.ask("GET", f"blobs/{digest}").body == layer
    assert app.ask("GET", f"blobs/{digest}", Range="bytes=-5").body == layer[-5:]
    assert server.count(f"/v2/app/blobs/{digest}") == 1


@pytest.mark.parametrize("door", DOORS)
def test_b7_d1_a_layer_of_other_bytes_is_never_whole(node: Up, server: Upstream, drawing: str, door: str) -> None:
    layer = noise(300_000, seed=7)
    path = f"blobs/{images.digest_of(layer)}"
    server.items[f"/v2/app/{path}"] = Item(layer, wrong_last=True)
    app = through(node, door, drawing, "app")
    assert broken_off(app, path)
    server.items[f"/v2/app/{path}"] = Item(layer)
    deadline_s = time.monotonic() + 60
    while (got := app.ask("GET", path)).status != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    assert got.body == layer
