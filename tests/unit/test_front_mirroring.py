"""Which foreign rows count still, once their package was purged or published here under the same name? C14, F5."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from cache.replication.drawn import NEVER, Drawn, Place, Row, Told
from formats import ROOMS
from gateway.access.rights.verdicts import Principal
from gateway.front.peers.drawn import TellingDrawn
from gateway.front.peers.mirroring import Requests
from storage.errors import Absent
from storage.index.index import open_environment
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Draft,
    DropPackage,
    File,
    Grant,
    Package,
    Purge,
    PutFile,
    PutPackage,
    PutRepository,
    PutWorkspace,
    Repository,
    Upstream,
    Workspace,
)
from tests.harness.ledgers import Ledger

MAIN = Place("acme", "main")
NOW_MS = 1_700_000_000_000
JAR = "acme/main/maven/org/acme/{0}/1.0/{0}-1.0.jar"
BLOB = "v2/acme/main/team/app/blobs/sha256:" + "ab" * 32
MANIFEST = "v2/acme/main/team/app/manifests/v1"
ONE, TWO = JAR.format("one"), JAR.format("two")
MAVEN = Upstream("maven", "https://maven.example/")
OCI = Upstream("oci", "https://images.example/")


class Nothing:
    """Foreign knowledge that no test here asks for."""

    def tags(self, *at: object) -> dict[str, str]:
        return {}


class World(NamedTuple):
    """An edge's index and its rows."""

    ledger: Ledger
    drawn: Drawn
    requests: Requests

    def heard(self, target: str, since: int = 0, content: bytes = b"a") -> None:
        format = "oci" if target.startswith("v2/") else target.split("/")[2]
        self.drawn.add(MAIN, Row(0, format, target, "*/*", "", content.ljust(32, b"."), 10, NOW_MS, since))

    def change(self, *changes: AnyChange) -> int:
        """The Serial that they came with."""
        draft = Draft(MAIN.workspace, MAIN.repository, "t", "t", changes)
        self.ledger.write(draft)
        with self.ledger.catalog.read() as reading:
            return reading.serial(MAIN.workspace)

    def count(self) -> list[str]:
        """The targets of those that may be drawn now."""
        with self.ledger.catalog.read() as reading:
            repository = reading.repository(*MAIN)
            assert repository is not None
            return [one.row.target for one in self.requests.known(reading, repository)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    for name in ("index", "env"):
        (tmp_path / name).mkdir()
    ledger, env = Ledger(tmp_path), open_environment(tmp_path / "env", durable=False)
    ledger.write(Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace("acme", NOW_MS)),)))
    put = PutRepository(Repository("acme", "main", at_ms=NOW_MS, upstreams=(MAVEN, OCI)))
    ledger.write(Draft("acme", "main", "t", "t", (put,)))
    drawn = Drawn(env)
    yield World(ledger, drawn, Requests(ROOMS, drawn, Nothing()))  # type: ignore[arg-type]
    drawn.close()
    env.close()
    ledger.close()


def published(format: str, package: str, file: str) -> tuple[AnyChange, ...]:
    made = File(file, "1.0", b"m" * 32, 1, at_ms=NOW_MS)
    return PutPackage(format, Package(package, NOW_MS)), PutFile(format, package, made)


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        (Purge("maven", "org/acme/one"), [TWO, BLOB]),
        (Purge("maven"), [BLOB]),
        (Purge(), []),
        (Purge("npm"), [ONE, TWO, BLOB]),
        (Purge("oci", "team/app"), [ONE, TWO]),
    ],
    ids=["package", "format", "all", "other format", "image"],
)
def test_a_purge_ends_what_was_drawn_before_it_and_nothing_else(world: World, purge: Purge, left: list[str]) -> None:
    for target in (ONE, TWO, BLOB):
        world.heard(target)
    assert world.count() == [ONE, TWO, BLOB]
    world.change(purge)
    assert world.count() == left


def test_what_is_drawn_behind_a_purge_counts_until_the_next_one(world: World) -> None:
    world.heard(ONE)
    serial = world.change(Purge("maven", "org/acme/one"))
    assert world.count() == []
    world.heard(ONE, serial, b"anew")
    assert world.count() == [ONE]
    world.change(Purge("maven"))
    assert world.count() == []


def test_a_row_from_behind_a_purge_that_is_not_heard_of_yet_waits_for_it(world: World) -> None:
    """Rows and journal come by two ways; before the purge is here, nobody can say what it was about."""
    with world.ledger.catalog.read() as reading:
        ahead = reading.serial("acme") + 1
    world.heard(ONE, ahead)
    assert world.count() == []
    assert world.change(Purge("maven", "org/acme/one")) == ahead
    assert world.count() == [ONE]


@pytest.mark.parametrize(
    ("format", "package", "file", "left"),
    [
        ("maven", "org/acme/one", "9.9/one-9.9.jar", [TWO, BLOB, MANIFEST]),
        ("oci", "team/app", "b/sha256:" + "00" * 32, [ONE, TWO]),
        ("generic", "org/acme/one", "one", [ONE, TWO, BLOB, MANIFEST]),
    ],
    ids=["maven", "oci", "another format"],
)
def test_c14_a_name_that_is_published_here_ends_all_that_strangers_have_under_it(
    world: World, format: str, package: str, file: str, left: list[str]
) -> None:
    """Another file and another version of it as well; and it stays so once what was published is gone again."""
    for target in (ONE, TWO, BLOB, MANIFEST):
        world.heard(target)
    world.change(*published(format, package, file))
    assert world.count() == left
    world.change(DropPackage(format, package))
    assert world.count() == left


def test_a_name_that_its_upstream_is_trusted_with_counts_still_and_an_upstream_that_went_ends_its_rows(
    world: World,
) -> None:
    world.heard(ONE)
    world.heard(TWO)
    world.change(*published("maven", "org/acme/one", "9.9/one-9.9.jar"))
    trusted = msgspec.structs.replace(MAVEN, allow=("org/acme/one",))
    world.change(PutRepository(Repository("acme", "main", at_ms=NOW_MS, upstreams=(trusted,))))
    assert world.count() == [ONE, TWO]
    world.change(PutRepository(Repository("acme", "main", at_ms=NOW_MS, upstreams=(OCI,))))
    assert world.count() == []


def test_a_file_that_came_before_a_purge_is_drawn_anew_though_its_bytes_are_the_same(
    world: World, tmp_path: Path
) -> None:
    """What was forgotten at the origin may be forgotten here: nothing counts as here by its name."""
    (tmp_path / "origin").mkdir()
    with open_environment(tmp_path / "origin", durable=False) as env:
        origin = Drawn(env)

        def hear() -> Row:
            world.drawn.take(MAIN, origin.tell(MAIN, *world.drawn.heard(MAIN), NOW_MS, lambda sha256: True))
            (row,) = world.drawn.rows(MAIN)
            return row

        row = Row(0, "maven", ONE, "*/*", "", b"a" * 32, 10, NOW_MS)
        origin.add(MAIN, row)
        world.drawn.came(MAIN, hear(), ("needed",))
        assert hear().here
        origin.add(MAIN, row)
        assert hear().needs == ("needed",), "drawn again, and the same"
        origin.add(MAIN, msgspec.structs.replace(row, since=7))
        assert (hear().here, hear().needs) == (False, ())
        origin.close()


# ---------------------------------------------------------------- what an origin tells


async def test_f5_an_origin_tells_of_a_repository_to_whoever_may_read_it(world: World) -> None:
    telling = TellingDrawn(world.ledger.catalog, ROOMS, world.drawn, lambda sha256: True, lambda: NOW_MS, None)
    world.heard(ONE)
    world.heard(TWO)

    async def tell(*grants: Grant, after: str = "0", life: str = NEVER.hex()) -> list[str]:
        raw = await telling.tell(
            Principal("edge:tokyo", "tokyo", "edge", grants, since_ms=NOW_MS + 1), MAIN, life, after
        )
        return [one.target for one in msgspec.msgpack.decode(raw, type=Told).rows]

    assert await tell(Grant("acme")) == [ONE, TWO]
    assert await tell(Grant("acme/main", formats=("maven",), packages=("org/acme/two",))) == [TWO]
    with pytest.raises(Absent):
        await tell(Grant("other"))
    for life, after in (("zz" * 8, "0"), (NEVER.hex(), "-1"), (NEVER.hex(), "1" * 19), ("", "0")):
        with pytest.raises(Absent):
            await tell(Grant("acme"), life=life, after=after)
