"""How does a test call the management API? In process, over a small world of workspaces, repositories and tokens."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from quart import Quart

from formats import ROOMS
from formats.kit.contract import order_of
from gateway.access import tokens
from gateway.access.peers.authority import Authority
from gateway.access.rights.grants import PROVISION
from gateway.access.secrets.samlkeys import SamlKeys
from gateway.access.secrets.signing import SigningKeys
from gateway.access.secrets.upstreams import Secrets
from gateway.access.signin import sessions
from gateway.access.signin.passwords import Passwords
from gateway.access.signin.proving import TRIES_FILE, SigningIn, Tries
from gateway.access.signin.vault import Vault
from gateway.config import SignIn
from gateway.console.api import make_app
from gateway.console.calls.once import Running
from gateway.console.calls.services import Health, Services
from gateway.saml.unpacking import READERS
from gateway.webhooks.records import Records
from gateway.webhooks.sealed import Sealing
from gateway.webhooks.sending import Sender
from gateway.webhooks.telling import Telling
from storage.index.bins import id_of
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    Binned,
    Draft,
    Entitlement,
    File,
    Grant,
    Membership,
    Package,
    Passkey,
    PutAccount,
    PutBinding,
    PutBinned,
    PutFile,
    PutMembership,
    PutPackage,
    PutRepository,
    PutRole,
    PutTag,
    PutTeam,
    PutTeammate,
    PutToken,
    PutVersion,
    PutWorkspace,
    Repository,
    Role,
    Team,
    Teammate,
    Token,
    Version,
    Workspace,
    team_subject,
)
from tests.harness import answers
from tests.harness.ledgers import NOW_MS, Ledger

API = "/-/api/v1"
REQUEST_ID = "c0ffee" + "0" * 26


class Documents:
    """Reads as the sandbox would, without its process."""

    async def read[Result](self, reader: str, asked: Any, raw: bytes, wanted: type[Result]) -> Result:
        told = msgspec.msgpack.encode(READERS[reader](asked, raw))
        return msgspec.msgpack.decode(told, type=wanted)


class Got:
    """An answer of the API."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Working:
    """Work over the whole store that is only asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1

    def told(self) -> dict[str, object]:
        return {"running": False, "waiting": bool(self.asked)}

    def look(self) -> dict[str, object]:
        return {"forgotten": 3}


def nowhere(host: str, port: int) -> list[str]:
    """No name leads anywhere."""
    raise OSError("no such name")


class Console:
    """An application over `acme` and `other`, each with `main` (private) and `open` (public), and tokens by role."""

    def __init__(self, root: Path, **services: Any) -> None:
        self.root = root
        self.ledger = Ledger(root)
        self.health = Health()
        self.now_ms = NOW_MS
        self.secrets = Secrets(root / "secrets.json")
        self.signing = SigningKeys(root / "signing.json")
        self.saml_keys = SamlKeys(root / "samlkeys.json")
        self.vault = Vault(root / "signin")
        limits = SignIn(password_memory_kib=64, password_passes=1)
        tries = Tries(root / TRIES_FILE, limits)
        self.signing_in = SigningIn(
            self.vault, Passwords(limits), tries, self.ledger.catalog, limits, lambda: self.now_ms
        )  # fmt: skip
        self.telling = Telling(
            self.ledger.catalog,
            self.ledger.history(),
            Sealing(root / "webhooks.json"),
            Records(root / "webhooks"),
            Sender("entrepot", resolve=nowhere),
            lambda format, name: name,
            lambda format: order_of(ROOMS[format]),
            lambda: self.now_ms,
        )
        given: dict[str, Any] = {
            "signing_in": self.signing_in,
            "sign_in": limits,
            "role": "origin",
            "catalog": self.ledger.catalog,
            "health": lambda: self.health,
            "status": lambda: {"heads": {"acme": 1}},
            "metrics": lambda: "entrepot_requests_total 1\n",
            "formats": ("generic", "pypi", "npm"),
            "drawing": ("pypi", "npm"),
            "commit": self.ledger.commit,
            "secrets": self.secrets,
            "signing": self.signing,
            "saml_keys": self.saml_keys,
            "authority": Authority(root / "authority.json"),
            "telling": self.telling,
            "now_ms": lambda: self.now_ms,
            "documents": Documents(),
            "running": Running(root / "running.lock"),
            "work": {name: Working() for name in ("sweep", "scrub")},
            "rooms": ROOMS,
            "version_order": lambda format: order_of(ROOMS[format]),
            "normalise": lambda format, name: ROOMS[format].normalise(name) if format in ROOMS else name,
        }
        self.services = Services(**given | services)
        self.app: Quart = make_app(self.services)
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._fill()

    def _fill(self) -> None:
        early = NOW_MS - 1000
        for ws in ("acme", "other"):
            self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace(ws, early)),)))
            for name, public in (("main", False), ("open", True)):
                put = PutRepository(Repository(ws, name, public, at_ms=early))
                self.ledger.write(Draft(ws, name, "t", "t", (put,)))
        full = {"read": True, "write": True, "admin": True}
        self.add_token("node admin", Grant("*", **full))
        self.add_token("auditor", Grant("*"))
        self.add_token("acme admin", Grant("acme", **full))
        self.add_token("main admin", Grant("acme/main", **full))
        self.add_token("writer", Grant("acme", True, True))
        self.add_token("reader", Grant("acme"))
        self.add_token("stranger", Grant("other", **full))
        self.add_token("expired", Grant("*", **full), expires_ms=early)
        self.add_token("revoked", Grant("*", **full), revoked_ms=early)
        self.tokens |= {"anonymous": "", "malformed": "ent_nonsense", "unknown": tokens.mint()[0]}

    def add_token(self, role: str, *grants: Grant, expires_ms: int = 0, revoked_ms: int = 0, kind: str = "api") -> str:
        text, parts = tokens.mint()
        token = Token(parts.id, role, parts.sha256, grants, kind, NOW_MS - 500, expires_ms, revoked_ms)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))
        self.tokens[role], self.ids[role] = text, parts.id
        return text

    def add_package(self, ws: str, repo: str, format: str, name: str, *tags: str) -> None:
        changes = (
            PutPackage(format, Package(name, NOW_MS)),
            PutVersion(format, name, Version("1.0", NOW_MS)),
            PutFile(format, name, File(f"{name}-1.0.tgz", "1.0", b"\1" * 32, 7, at_ms=NOW_MS)),
            *(PutTag(format, name, one, "1.0") for one in ("latest", *tags)),
        )
        self.ledger.write(Draft(ws, repo, "t", "t", changes))

    def add_binned(self, ws: str, repo: str, format: str, name: str) -> None:
        """A version that was deleted and can come back."""
        file = File(f"{name}-1.0.tgz", "1.0", b"\2" * 32, 9, at_ms=NOW_MS)
        held = (PutVersion(format, name, Version("1.0", NOW_MS)), PutFile(format, name, file))
        made = Binned(id_of(format, name, "1.0"), format, name, "1.0", held, NOW_MS, NOW_MS + 60_000)
        self.ledger.write(Draft(ws, repo, "t", "t", (PutBinned(made),)))

    def add_customer(self, ws: str) -> None:
        """The role customer: an entitlement to read acme/main, once its terms are accepted."""
        text, parts = tokens.mint()
        limits = Entitlement(downloads_max=2, eula="1")
        token = Token(parts.id, "customer", parts.sha256, (Grant(f"{ws}/main"),), "entitlement", NOW_MS)
        token = msgspec.structs.replace(token, entitlement=limits)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))
        self.tokens["customer"], self.ids["customer"] = text, parts.id

    def add_people(self, ws: str, *more: AnyChange) -> None:
        """The user alice and the service account robot, both members; alice is of the team devs, which may read."""
        held = (Passkey("pky_alice", "laptop", b"credential", b"key", NOW_MS),)
        alice = Account("usr_alice", "user", "alice", "", "", NOW_MS, 0, "", 0, NOW_MS, NOW_MS, passkeys=held)
        robot = Account("svc_robot", "service", "robot", ws, at_ms=NOW_MS)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(alice), PutAccount(robot))))
        self.add_session("alice's session", alice.id)
        changes = (
            PutMembership(Membership(alice.id, "member", NOW_MS)),
            PutMembership(Membership(robot.id, "member", NOW_MS)),
            PutTeam(Team("devs", at_ms=NOW_MS)),
            PutTeammate(Teammate("devs", alice.id, at_ms=NOW_MS)),
            PutRole(Role("publisher", ("publish", "tag"), NOW_MS)),
            PutBinding(Binding("bnd_devs", team_subject("devs"), Grant(ws), NOW_MS)),
            *more,
        )
        self.ledger.write(Draft(ws, "", "t", "t", changes))

    def add_managed(self, ws: str) -> None:
        """The managed user usr_managed, a member and in the group grp_staff, told by the identity provider of `ws`."""
        facts = '{"displayName":"Mia","userName":"mia@acme.example"}'
        mia = Account("usr_managed", "managed", "mia@acme.example", ws, "", NOW_MS, facts=facts, changed_ms=NOW_MS)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(mia),)))
        staff = Team("staff", at_ms=NOW_MS, id="grp_staff", facts='{"displayName":"Staff"}', changed_ms=NOW_MS)
        changes = (
            PutMembership(Membership(mia.id, "member", NOW_MS, NOW_MS)),
            PutTeam(staff),
            PutTeammate(Teammate("staff", mia.id, at_ms=NOW_MS)),
        )
        self.ledger.write(Draft(ws, "", "t", "t", changes))

    def add_idp(self, ws: str) -> None:
        """The role `WS idp`: the token of the identity provider of a Workspace."""
        text, parts = tokens.mint()
        grant = Grant(ws, read=False, actions=(PROVISION,))
        token = Token(parts.id, f"{ws} idp", parts.sha256, (grant,), "scim", NOW_MS, verify_key=parts.verify_key)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))
        self.tokens[f"{ws} idp"], self.ids[f"{ws} idp"] = text, parts.id

    def add_session(self, role: str, account: str) -> str:
        """The text of a session that its cookie holds."""
        with self.ledger.catalog.read() as reading:
            text, token = sessions.begun(reading, account, "password", "", self.services.sign_in, self.now_ms)
        self.ledger.write(Draft(SYSTEM, "", "t", "t", (PutToken(token),)))
        self.ids[role] = token.id
        return text

    async def call(
        self, role: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Got:
        """One request as the principal called `role`; paths without /-/ are the API's."""
        sent = dict(headers or {})
        if self.tokens[role]:
            sent.setdefault("Authorization", f"Bearer {self.tokens[role]}")
        data = None
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.ask(method, path if path.startswith("/-/") else API + path, sent, data)

    async def ask(self, method: str, address: str, headers: Mapping[str, str], body: bytes | None = None) -> Got:
        """One request as it stands, always with the same id."""
        headers = {"traceparent": f"00-{REQUEST_ID}-{'1' * 16}-01", **headers}
        response = await self.app.test_client().open(address, method=method, headers=dict(headers), data=body)
        got = await response.get_data(as_text=False)
        route = answers.route_of(self.app, method, address)
        if route is not None and method == route.method:
            media = response.headers.get("content-type", "")
            answers.check(route, response.status_code, media, got, whole="fields=" not in address)
        return Got(response.status_code, response.headers, got)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
