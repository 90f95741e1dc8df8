"""After any sequence of what administrators do, has everybody exactly what a simple model says (THREATS C6)?

The model keeps facts in plain sets and works out rights by asking each of them; the system folds entries into a real
index and derives. They are compared for every account, package and action after every step.
"""

import shutil
import tempfile
from itertools import product
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import identify, standing
from gateway.access.tokens import mint
from storage.errors import Unauthenticated
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    Draft,
    DropBinding,
    DropMembership,
    DropTeam,
    DropTeammate,
    Grant,
    Membership,
    PutAccount,
    PutBinding,
    PutMembership,
    PutTeam,
    PutTeammate,
    PutToken,
    PutWorkspace,
    Team,
    Teammate,
    Token,
    Workspace,
)
from tests.harness.ledgers import NOW_MS, Ledger

PEOPLE = ("usr_a", "usr_b")
TEAMS = ("red", "blue")
PACKAGES = ("lib", "secret-lib")
ROLES = ("owner", "member", "collaborator")
SUBJECTS = (*PEOPLE, "team:red", "team:blue", "members")
WHO, TEAM, SUBJECT = st.sampled_from(PEOPLE), st.sampled_from(TEAMS), st.sampled_from(SUBJECTS)


class Administration(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.ledger = Ledger(self.root)
        self.members: dict[str, str] = {}
        self.teams: set[str] = set()
        self.mates: set[tuple[str, str]] = set()
        self.given: dict[str, tuple[str, bool, bool]] = {}
        self.closed: set[str] = set()
        self.revoked: set[str] = set()
        self.texts: dict[str, str] = {}
        self._write(SYSTEM, PutWorkspace(Workspace("acme")))
        for who in PEOPLE:
            text, parts = mint()
            self.texts[who] = text
            self._write(SYSTEM, PutAccount(Account(who, "user", who)))
            self._write(SYSTEM, PutToken(Token(parts.id, who, parts.sha256, (), at_ms=NOW_MS, owner=who)))

    def _write(self, ws: str, *changes: AnyChange) -> None:
        self.ledger.write(Draft(ws, "", "t", "t", changes))

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.root)

    # ------------------------------------------------------------ what administrators do

    @rule(who=WHO, role=st.sampled_from(ROLES))
    def join(self, who: str, role: str) -> None:
        self._write("acme", PutMembership(Membership(who, role, NOW_MS)))
        self.members[who] = role

    @rule(who=WHO)
    def leave(self, who: str) -> None:
        self._write("acme", DropMembership(who))
        self.members.pop(who, None)
        self.mates = {one for one in self.mates if one[0] != who}
        self.given = {id: one for id, one in self.given.items() if one[0] != who}

    @rule(team=TEAM)
    def found(self, team: str) -> None:
        self._write("acme", PutTeam(Team(team)))
        self.teams.add(team)

    @rule(team=TEAM)
    def disband(self, team: str) -> None:
        self._write("acme", DropTeam(team))
        self.teams.discard(team)
        self.mates = {one for one in self.mates if one[1] != team}
        self.given = {id: one for id, one in self.given.items() if one[0] != f"team:{team}"}

    @rule(who=WHO, team=TEAM)
    def enlist(self, who: str, team: str) -> None:
        if who in self.members and team in self.teams:
            self._write("acme", PutTeammate(Teammate(team, who)))
            self.mates.add((who, team))

    @rule(who=WHO, team=TEAM)
    def dismiss(self, who: str, team: str) -> None:
        self._write("acme", DropTeammate(team, who))
        self.mates.discard((who, team))

    @rule(number=st.integers(0, 5), subject=SUBJECT, narrow=st.booleans(), deny=st.booleans())
    def give(self, number: int, subject: str, narrow: bool, deny: bool) -> None:
        id = f"bnd_{number}"
        exists = subject == "members" or subject in self.members or subject.removeprefix("team:") in self.teams
        if id in self.given or not exists:
            return
        packages = {"formats": ("pypi",), "packages": ("secret-*",)} if narrow else {}
        grant = msgspec.structs.replace(Grant("acme", deny=deny), **packages)
        self._write("acme", PutBinding(Binding(id, subject, grant, NOW_MS)))
        self.given[id] = (subject, narrow, deny)

    @rule(number=st.integers(0, 5))
    def take(self, number: int) -> None:
        found = self.given.pop(f"bnd_{number}", None)
        if found is not None:
            self._write("acme", DropBinding(found[0], f"bnd_{number}"))

    @rule(who=WHO)
    def close(self, who: str) -> None:
        self._write(SYSTEM, PutAccount(Account(who, "user", who, closed_ms=NOW_MS)))
        self.closed.add(who)

    @rule(who=WHO)
    def revoke(self, who: str) -> None:
        with self.ledger.catalog.read() as reading:
            token = next(one for one in reading.tokens() if one.owner == who)
        self._write(SYSTEM, PutToken(msgspec.structs.replace(token, revoked_ms=NOW_MS)))
        self.revoked.add(who)

    # ------------------------------------------------------------ what everybody has

    def expected(self, who: str, package: str) -> bool:
        role = self.members.get(who)
        if role is None or who in self.closed or who in self.revoked:
            return False
        subjects = {who} | {f"team:{team}" for mate, team in self.mates if mate == who}
        if role != "collaborator":
            subjects.add("members")
        mine = [one for one in self.given.values() if one[0] in subjects]
        speaking = [deny for _, narrow, deny in mine if not narrow or package.startswith("secret-")]
        return not any(speaking) and (role == "owner" or bool(speaking))

    @invariant()
    def the_system_says_the_same(self) -> None:
        with self.ledger.catalog.read() as reading:
            for who, package in product(PEOPLE, PACKAGES):
                what = What(READ, "acme", "main", "pypi", package)
                try:
                    principal = identify(reading, self.texts[who], NOW_MS)
                    may = standing(reading, principal, "acme").decide(what).allowed
                except Unauthenticated:
                    may = False
                assert may == self.expected(who, package), (who, package)


Administration.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestAdministration = Administration.TestCase
