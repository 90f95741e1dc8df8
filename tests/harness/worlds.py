"""What world do the access tests live in? Two Workspaces with a public and a private Repository each, and any token."""

from typing import Any

from gateway.access import tokens
from storage.index.outlines import NONE, Outline
from storage.nouns import Account, Binding, Grant, Membership, Provider, Repository, Role, Teammate, Token, Workspace

NOW_MS = 1_800_000_000_000


class Memory:
    """The part of a Reading that access asks, out of dicts."""

    def __init__(self) -> None:
        self.all_workspaces: dict[str, Workspace] = {}
        self.all_repositories: dict[tuple[str, str], Repository] = {}
        self.all_tokens: dict[bytes, Token] = {}
        self.all_accounts: dict[str, Account] = {}
        self.all_memberships: dict[tuple[str, str], Membership] = {}
        self.all_teammates: list[tuple[str, Teammate]] = []
        self.all_roles: dict[tuple[str, str], Role] = {}
        self.all_bindings: list[tuple[str, Binding]] = []
        self.serials: dict[str, int] = {}

    def recall(self, key: object) -> Any:
        """Nothing: this world changes within one moment."""

    def remember[T](self, key: object, value: T) -> T:
        return value

    def account(self, id: str) -> Account | None:
        return self.all_accounts.get(id)

    def membership(self, ws: str, account: str) -> Membership | None:
        return self.all_memberships.get((ws, account))

    def teams_of(self, ws: str, account: str) -> list[Teammate]:
        return [one for place, one in self.all_teammates if place == ws and one.account == account]

    def role(self, ws: str, name: str) -> Role | None:
        return self.all_roles.get((ws, name))

    def bindings(self, ws: str, subject: str = "") -> list[Binding]:
        return [one for place, one in self.all_bindings if place == ws and subject in ("", one.subject)]

    def provider(self, ws: str, id: str) -> Provider | None:
        return None

    def serial(self, ws: str) -> int:
        return self.serials.get(ws, 0)

    def token(self, sha256: bytes) -> Token | None:
        return self.all_tokens.get(sha256)

    def token_by_id(self, id: str) -> Token | None:
        return next((one for one in self.all_tokens.values() if one.id == id), None)

    def workspace(self, name: str) -> Workspace | None:
        return self.all_workspaces.get(name)

    def repository(self, ws: str, name: str) -> Repository | None:
        return self.all_repositories.get((ws, name))

    def repositories(self, ws: str = "") -> list[Repository]:
        return [one for one in self.all_repositories.values() if not ws or one.workspace == ws]

    def outline(self, ws: str, name: str) -> Outline:
        found = self.repository(ws, name)
        return NONE if found is None else Outline(True, found.public, found.at_ms)

    def publics(self, ws: str) -> int:
        return sum(one.public for one in self.repositories(ws))

    def add_workspace(self, name: str) -> None:
        self.all_workspaces[name] = Workspace(name, NOW_MS - 10)

    def add_repository(self, ws: str, name: str, public: bool = False, at_ms: int = NOW_MS - 9) -> None:
        self.all_repositories[ws, name] = Repository(ws, name, public, at_ms=at_ms)

    def add_token(self, *grants: Grant, at_ms: int = NOW_MS - 8, expires_ms: int = 0, revoked_ms: int = 0) -> str:
        text, parts = tokens.mint()
        key = parts.verify_key
        token = Token(parts.id, "for tests", parts.sha256, grants, "api", at_ms, expires_ms, revoked_ms, key)
        self.all_tokens[parts.sha256] = token
        return text


def small_world() -> Memory:
    """acme and other, each with `open` (public) and `main` (private)."""
    world = Memory()
    for ws in ("acme", "other"):
        world.add_workspace(ws)
        world.add_repository(ws, "open", public=True)
        world.add_repository(ws, "main")
    return world
