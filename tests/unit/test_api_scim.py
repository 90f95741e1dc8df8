"""Does an identity provider keep its users and teams, all of them and nobody else's? (THREATS B9, C5, C6, C7, C8)

The real API and index; the clock is injected.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access import tokens
from gateway.access.rights.verdicts import identify, judge
from storage.errors import Absent, Forbidden, Unauthenticated
from storage.nouns import SYSTEM, Binding, Draft, Grant, PutBinding, PutToken, Token
from tests.harness.consoles import Console, Got

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class World:
    """acme and other, each with an identity provider; the team devs of acme was made by hand and may read."""

    def __init__(self, root: Path) -> None:
        self.console = Console(root)
        self.console.add_people("acme")
        self.console.add_idp("acme")
        self.console.add_idp("other")

    async def ask(self, method: str, path: str, body: Any = None, ws: str = "acme", **headers: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        media = {"Content-Type": "application/scim+json"} if body is not None else {}
        return await self.console.call(f"{ws} idp", method, f"/-/scim/v2/{ws}{path}", body, media | named)

    async def user(self, name: str, ws: str = "acme", **more: Any) -> str:
        got = await self.ask("POST", "/Users", {"schemas": [USER], "userName": name, **more}, ws)
        assert got.status == 201, got.body
        return str(got.json["id"])

    async def group(self, name: str, *members: str, ws: str = "acme") -> str:
        body = {"schemas": [GROUP], "displayName": name, "members": [{"value": one} for one in members]}
        got = await self.ask("POST", "/Groups", body, ws)
        assert got.status == 201, got.body
        return str(got.json["id"])

    async def patch(self, path: str, *operations: Any, **headers: str) -> Got:
        return await self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **headers)

    async def active(self, id: str, value: bool) -> None:
        got = await self.patch(f"/Users/{id}", {"op": "Replace", "path": "active", "value": str(value)})
        assert (got.status, got.json["active"]) == (200, value)

    def token(self, account: str) -> str:
        """One that acts for this account."""
        text, parts = tokens.mint()
        made = Token(parts.id, "mine", parts.sha256, (), "api", self.console.now_ms, owner=account)
        self.console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(made),)))
        return text

    def bind(self, team: str) -> None:
        binding = Binding(f"bnd_{team}", f"team:{team}", Grant("acme"), self.console.now_ms)
        self.console.ledger.write(Draft("acme", "", "t", "t", (PutBinding(binding),)))

    def reads(self, text: str, ws: str = "acme") -> bool:
        """May it read the private repository? Raises Unauthenticated."""
        with self.console.ledger.catalog.read() as reading:
            principal = identify(reading, text, self.console.now_ms)
            try:
                judge(reading, principal, ws, "main", "read")
            except (Absent, Forbidden):
                return False
        return True

    def teams(self, ws: str = "acme") -> dict[str, list[str]]:
        with self.console.ledger.catalog.read() as reading:
            return {one.name: [mate.account for mate in reading.teammates(ws, one.name)] for one in reading.teams(ws)}

    def actions(self) -> list[str]:
        found = [entry.action for entry in self.console.ledger.entries]
        self.console.ledger.entries.clear()
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.console.ledger.close()


# ---------------------------------------------------------------- users


async def test_a_user_is_made_once_found_and_changed(world: World) -> None:
    ann = await world.user("Ann@acme.example", externalId="00u1", emails=[{"value": "ann@corp.local", "primary": True}])
    assert world.actions() == ["scim.user.create", "scim.user.activate"]
    again = await world.ask("POST", "/Users", {"schemas": [USER], "userName": "ANN@ACME.example"})
    assert (again.status, again.json["scimType"]) == (409, "uniqueness")
    for filter in ('userName eq "ann@acme.example"', 'externalId eq "00u1"', f'id eq "{ann}"', 'userName sw "ann"'):
        found = (await world.ask("GET", f"/Users?filter={filter.replace(' ', '+')}")).json
        assert (found["totalResults"], found["Resources"][0]["id"]) == (1, ann), filter
    assert (await world.ask("GET", '/Users?filter=externalId+eq+"00U1"')).json["totalResults"] == 0
    renamed = await world.patch(f"/Users/{ann}", {"op": "replace", "value": {"userName": "archer@acme.example"}})
    assert (renamed.status, renamed.json["userName"], renamed.json["externalId"]) == (
        200,
        "archer@acme.example",
        "00u1",
    )
    assert world.actions() == ["scim.user.change"]
    assert (await world.ask("GET", '/Users?filter=userName+eq+"ann@acme.example"')).json["totalResults"] == 0
    await world.user("ann@acme.example")
    taken = await world.patch(f"/Users/{ann}", {"op": "replace", "path": "userName", "value": "Ann@acme.example"})
    assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")


async def test_what_is_so_already_is_not_written_again(world: World) -> None:
    ann = await world.user("ann")
    team = await world.group("Staff", ann)
    world.actions()
    for body in ({"op": "Replace", "path": "active", "value": "True"}, {"op": "replace", "value": {"userName": "ann"}}):
        assert (await world.patch(f"/Users/{ann}", body)).status == 200
    put = {"schemas": [USER], "userName": "ann", "active": True}
    assert (await world.ask("PUT", f"/Users/{ann}", put)).status == 200
    assert (
        await world.patch(f"/Groups/{team}", {"op": "add", "path": "members", "value": [{"value": ann}]})
    ).status == 204
    put = {"schemas": [GROUP], "displayName": "Staff", "members": [{"value": ann}]}
    assert (await world.ask("PUT", f"/Groups/{team}", put)).status == 200
    assert world.actions() == []


async def test_c6_who_is_deactivated_has_nothing_at_once_and_old_tokens_stay_closed(world: World) -> None:
    ann = await world.user("ann")
    staff = await world.group("Staff", ann)
    world.bind("staff")
    put = await world.console.call("acme admin", "PUT", "/workspaces/acme/teams/devs/members/managed:ann", {})
    assert put.status == 200
    old = world.token(ann)
    assert world.reads(old)
    await world.active(ann, False)
    with pytest.raises(Unauthenticated):
        world.reads(old)
    assert (await world.console.call("acme admin", "GET", "/workspaces/acme/teams")).json["items"][1]["members"] == []
    world.console.now_ms += 60_000
    await world.active(ann, True)
    with pytest.raises(Unauthenticated):
        world.reads(old)
    world.console.now_ms += 60_000
    assert world.reads(world.token(ann)), "its group is the identity provider's, and it is in it again"
    assert world.teams() == {"devs": ["usr_alice"], "staff": [ann]}, "what was given by hand does not come back"
    assert (await world.ask("GET", f"/Users/{ann}")).json["groups"][0]["value"] == staff


async def test_c6_a_role_given_here_does_not_open_what_was_closed(world: World) -> None:
    ann = await world.user("ann")
    old = world.token(ann)
    await world.active(ann, False)
    refused = await world.console.call("acme admin", "PUT", "/workspaces/acme/members/managed:ann", {"role": "manager"})
    assert refused.status == 403, "only the identity provider activates"
    world.console.now_ms += 60_000
    await world.active(ann, True)
    for role in ("manager", "member"):
        got = await world.console.call("acme admin", "PUT", "/workspaces/acme/members/managed:ann", {"role": role})
        assert got.status == 200
    with pytest.raises(Unauthenticated):
        world.reads(old)


async def test_c6_a_deleted_user_is_closed_and_its_name_is_free(world: World) -> None:
    ann = await world.user("ann")
    await world.group("Staff", ann)
    world.bind("staff")
    old = world.token(ann)
    assert (await world.ask("DELETE", f"/Users/{ann}")).status == 204
    assert world.actions()[-2:] == ["scim.user.delete", "scim.user.delete"]
    with pytest.raises(Unauthenticated):
        world.reads(old)
    assert world.teams()["staff"] == []
    for method in ("GET", "DELETE"):
        assert (await world.ask(method, f"/Users/{ann}")).status == 404
    second = await world.user("ann")
    assert second != ann
    assert not world.reads(world.token(second)), "nothing of the first is the second's"


async def test_a_user_that_an_owner_removes_is_inactive_to_its_identity_provider(world: World) -> None:
    ann = await world.user("ann")
    staff = await world.group("Staff", ann)
    assert (await world.console.call("acme admin", "DELETE", "/workspaces/acme/members/managed:ann")).status == 204
    assert (await world.ask("GET", f"/Users/{ann}")).json["active"] is False
    assert [one["value"] for one in (await world.ask("GET", f"/Groups/{staff}")).json["members"]] == [ann]


# ---------------------------------------------------------------- groups


async def test_a_group_is_a_team_whose_members_the_identity_provider_says(world: World) -> None:
    ann, bob = await world.user("ann"), await world.user("bob")
    group = await world.group("Web Developers", ann)
    assert world.teams()["web-developers"] == [ann]
    assert (
        await world.patch(f"/Groups/{group}", {"op": "Add", "path": "members", "value": [{"value": bob}]})
    ).status == 204
    removed = await world.patch(f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{ann}"]'})
    assert removed.status == 204
    assert world.teams()["web-developers"] == [bob]
    renamed = await world.patch(f"/Groups/{group}", {"op": "replace", "value": {"id": group, "displayName": "Web"}})
    assert renamed.status == 204
    shown = (await world.ask("GET", f"/Groups/{group}")).json
    assert (shown["displayName"], [one["value"] for one in shown["members"]]) == ("Web", [bob])
    assert world.teams()["web-developers"] == [bob], "what was given to the team stays with it"
    assert (await world.ask("DELETE", f"/Groups/{group}")).status == 204
    assert "web-developers" not in world.teams()


async def test_c8_a_group_takes_over_no_team_that_is_there(world: World) -> None:
    ann = await world.user("ann")
    await world.group("devs", ann)
    assert world.teams() == {"devs": ["usr_alice"], "devs-2": [ann]}
    assert not world.reads(world.token(ann))
    again = await world.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": "DEVS"})
    assert (again.status, again.json["scimType"]) == (409, "uniqueness")


async def test_a_kept_team_is_changed_by_its_identity_provider_alone(world: World) -> None:
    ann = await world.user("ann")
    group = await world.group("Staff", ann)
    call, within = world.console.call, "/workspaces/acme/teams/staff"
    assert (await call("acme admin", "DELETE", within)).status == 409
    for method in ("PUT", "DELETE"):
        body = {} if method == "PUT" else None
        assert (await call("acme admin", method, f"{within}/members/managed:ann", body)).status == 409
    assert (await call("acme admin", "PUT", f"{within}/members/service:robot", {})).status == 200
    emptied = await world.ask("PUT", f"/Groups/{group}", {"schemas": [GROUP], "displayName": "Staff"})
    assert "members" not in emptied.json
    assert world.teams()["staff"] == ["svc_robot"], "whom it does not know, it does not remove"


@pytest.mark.parametrize("who", ["usr_alice", "svc_robot", "usr_nobody", "grp_other", "", "usr_\x00", "é"])
async def test_c5_only_its_own_users_can_be_put_into_a_group(world: World, who: str) -> None:
    stranger = await world.user("eve", ws="other")
    for id in (who, stranger):
        body = {"schemas": [GROUP], "displayName": "Staff", "members": [{"value": id}]}
        got = await world.ask("POST", "/Groups", body)
        assert (got.status, got.json["scimType"]) == (400, "invalidValue"), got.body
    assert "staff" not in world.teams()


# ---------------------------------------------------------------- who, and what else


async def test_c5_an_identity_provider_has_a_word_on_its_own_alone(world: World) -> None:
    """Not on users of the node that have the same name, and not on those of another workspace."""
    mine, theirs = await world.user("alice"), await world.user("alice", ws="other")
    assert len({mine, theirs, "usr_alice"}) == 3
    for id in (theirs, "usr_alice", "svc_robot", "usr_none", "%00", "%F0%9F%92%A9"):
        answers = []
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"schemas": [PATCH], "Operations": []})):
            answers.append((await world.ask(method, f"/Users/{id}", body)).status)
        assert answers[:2] == [404, 404]
    assert (await world.ask("GET", "/Users")).json["totalResults"] == 1
    assert [one.status for one in [await world.ask("GET", "/Users", ws="other")]] == [200]
    token = world.token(mine)
    with pytest.raises(Absent), world.console.ledger.catalog.read() as reading:
        judge(reading, identify(reading, token, world.console.now_ms), "other", "main", "read")


async def test_c7_its_token_does_nothing_else(world: World) -> None:
    for method, path, body in (
        ("GET", "/repositories/acme/main", None),
        ("GET", "/workspaces/acme/members", None),
        ("POST", "/tokens", {"name": "more", "grants": [{"scope": "acme", "actions": ["provision"], "read": False}]}),
        ("POST", "/tokens", {"name": "more", "grants": [{"scope": "acme"}]}),
        ("POST", "/workspaces/acme/scim/tokens", {"name": "more"}),
        ("POST", "/workspaces/acme/grants", {"subject": "members", "scope": "acme", "admin": True}),
        ("PUT", "/workspaces/acme/roles/mine", {"name": "more", "actions": ["provision"]}),
    ):
        got = await world.console.call("acme idp", method, path, body)
        assert got.status in (400, 403, 404), (path, got.body)
    assert world.actions() == []
    for role in ("acme admin", "node admin"):
        got = await world.console.call(
            role, "POST", "/tokens", {"name": "x", "grants": [{"scope": "acme", "actions": ["provision"]}]}
        )
        assert got.status == 400, "the action is no one's to give"


async def test_c8_of_a_managed_user_only_itself_makes_tokens(world: World) -> None:
    """An owner of the workspace manages people, and is still nobody else than himself."""
    ann = await world.user("ann")
    text = world.token(ann)
    body = {"name": "as ann", "owner": "managed:acme/ann"}
    assert (await world.console.call("acme admin", "POST", "/tokens", body)).status == 403
    world.console.tokens["ann"] = text
    assert (await world.console.call("ann", "POST", "/tokens", body)).status == 201
    with world.console.ledger.catalog.read() as reading:
        id = identify(reading, text, world.console.now_ms).id
    assert (await world.console.call("acme admin", "POST", f"/tokens/{id}/rotate", {})).status == 403
    assert (await world.console.call("acme admin", "DELETE", f"/tokens/{id}")).status == 200, "closing it is allowed"


async def test_an_owner_makes_the_token_and_takes_it_back(world: World) -> None:
    made = await world.console.call(
        "acme admin", "POST", "/workspaces/acme/scim/tokens", {"name": "idp", "expires_s": 60}
    )
    assert (made.status, made.json["kind"], made.json["expires_ms"]) == (201, "scim", world.console.now_ms + 60_000)
    assert world.actions() == ["scim.token.create"]
    world.console.tokens["acme idp"] = made.json["token"]
    assert (await world.ask("GET", "/Users")).status == 200
    assert (await world.console.call("acme admin", "DELETE", f"/tokens/{made.json['id']}")).status == 200
    refused = await world.ask("GET", "/Users")
    assert (refused.status, refused.json["status"]) == (401, "401")
    assert refused.headers["content-type"] == "application/scim+json"


async def test_an_entity_tag_that_moved_on_changes_nothing(world: World) -> None:
    ann = await world.user("ann")
    group = await world.group("Staff")
    for path in (f"/Users/{ann}", f"/Groups/{group}"):
        tag = (await world.ask("GET", path)).headers["etag"]
        rename = {"op": "replace", "path": "displayName", "value": "Another"}
        assert (await world.patch(path, rename, If_Match='W/"other"')).status == 412
        assert (await world.patch(path, rename, If_Match=tag)).status in (200, 204)
        world.actions()
        assert (await world.patch(path, rename | {"value": "Third"}, If_Match=tag)).status == 412
        assert (await world.ask("DELETE", path, If_Match=tag)).status == 412
        assert world.actions() == []
        now = (await world.ask("GET", path)).headers["etag"]
        assert (await world.ask("DELETE", path, If_Match=f'W/"other", {now}')).status == 204


async def test_pages_orders_and_choices(world: World) -> None:
    for number in range(7):
        await world.user(f"user{number}", displayName=f"{9 - number}")
    first = (await world.ask("GET", "/Users?startIndex=1&count=3")).json
    last = (await world.ask("GET", "/Users?startIndex=7&count=3")).json
    assert (first["totalResults"], first["itemsPerPage"], len(last["Resources"])) == (7, 3, 1)
    assert (await world.ask("GET", "/Users?count=0")).json["Resources"] == []
    assert (await world.ask("GET", "/Users?startIndex=-4&count=-1")).json["itemsPerPage"] == 0
    ordered = (await world.ask("GET", "/Users?sortBy=displayName&count=2&attributes=displayName")).json["Resources"]
    assert [one["displayName"] for one in ordered] == ["3", "4"]
    assert all(set(one) == {"schemas", "id", "displayName"} for one in ordered)
    down = (await world.ask("GET", "/Users?sortBy=displayName&sortOrder=descending&count=1")).json["Resources"]
    assert down[0]["displayName"] == "9"
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": 'userName ew "6"'}
    assert (await world.ask("POST", "/.search", body)).json["totalResults"] == 1
    assert (await world.ask("GET", "/Users?aadOptscim062020=&count=1")).status == 200
    for query in (
        "filter=userName",
        "count=many",
        "sortBy=shoeSize",
        "attributes=a&excludedAttributes=b",
        "startIndex=x",
    ):
        got = await world.ask("GET", f"/Users?{query}")
        assert (got.status, got.headers["content-type"]) == (400, "application/scim+json"), query
