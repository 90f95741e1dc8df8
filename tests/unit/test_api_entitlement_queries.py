"""Does the API take the queries of entitlements that can be judged, refuse the others and tell them?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.nouns import Grant
from tests.harness.consoles import Console

AT = "/workspaces/acme/entitlements"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    made.add_customer("acme")
    yield made
    made.ledger.close()


async def test_a_query_is_told_changed_and_taken_away(console: Console) -> None:
    body = {"name": "shop", "repositories": ["main", "open"], "query": "name:^web version:>=2 AND version:<3"}
    made = await console.call("acme admin", "POST", AT, body)
    assert made.status == 201, made.body
    assert [one["query"] for one in made.json["grants"]] == [body["query"]] * 2
    at = f"{AT}/{made.json['id']}"
    edited = await console.call("acme admin", "PATCH", at, {"query": "tag:stable", "downloads_max": 3})
    assert edited.status == 200, edited.body
    assert [one["query"] for one in edited.json["grants"]] == ["tag:stable"] * 2
    same = await console.call("acme admin", "PATCH", at, {"downloads_max": 4})
    assert [one["query"] for one in same.json["grants"]] == ["tag:stable"] * 2, "what is not named stays"
    ended = await console.call("acme admin", "PATCH", at, {"query": ""})
    assert not any("query" in one for one in ended.json["grants"])


@pytest.mark.parametrize("query", ["downloads:>3", "size:<5m", "name:x OR NOT license:mit"])
async def test_what_cannot_be_judged_at_a_read_is_refused_with_what_can(console: Console, query: str) -> None:
    refused = await console.call("acme admin", "POST", AT, {"name": "shop", "query": query})
    assert refused.status == 400
    assert b"name, format, repository, version and tag" in refused.body
    id = console.ids["customer"]
    assert (await console.call("acme admin", "PATCH", f"{AT}/{id}", {"query": query})).status == 400


async def test_c8_a_query_is_widened_by_nobody_who_may_not_read(console: Console) -> None:
    at = f"{AT}/{console.ids['customer']}"
    refused = await console.call("customer", "PATCH", at, {"query": ""})
    assert refused.status == 404
    console.add_token("seller", Grant("acme", False, actions=("entitle",)))
    assert (await console.call("seller", "PATCH", at, {"downloads_max": 3})).status == 200
    assert (await console.call("seller", "PATCH", at, {"query": ""})).status == 403


async def test_an_explanation_names_the_part_that_decides(console: Console) -> None:
    made = await console.call("acme admin", "POST", AT, {"name": "shop", "query": "name:^web$ version:<3"})
    at = f"/workspaces/acme/explain?principal=entitlement:{made.json['id']}&repository=main&format=pypi"
    told = {}
    for package, version in (("web", "2.0"), ("web", "3.0"), ("other", "2.0"), ("web", "")):
        got = await console.call("acme admin", "GET", f"{at}&package={package}&version={version}")
        assert got.status == 200, got.body
        told[package, version] = (got.json["allowed"], got.json["query_part"])
    assert told == {
        ("web", "2.0"): (True, "(name:^web$ AND version:<3)"),
        ("web", "3.0"): (False, "version:<3"),
        ("other", "2.0"): (False, "name:^web$"),
        ("web", ""): (True, "(name:^web$ AND version:<3)"),
    }
    never = await console.call("acme admin", "GET", at.replace(made.json["id"], "tok_none"))
    assert never.status == 404
