"""Are teams found by what they are asked by, however much there is beside them? THREATS C6."""

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.commit import Decided
from storage.index import catalog
from storage.nouns import (
    AnyChange,
    Binned,
    Draft,
    DropMembership,
    DropTeam,
    DropTeammate,
    Membership,
    PutBinned,
    PutMembership,
    PutRepository,
    PutTeam,
    PutTeammate,
    Repository,
    Team,
    Teammate,
)
from storage.open import Store, open_store

TEAMS, ACCOUNTS = st.sampled_from(["a", "ab", "b"]), st.sampled_from(["usr_1", "usr_11", "usr_2"])
CHANGES: st.SearchStrategy[AnyChange] = st.one_of(
    TEAMS.map(lambda name: PutTeam(Team(name, id=f"grp_{name}" if name != "b" else ""))),
    TEAMS.map(DropTeam),
    ACCOUNTS.map(lambda one: PutMembership(Membership(one, "member"))),
    ACCOUNTS.map(DropMembership),
    st.tuples(TEAMS, ACCOUNTS).map(lambda both: PutTeammate(Teammate(*both))),
    st.tuples(TEAMS, ACCOUNTS).map(lambda both: DropTeammate(*both)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = open_store(tmp_path_factory.mktemp("teams"), role="origin")
    yield made
    made.close()


async def write(store: Store, workspace: str, *changes: AnyChange, repository: str = "") -> None:
    assert store.committer is not None
    draft = Draft(workspace, repository, "t", "t", changes)
    await store.committer.commit(lambda reading: Decided(draft, None))


def rows(store: Store, table: str) -> set[tuple[str, ...]]:
    with store.catalog.read() as reading:
        return {tuple(bytes(key).decode().split("\0")) for key, _ in reading.under(
            getattr(reading.tables, table), table, b"")}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=12))
async def test_what_is_kept_by_team_is_what_is_kept_by_account(store: Store, changes: list[AnyChange]) -> None:
    await write(store, "acme", *changes)
    mates = rows(store, "teammates")
    assert rows(store, "mates") == {(ws, team, account) for ws, account, team in mates}
    with store.catalog.read() as reading:
        teams = list(reading.teams("acme"))
        assert rows(store, "groups") == {("acme", one.id) for one in teams if one.id}
        for one in teams:
            assert not one.id or reading.group("acme", one.id) == one
            held = [mate.account for mate in reading.teammates("acme", one.name)]
            assert held == sorted(account for _, account, team in mates if team == one.name)


async def test_a_page_and_a_team_read_what_they_show_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One team of many, one page of many members, the ids of a bin: rows are counted as they are unsealed."""
    people = [f"usr_{number:04}" for number in range(300)]
    await write(store, "large", *(PutMembership(Membership(one, "member")) for one in people))
    await write(store, "large", *(PutTeam(Team(f"t{number:02}", id=f"grp_{number}")) for number in range(30)))
    mates = (PutTeammate(Teammate(f"t{number % 30:02}", one)) for number, one in enumerate(people))
    await write(store, "large", *mates, PutTeammate(Teammate("t00", "usr_0001")))
    await write(store, "large", PutRepository(Repository("large", "main")))
    binned = (PutBinned(Binned(f"bin_{number:03}", "generic", f"p{number}", "", ())) for number in range(100))
    await write(store, "large", *binned, repository="main")
    unseal, read = catalog.unseal, 0

    def counted(value: bytes, table: str) -> bytes:
        nonlocal read
        read += 1
        return unseal(value, table)

    monkeypatch.setattr(catalog, "unseal", counted)
    with store.catalog.read() as reading:
        page = list(islice(reading.memberships("large", "usr_0099"), 11))
        assert ([one.account for one in page][:2], len(page)) == (["usr_0100", "usr_0101"], 11)
        assert read <= 12
        read = 0
        assert [one.account for one in reading.teammates("large", "t01")] == people[1::30]
        assert read <= 2 * 10
        read = 0
        found = reading.group("large", "grp_7")
        assert (found.name if found is not None else "", read) == ("t07", 2)
        assert [one.name for one in islice(reading.teams("large", "t28"), 5)] == ["t29"]
        read = 0
        assert list(islice(reading.bin_ids("large", "main"), 2)) == ["bin_000", "bin_001"]
        assert read == 0
