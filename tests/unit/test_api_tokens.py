"""Can a token give away more than it has, outlive what made it, or be seen again?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.console.calls.services import Decide
from storage.commit import Committed, Decided
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Grant, PutToken
from tests.harness.consoles import Console, basic


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def make(console: Console, role: str, *grants: dict[str, Any], **more: Any) -> Any:
    got = await console.call(role, "POST", "/tokens", {"name": "child", "grants": list(grants)} | more)
    assert got.status == 201, got.body
    console.tokens["child"], console.ids["child"] = got.json["token"], got.json["id"]
    return got.json


async def test_a_token_works_from_the_moment_it_is_told_until_it_is_revoked(console: Console) -> None:
    made = await make(console, "acme admin", {"scope": "acme/main"})
    assert made["grants"] == [{"scope": "acme/main", "read": True, "write": False, "admin": False}]
    assert (await console.call("child", "GET", "/repositories/acme/main")).status == 200
    gone = await console.call("acme admin", "DELETE", f"/tokens/{made['id']}")
    assert (gone.status, gone.json["state"]) == (200, "revoked")
    refused = await console.call("child", "GET", "/repositories/acme/main")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="entrepot"')
    again = await console.call("acme admin", "DELETE", f"/tokens/{made['id']}")
    assert (again.status, again.json["revoked_ms"]) == (200, gone.json["revoked_ms"])
    assert [entry.action for entry in console.ledger.entries] == ["token.create", "token.revoke"]


async def test_c11_the_text_is_told_once_and_kept_nowhere(console: Console, tmp_path: Path) -> None:
    made = await make(console, "node admin", {"scope": "acme"})
    for path in ("/tokens", f"/tokens/{made['id']}", "/whoami", "/status"):
        got = await console.call("node admin", "GET", path)
        for text in console.tokens.values():
            assert not text or text.encode() not in got.body
        assert b"sha256" not in got.body
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert made["id"].encode() in stored
    assert made["token"].encode() not in stored
    assert made["token"][4:36].encode() not in stored


async def test_c11_no_answer_repeats_a_credential(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    for role, text in console.tokens.items():
        for method, path, body in (
            ("GET", "/whoami", None),
            ("POST", "/workspaces", {"name": "x"}),
            ("POST", "/workspaces", b"{"),
            ("PUT", "/workspaces", None),
            ("GET", "/nothing/here", None),
        ):
            got = await console.call(role, method, path, body)
            assert not text or text.encode() not in got.body + repr(got.headers).encode()
    assert not any(text and text in caplog.text for text in console.tokens.values())


@pytest.mark.parametrize(
    ("role", "grant", "status"),
    [
        ("acme admin", {"scope": "*"}, 403),
        ("acme admin", {"scope": "other"}, 403),
        ("acme admin", {"scope": "other/main"}, 404),
        ("acme admin", {"scope": "acme/gone"}, 404),
        ("acme admin", {"scope": "acme", "admin": True}, 201),
        ("main admin", {"scope": "acme"}, 403),
        ("main admin", {"scope": "acme/open"}, 403),
        ("main admin", {"scope": "acme/main", "write": True, "admin": True}, 201),
        ("writer", {"scope": "acme/main"}, 403),
        ("reader", {"scope": "acme/main"}, 403),
        ("auditor", {"scope": "acme/main"}, 403),
        ("node admin", {"scope": "*", "admin": True}, 201),
        ("node admin", {"scope": "nowhere"}, 404),
        ("anonymous", {"scope": "acme/open"}, 401),
    ],
)
async def test_c8_a_child_has_no_more_than_its_parent(
    console: Console, role: str, grant: dict[str, Any], status: int
) -> None:
    got = await console.call(role, "POST", "/tokens", {"name": "child", "grants": [grant]})
    assert (got.status, len(console.ledger.entries)) == (status, 1 if status == 201 else 0), got.body


async def test_c8_one_grant_too_many_refuses_the_whole_token(console: Console) -> None:
    grants = [{"scope": "acme/main"}, {"scope": "other/main"}]
    assert (await console.call("acme admin", "POST", "/tokens", {"name": "n", "grants": grants})).status == 404
    assert console.ledger.entries == []


async def test_c8_a_child_never_outlives_its_parent(console: Console) -> None:
    await make(console, "acme admin", {"scope": "acme", "admin": True}, expires_s=100)
    assert (await make(console, "child", {"scope": "acme"}, expires_s=1000))["expires_ms"] == console.now_ms + 100_000
    console.tokens["parent"] = console.tokens["child"]
    await make(console, "acme admin", {"scope": "acme", "admin": True}, expires_s=100)
    assert (await make(console, "child", {"scope": "acme"}))["expires_ms"] == console.now_ms + 100_000
    await make(console, "acme admin", {"scope": "acme", "admin": True}, expires_s=100)
    assert (await make(console, "child", {"scope": "acme"}, expires_s=10))["expires_ms"] == console.now_ms + 10_000
    console.now_ms += 10_000
    assert (await console.call("child", "GET", "/whoami")).status == 401


async def test_c8_a_token_that_is_made_anew_has_no_more_than_who_makes_it_anew(console: Console) -> None:
    """A short-lived admin rotates an endless one: what comes of it ends when the short-lived one does."""
    lasting = await make(console, "acme admin", {"scope": "acme", "admin": True})
    brief = await make(console, "acme admin", {"scope": "acme", "admin": True}, expires_s=100)
    console.tokens["brief"] = brief["token"]
    fresh = (await console.call("brief", "POST", f"/tokens/{lasting['id']}/rotate", {"overlap_s": 0})).json
    assert fresh["expires_ms"] == brief["expires_ms"]


async def test_c2_who_may_write_and_not_read_is_answered_after_a_change(console: Console) -> None:
    """The change is there: an answer that says no would be wrong."""
    console.add_package("acme", "main", "npm", "demo")
    console.add_token("robot", Grant("acme/main", read=False, write=True))
    before = len(console.ledger.entries)
    got = await console.call(
        "robot", "PUT", "/repositories/acme/main/tags/demo?format=npm", {"tag": "next", "version": "1.0", "only": ""}
    )
    assert len(console.ledger.entries) == before + (got.status == 200)
    assert (got.status, "etag" in got.headers) == (200, False)


async def test_admin_is_shown_with_all_that_it_holds(console: Console) -> None:
    made = await make(console, "acme admin", {"scope": "acme", "read": False, "admin": True})
    assert made["grants"] == [{"scope": "acme", "read": True, "write": True, "admin": True}]


async def test_an_edges_token_reads_all_and_only_a_node_admin_makes_it(console: Console) -> None:
    body = {"name": "tokyo", "kind": "edge"}
    got = await console.call("node admin", "POST", "/tokens", body)
    assert got.json["kind"] == "edge"
    assert got.json["grants"] == [{"scope": "*", "read": True, "write": False, "admin": False}]
    assert (await console.call("acme admin", "POST", "/tokens", body)).status == 403
    more = await console.call("node admin", "POST", "/tokens", body | {"grants": [{"scope": "*", "write": True}]})
    assert more.status == 400


@pytest.mark.parametrize(
    "body",
    [
        {"name": "n"},
        {"name": "n", "grants": []},
        {"name": "", "grants": [{"scope": "acme"}]},
        {"name": "a\nb", "grants": [{"scope": "acme"}]},
        {"name": "up", "grants": [{"scope": "acme"}]},
        {"name": "n", "grants": [{"scope": "acme", "read": False}]},
        {"name": "n", "grants": [{"scope": "acme"}, {"scope": "acme", "write": True}]},
        {"name": "n", "grants": [{"scope": "acme/main/x"}]},
        {"name": "n", "grants": [{"scope": "acme/"}]},
        {"name": "n", "grants": [{"scope": "*/main"}]},
        {"name": "n", "grants": [{"scope": ""}]},
        {"name": "n", "grants": [{"scope": "acme", "own": True}]},
        {"name": "n", "grants": [{"scope": "acme"}], "expires_s": -1},
        {"name": "n", "grants": [{"scope": "acme"}], "kind": "root"},
        {"name": "n", "grants": [{"scope": "acme"}], "sha256": "x"},
    ],
)
async def test_bodies_that_cannot_be(console: Console, body: dict[str, Any]) -> None:
    got = await console.call("node admin", "POST", "/tokens", body)
    assert (got.status, got.json["code"]) == (400, "invalid")
    assert console.ledger.entries == []


async def test_lists_hold_the_tokens_that_the_caller_controls(console: Console) -> None:
    async def names(role: str) -> set[str]:
        items, after = set(), ""
        while True:
            page = (await console.call(role, "GET", f"/tokens?limit=2&after={after}")).json
            items |= {one["name"] for one in page["items"]}
            if (after := page["next"]) is None:
                return items

    assert await names("reader") == {"reader"}
    assert await names("acme admin") == {"acme admin", "main admin", "writer", "reader"}
    assert await names("node admin") == set(console.ids)


async def test_a_token_may_end_itself(console: Console) -> None:
    assert (await console.call("reader", "DELETE", f"/tokens/{console.ids['reader']}")).status == 200
    assert (await console.call("reader", "GET", "/whoami")).status == 401


async def test_c6_a_token_revoked_while_it_acts_changes_nothing(tmp_path: Path) -> None:
    """It is let in, then revoked by somebody else, then comes to the write lock: what counts is the look under it."""
    holder: list[Console] = []

    async def commit_after_revocation(decide: Decide) -> Committed:
        ledger = holder[0].ledger

        def revoke(reading: Reading) -> Decided:
            token = reading.token_by_id(holder[0].ids["acme admin"])
            assert token is not None
            put = PutToken(msgspec.structs.replace(token, revoked_ms=1))
            return Decided(Draft(SYSTEM, "", "somebody", "token.revoke", (put,)), None)

        ledger.apply(revoke)
        return ledger.apply(decide)

    holder.append(Console(tmp_path, commit=commit_after_revocation))
    console = holder[0]
    got = await console.call("acme admin", "POST", "/repositories", {"workspace": "acme", "name": "late"})
    assert (got.status, got.json["detail"]) == (401, "This token was revoked.")
    assert [entry.action for entry in console.ledger.entries] == ["token.revoke"]
    console.ledger.close()


@pytest.mark.parametrize("way", ["bearer", "BEARER", "basic", "key"])
async def test_ways_to_present_a_token(console: Console, way: str) -> None:
    text = console.tokens["reader"]
    headers = {
        "bearer": {"Authorization": f"Bearer {text}"},
        "BEARER": {"Authorization": f"BEARER  {text}"},
        "basic": basic("anyone at all", text),
        "key": {"X-Api-Key": text},
    }[way]
    got = await console.call("anonymous", "GET", "/whoami", headers=headers)
    assert (got.status, got.json["name"]) == (200, "reader")


@pytest.mark.parametrize("given", ["Basic", "Basic !!", "Basic bm9jb2xvbg==", "Digest x", "Token abc"])
async def test_what_cannot_be_read_is_refused_and_not_taken_for_nobody(console: Console, given: str) -> None:
    got = await console.call("anonymous", "GET", "/-/health", headers={"Authorization": given})
    assert got.status == 401
    assert got.headers["content-type"] == "application/problem+json"
