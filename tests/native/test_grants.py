"""Does a grant on some packages hold for every way to them, at the origin and at an edge, with real processes?"""

import json
from collections.abc import Iterator

import pytest

from tests.harness.running import Got, Up, get
from tests.harness.waiting import until

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("grants") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def tokens(up: Up) -> dict[str, str]:
    """alice may read all but `secret/`, bob publish below `web/` and read there, the robot set tags of npm."""
    for name in ("alice", "bob"):
        up.entrepot("user", "create", name)
        up.entrepot("member", "add", "demo", f"user:{name}")
    up.entrepot("team", "create", "demo/readers")
    up.entrepot("team", "add", "demo/readers", "user:alice")
    up.entrepot("grant", "give", up.private, "team:readers", "--read")
    up.entrepot(
        "grant", "give", "demo", "user:alice", "--read", "--deny", "--format", "generic", "--package", "secret/*"
    )
    up.entrepot("role", "put", "demo/publisher", "publish", "tag", "read")
    web = ("--format", "generic", "--package", "web/*")
    up.entrepot("grant", "give", up.private, "user:bob", "--role", "publisher", *web)
    for path in ("web/a.bin", "secret/a.bin", "open/a.bin"):
        assert put(up, path, up.token, up.edge).status == 201
    return {
        name: up.entrepot("token", "create", name, "--owner", f"user:{name}", url=up.edge)["token"]
        for name in ("alice", "bob")
    }


def address(up: Up, path: str, base: str = "") -> str:
    return f"{base or up.origin}/{up.private}/generic/{path}"


def put(up: Up, path: str, token: str, base: str = "") -> Got:
    return get(address(up, path, base), bearer(token), "PUT", b"content of " + path.encode())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("at", ["origin", "edge"])
def test_o30_reads_are_judged_by_package(up: Up, tokens: dict[str, str], at: str) -> None:
    base = getattr(up, at)
    for _ in range(2):  # remembered answers too
        assert get(address(up, "open/a.bin", base), bearer(tokens["alice"])).status == 200
        assert get(address(up, "secret/a.bin", base), bearer(tokens["alice"])).status == 403
        assert get(address(up, "web/a.bin", base), bearer(tokens["bob"])).status == 200
        assert get(address(up, "open/a.bin", base), bearer(tokens["bob"])).status == 403


@pytest.mark.parametrize("at", ["origin", "edge"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_b9_what_is_there_and_what_is_not_are_refused_alike(
    up: Up, tokens: dict[str, str], at: str, method: str
) -> None:
    base = getattr(up, at)
    told = set()
    for path in ("secret/a.bin", "secret/b.bin", "open/a.bin", "open/none.bin"):
        body = b"x" if method == "PUT" else None
        headers = bearer(tokens["bob"]) | ({"If-None-Match": "*"} if method == "PUT" else {})
        got = get(address(up, path, base), headers, method, body)
        told.add((got.status, got.body))
    assert [status for status, _ in told] == [403]


@pytest.mark.parametrize("at", ["origin", "edge"])
def test_what_covers_all_packages_is_for_who_may_read_all(up: Up, tokens: dict[str, str], at: str) -> None:
    base = getattr(up, at)
    assert get(address(up, "", base), bearer(up.token)).status == 200
    for name in ("alice", "bob"):
        assert get(address(up, "", base), bearer(tokens[name])).status == 403


def test_writes_are_judged_by_what_they_change(up: Up, tokens: dict[str, str]) -> None:
    assert put(up, "web/new.bin", tokens["bob"], up.edge).status == 201
    assert put(up, "webb/new.bin", tokens["bob"]).status == 403
    assert get(address(up, "web/new.bin"), bearer(tokens["bob"]), "DELETE").status == 403, "his role cannot delete"
    assert get(address(up, "webb/new.bin"), bearer(up.token)).status == 404, "nothing was left of what was refused"


def test_the_api_lists_what_may_be_known(up: Up, tokens: dict[str, str]) -> None:
    def names(token: str) -> list[str]:
        path = f"{up.edge}/-/api/v1/repositories/{up.private}/packages?format=generic"
        return [one["name"] for one in json.loads(get(path, bearer(token)).body)["items"]]

    assert "secret/a.bin" in names(up.token)
    assert not any(one.startswith("secret/") for one in names(tokens["alice"]))
    assert all(one.startswith("web/") for one in names(tokens["bob"]))
    told = get(
        f"{up.edge}/-/api/v1/repositories/{up.private}/packages/open/a.bin?format=generic", bearer(tokens["bob"])
    )
    assert told.status == 404


def test_it_is_explained_which_grant_decided(up: Up, tokens: dict[str, str]) -> None:
    at = ("--format", "generic", "--package", "secret/a.bin")
    told = up.entrepot("access", "explain", "user:alice", "read", up.private, *at)
    assert (told["allowed"], told["grant"]["deny"]) == (False, True)
    assert told["why"].startswith("denied by binding bnd_")
    told = up.entrepot("access", "explain", "user:alice", "read", up.private, "--format", "generic", "--package", "x")
    assert (told["allowed"], 'team "readers"' in told["why"]) == (True, True)
    assert up.entrepot("access", "explain", "user:bob", "delete", up.private)["why"] == "nothing allows it"


def test_c6_a_membership_that_ends_takes_everything_with_it_at_every_edge(up: Up) -> None:
    up.entrepot("user", "create", "carol", url=up.edge)
    up.entrepot("member", "add", "demo", "user:carol", "--role", "manager", url=up.edge)
    token = up.entrepot("token", "create", "carol", "--owner", "user:carol", url=up.edge)["token"]
    for base in (up.origin, up.edge):
        assert get(address(up, "open/a.bin", base), bearer(token)).status == 200
    up.entrepot("member", "remove", "demo", "user:carol", url=up.edge)
    for base in (up.origin, up.edge):
        assert get(address(up, "open/a.bin", base), bearer(token)).status == 404
    up.entrepot("member", "add", "demo", "user:carol")
    assert get(address(up, "open/a.bin"), bearer(token)).status == 404, "what she had before does not come back"


def test_c8_a_denial_holds_at_the_edge_and_its_owner_takes_it_back_there(up: Up, tokens: dict[str, str]) -> None:
    """All of it through an edge: a mistake that denies everybody everything, a role that is changed from under a
    denial, a customer's token that ends and is renewed."""
    api = f"{up.edge}/-/api/v1/workspaces/demo"
    made = {"Content-Type": "application/json"}
    text = {}
    for name, role in (("olga", "owner"), ("max", "manager")):
        up.entrepot("user", "create", name, url=up.edge)
        up.entrepot("member", "add", "demo", f"user:{name}", "--role", role, url=up.edge)
        text[name] = (
            bearer(up.entrepot("token", "create", name, "--owner", f"user:{name}", url=up.edge)["token"]) | made
        )

    def asked(who: str, method: str, path: str, body: object = None) -> Got:
        return get(api + path, text[who], method, None if body is None else json.dumps(body).encode())

    shut = asked("olga", "POST", "/grants", {"subject": "members", "scope": "demo", "admin": True, "deny": True})
    assert shut.status == 201, shut.body
    assert get(address(up, "open/a.bin", up.edge), text["olga"]).status in (403, 404)
    assert asked("max", "DELETE", f"/grants/{json.loads(shut.body)['id']}").status == 403
    assert asked("olga", "DELETE", f"/grants/{json.loads(shut.body)['id']}").status == 204
    assert get(address(up, "open/a.bin", up.edge), text["olga"]).status == 200
    assert asked("olga", "PUT", "/roles/frozen", {"actions": ["publish"]}).status == 200
    denied = {"subject": "user:max", "scope": "demo", "role": "frozen", "deny": True}
    assert asked("olga", "POST", "/grants", denied).status == 201
    assert asked("max", "PUT", "/roles/frozen", {"actions": ["read"]}).status == 403
    assert asked("max", "DELETE", "/roles/frozen").status == 403
    customer = json.loads(asked("olga", "POST", "/entitlements", {"name": "Big Shop", "expires_s": 1}).body)
    until(lambda: get(address(up, "open/a.bin", up.edge), bearer(customer["token"])).status == 401)
    assert asked("olga", "PATCH", f"/entitlements/{customer['id']}", {"expires_s": 60}).status == 200
    assert get(address(up, "open/a.bin", up.edge), bearer(customer["token"])).status == 200
