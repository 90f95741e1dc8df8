"""Who is told where upstreams are, and what all packages of a repository come to? THREATS B9: its people alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.access import tokens
from storage.nouns import SYSTEM, Draft, Entitlement, Grant, PutToken, Token
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS

INSIDE = "http://10.0.0.7:8081/simple/"
CLAIMED = "our-secret-name"
SUMS = ("usage", "quota", "replication", "replication/asia")
HELD = {
    "files": 3,
    "bytes": 9,
    "here_files": 1,
    "here_bytes": 3,
    "left_out_bytes": 0,
    "foreign_files": 0,
    "foreign_bytes": 0,
    "foreign_here_files": 0,
    "foreign_here_bytes": 0,
    "serial": 7,
    "whole_serial": 6,
    "lag_ms": 5,
    "problem": "",
}


def add(console: Console, role: str, **members: object) -> None:
    text, parts = tokens.mint()
    token = msgspec.structs.replace(Token(parts.id, role, parts.sha256, (), "api", NOW_MS + 1), **members)
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))
    console.tokens[role] = text


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    places = [{"workspace": "acme", "repository": name} for name in ("main", "open")]
    made = Console(tmp_path, replicated=lambda: [place | HELD for place in places])
    narrow = Grant("acme/main", formats=("pypi",), packages=("thing",))
    upstream = {"format": "pypi", "url": INSIDE, "allow": [CLAIMED], "private_network": True}
    for repository in ("main", "open"):
        at = f"/repositories/acme/{repository}"
        assert (await made.call("node admin", "POST", f"{at}/upstreams", upstream)).status == 201
        assert (await made.call("node admin", "PUT", f"{at}/replication/asia", {"packages": ["thing"]})).status == 200
    made.add_people("acme")
    made.add_customer("acme")
    add(made, "member", owner="usr_alice")
    add(made, "narrow", grants=(narrow,))
    add(made, "narrow member", owner="usr_alice", grants=(narrow,))
    add(made, "narrow customer", kind="entitlement", grants=(narrow,), entitlement=Entitlement())
    yield made
    made.ledger.close()


def addresses(repository: str) -> tuple[str, ...]:
    at = f"/repositories/acme/{repository}"
    return "/repositories", at, f"{at}/upstreams", f"{at}/upstreams/pypi/default"


@pytest.mark.parametrize("role", ["node admin", "auditor", "acme admin", "main admin", "writer", "reader", "member"])
async def test_its_people_know_where_the_upstreams_of_a_repository_are(role: str, console: Console) -> None:
    for path in addresses("main"):
        got = await console.call(role, "GET", path)
        assert got.status == 200, (path, got.body)
        assert INSIDE.encode() in got.body, path
        assert CLAIMED.encode() in got.body, path


@pytest.mark.parametrize(
    ("role", "repository"),
    [
        ("anonymous", "open"),
        ("stranger", "open"),
        ("main admin", "open"),
        ("narrow", "open"),
        ("customer", "main"),
        ("narrow", "main"),
        ("narrow member", "main"),
        ("narrow customer", "main"),
    ],
)
async def test_b9_others_know_that_there_are_upstreams_and_not_where(
    role: str, repository: str, console: Console
) -> None:
    for path in addresses(repository):
        if role == "main admin" and path == "/repositories":
            continue  # it tells of the one that it manages
        got = await console.call(role, "GET", path)
        assert got.status == 200, (path, got.body)
        assert b"10.0.0.7" not in got.body, path
        assert CLAIMED.encode() not in got.body, path
    listed = (await console.call(role, "GET", "/repositories")).json["items"]
    (one,) = (one for one in listed if (one["workspace"], one["name"]) == ("acme", repository))
    (upstream,) = one["upstreams"]
    assert (upstream["format"], upstream["name"]) == ("pypi", "default")
    assert (upstream["url"], upstream["allow"], upstream["private_network"]) == (None, None, None)


@pytest.mark.parametrize("role", ["narrow", "narrow member", "narrow customer"])
async def test_b9_sums_and_patterns_over_all_packages_are_not_for_who_reads_some(role: str, console: Console) -> None:
    for one in SUMS:
        assert (await console.call(role, "GET", f"/repositories/acme/main/{one}")).status == 403, one
        assert (await console.call(role, "GET", f"/repositories/acme/open/{one}")).status == 200, "it is public"
        assert (await console.call(role, "GET", f"/repositories/other/main/{one}")).status == 404, one
    told = (await console.call(role, "GET", "/replication")).json
    assert [one["repository"] for one in told["items"]] == ["open"]
    assert "left_out" not in told, "that would tell of it"


@pytest.mark.parametrize("role", ["node admin", "acme admin", "main admin", "reader", "member", "customer"])
async def test_sums_and_patterns_are_for_who_reads_all(role: str, console: Console) -> None:
    for one in SUMS:
        assert (await console.call(role, "GET", f"/repositories/acme/main/{one}")).status == 200, one
    told = (await console.call(role, "GET", "/replication")).json
    assert [one["repository"] for one in told["items"]] == ["main", "open"]
