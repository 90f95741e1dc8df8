"""Does every route of the API declare who may call it, and does it hold to that?"""

from pathlib import Path
from typing import Any

import pytest

from gateway.access.secrets.signing import fingerprint
from gateway.console.api import PAGES, ROUTES
from gateway.console.calls import permissions
from gateway.console.calls.call import Route
from storage.index.bins import id_of
from storage.nouns import ClaimRule, People, Provider, PutProvider, Saml, SamlPair
from tests.harness.consoles import Console
from tests.harness.saml_answers import Signer, metadata

DECLARED = {one for one in vars(permissions).values() if isinstance(one, permissions.Permission)}

SCIM_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
SCIM_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
SCIM_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SCIM_SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
DEACTIVATE = {"op": "replace", "path": "active", "value": False}
RENAME = {"op": "replace", "path": "displayName", "value": "Other"}

# a body that a node admin succeeds with, for every method that changes something
SAML_SIGNER, CORP = Signer(), "https://corp.example/metadata"
BODIES: dict[str, Any] = {
    "POST /-/api/v1/workspaces": {"name": "fresh"},
    "POST /-/api/v1/repositories": {"workspace": "acme", "name": "fresh"},
    "PATCH /-/api/v1/workspaces/<workspace>": {"description": "Tools"},
    "PATCH /-/api/v1/repositories/<workspace>/<repository>": {"public": True},
    "POST /-/api/v1/hosts": {"name": "other.example", "scope": "acme/main"},
    "POST /-/api/v1/repositories/<workspace>/<repository>/upstreams": {
        "format": "pypi",
        "name": "second",
        "url": "https://registry.example/simple/",
    },
    "POST /-/api/v1/repositories/<workspace>/<repository>/upstreams/<format>/allow": {"name": "other"},
    "PUT /-/api/v1/repositories/<workspace>/<repository>/upstreams/<format>/<name>/credential": {"password": "new"},
    "POST /-/api/v1/repositories/<workspace>/<repository>/quarantine": {"format": "pypi", "package": "other"},
    "POST /-/api/v1/repositories/<workspace>/<repository>/purge": {"format": "pypi", "package": "thing"},
    "POST /-/api/v1/repositories/<workspace>/<repository>/bin/<id>/restore": {},
    "POST /-/api/v1/repositories/<workspace>/<repository>/copies": {
        "source": "acme/open",
        "format": "pypi",
        "package": "copied",
    },
    "PUT /-/api/v1/repositories/<workspace>/<repository>/tags/<path:package>": {"tag": "stable", "version": "1.0"},
    "POST /-/api/v1/sweep": {},
    "POST /-/api/v1/edges": {"name": "second", "region": "asia"},
    "PATCH /-/api/v1/edges/<name>": {"workspaces": ["acme"]},
    "PUT /-/api/v1/workspaces/<workspace>/quota": {"bytes": 10_000},
    "PUT /-/api/v1/repositories/<workspace>/<repository>/quota": {"bytes": 10_000},
    "PUT /-/api/v1/repositories/<workspace>/<repository>/networks": {"rules": [{"action": "deny"}]},
    "PUT /-/api/v1/workspaces/<workspace>/networks": {"rules": [{"action": "allow", "countries": ["DE"]}]},
    "PUT /-/api/v1/repositories/<workspace>/<repository>/replication/<region>": {"tags": ["latest"]},
    "POST /-/api/v1/tokens": {"name": "child", "grants": [{"scope": "acme/main"}]},
    "POST /-/api/v1/tokens/<id>/rotate": {"overlap_s": 60},
    "POST /-/api/v1/workspaces/<workspace>/entitlements": {"name": "fresh", "repositories": ["main"]},
    "PATCH /-/api/v1/workspaces/<workspace>/entitlements/<id>": {"downloads_max": 5},
    "POST /-/api/v1/eula": {"revision": "1"},
    "POST /-/api/v1/users": {"name": "fresh"},
    "POST /-/api/v1/workspaces/<workspace>/services": {"name": "fresh"},
    "PUT /-/api/v1/workspaces/<workspace>/members/<member>": {"role": "manager"},
    "POST /-/api/v1/workspaces/<workspace>/teams": {"name": "fresh"},
    "PUT /-/api/v1/workspaces/<workspace>/teams/<team>/members/<member>": {"role": "manager"},
    "PUT /-/api/v1/workspaces/<workspace>/roles/<role>": {"actions": ["read"]},
    "POST /-/api/v1/workspaces/<workspace>/providers": {
        "name": "fresh",
        "issuer": "https://issuer.example",
        "audience": "entrepot",
        "rules": [{"service": "robot", "claims": {"repository_id": "1"}}],
    },
    "PATCH /-/api/v1/workspaces/<workspace>/providers/<provider>": {"disabled": True},
    "POST /-/api/v1/users/<user>/recovery-codes": {},
    "POST /-/api/v1/workspaces/<workspace>/saml": {
        "name": "fresh",
        "metadata": metadata(SAML_SIGNER),
        "audience": "entrepot",
    },
    "PUT /-/api/v1/workspaces/<workspace>/saml/<provider>": {"metadata": metadata(SAML_SIGNER, entity_id=CORP)},
    "POST /-/api/v1/login/device": {"name": ""},
    "POST /-/api/v1/login/token": {"device_code": "x"},
    "POST /-/api/v1/workspaces/<workspace>/webhooks": {
        "name": "fresh",
        "repository": "main",
        "url": "https://receiver.example/hook",
    },
    "PATCH /-/api/v1/workspaces/<workspace>/webhooks/<webhook>": {"events": ["package.*"]},
    "POST /-/api/v1/workspaces/<workspace>/webhooks/<webhook>/rotate": {"overlap_s": 60},
    "POST /-/api/v1/workspaces/<workspace>/webhooks/<webhook>/replay": {"serial": 0},
    "POST /-/api/v1/oidc/exchange": {"workspace": "acme", "token": "e30.e30.e30"},
    "POST /-/api/v1/workspaces/<workspace>/scim/tokens": {"name": "idp"},
    "POST /-/scim/v2/<workspace>/Users": {"schemas": [SCIM_USER], "userName": "fresh@acme.example"},
    "PUT /-/scim/v2/<workspace>/Users/<person>": {"schemas": [SCIM_USER], "userName": "other@acme.example"},
    "PATCH /-/scim/v2/<workspace>/Users/<person>": {"schemas": [SCIM_PATCH], "Operations": [DEACTIVATE]},
    "POST /-/scim/v2/<workspace>/Users/.search": {"schemas": [SCIM_SEARCH]},
    "POST /-/scim/v2/<workspace>/Groups": {"schemas": [SCIM_GROUP], "displayName": "Fresh"},
    "PUT /-/scim/v2/<workspace>/Groups/<group>": {"schemas": [SCIM_GROUP], "displayName": "Other"},
    "PATCH /-/scim/v2/<workspace>/Groups/<group>": {"schemas": [SCIM_PATCH], "Operations": [RENAME]},
    "POST /-/scim/v2/<workspace>/Groups/.search": {"schemas": [SCIM_SEARCH]},
    "POST /-/scim/v2/<workspace>/.search": {"schemas": [SCIM_SEARCH]},
    "POST /-/api/v1/workspaces/<workspace>/grants": {"subject": "team:devs", "scope": "acme/main"},
}
# who may do what no permission of the route alone tells; all others are refused
MAY: dict[str, set[str]] = {
    "admin on *": {"node admin"},
    "admin on the repository": {"node admin", "acme admin", "main admin"},
    "write on the repository; each package is judged by its name": {"node admin", "acme admin", "main admin", "writer"},
    "manage the workspace": {"node admin", "acme admin"},
    "POST /-/api/v1/repositories": {"node admin", "acme admin"},
    "POST /-/api/v1/tokens": {"node admin", "acme admin", "main admin"},
    "POST /-/api/v1/workspaces/<workspace>/entitlements": {"node admin", "acme admin", "main admin"},
    "PATCH /-/api/v1/workspaces/<workspace>/entitlements/<id>": {"node admin", "acme admin", "main admin"},
    "POST /-/api/v1/workspaces/<workspace>/entitlements/<id>/refresh": {"node admin", "acme admin", "main admin"},
    "DELETE /-/api/v1/workspaces/<workspace>/entitlements/<id>": {"node admin", "acme admin", "main admin"},
    "POST /-/api/v1/eula": {"customer"},
    **{
        f"{method} /-/api/v1/workspaces/<workspace>/webhooks{rest}": {"node admin", "acme admin", "main admin"}
        for method, rest in (
            ("POST", ""),
            ("PATCH", "/<webhook>"),
            ("DELETE", "/<webhook>"),
            *(("POST", f"/<webhook>/{one}") for one in ("rotate", "replay", "ping", "deliveries/<number>/redeliver")),
        )
    },
    "people in the workspace": {"node admin", "acme admin"},
    "people in the workspace, or a manager of the team": {"node admin", "acme admin"},
    "grant in the workspace": {"node admin", "acme admin"},
    "own in the workspace": {"node admin", "acme admin"},
    "a token of its identity provider, of kind scim": {"acme idp"},
    "whose session it is, or admin on *": {"node admin"},
    "the user itself, by a token without limits; or admin on *": {"node admin"},
    "the token itself, or admin of all it reaches": {"node admin", "acme admin", "reader"},
}
NOBODY = ("anonymous", "expired", "revoked", "malformed", "unknown")
SOMEBODY = (
    "node admin",
    "auditor",
    "acme admin",
    "main admin",
    "writer",
    "reader",
    "stranger",
    "customer",
    "acme idp",
    "other idp",
)


def key(route: Route) -> str:
    return f"{route.method} {route.rule}"


def address(route: Route, console: Console) -> str:
    with console.ledger.catalog.read() as reading:
        repository = reading.repository("acme", "main")
    assert repository is not None
    certificate = repository.certificates[0]
    parts = {
        "<workspace>": "acme",
        "<repository>": "main",
        "<format>": "pypi",
        "<name>": "first",
        "<id>": id_for(route, console),
        "<host>": "pkgs.example",
        "<fingerprint>": fingerprint(certificate),
        "<path:package>": "thing",
        "<user>": "alice",
        "<passkey>": "pky_alice",
        "<service>": "robot",
        "<member>": "managed:mia@acme.example" if route.rule.endswith("/sessions") else "user:alice",
        "<team>": "devs",
        "<role>": "publisher",
        "<serial>": "1",
        "<region>": "asia",
        "<provider>": "corp" if "/saml/" in route.rule else "ci",
        "<person>": "usr_managed",
        "<group>": "grp_staff",
        "<code>": "absent",
        "<webhook>": "builds",
        "<number>": "1",
        "<key>": "key_old",
    }
    path = route.rule
    for part, value in parts.items():
        path = path.replace(part, value)
    assert "<" not in path
    if "/tags/" in path:
        return path + "?format=npm" + ("&tag=next" if "tag" in route.arguments else "")
    if "confirm" in route.arguments:
        return path + "?confirm=acme"
    return path + ("?format=pypi" if "format" in route.arguments else "")


def id_for(route: Route, console: Console) -> str:
    if "/grants/" in route.rule:
        return "bnd_devs"
    if "/bin/" in route.rule:
        return id_of("pypi", "gone", "1.0")
    if "/sessions/" in route.rule:
        return console.ids["alice's session"]
    return console.ids["customer" if "/entitlements/" in route.rule else "reader"]


async def filled(root: Path, **services: Any) -> Console:
    console = Console(root, **services)
    body = {"format": "pypi", "name": "first", "url": "https://registry.example/simple/", "allow": ["thing"]}
    assert (await console.call("node admin", "POST", "/repositories/acme/main/upstreams", body)).status == 201
    for _ in range(2):
        assert (await console.call("node admin", "POST", "/repositories/acme/main/keys")).status == 201
    edge = {"name": "first", "region": "asia"}
    assert (await console.call("node admin", "POST", "/edges", edge)).status == 201
    bound = {"name": "pkgs.example", "scope": "acme"}
    assert (await console.call("node admin", "POST", "/hosts", bound)).status == 201
    held = {"format": "pypi", "package": "thing"}
    assert (await console.call("node admin", "POST", "/repositories/acme/main/quarantine", held)).status == 201
    assert (await console.call("node admin", "PUT", "/repositories/acme/main/replication/asia", {})).status == 200
    console.add_package("acme", "main", "pypi", "thing")
    console.add_binned("acme", "main", "pypi", "gone")
    console.add_package("acme", "open", "pypi", "copied")
    console.add_package("acme", "main", "npm", "thing", "next")
    provider = Provider("idp_ci", "ci", "https://ci.example", "a", (ClaimRule({"a": "b"}, "svc_robot"),), 60)
    console.add_people("acme", PutProvider(provider))
    pairs = tuple(SamlPair(one, SAML_SIGNER.der, SAML_SIGNER.der) for one in ("key_old", "key_new"))
    saml = Saml("https://corp.example/sso", (SAML_SIGNER.der,), pairs=pairs)
    corp = Provider("idp_corp", "corp", CORP, "entrepot", (), 0, people=People("email"), saml=saml)
    console.add_people("acme", PutProvider(corp))
    console.add_customer("acme")
    console.add_managed("acme")
    console.add_session("mia's session", "usr_managed")
    console.add_idp("acme")
    console.add_idp("other")
    hook = {"name": "builds", "repository": "main", "url": "https://receiver.example/hook"}
    assert (await console.call("node admin", "POST", "/workspaces/acme/webhooks", hook)).status == 201
    assert (await console.call("node admin", "POST", "/workspaces/acme/webhooks/builds/ping")).status == 200
    console.ledger.entries.clear()
    return console


def test_c7_every_route_of_the_application_is_declared(tmp_path: Path) -> None:
    """What the application serves is exactly what was declared, method by method."""
    console = Console(tmp_path)
    served = {
        f"{method} {rule.rule}"
        for rule in console.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method != "HEAD"
    }
    assert served == {key(route) for route in ROUTES} | {f"{page.method} {page.rule}" for page in PAGES}
    assert len(served) == len(ROUTES) + len(PAGES)
    assert all(route.permission in DECLARED for route in ROUTES)


def test_c7_nothing_is_changed_by_a_route_that_reads_need() -> None:
    """No method that changes something is open to anybody, nor satisfied with the right to read."""
    weak = (permissions.ANYBODY, permissions.SOMEBODY, permissions.METRICS)
    weak += (permissions.WORKSPACE_READ, permissions.REPOSITORY_READ, permissions.REPOSITORY_WHOLE)
    assert [key(route) for route in ROUTES if route.method != "GET" and route.permission in weak] == []


BY_SHOWING = (permissions.BY_PROOF, permissions.BY_ASKING, permissions.BY_CODE)
CHANGING = [route for route in ROUTES if route.method != "GET" and route.permission not in BY_SHOWING]
"""By showing: test_api_oidc and test_logins ask who gets what, and who nothing."""
_HOOK = "POST /-/api/v1/workspaces/<workspace>/webhooks/<webhook>"
ASKING = {
    f"{_HOOK}/ping",
    f"{_HOOK}/deliveries/<number>/redeliver",
    "POST /-/api/v1/sweep",
    "POST /-/api/v1/scrub",
    "POST /-/scim/v2/<workspace>/.search",
    "POST /-/scim/v2/<workspace>/Users/.search",
    "POST /-/scim/v2/<workspace>/Groups/.search",
}
"""What these ask for changes nothing that the journal tells."""
IN_TWO = ("POST /-/scim/v2/<workspace>/Users", "DELETE /-/scim/v2/<workspace>/Users/<person>")
"""These change an account of the node and its membership."""


@pytest.mark.parametrize("route", CHANGING, ids=key)
async def test_c7_who_may_change_what(route: Route, tmp_path: Path) -> None:
    may = MAY.get(key(route)) or MAY[route.permission.name]
    for number, role in enumerate((*NOBODY, *SOMEBODY)):
        console = await filled(tmp_path / str(number))
        got = await console.call(role, route.method, address(route, console), BODIES.get(key(route)))
        wrote = [entry.action for entry in console.ledger.entries]
        console.ledger.close()
        if role in may:
            assert got.status in (200, 201, 202, 204), (role, got.body)
            in_two = (*IN_TWO, "/services", "<service>")
            entries = 2 if key(route).endswith(in_two) else int(key(route) not in ASKING)
            assert len(wrote) == entries
            assert ("entrepot-serial" in got.headers) == (key(route) not in ASKING)
        else:
            assert got.status in ((401,) if role in NOBODY else (403, 404)), (role, got.status, got.body)
            assert wrote == [], role
            assert got.headers["content-type"] == (route.dialect or "application/problem+json")


READING = [route for route in ROUTES if route.method == "GET"]


@pytest.mark.parametrize("role", NOBODY)
async def test_f15_what_a_stranger_from_the_street_can_read(role: str, tmp_path: Path) -> None:
    """Without a token: the health and the lists of what is public. With one that is no good: nothing, not even that."""
    console = await filled(tmp_path)
    statuses = {route.rule: (await console.call(role, "GET", address(route, console))).status for route in READING}
    console.ledger.close()
    readable = {rule for rule, status in statuses.items() if status == 200}
    assert set(statuses.values()) <= {200, 401}
    if role == "anonymous":
        assert readable == {
            "/-/health",
            "/-/ready",
            "/-/problems",
            "/-/problems/<code>",
            "/-/api/v1/openapi.json",
            "/-/api/v1/workspaces",
            "/-/api/v1/workspaces/<workspace>",
            "/-/api/v1/repositories",
            "/-/api/v1/search",
        }
    else:
        assert readable == set()


@pytest.mark.parametrize(
    "place", ["/repositories/{}", "/repositories/{}/upstreams", "/repositories/{}/packages?format=npm"]
)
async def test_b9_private_and_absent_are_byte_equal(place: str, tmp_path: Path) -> None:
    console = await filled(tmp_path)
    for role in ("stranger", "anonymous"):
        answers = set()
        for where in ("acme/main", "acme/gone", "nowhere/main"):
            got = await console.call(role, "GET", "/repositories/" + place.format(where))
            answers.add((got.status, got.body, tuple(sorted(got.headers.items()))))
        assert len(answers) == 1, role
    console.ledger.close()


async def test_b9_changing_what_is_hidden_is_answered_like_changing_what_is_not(tmp_path: Path) -> None:
    console = await filled(tmp_path)
    for method, body in (("PATCH", {"public": True}), ("DELETE", None)):
        answers = set()
        for where in ("acme/main", "acme/gone", "nowhere/main"):
            got = await console.call("stranger", method, f"/repositories/{where}", body)
            answers.add((got.status, got.body, tuple(sorted(got.headers.items()))))
        assert len(answers) == 1
    for scope in ("acme/main", "acme/gone", "nowhere/main"):
        got = await console.call("stranger", "POST", "/tokens", {"name": "n", "grants": [{"scope": scope}]})
        assert got.status == 404
    assert console.ledger.entries == []
    console.ledger.close()


async def test_c5_the_id_of_another_tenant_is_absent(tmp_path: Path) -> None:
    console = await filled(tmp_path)
    known, unknown = console.ids["reader"], "tok_0000000000000000"
    for method in ("GET", "DELETE"):
        answers = set()
        for id in (known, unknown, "0", "%00", "%F0%9F%92%A9"):
            got = await console.call("stranger", method, f"/tokens/{id}")
            answers.add((got.status, got.body))
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    assert console.ledger.entries == []
    console.ledger.close()
