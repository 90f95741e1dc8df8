"""Does any route, by any method, tell somebody who may not know of a thing whether it is there? The whole matrix.

Generated from the declared routes: every method x principals without a right there x states of what is named. Within
one row of the matrix every cell must be the same answer, byte for byte (THREATS B9, C5, C7).
"""

from pathlib import Path
from typing import Any

from gateway.console.api import ROUTES
from gateway.console.calls.call import Route
from storage.hooks import PutWebhook, Webhook
from storage.nouns import (
    SYSTEM,
    Account,
    Binding,
    ClaimRule,
    Draft,
    DropRepository,
    Grant,
    Membership,
    Passkey,
    Provider,
    PutAccount,
    PutBinding,
    PutMembership,
    PutProvider,
    PutRepository,
    PutRole,
    PutTeam,
    PutWorkspace,
    Repository,
    Role,
    Team,
    Workspace,
)
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS
from tests.unit.test_api_permissions import BODIES, key

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CELLS_MIN = 20_000
WHO = (
    "anonymous",
    "expired",
    "revoked",
    "malformed",
    "unknown",
    "stranger",
    "reader",
    "outsider",
    "buyer",
    "other idp",
)
"""Kinds of principals: nobody, those whose credential is no good, an administrator and a reader of other tenants, a
member of another Workspace, a customer of another one, and the identity provider of one."""

OWN_THING = ("buyer", "/-/api/v1/eula")
"""What one of them may change: its own; the answers differ by the Serial."""

HIDDEN: dict[str, str] = {
    "<workspace>": "secret",
    "<repository>": "main",
    "<member>": "user:inside",
    "<user>": "inside",
    "<passkey>": "pky_in",
    "<service>": "robot",
    "<team>": "devs",
    "<role>": "publisher",
    "<region>": "asia",
    "<serial>": "1",
    "<provider>": "ci",
    "<webhook>": "builds",
    "<number>": "1",
    "<format>": "pypi",
    "<name>": "first",
    "<host>": "pkgs.example",
    "<code>": "absent",
    "<fingerprint>": "0" * 40,
    "<path:package>": "thing",
    "<person>": "usr_managed",
    "<group>": "grp_staff",
    "<key>": "key_old",
}
STATES: tuple[dict[str, str], ...] = (
    {},
    {"<repository>": "gone"},
    {"<repository>": "never"},
    {"<workspace>": "nowhere"},
    {"<member>": "user:nobody", "<user>": "nobody", "<service>": "none", "<team>": "none", "<role>": "none"},
    {"<person>": "usr_none", "<group>": "grp_none"},
    {"<provider>": "none", "<webhook>": "none", "<number>": "2"},
    {"<webhook>": "whole"},
    {"<passkey>": "pky_none", "<key>": "key_none"},
    {"<id>": "tok_0000000000000000", "<path:package>": "none", "<name>": "none", "<fingerprint>": "1" * 40},
)


def secret_world(root: Path) -> Console:
    """Beside the small world a Workspace that nobody of WHO may know of, with something of every kind in it."""
    console = Console(root)
    early = NOW_MS - 1000
    write = console.ledger.write
    held = (Passkey("pky_in", "laptop", b"credential", b"key", early),)
    inside, robot = Account("usr_in", "user", "inside", passkeys=held), Account("svc_ro", "service", "robot", "secret")
    write(
        Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace("secret", early)), PutAccount(inside), PutAccount(robot)))
    )
    for name in ("main", "gone"):
        write(Draft("secret", name, "t", "t", (PutRepository(Repository("secret", name, at_ms=early)),)))
    write(Draft("secret", "gone", "t", "t", (DropRepository("secret", "gone"),)))
    people = (
        PutMembership(Membership(inside.id, "owner", early)),
        PutMembership(Membership(robot.id, "member", early)),
        PutTeam(Team("devs")),
        PutRole(Role("publisher", ("publish",))),
        PutBinding(Binding("bnd_x", "team:devs", Grant("secret"), early)),
        PutWebhook(Webhook("whk_w", "secret", "", "whole", "https://receiver.example", "rev_w", 0, 0)),
        PutProvider(Provider("idp_x", "ci", "https://issuer.example", "a", (ClaimRule({"a": "b"}, robot.id),), 60)),
    )
    write(Draft("secret", "", "t", "t", people))
    console.add_session("inside", inside.id)
    hook = PutWebhook(Webhook("whk_x", "secret", "main", "builds", "https://receiver.example", "rev_x", 0, 0))
    write(Draft("secret", "main", "t", "t", (hook,)))
    console.add_package("secret", "main", "pypi", "thing")
    console.add_managed("secret")
    console.add_idp("other")
    console.add_customer("secret")
    console.ids["hidden"] = console.ids["customer"]
    console.add_customer("other")
    console.tokens["buyer"] = console.tokens["customer"]
    outsider = Account("usr_out", "user", "outsider")
    write(Draft(SYSTEM, "", "t", "t", (PutAccount(outsider),)))
    write(Draft("other", "", "t", "t", (PutMembership(Membership(outsider.id, "manager", early)),)))
    console.add_token("outsider", Grant("other", True, True, True))
    console.ledger.entries.clear()
    return console


def address(route: Route, console: Console, state: dict[str, str]) -> str:
    path = route.rule
    id = "bnd_x" if "/grants/" in route.rule else console.ids["inside" if "/sessions/" in route.rule else "hidden"]
    shown = HIDDEN | {"<id>": id} | state
    for part, value in shown.items():
        path = path.replace(part, value)
    assert "<" not in path, path
    return path + ("?format=pypi" if "format" in route.arguments else "")


async def test_b9_c5_c7_no_cell_of_the_matrix_tells_what_is_there(tmp_path: Path) -> None:
    console = secret_world(tmp_path)
    cells, leaks, strange = 0, [], []
    for route in ROUTES:
        addresses = [address(route, console, state) for state in STATES]
        for method in METHODS:
            for role in WHO:
                told = set()
                for path in addresses:
                    got = await console.call(role, method, path, _body(route, method))
                    cells += 1
                    asked = path.partition("?")[0]  # a Link to a page says again what was asked for
                    headers = tuple(sorted((name, value.replace(asked, "")) for name, value in got.headers.items()))
                    told.add((got.status, got.body, headers))
                    if got.status >= 500:
                        strange.append((role, method, path, got.status))
                if len(told) != 1 and (role, route.rule) != OWN_THING:
                    leaks.append((role, method, route.rule, sorted(one[0] for one in told)))
    wrote = {entry.action for entry in console.ledger.entries}
    assert wrote == {"entitlement.accept"}, "nobody of these changes anything but the buyer's word to its own terms"
    console.ledger.close()
    assert strange == []
    assert leaks == []
    assert cells >= CELLS_MIN


def _body(route: Route, method: str) -> Any:
    """What would be taken if it were allowed."""
    return BODIES.get(key(route)) if method == route.method else None
