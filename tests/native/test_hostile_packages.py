"""Does a node refuse hostile packages as it should, and stay as it was? The bench's own attacks, fewer mutants.

`python -m bench hostile` sends 10,000 mutants to each room and measures stalls and memory; here is what can be asserted
on a busy machine. THREATS A5, A11, C15, D3, D4, D6, D9.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from bench.hostile.archives import readable
from bench.hostile.corpus import Attack, Corpus, damaged
from bench.hostile.drive import COMPLAINTS_MAX, Attacker, Judged, Target, crafted, holdings, mutated
from bench.hostile.rooms import corpora
from bench.hostile.watching import Bystanders, metrics_of, processes
from bench.scenarios.hostile import BYSTANDERS, REPOSITORY, mutants, started, warm_up
from bench.servers import LoneOrigin, Running
from formats import ROOMS

pytestmark = pytest.mark.native

CORPORA = corpora()
CRAFTED_MIN = 100
MUTANTS = 60


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> LoneOrigin:
    return started(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def node(origin: LoneOrigin) -> Iterator[Running]:
    with origin.start() as running:
        yield running


def target_of(origin: LoneOrigin) -> Target:
    return Target(origin.url, origin.token, REPOSITORY, origin.home / "data")


def noted(attacks: Iterable[Attack], names: list[str]) -> Iterator[Attack]:
    for attack in attacks:
        names.append(attack.name)
        yield attack


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_d4_crafted_and_mutated_packages(room: str, origin: LoneOrigin, node: Running) -> None:
    if room not in CORPORA:
        pytest.skip(f"the room {room} brings no corpus: bench/README.md says how")
    corpus, target = CORPORA[room], target_of(origin)
    warm_up(target, corpus)
    workers, failures = processes(node.pid)["worker"].keys(), metrics_of(origin.url, origin.token).failures
    names: list[str] = []
    judged = crafted(target, corpus, noted(corpus.crafted(), names))
    assert judged.complaints == []
    assert len(set(names)) == len(names), "every attack has a name of its own"
    assert judged.sent >= CRAFTED_MIN
    with Bystanders(origin.url, origin.token, BYSTANDERS, node.pid) as bystanders:
        hurt = mutated(target, corpus, mutants(corpus, MUTANTS, "ci"), 2)
    assert hurt.complaints == []
    assert bystanders.seen.wrong == []
    assert hurt.sent == MUTANTS
    assert hurt.taken < MUTANTS // 2, "the damage is damage"
    assert processes(node.pid)["worker"].keys() == workers, "no worker ended"
    assert metrics_of(origin.url, origin.token).failures == failures
    warm_up(target, corpus)


# ---------------------------------------------------------------- that the bench could see it


def test_mutants_are_the_same_for_the_same_seed() -> None:
    for corpus in CORPORA.values():
        one, two = list(mutants(corpus, 30, "x")), list(mutants(corpus, 30, "x"))
        assert one == two
        assert one != list(mutants(corpus, 30, "y"))


def test_damage_is_damage() -> None:
    assert all(damaged(b"some bytes", random.Random(n)) != b"some bytes" for n in range(300))
    assert damaged(b"", random.Random(1)) != b""


def test_what_is_written_here_is_read_by_others() -> None:
    assert readable({"p-1/a": b"hello" * 100, "p-1/b": b""})


def test_what_is_stored_or_taken_is_complained_of(origin: LoneOrigin, node: Running) -> None:
    """Good packages declared to be attacks: the bench must object to each."""
    generic = CORPORA["generic"]
    goods = [generic.good(number) for number in range(1_000, 1_005)]
    judged = crafted(target_of(origin), generic, goods)
    assert len(judged.complaints) == len(goods)
    assert all("taken with 201" in one for one in judged.complaints)
    serial, packs, _ = holdings(target_of(origin))
    fresh = [generic.good(number) for number in range(2_000, 2_003)]
    with Attacker(target_of(origin), generic) as attacker:
        for attack in fresh:
            attacker.ask(attack.requests[-1])
    after = holdings(target_of(origin))
    assert after[0] == serial + len(fresh)
    assert after[1] > packs, "packs are seen to grow"


def test_another_dialect_and_a_failure_are_complained_of(origin: LoneOrigin, node: Running) -> None:
    """npm's refusals are no refusals for pip, and the other way round."""
    npm, pypi = CORPORA["npm"], CORPORA["pypi"]
    spoken = Corpus(npm.room, npm.base, npm.good, npm.crafted, npm.mutant, pypi.dialect)
    judged = crafted(target_of(origin), spoken, list(islice(npm.crafted(), 3)))
    assert [one for one in judged.complaints if "another dialect" in one]
    failed = Judged()
    failed.statuses.update(["500", "507", "404", "200"])
    assert (failed.failures, failed.taken) == (2, 1)
    assert len(judged.complaints) < COMPLAINTS_MAX


def test_each_corpus_is_of_a_room(tmp_path: Path) -> None:
    assert CORPORA.keys() <= ROOMS.keys()
    assert {"generic", "npm", "pypi"} <= CORPORA.keys()
