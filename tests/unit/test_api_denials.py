"""Can whoever is denied something get rid of it, and whoever made a mistake with a denial take it back? (C6, C8)"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.consoles import Console

ADMIN, AT = "node admin", "/workspaces/acme"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """olga owns the workspace, max manages it, tim manages the team web and is a plain member."""
    made = Console(tmp_path)
    for name, role in (("olga", "owner"), ("max", "manager"), ("tim", "member")):
        await done(made, "POST", "/users", {"name": name})
        got = await made.call(ADMIN, "POST", "/tokens", {"name": name, "owner": f"user:{name}"})
        made.tokens[name] = got.json["token"]
        await done(made, "PUT", f"{AT}/members/user:{name}", {"role": role})
    await done(made, "POST", f"{AT}/teams", {"name": "web"})
    await done(made, "PUT", f"{AT}/teams/web/members/user:tim", {"role": "manager"})
    yield made
    made.ledger.close()


async def done(console: Console, method: str, path: str, body: object = None, role: str = ADMIN) -> Any:
    got = await console.call(role, method, path, body)
    assert got.status in (200, 201, 204), got.body
    return got.json if got.body else None


async def denied(console: Console, by: str, **grant: object) -> str:
    made = await done(console, "POST", f"{AT}/grants", {"scope": "acme", "deny": True} | grant, by)
    return str(made["id"])


async def may(console: Console, who: str, action: str) -> bool:
    asked = f"{AT}/explain?principal=user:{who}&action={action}&repository=main&format=npm&package=app"
    return bool((await done(console, "GET", asked))["allowed"])


@pytest.mark.parametrize("subject", ["members", "user:olga", "team:web"])
async def test_a_mistake_of_an_owner_is_hers_to_take_back(console: Console, subject: str) -> None:
    await done(console, "PUT", f"{AT}/teams/web/members/user:olga", {"role": "member"})
    id = await denied(console, "olga", subject=subject, admin=True)
    assert not await may(console, "olga", "publish"), "it holds for her, too"
    assert id in [one["id"] for one in (await done(console, "GET", f"{AT}/grants", role="olga"))["items"]]
    await done(console, "DELETE", f"{AT}/grants/{id}", role="olga")
    assert await may(console, "olga", "publish")


async def test_no_manager_shuts_an_owner_out(console: Console) -> None:
    id = await denied(console, "max", subject="user:olga", admin=True)
    assert (await console.call("olga", "DELETE", f"{AT}/members/user:max")).status == 403, "it holds while it is there"
    await done(console, "DELETE", f"{AT}/grants/{id}", role="olga")
    await done(console, "DELETE", f"{AT}/members/user:max", role="olga")


async def test_c8_nobody_lifts_his_denial_by_its_role(console: Console) -> None:
    await done(console, "PUT", f"{AT}/roles/frozen", {"actions": ["publish", "delete"]})
    await denied(console, "olga", subject="user:max", role="frozen")
    assert not await may(console, "max", "publish")
    assert (await console.call("max", "PUT", f"{AT}/roles/frozen", {"actions": ["read"]})).status == 403
    assert (await console.call("max", "DELETE", f"{AT}/roles/frozen")).status == 403
    assert not await may(console, "max", "publish")
    await done(console, "PUT", f"{AT}/roles/other", {"actions": ["read"]}, "max")
    await done(console, "DELETE", f"{AT}/roles/other", role="max")
    await done(console, "PUT", f"{AT}/roles/frozen", {"actions": ["delete"]}, "olga")
    assert await may(console, "max", "publish")
    await done(console, "DELETE", f"{AT}/roles/frozen", role="olga")


@pytest.mark.parametrize("by", ["acme admin", "olga"])
async def test_c8_no_token_lifts_what_it_denies_itself_by_its_role(console: Console, by: str) -> None:
    """Of an owner, too: such a token is made to be less than its maker."""
    await done(console, "PUT", f"{AT}/roles/frozen", {"actions": ["publish", "delete"]})
    grants = [{"scope": "acme", "admin": True}, {"scope": "acme", "deny": True, "role": "frozen"}]
    owner = {"owner": "user:olga"} if by == "olga" else {}
    made = await done(console, "POST", "/tokens", {"name": "ci", "grants": grants} | owner, by)
    console.tokens["ci"] = made["token"]
    assert (await console.call("ci", "PUT", f"{AT}/roles/frozen", {"actions": ["read"]})).status == 403
    assert (await console.call("ci", "DELETE", f"{AT}/roles/frozen")).status == 403
    await done(console, "PUT", f"{AT}/roles/other", {"actions": ["read"]}, "ci")
    await done(console, "DELETE", f"{AT}/roles/other", role="ci")
    await done(console, "DELETE", f"{AT}/roles/frozen", role=by)


async def test_c8_nobody_lifts_his_denial_by_leaving_its_team(console: Console) -> None:
    await done(console, "PUT", f"{AT}/teams/web/members/user:max", {"role": "member"})
    await denied(console, "olga", subject="team:web", actions=["publish"])
    assert not await may(console, "max", "publish")
    for who, path in (("tim", "/members/user:tim"), ("max", "/members/user:max"), ("max", "")):
        assert (await console.call(who, "DELETE", f"{AT}/teams/web{path}")).status == 403
    assert not await may(console, "max", "publish")
    await done(console, "DELETE", f"{AT}/teams/web/members/user:max", role="olga")
    assert await may(console, "max", "publish")
    await done(console, "DELETE", f"{AT}/teams/web", role="olga")


@pytest.mark.parametrize("action", ["statistics", "audit"])
async def test_an_auditor_needs_no_right_to_change_anything(console: Console, action: str) -> None:
    """Who fetched what, and who did what, are actions of their own."""
    await done(console, "PUT", f"{AT}/roles/auditor", {"actions": [action]})
    await done(console, "POST", f"{AT}/grants", {"subject": "user:tim", "scope": "acme", "role": "auditor"})
    statuses = {
        path: (await console.call("tim", "GET", f"{AT}{path}")).status for path in ("/traffic", "/logs", "/audit")
    }
    let_in = {"/traffic", "/logs"} if action == "statistics" else {"/audit"}
    # without a log or a history of its own this node knows the answer to neither; it is asked for it, though
    assert {path for path, status in statuses.items() if status != 403} == let_in, statuses
    assert (await console.call("tim", "PATCH", AT, {"description": "mine"})).status == 403
    assert (await console.call("tim", "GET", f"{AT}/grants")).status == 403


@pytest.mark.parametrize(
    "more", [{"actions": ["statistics"]}, {"role": "auditor"}, {"actions": ["audit"], "deny": True}]
)
async def test_what_would_give_nothing_in_a_repository_is_refused_with_words(
    console: Console, more: dict[str, object]
) -> None:
    """Who fetched and who did what is of a whole workspace: whoever gave it in one repository believed to have."""
    await done(console, "PUT", f"{AT}/roles/auditor", {"actions": ["audit", "statistics"]})
    asked = {"subject": "user:tim", "scope": "acme/main"} | more
    refused = await console.call("olga", "POST", f"{AT}/grants", asked)
    assert refused.status == 400, refused.body
    assert "of a whole workspace" in refused.json["detail"]
    assert refused.json["remedy"] == "Name acme alone, or leave it out."
    grants = [{"scope": "acme/main"} | more]
    assert (await console.call(ADMIN, "POST", "/tokens", {"name": "x", "grants": grants})).status == 400
    await done(console, "POST", f"{AT}/grants", asked | {"scope": "acme"}, "olga")


@pytest.mark.parametrize("more", [{"actions": ["manage"]}, {"actions": ["publish"], "tags": ["dev-*"]}], ids=str)
async def test_what_would_give_nothing_on_some_packages_is_refused_with_words(
    console: Console, more: dict[str, object]
) -> None:
    asked = {"subject": "user:tim", "scope": "acme/main", "formats": ["npm"], "deny": True} | more
    refused = await console.call("olga", "POST", f"{AT}/grants", asked)
    assert refused.status == 400, refused.body
    assert "nothing in a grant on" in refused.json["detail"]
    await done(console, "POST", f"{AT}/grants", asked | {"actions": ["tag"]}, "olga")


async def test_a_role_that_gives_something_in_a_repository_is_given_there(console: Console) -> None:
    await done(console, "PUT", f"{AT}/roles/keeper", {"actions": ["publish", "statistics"]})
    await done(console, "POST", f"{AT}/grants", {"subject": "user:tim", "scope": "acme/main", "role": "keeper"}, "olga")
    assert await may(console, "tim", "publish")


async def test_grants_of_a_repository_are_those_that_hold_there(console: Console) -> None:
    for scope in ("acme", "acme/main", "acme/open"):
        await done(console, "POST", f"{AT}/grants", {"subject": "user:tim", "scope": scope}, "olga")
    held = await done(console, "GET", f"{AT}/grants?repository=main&subject=user:tim", role="olga")
    assert sorted(one["scope"] for one in held["items"]) == ["acme", "acme/main"]
    assert (await console.call("olga", "GET", f"{AT}/grants?repository=mian")).status == 404
