"""What may a manager of a team do, and who knows of a hidden one? (C5, C6, C8)"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.consoles import Console

ADMIN = "node admin"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """ann manages the team web, bob is a plain member of the workspace, eve of no workspace; the team ops is hidden."""
    made = Console(tmp_path)
    for name in ("ann", "bob", "eve"):
        await done(made, "POST", "/users", {"name": name})
        got = await made.call(ADMIN, "POST", "/tokens", {"name": name, "owner": f"user:{name}"})
        made.tokens[name] = got.json["token"]
        if name != "eve":
            await done(made, "PUT", f"/workspaces/acme/members/user:{name}", {"role": "member"})
    for name, hidden in (("web", False), ("ops", True)):
        await done(made, "POST", "/workspaces/acme/teams", {"name": name, "hidden": hidden})
    await done(made, "PUT", "/workspaces/acme/teams/web/members/user:ann", {"role": "manager"})
    yield made
    made.ledger.close()


async def done(console: Console, method: str, path: str, body: object = None, role: str = ADMIN) -> None:
    got = await console.call(role, method, path, body)
    assert got.status in (200, 201, 204), got.body


async def status(console: Console, role: str, method: str, path: str) -> int:
    body = {"role": "member"} if method == "PUT" else None
    return (await console.call(role, method, f"/workspaces/acme/teams{path}", body)).status


async def test_a_manager_of_a_team_says_who_is_in_it_and_of_no_other(console: Console) -> None:
    assert await status(console, "ann", "PUT", "/web/members/user:bob") == 200
    assert await status(console, "ann", "GET", "/web/members/user:bob") == 200
    assert await status(console, "bob", "PUT", "/web/members/user:bob") == 403, "a member of a team manages nothing"
    assert await status(console, "ann", "DELETE", "/web/members/user:bob") == 204
    for path in ("/ops/members/user:bob", "/none/members/user:bob"):
        assert await status(console, "ann", "PUT", path) == 403
    assert await status(console, "ann", "DELETE", "/web") == 403
    assert await status(console, "ann", "PUT", "/web/members/user:eve") == 404, "who is no member is in no team"
    assert await status(console, "eve", "PUT", "/web/members/user:bob") == 403


async def test_c6_it_ends_with_the_membership_and_c8_a_narrowed_token_has_none_of_it(console: Console) -> None:
    narrowed = {"name": "less", "owner": "user:ann", "grants": [{"scope": "acme", "read": True}]}
    console.tokens["less"] = (await console.call(ADMIN, "POST", "/tokens", narrowed)).json["token"]
    assert await status(console, "less", "PUT", "/web/members/user:bob") == 403
    assert await status(console, "less", "GET", "") == 403
    await done(console, "DELETE", "/workspaces/acme/members/user:ann")
    assert await status(console, "ann", "PUT", "/web/members/user:bob") == 403
    assert await status(console, "ann", "GET", "") == 403


async def test_c5_a_hidden_team_is_known_to_its_members_and_to_who_manages_people(console: Console) -> None:
    async def names(role: str) -> list[str]:
        return [one["name"] for one in (await console.call(role, "GET", "/workspaces/acme/teams")).json["items"]]

    assert await names("bob") == ["web"]
    assert await names(ADMIN) == ["ops", "web"]
    hidden, none = [(await console.call("bob", "GET", f"/workspaces/acme/teams/{one}")).body for one in ("ops", "no")]
    assert hidden == none
    await done(console, "PUT", "/workspaces/acme/teams/ops/members/user:bob", {"role": "member"})
    assert await names("bob") == ["ops", "web"]
    assert await status(console, "bob", "GET", "/ops") == 200
    assert await status(console, "eve", "GET", "") == 403


async def test_o28_members_learn_why_they_may_not_and_of_nobody_else(console: Console) -> None:
    async def asked(role: str, of: str, workspace: str = "acme") -> tuple[int, bytes]:
        at = f"/workspaces/{workspace}/explain?principal={of}&action=publish&repository=main"
        got = await console.call(role, "GET", at)
        return got.status, got.body

    status, told = await asked("bob", "user:bob")
    assert (status, b"nothing allows it" in told) == (200, True)
    of_others = [await asked("bob", one) for one in ("user:ann", "user:eve", "user:nobody", "service:none")]
    assert [status for status, _ in of_others] == [403] * 4
    assert len({told for _, told in of_others}) == 1, "nor whether they are there"
    assert (await asked("eve", "user:eve"))[0] == 403
    assert (await asked(ADMIN, "user:ann"))[0] == 200
