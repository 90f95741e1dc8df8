"""Are workspaces, repositories and what is in them managed as declared, and journalled under the caller's name?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.secrets.upstreams import Credential, Place
from gateway.console.calls.services import Health
from storage.index import keys
from storage.nouns import SYSTEM
from tests.harness.consoles import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def test_a_workspace_is_made_once_and_journalled(console: Console) -> None:
    got = await console.call("node admin", "POST", "/workspaces", {"name": "fresh"})
    assert (got.status, got.json["name"]) == (201, "fresh")
    entry = console.ledger.entries[-1]
    assert (entry.workspace, entry.action, entry.actor) == (SYSTEM, "workspace.create", console.ids["node admin"])
    assert got.headers["entrepot-serial"] == f"-={entry.serial}"
    again = await console.call("node admin", "POST", "/workspaces", {"name": "fresh"})
    assert (again.status, again.json["code"]) == (409, "conflict")
    assert (await console.call("node admin", "GET", "/workspaces/fresh")).json == got.json


@pytest.mark.parametrize("name", ["v2", "t", "-", "Upper", "a/b", "", "..", "x" * 64, "a\nb"])
async def test_names_that_cannot_be(console: Console, name: str) -> None:
    for path, body in (
        ("/workspaces", {"name": name}),
        ("/repositories", {"workspace": "acme", "name": name}),
    ):
        got = await console.call("node admin", "POST", path, body)
        assert (got.status, got.json["code"]) == (400, "invalid")
    assert console.ledger.entries == []


async def test_the_life_of_a_repository(console: Console) -> None:
    got = await console.call("acme admin", "POST", "/repositories", {"workspace": "acme", "name": "lib"})
    assert got.status == 201
    assert got.json == {
        "workspace": "acme",
        "name": "lib",
        "public": False,
        "upstreams": [],
        "created_ms": console.now_ms,
        "lease_s": 0,
        "bin_s": 0,
    }
    assert got.headers["entrepot-serial"] == "acme=3"
    assert (await console.call("anonymous", "GET", "/repositories/acme/lib")).status == 401
    shown = await console.call("acme admin", "PATCH", "/repositories/acme/lib", {"public": True})
    assert shown.json["public"] is True
    assert (await console.call("anonymous", "GET", "/repositories/acme/lib")).status == 200
    same = await console.call("acme admin", "PATCH", "/repositories/acme/lib", {"public": True})
    assert (same.status, same.headers["entrepot-serial"]) == (200, "acme=4")
    gone = await console.call("acme admin", "DELETE", "/repositories/acme/lib")
    assert (gone.status, gone.body, gone.headers["entrepot-serial"]) == (204, b"", "acme=5")
    assert (await console.call("acme admin", "GET", "/repositories/acme/lib")).status == 404
    assert [entry.action for entry in console.ledger.entries] == [
        "repository.create",
        "repository.publish",
        "repository.drop",
    ]
    assert {entry.actor for entry in console.ledger.entries} == {console.ids["acme admin"]}


async def test_f2_a_lease_is_set_by_repository_within_bounds(console: Console) -> None:
    async def edited(**body: object) -> tuple[int, object]:
        got = await console.call("main admin", "PATCH", "/repositories/acme/main", body)
        return got.status, got.json.get("lease_s")

    for seconds in (5, 300, 0):
        assert await edited(lease_s=seconds) == (200, seconds)
    for seconds in (-1, 1, 4, 301):
        assert (await edited(lease_s=seconds))[0] == 400
    assert await edited(public=True) == (200, 0)
    actions = [entry.action for entry in console.ledger.entries]
    assert actions == ["repository.edit", "repository.edit", "repository.edit", "repository.publish"]


async def test_f1_quarantine_names_what_the_index_names_and_outlives_what_it_withholds(console: Console) -> None:
    at = "/repositories/acme/main/quarantine"
    whole = {"format": "pypi", "package": "Some.Thing", "reason": "stolen key"}
    made = await console.call("main admin", "POST", at, whole)
    assert (made.status, made.json["package"], made.headers["entrepot-serial"]) == (201, "some-thing", "acme=3")
    again = await console.call("main admin", "POST", at, whole)
    assert (again.status, again.headers["entrepot-serial"]) == (201, "acme=3")
    one = await console.call("main admin", "POST", at, whole | {"version": "1.0", "reason": ""})
    assert one.json["version"] == "1.0"
    listed = (await console.call("reader", "GET", at)).json["items"]
    assert [(held["version"], held["reason"]) for held in listed] == [("", "stolen key"), ("1.0", "")]
    for path in (f"{at}/pypi/other", f"{at}/npm/some-thing", f"{at}/pypi/some-thing?version=2"):
        assert (await console.call("main admin", "DELETE", path)).status == 404
    assert (await console.call("main admin", "DELETE", f"{at}/pypi/SOME_thing")).status == 204
    listed = (await console.call("reader", "GET", at)).json["items"]
    assert [held["version"] for held in listed] == ["1.0"]
    for body in ({"format": "none", "package": "x"}, {"format": "pypi", "package": "a/b"}, {"package": "x"}):
        assert (await console.call("main admin", "POST", at, body)).status == 400
    await console.call("acme admin", "DELETE", "/repositories/acme/main")
    await console.call("acme admin", "POST", "/repositories", {"workspace": "acme", "name": "main"})
    assert (await console.call("acme admin", "GET", at)).json["items"] == []


async def test_a_purge_moves_the_labels_of_its_place(console: Console) -> None:
    at = "/repositories/acme/main/purge"
    for body, moved in (
        ({"format": "pypi", "package": "X"}, [False, True, True]),
        ({"format": "pypi"}, [True, False, False]),
        ({}, [True, False, False]),
    ):
        before = _labels(console)
        assert (await console.call("main admin", "POST", at, body)).status == 200
        assert [one != two for one, two in zip(before, _labels(console), strict=True)] == moved
        with console.ledger.catalog.read() as reading:
            serial = reading.serial("acme")
            assert reading.purged("acme", "main", "pypi", "x") == serial
            assert reading.purged("acme", "open", "pypi", "x") == 0
    assert (await console.call("main admin", "POST", at, {"package": "x"})).status == 400
    assert (await console.call("reader", "POST", at, {})).status == 403


def _labels(console: Console) -> list[int]:
    """Of the repository, the format, the package."""
    with console.ledger.catalog.read() as reading:
        at = ("acme", "main", "pypi")
        labels = (keys.label_repository(*at[:2]), keys.label_format(*at), keys.label_package(*at, "x"))
        return [reading.label(one) for one in labels]


async def test_a_dropped_repository_takes_its_credentials_along(console: Console) -> None:
    place = Place("acme", "main", "pypi", "x")
    console.secrets.set(place, Credential("https://registry.example/", "p"))
    await console.call("acme admin", "DELETE", "/repositories/acme/main")
    assert console.secrets.get(place, "https://registry.example/") is None


async def test_f13_a_repository_never_signs_with_the_key_of_a_dropped_one_of_its_name(console: Console) -> None:
    old = console.signing.ensure("acme", "main", 1)
    others = console.signing.ensure("acme", "open", 1)
    await console.call("acme admin", "DELETE", "/repositories/acme/main")
    await console.call("acme admin", "POST", "/repositories", {"workspace": "acme", "name": "main"})
    assert console.signing.ensure("acme", "main", 2) != old
    assert console.signing.ensure("acme", "open", 2) == others


async def test_c6_a_token_for_a_dropped_repository_does_not_open_its_successor(console: Console) -> None:
    assert (await console.call("main admin", "GET", "/repositories/acme/main")).status == 200
    await console.call("acme admin", "DELETE", "/repositories/acme/main")
    await console.call("acme admin", "POST", "/repositories", {"workspace": "acme", "name": "main"})
    assert (await console.call("main admin", "GET", "/repositories/acme/main")).status == 404
    assert (await console.call("reader", "GET", "/repositories/acme/main")).status == 200


async def test_lists_hold_what_the_caller_may_see(console: Console) -> None:
    async def seen(role: str, path: str) -> list[str]:
        got = await console.call(role, "GET", path)
        return [f"{one.get('workspace', '')}/{one['name']}" for one in got.json["items"]]

    assert await seen("anonymous", "/repositories") == ["acme/open", "other/open"]
    assert await seen("reader", "/repositories") == ["acme/main", "acme/open", "other/open"]
    assert await seen("main admin", "/repositories?workspace=acme") == ["acme/main", "acme/open"]
    assert await seen("stranger", "/repositories?workspace=acme") == ["acme/open"]
    assert await seen("anonymous", "/workspaces") == ["/acme", "/other"]
    await console.call("node admin", "POST", "/workspaces", {"name": "hidden"})
    assert await seen("stranger", "/workspaces") == ["/acme", "/other"]
    assert await seen("auditor", "/workspaces") == ["/acme", "/hidden", "/other"]


async def test_pages_hold_everything_once(console: Console) -> None:
    for name in ("a", "a-b", "a.b", "b"):
        await console.call("node admin", "POST", "/workspaces", {"name": name})
        await console.call("node admin", "POST", "/repositories", {"workspace": name, "name": "r"})
    whole = (await console.call("node admin", "GET", "/repositories")).json["items"]
    for limit in (1, 2, 3, 8, 100):
        items, after = [], ""
        while True:
            page = (await console.call("node admin", "GET", f"/repositories?limit={limit}&after={after}")).json
            assert len(page["items"]) <= limit
            items += page["items"]
            if (after := page["next"]) is None:
                break
        assert items == whole


async def test_packages_are_listed_page_by_page_and_shown(console: Console) -> None:
    for name in ("alpha", "beta", "gamma"):
        console.add_package("acme", "main", "pypi", name)
    base = "/repositories/acme/main/packages"
    first = (await console.call("reader", "GET", f"{base}?format=pypi&limit=2")).json
    assert [one["name"] for one in first["items"]] == ["alpha", "beta"]
    rest = (await console.call("reader", "GET", f"{base}?format=pypi&limit=2&after={first['next']}")).json
    assert ([one["name"] for one in rest["items"]], rest["next"]) == (["gamma"], None)
    assert (await console.call("reader", "GET", f"{base}?format=npm")).json["items"] == []
    some = (await console.call("reader", "GET", f"{base}?format=pypi&prefix=B")).json
    assert [one["name"] for one in some["items"]] == ["beta"]
    shown = (await console.call("reader", "GET", f"{base}/ALPHA?format=pypi")).json
    assert shown["tags"] == {"latest": "1.0"}
    assert shown["files"][0]["sha256"] == "01" * 32
    assert (await console.call("reader", "GET", f"{base}/nothing?format=pypi")).status == 404


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?format=cargo",
        "?format=pypi&limit=0",
        "?format=pypi&limit=x",
        "?format=pypi&limit=1001",
        "?format=pypi&limit=1&limit=2",
        "?format=pypi&limit=%D9%A1",
        "?format=pypi&bogus=1",
        "?format=pypi&after=%00",
        "?format=pypi&after=" + "a" * 501,
    ],
)
async def test_arguments_that_cannot_be(console: Console, query: str) -> None:
    got = await console.call("reader", "GET", f"/repositories/acme/main/packages{query}")
    assert (got.status, got.json["code"]) == (400, "invalid")


# ---------------------------------------------------------------- the node itself


async def test_health_and_readiness(console: Console) -> None:
    for path in ("/-/health", "/-/ready"):
        got = await console.call("anonymous", "GET", path)
        assert (got.status, got.json["status"], got.json["role"]) == (200, "ok", "origin")
    console.health = Health(ready=False)
    assert (await console.call("anonymous", "GET", "/-/health")).status == 200
    got = await console.call("anonymous", "GET", "/-/ready")
    assert (got.status, got.json["status"]) == (503, "starting")
    console.health = Health(ready=False, lost=True)
    got = await console.call("anonymous", "GET", "/-/ready")
    assert (got.status, got.json["status"]) == (503, "alone")
    console.health = Health(draining=True)
    for path in ("/-/health", "/-/ready"):
        got = await console.call("anonymous", "GET", path)
        assert (got.status, got.json["status"]) == (503, "draining")


async def test_an_edge_tells_its_lag_and_writes_nothing(tmp_path: Path) -> None:
    console = Console(tmp_path, role="edge", commit=None, secrets=None, signing=None)
    console.health = Health(lag_ms=12, connected=True)
    got = await console.call("anonymous", "GET", "/-/health")
    assert (got.json["role"], got.json["lag_ms"], got.json["connected"]) == ("edge", 12, True)
    refused = await console.call("node admin", "POST", "/workspaces", {"name": "fresh"})
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert (await console.call("node admin", "GET", "/tokens")).status == 200
    console.ledger.close()


async def test_what_names_workspaces_is_for_those_that_read_all(console: Console) -> None:
    assert (await console.call("auditor", "GET", "/status")).json["heads"] == {"acme": 1}
    assert "heads" not in (await console.call("acme admin", "GET", "/status")).json
    assert (await console.call("auditor", "GET", "/-/metrics")).body == b"entrepot_requests_total 1\n"
    assert (await console.call("acme admin", "GET", "/-/metrics")).status == 403
    assert (await console.call("anonymous", "GET", "/-/metrics")).status == 401


async def test_metrics_can_be_opened_by_configuration(tmp_path: Path) -> None:
    console = Console(tmp_path, metrics_open=True)
    assert (await console.call("anonymous", "GET", "/-/metrics")).status == 200
    console.ledger.close()


@pytest.mark.parametrize("names", [[""], ["", "acme"], ["a/b"], ["nowhere"]])
async def test_an_edge_is_given_no_workspace_that_could_not_be(console: Console, names: list[str]) -> None:
    body = {"name": "first", "region": "asia", "workspaces": names}
    got = await console.call("node admin", "POST", "/edges", body)
    assert (got.status, got.json["code"]) == (400, "invalid")
