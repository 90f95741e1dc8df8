"""How do a million tokens and a hundred thousand grants come into an index within a minute or two?

    python -m bench.granting DATA WORKSPACE PRIVATE RULED TOKENS GRANTS

Through the store's own commit path, in a process of its own while the node is stopped, many to an entry. It prints, as
JSON, the tokens that are to be asked with, by kind, and how many there are that differ.
"""

import json
import sys
from functools import partial
from pathlib import Path

import msgspec
import trio

from gateway.access import tokens
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    Draft,
    Entitlement,
    Grant,
    Membership,
    NetworkRule,
    PutAccount,
    PutBinding,
    PutMembership,
    PutRepository,
    PutRole,
    PutTeam,
    PutTeammate,
    PutToken,
    Role,
    Team,
    Teammate,
    Token,
    team_subject,
)
from storage.open import Store, now_ms, open_store

AN_ENTRY = 5_000
PEOPLE = 1_000
"""Over whom the grants that nobody asks by are spread; each is in the workspace."""
TURNS = 30_000
"""Tokens that are asked with in turn: more than a worker remembers answers for."""


class Filling:
    """One workspace's access, for two repositories of it."""

    def __init__(self, store: Store, workspace: str, private: str, ruled: str) -> None:
        self._store = store
        self._ws, self._private, self._ruled = workspace, private, ruled
        self._at_ms = now_ms()
        self.told: dict[str, str] = {}
        self.turns: list[str] = []

    async def all(self, token_count: int, grant_count: int) -> None:
        await self._rules()
        await self._asked_with()
        await self._people(grant_count)
        await self._write(SYSTEM, [PutToken(self._token(f"more-{n}")[0]) for n in range(token_count)])

    async def _write(self, journal: str, changes: list[AnyChange]) -> None:
        assert self._store.committer is not None
        for at in range(0, len(changes), AN_ENTRY):
            draft = Draft(journal, "", "bench", "fill", tuple(changes[at : at + AN_ENTRY]))
            await self._store.committer.commit(partial(_decided, draft))

    def _token(self, name: str, *grants: Grant, **more: object) -> tuple[Token, str]:
        text, parts = tokens.mint()
        given = grants or (() if "owner" in more else (Grant(f"{self._ws}/{self._private}"),))
        made = Token(parts.id, name, parts.sha256, given, at_ms=self._at_ms)
        return msgspec.structs.replace(made, **more), text

    async def _rules(self) -> None:
        """A hundred networks that are not the client's, then its own, then nobody."""
        others = tuple(NetworkRule(False, (f"10.{n}.0.0/16", f"2001:db8:{n:x}::/48")) for n in range(50))
        rules = (*others, NetworkRule(True, ("127.0.0.0/8",)), NetworkRule(False))
        assert self._store.committer is not None

        def decide(reading: Reading) -> Decided:
            before = reading.repository(self._ws, self._ruled)
            assert before is not None
            put = PutRepository(msgspec.structs.replace(before, networks=rules))
            return Decided(Draft(self._ws, self._ruled, "bench", "fill", (put,)), None)

        await self._store.committer.commit(decide)

    async def _asked_with(self) -> None:
        ann = Account("usr_ann", "user", "ann", at_ms=self._at_ms)
        ruled = Grant(f"{self._ws}/{self._ruled}")
        limits = Entitlement(downloads_max=1 << 40, bytes_max=1 << 60)
        kinds = {
            "token": self._token("plain"),
            "user": self._token("user", owner=ann.id),
            "bound": self._token("bound", cidrs=("127.0.0.0/8",)),
            "customer": self._token("customer", kind="entitlement", entitlement=Entitlement()),
            "limited": self._token("limited", kind="entitlement", entitlement=limits),
            "ruled": self._token("ruled", ruled),
            "all": self._token("all", ruled, kind="entitlement", entitlement=Entitlement(), cidrs=("127.0.0.0/8",)),
        }
        turns = [self._token(f"turn-{n}") for n in range(TURNS)]
        self.told = {kind: text for kind, (_, text) in kinds.items()}
        self.turns = [text for _, text in turns]
        await self._write(SYSTEM, [PutAccount(ann), *(PutToken(one) for one, _ in (*kinds.values(), *turns))])
        role = Role("reader", ("read",), self._at_ms)
        given = Binding("bnd_team", team_subject("devs"), Grant(self._ws, False, role="reader"), self._at_ms)
        await self._write(
            self._ws,
            [
                PutMembership(Membership(ann.id, "member", self._at_ms)),
                PutTeam(Team("devs", at_ms=self._at_ms)),
                PutTeammate(Teammate("devs", ann.id, at_ms=self._at_ms)),
                PutRole(role),
                PutBinding(given),
            ],
        )

    async def _people(self, grant_count: int) -> None:
        ids = [f"usr_{n}" for n in range(min(PEOPLE, grant_count))]
        await self._write(SYSTEM, [PutAccount(Account(one, "user", one[4:], at_ms=self._at_ms)) for one in ids])
        await self._write(self._ws, [PutMembership(Membership(one, "member", self._at_ms)) for one in ids])
        grants = [
            Binding(
                f"bnd_{n}",
                ids[n % len(ids)],
                Grant(f"{self._ws}/{self._private}", packages=(f"p{n}",), formats=("generic",)),
            )
            for n in range(grant_count)
        ]
        await self._write(self._ws, [PutBinding(one) for one in grants])


def _decided(draft: Draft, reading: Reading) -> Decided:
    return Decided(draft, None)


def main(data: str, workspace: str, private: str, ruled: str, token_count: str, grant_count: str) -> None:
    store = open_store(Path(data), role="origin", worker=0)
    try:
        filling = Filling(store, workspace, private, ruled)
        trio.run(filling.all, int(token_count), int(grant_count))
    finally:
        store.close()
    print(json.dumps({"kinds": filling.told, "turns": filling.turns}))


if __name__ == "__main__":
    main(*sys.argv[1:])
