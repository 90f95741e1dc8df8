"""Is a workspace deleted by whom it belongs to alone, never by accident, with all that hung on it (C6)?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.secrets.upstreams import Credential, Place
from gateway.assembly.retaining import forget_gone
from storage.nouns import SYSTEM, ClaimRule, Draft, DropWorkspace, Grant, Host, Provider, PutHost, PutProvider
from tests.harness.consoles import Console

NOTHING = dict.fromkeys(
    (
        "repositories", "packages", "files", "bytes", "bin_files", "bin_bytes", "members", "teams", "accounts",
        "providers", "tokens", "entitlements", "webhooks", "hosts", "upstreams", "signing_keys",
    ),
    0,
)  # fmt: skip


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def filled(console: Console) -> None:
    """Of everything something."""
    upstream = {"format": "pypi", "name": "first", "url": "https://registry.example/simple/"}
    credential = {"credential": {"username": "me", "password": "guarded"}}
    at = "/repositories/acme/main"
    assert (await console.call("node admin", "POST", f"{at}/upstreams", upstream | credential)).status == 201
    assert (await console.call("node admin", "POST", f"{at}/keys")).status == 201
    provider = Provider("idp_ci", "ci", "https://ci.example", "a", (ClaimRule({"a": "b"}, "svc_robot"),), 60)
    console.add_people("acme", PutProvider(provider))
    console.add_managed("acme")
    console.add_customer("acme")
    console.add_idp("acme")
    console.add_package("acme", "main", "pypi", "thing")
    console.add_binned("acme", "main", "pypi", "gone")
    console.add_token("both", Grant("acme", True, True, True), Grant("other"))
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutHost(Host("pkgs.example", "acme/main")),)))
    hook = {"name": "builds", "url": "https://receiver.example/hook"}
    assert (await console.call("node admin", "POST", "/workspaces/acme/webhooks", hook)).status == 201
    console.ledger.entries.clear()


async def test_what_would_go_is_told_and_is_what_goes(console: Console) -> None:
    await filled(console)
    would = await console.call("acme admin", "GET", "/workspaces/acme/deletion")
    assert would.json == NOTHING | {
        "workspace": "acme", "repositories": 2, "packages": 1, "files": 1, "bytes": 7, "bin_files": 1, "bin_bytes": 9,
        "members": 3, "teams": 2, "accounts": 2, "providers": 1, "tokens": 5, "entitlements": 1, "webhooks": 1,
        "hosts": 1, "upstreams": 1, "signing_keys": 1,
    }  # fmt: skip
    went = await console.call(
        "acme admin", "DELETE", "/workspaces/acme?confirm=acme", headers={"Entrepot-Reason": "over"}
    )
    assert (went.status, went.json, went.headers["entrepot-serial"][:2]) == (200, would.json, "-=")
    assert [(one.action, one.changes, one.reason) for one in console.ledger.entries] == [
        ("workspace.delete", (DropWorkspace("acme"),), "over")
    ]


async def test_c6_all_that_hung_on_it_is_closed_at_once(console: Console) -> None:
    await filled(console)
    assert (await console.call("both", "GET", "/repositories/acme/main")).status == 200
    assert (await console.call("node admin", "DELETE", "/workspaces/acme?confirm=acme")).status == 200
    for role in ("acme admin", "main admin", "writer", "reader", "customer", "acme idp"):
        got = await console.call(role, "GET", "/whoami")
        assert (got.status, got.json["code"]) == (401, "unauthenticated"), role
    assert (await console.call("both", "GET", "/whoami")).status == 200, "it reaches another one"
    for role in ("both", "node admin"):
        for path in (
            "/workspaces/acme",
            "/repositories/acme/main",
            "/repositories/acme/open",
            "/workspaces/acme/members",
        ):
            assert (await console.call(role, "GET", path)).status in (403, 404), (role, path)
        listed = (await console.call(role, "GET", "/workspaces")).json["items"]
        assert "acme" not in [one["name"] for one in listed]
        assert (await console.call(role, "GET", "/search")).json["items"] == []
    assert (await console.call("anonymous", "GET", "/repositories/acme/open")).status == 401
    assert (await console.call("node admin", "GET", "/hosts/pkgs.example")).status == 404
    assert console.secrets.get(Place("acme", "main", "pypi", "first"), "https://registry.example/simple/") is None
    assert console.signing._file.read() == {}
    with console.ledger.catalog.read() as reading:
        assert (reading.usage("acme"), reading.bin_usage("acme")) == ((0, 0), (0, 0))
        robot = reading.account("svc_robot")
    assert robot is not None
    assert robot.closed_ms


async def test_nothing_is_deleted_by_accident(console: Console) -> None:
    for path, status, code in (
        ("/workspaces/acme", 409, "conflict"),
        ("/workspaces/acme?confirm=other", 400, "invalid"),
        ("/workspaces/acme?confirm=", 409, "conflict"),
    ):
        got = await console.call("acme admin", "DELETE", path)
        assert (got.status, got.json["code"]) == (status, code)
    for role in ("main admin", "writer", "reader"):
        assert (await console.call(role, "DELETE", "/workspaces/acme?confirm=acme")).status == 403
        assert (await console.call(role, "GET", "/workspaces/acme/deletion")).status == 403
    assert (await console.call("stranger", "DELETE", "/workspaces/acme?confirm=acme")).status == 403
    assert console.ledger.entries == []
    await console.call("node admin", "POST", "/workspaces", {"name": "fresh"})
    gone = await console.call("node admin", "DELETE", "/workspaces/fresh")
    assert (gone.status, gone.json) == (200, NOTHING | {"workspace": "fresh"})


async def test_its_name_is_lost_for_good_and_nothing_can_be_made_in_it(console: Console) -> None:
    assert (await console.call("node admin", "DELETE", "/workspaces/acme?confirm=acme")).status == 200
    assert (await console.call("node admin", "DELETE", "/workspaces/acme?confirm=acme")).status == 404
    for path, body, status in (
        ("/repositories", {"workspace": "acme", "name": "fresh"}, 404),
        ("/hosts", {"name": "pkgs.example", "scope": "acme"}, 404),
        ("/edges", {"name": "first", "region": "asia", "workspaces": ["acme"]}, 400),
        ("/workspaces/acme/services", {"name": "robot"}, 404),
        ("/tokens", {"name": "child", "grants": [{"scope": "acme"}]}, 404),
    ):
        assert (await console.call("node admin", "POST", path, body)).status == status, path
    deleted = (await console.call("node admin", "GET", "/workspaces?deleted=true")).json["items"]
    assert [(one["name"], one["deleted_ms"]) for one in deleted] == [("acme", console.now_ms)]
    for role in ("stranger", "anonymous"):
        assert (await console.call(role, "GET", "/workspaces?deleted=true")).status in (401, 403)
    assert (await console.call("node admin", "GET", "/workspaces?deleted=yes")).status == 400


async def test_a_description_is_one_line_for_people(console: Console) -> None:
    got = await console.call("acme admin", "PATCH", "/workspaces/acme", {"description": "Tools of all"})
    assert (got.status, got.json["description"]) == (200, "Tools of all")
    assert (await console.call("acme admin", "GET", "/workspaces/acme")).json == got.json
    again = await console.call("acme admin", "PATCH", "/workspaces/acme", {"description": "Tools of all"})
    assert again.status == 200
    for text in ("two\nlines", " x", "x" * 301, "\u202e"):
        assert (await console.call("acme admin", "PATCH", "/workspaces/acme", {"description": text})).status == 400
    assert [one.action for one in console.ledger.entries] == ["workspace.edit"]
    assert (await console.call("writer", "PATCH", "/workspaces/acme", {"description": ""})).status == 403


def test_what_a_crash_left_of_secrets_goes_and_nothing_else(console: Console) -> None:
    """Killed between the entry and the files, or by `kill -9`: the next look takes what is of nothing."""
    url = "https://registry.example/"
    for ws, repo in (("acme", "main"), ("acme", "gone"), ("never", "main")):
        console.secrets.set(Place(ws, repo, "npm", "x"), Credential(url, "p"))
        console.signing.ensure(ws, repo, 1)
    for ws in ("acme", "other"):
        console.secrets.set(Place(ws, "-", "oidc", "idp_x"), Credential(url, "p"))
        console.saml_keys.add(ws, "idp_y", (), 1)
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (DropWorkspace("other"),)))
    console.signing.ensure("other", "main", 1)
    for _ in range(2):
        forget_gone(console.ledger.catalog, console.signing, console.secrets, console.saml_keys)
        assert list(console.signing._file.read()) == ["acme/main"]
        assert list(console.saml_keys._file.read()) == ["acme/idp_y"]
        assert console.secrets.get(Place("acme", "-", "oidc", "idp_x"), url) is not None, "a provider is no repository"
        assert console.secrets.get(Place("other", "-", "oidc", "idp_x"), url) is None
        assert console.secrets.get(Place("acme", "main", "npm", "x"), url) is not None
        for ws, repo in (("acme", "gone"), ("never", "main")):
            assert console.secrets.get(Place(ws, repo, "npm", "x"), url) is None
