"""Are the tokens of an Account, of a Workspace's customers and of edges found without reading all of them?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access import tokens
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Entitlement, Exchange, Grant, PutToken, Token
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS, Ledger


def put(ledger: Ledger, id: str, kind: str, *grants: Grant, owner: str = "", until_ms: int = 0) -> None:
    _, parts = tokens.mint()
    token = Token(
        id,
        id,
        parts.sha256,
        grants,
        kind,
        NOW_MS,
        owner=owner,
        entitlement=Entitlement() if kind == "entitlement" else None,
        exchange=Exchange("p", "r", "c", until_ms) if until_ms else None,
    )
    ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))


def ids(found: Iterator[Token]) -> list[str]:
    return [one.id for one in found]


def test_tokens_are_found_by_whose_they_are(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        put(ledger, f"tok_c{number}", "entitlement", Grant("acme/main"), Grant("acme/open"))
        put(ledger, f"tok_e{number}", "edge", Grant("*"))
        put(ledger, f"tok_o{number}", "api", owner="usr_one")
    put(ledger, "tok_d", "entitlement", Grant("acme2"))
    put(ledger, "tok_p", "api", owner="usr_one2")
    put(ledger, "tok_c1", "entitlement", Grant("acme/main"))  # written again, as an edit does
    put(ledger, "tok_x", "api", owner="usr_one", until_ms=NOW_MS - 1)  # is over, and goes with what is put next
    put(ledger, "tok_y", "api", owner="usr_one", until_ms=NOW_MS + 1)
    with ledger.catalog.read() as reading:
        assert ids(reading.edge_tokens()) == ["tok_e0", "tok_e1", "tok_e2"]
        assert ids(reading.tokens_of("usr_one")) == ["tok_o0", "tok_o1", "tok_o2", "tok_y"]
        assert ids(reading.tokens_of("usr_one2")) == ["tok_p"]
        assert ids(reading.entitlements("acme")) == ["tok_c0", "tok_c1", "tok_c2"]
        assert ids(reading.entitlements("acme", "tok_c0")) == ["tok_c1", "tok_c2"]
        assert ids(reading.entitlements("acme2")) == ["tok_d"]
        assert ids(reading.tokens("tok_o1")) == ["tok_o2", "tok_p", "tok_y"]
    with ledger.index.env.begin() as txn:
        assert sum(1 for _ in ledger.index.rows(txn, ("owned",))) == 5
    ledger.close()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    for number in range(20):
        put(made.ledger, f"tok_{number:02}", "entitlement", Grant("acme/main"))
        put(made.ledger, f"tok_other{number:02}", "entitlement", Grant("other/main"))
    yield made
    made.ledger.close()


async def test_a_page_of_customers_reads_no_more_than_it_shows(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    one = Reading.token_by_id

    def counted(reading: Reading, id: str) -> Token | None:
        read.append(id)
        return one(reading, id)

    def all_of_them(reading: Reading, after: str = "") -> Iterator[Token]:
        raise AssertionError("all tokens are read")

    with monkeypatch.context() as patched:
        patched.setattr(Reading, "token_by_id", counted)
        patched.setattr(Reading, "tokens", all_of_them)
        got = await console.call("acme admin", "GET", "/workspaces/acme/entitlements?limit=5")
        assert [item["id"] for item in got.json["items"]] == [f"tok_{number:02}" for number in range(5)]
        assert [id for id in read if id.startswith("tok_")][-6:] == [f"tok_{number:02}" for number in range(6)]
        assert len(read) <= 8
    got = await console.call("acme admin", "GET", f"/workspaces/acme/entitlements?limit=50&after={got.json['next']}")
    assert [item["id"] for item in got.json["items"]] == [f"tok_{number:02}" for number in range(5, 20)]


async def test_a_page_of_tokens_ends_where_it_is_full(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    every = Reading.tokens

    def counted(reading: Reading, after: str = "") -> Iterator[Token]:
        nonlocal read
        for one in every(reading, after):
            read += 1
            yield one

    monkeypatch.setattr(Reading, "tokens", counted)
    told, path = [], "/tokens?limit=7"
    while path:
        before = read
        got = await console.call("node admin", "GET", path)
        assert read - before <= 8
        told += [item["id"] for item in got.json["items"]]
        path = f"/tokens?limit=7&after={got.json['next']}" if got.json["next"] else ""
    assert told == sorted(told)
    assert len(told) == 40 + len(console.ids)
