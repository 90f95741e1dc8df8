"""What does a file that was made ready for one client keep, and for how long (THREATS C6, F14)?"""

import gc
from pathlib import Path
from typing import Any, cast

import pytest

from formats.kit.contract import Ask, Serve
from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import identify, standing
from gateway.access.tokens import mint
from gateway.front.reads import ready
from gateway.front.reads.grounds import ground_of, scope_of
from gateway.front.reads.reading import Reads
from gateway.front.reads.ready import Ready
from storage.digest import sha256
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    Binding,
    Draft,
    DropMembership,
    File,
    Grant,
    Membership,
    PutAccount,
    PutBinding,
    PutMembership,
    PutRepository,
    PutToken,
    PutWorkspace,
    Repository,
    Token,
    Workspace,
)
from storage.upkeep.composing import Composer
from tests.harness.ledgers import NOW_MS, Ledger
from tests.harness.stores import opened, publish
from tests.harness.versions import wheel

PLAN = Serve("lib", "lib-1.tgz")
ASK = Ask("GET", PLAN.file, PLAN.file, (), {}, "http://a/acme/main/generic", "acme", "main")
HERE: Any = cast("Any", None)


def a_file() -> Ready:
    return Ready(File("lib-1.tgz", "1", b"s" * 32, 3), HERE, (), '"s"', b"abc", (b"label", 1), is_cached=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path)
    made.write(Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace("acme")),)))
    made.write(Draft("acme", "main", "t", "t", (PutRepository(Repository("acme", "main", at_ms=NOW_MS - 9)),)))
    return made


def test_what_was_made_ready_lives_as_long_as_an_answer_does(ledger: Ledger) -> None:
    """So nothing keeps a pack open that eviction has let go."""
    kept = a_file()
    with ledger.catalog.read() as reading:
        ready.remember(reading, ASK, "generic", PLAN, kept)
    with ledger.catalog.read() as reading:
        assert ready.recalled(reading, ASK, "generic", PLAN) is kept
        assert ready.recalled(reading, ASK, "pypi", PLAN) is None
        assert ready.recalled(reading, ASK, "generic", Serve("lib", "lib-2.tgz")) is None
        del kept
        gc.collect()
        assert ready.recalled(reading, ASK, "generic", PLAN) is None


async def test_what_was_made_ready_before_it_was_cut_tells_a_peer_its_chunks(tmp_path: Path) -> None:
    """A file that is asked for all the time is never made ready anew."""
    data = wheel([*range(12)])
    with opened(tmp_path) as store:
        await publish(store, "v1", data)
        located = store.blobs.find(sha256(data))
        assert located is not None
        reads = Reads(store.blobs, store.cached, HERE, HERE, HERE, HERE, HERE)
        file = File("lib-1.tgz", "1", located.sha256, len(data))
        kept = Ready(file, located, (), '"s"', None, (b"label", 1), is_cached=False)
        assert reads.cut(kept) is None
        assert Composer(store.blobs).work()
        assert located.recipe is None, "it is as it was found"
        found = reads.cut(kept)
        assert found is not None
        assert found.recipe is not None
        assert found.read() == data
        assert reads.cut(found) is found
        assert reads.cut(None) is None


def test_f14_what_was_made_ready_goes_with_the_moment(ledger: Ledger) -> None:
    kept = a_file()
    with ledger.catalog.read() as reading:
        ready.remember(reading, ASK, "generic", PLAN, kept)
    ledger.write(Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace("other")),)))
    with ledger.catalog.read() as reading:
        assert ready.recalled(reading, ASK, "generic", PLAN) is None
    assert kept.file.version == "1"


def test_c6_grounds_and_rules_are_those_of_the_moment(ledger: Ledger) -> None:
    """Twice each, so that what is remembered is what is compared; then the membership ends."""
    text, parts = mint()
    ledger.write(Draft(SYSTEM, "", "t", "t", (
        PutAccount(Account("usr_a", "user", "a")),
        PutToken(Token(parts.id, "a", parts.sha256, (), at_ms=NOW_MS, owner="usr_a")),
    )))  # fmt: skip
    ledger.write(Draft("acme", "", "t", "t", (
        PutMembership(Membership("usr_a", "member", NOW_MS)),
        PutBinding(Binding("bnd_a", "usr_a", Grant("acme"), NOW_MS)),
    )))  # fmt: skip

    def asked(reading: Reading) -> tuple[bool, tuple[tuple[bytes, int], ...]]:
        principal, repository = identify(reading, text, NOW_MS), reading.repository("acme", "main")
        assert repository is not None
        may = standing(reading, principal, "acme").decide(What(READ, "acme", "main", "generic", "lib")).allowed
        assert ground_of(reading, repository) == ground_of(reading, repository)
        return may, scope_of(reading, principal, repository, None).depends

    seen = []
    for _ in range(2):
        with ledger.catalog.read() as reading:
            seen.append(asked(reading))
    assert seen[0] == seen[1]
    assert seen[0][0]
    ledger.write(Draft("acme", "", "t", "t", (DropMembership("usr_a"),)))
    with ledger.catalog.read() as reading:
        may, depends = asked(reading)
    assert not may
    assert depends != seen[0][1], "what was answered before is no more"


def test_c6_a_decision_sees_what_the_one_before_it_took_away(ledger: Ledger) -> None:
    """Both are in one write transaction, and read by one Reading."""
    text, parts = mint()
    token = Token(parts.id, "a", parts.sha256, (), at_ms=NOW_MS, owner="usr_a")
    given = PutMembership(Membership("usr_a", "owner", NOW_MS))
    ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(Account("usr_a", "user", "a")), PutToken(token))))
    ledger.write(Draft("acme", "", "t", "t", (given,)))
    what = What(READ, "acme", "main")
    with ledger.index.env.begin(write=True) as txn:
        reading = Reading(ledger.index, txn)
        assert standing(reading, identify(reading, text, NOW_MS), "acme").whole(what)
        txn.delete(b"acme\0usr_a", db=ledger.index.tables.memberships)
        assert not standing(reading, identify(reading, text, NOW_MS), "acme").whole(what)
