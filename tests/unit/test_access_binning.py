"""What becomes of what is deleted, and what may take its place while it is in the bin?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formats import ROOMS
from formats.kit.handling import Held, Wanted, handled
from formats.maven.facts import alias
from gateway.access.binning import Key, with_bin
from gateway.assembly.emptying import empty_due
from storage.commit import Decided
from storage.errors import Conflict
from storage.index.bins import id_of
from storage.nouns import (
    AnyChange,
    Binned,
    Draft,
    DropBinned,
    DropFile,
    DropPackage,
    DropRepository,
    DropVersion,
    File,
    Package,
    PutBinned,
    PutFile,
    PutPackage,
    PutRepository,
    PutTag,
    PutVersion,
    Repository,
    Version,
)
from tests.harness.ledgers import NOW_MS, Ledger

DAY_S = 24 * 3600
AT = "acme", "main"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    write(made, PutRepository(Repository(*AT, bin_s=DAY_S)))
    yield made
    made.close()


def write(ledger: Ledger, *changes: AnyChange) -> None:
    ledger.write(Draft(*AT, "t", "t", changes))


def wheel(version: str, seed: int, kind: str = "py3") -> File:
    return File(f"demo-{version}-{kind}-none-any.whl", version, bytes([seed]) * 32, 100)


def published(version: str, *files: File) -> tuple[AnyChange, ...]:
    puts = (PutFile("pypi", "demo", one) for one in files)
    return PutPackage("pypi", Package("demo")), PutVersion("pypi", "demo", Version(version)), *puts


def written(ledger: Ledger, *changes: AnyChange, format: str = "pypi", as_one: Key | None = None, **more: Any) -> None:
    """As a request is written: with what it does to the bin."""

    def decide(reading: Any) -> Decided:
        draft = Draft(*AT, "tok_1", "test", changes, "because")
        return Decided(with_bin(reading, ROOMS[format], draft, more.get("at_ms", NOW_MS), as_one=as_one))

    ledger.apply(decide)


def held(ledger: Ledger) -> list[Binned]:
    with ledger.catalog.read() as reading:
        return list(reading.bin(*AT))


def bytes_of(ledger: Ledger) -> tuple[int, int]:
    """Visible, and in the bin."""
    with ledger.catalog.read() as reading:
        return reading.usage(*AT).bytes, reading.bin_usage(*AT).bytes


def test_a_deleted_version_is_kept_with_its_files_and_tags(ledger: Ledger) -> None:
    one, two = wheel("1.0", 1), wheel("1.0", 2, "cp313")
    write(ledger, *published("1.0", one, two), PutTag("pypi", "demo", "stable", "1.0"))
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    (kept,) = held(ledger)
    assert (kept.format, kept.package, kept.version) == ("pypi", "demo", "1.0")
    assert (kept.id, kept.until_ms) == (id_of("pypi", "demo", "1.0"), NOW_MS + DAY_S * 1000)
    assert (kept.actor, kept.reason) == ("tok_1", "because")
    assert sorted(kept.changes, key=repr) == [
        PutFile("pypi", "demo", two),
        PutFile("pypi", "demo", one),
        PutTag("pypi", "demo", "stable", "1.0"),
        PutVersion("pypi", "demo", Version("1.0")),
    ]
    assert bytes_of(ledger) == (0, 200)


def test_files_that_go_one_by_one_are_together_in_the_bin(ledger: Ledger) -> None:
    """twine and the web pages delete a release file by file; it comes back as one."""
    one, two = wheel("1.0", 1), wheel("1.0", 2, "cp313")
    write(ledger, *published("1.0", one, two))
    written(ledger, DropFile("pypi", "demo", one.name))
    assert bytes_of(ledger) == (100, 100)
    written(ledger, DropFile("pypi", "demo", two.name), DropVersion("pypi", "demo", "1.0"), at_ms=NOW_MS + 5)
    (kept,) = held(ledger)
    assert [one.file for one in kept.changes if isinstance(one, PutFile)] == [one, two]
    assert kept.until_ms == NOW_MS + 5 + DAY_S * 1000
    assert bytes_of(ledger) == (0, 200)


def test_a_dropped_package_is_kept_version_by_version(ledger: Ledger) -> None:
    write(ledger, *published("1.0", wheel("1.0", 1)), *published("2.0", wheel("2.0", 2)))
    written(ledger, DropPackage("pypi", "demo"))
    assert sorted(one.version for one in held(ledger)) == ["1.0", "2.0"]
    assert all(PutPackage("pypi", Package("demo")) in one.changes for one in held(ledger))


def test_what_is_replaced_was_not_deleted(ledger: Ledger) -> None:
    write(ledger, *published("1.0", wheel("1.0", 1)))
    written(ledger, DropFile("pypi", "demo", wheel("1.0", 1).name), PutFile("pypi", "demo", wheel("1.0", 2)))
    assert held(ledger) == []


def test_without_a_bin_it_is_gone_at_once(ledger: Ledger) -> None:
    write(ledger, PutRepository(Repository(*AT)), *published("1.0", wheel("1.0", 1)))
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    assert held(ledger) == []


def test_c15_other_bytes_are_refused_while_a_name_is_in_the_bin(ledger: Ledger) -> None:
    """Under the file's name, and as another file of a version that is gone as a whole."""
    path = File("x", "", b"\1" * 32, 5)
    write(ledger, PutPackage("generic", Package("a/x")), PutFile("generic", "a/x", path))
    write(ledger, *published("1.0", wheel("1.0", 1)))
    written(ledger, DropFile("generic", "a/x", "x", forget=True), DropPackage("generic", "a/x"), format="generic")
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    with pytest.raises(Conflict, match="recycle bin"):
        written(ledger, PutFile("generic", "a/x", File("x", "", b"\2" * 32, 5)), format="generic")
    for file in (wheel("1.0", 2), wheel("1.0", 3, "cp313")):
        with pytest.raises(Conflict, match="recycle bin"):
            written(ledger, *published("1.0", file))
    written(ledger, *published("1.1", wheel("1.1", 3)))
    assert len(held(ledger)) == 2


def test_the_same_bytes_may_be_published_again_and_are_out_of_the_bin_with_that(ledger: Ledger) -> None:
    one, two = wheel("1.0", 1), wheel("1.0", 2, "cp313")
    write(ledger, *published("1.0", one, two))
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    written(ledger, *published("1.0", one))
    assert len(held(ledger)) == 1, "one of two files is back"
    written(ledger, PutFile("pypi", "demo", two))
    assert held(ledger) == []
    assert bytes_of(ledger) == (200, 0)


def test_a_version_of_which_some_is_left_takes_new_files_but_not_the_deleted_name(ledger: Ledger) -> None:
    one, two = wheel("1.0", 1), wheel("1.0", 2, "cp313")
    write(ledger, *published("1.0", one, two))
    written(ledger, DropFile("pypi", "demo", one.name))
    written(ledger, PutFile("pypi", "demo", wheel("1.0", 3, "cp314")))
    with pytest.raises(Conflict):
        written(ledger, PutFile("pypi", "demo", wheel("1.0", 4)))


def test_what_is_one_graph_is_kept_as_one(ledger: Ledger) -> None:
    digest = "sha256:" + "1" * 64
    manifest, layer = File(f"m/{digest}", digest, b"\1" * 32, 5), File("b/sha256:" + "2" * 64, "", b"\2" * 32, 9)
    write(ledger, PutVersion("oci", "app", Version(digest)), PutFile("oci", "app", manifest))
    write(ledger, PutFile("oci", "app", layer), PutVersion("oci", f"app@{digest}", Version(digest)))
    drops = (DropVersion("oci", "app", digest), DropFile("oci", "app", layer.name, forget=True))
    written(ledger, *drops, DropVersion("oci", f"app@{digest}", digest), format="oci", as_one=("app", digest, ""))
    (kept,) = held(ledger)
    assert len(kept.changes) == 4


def test_an_image_that_goes_by_its_manifest_takes_its_place_among_referrers_along(ledger: Ledger) -> None:
    digest, subject = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    write(ledger, PutVersion("oci", "app", Version(digest)), PutVersion("oci", f"app@{subject}", Version(digest)))
    written(ledger, DropVersion("oci", "app", digest), DropVersion("oci", f"app@{subject}", digest), format="oci")
    (kept,) = held(ledger)
    assert (kept.package, kept.version, len(kept.changes)) == ("app", digest, 2)


async def test_bins_empty_by_themselves_when_the_time_is_over_and_not_before(ledger: Ledger) -> None:
    write(ledger, *published("1.0", wheel("1.0", 1)), *published("2.0", wheel("2.0", 2)))
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    written(ledger, DropVersion("pypi", "demo", "2.0"), at_ms=NOW_MS + 1)
    over_ms = NOW_MS + DAY_S * 1000
    assert await empty_due(ledger.catalog, ledger.commit, over_ms - 1) == 0
    assert await empty_due(ledger.catalog, ledger.commit, over_ms) == 1
    assert [one.version for one in held(ledger)] == ["2.0"]
    entry = ledger.entries[-1]
    assert (entry.action, entry.actor, entry.changes) == ("bin.expire", "", (DropBinned(id_of("pypi", "demo", "1.0")),))
    assert await empty_due(ledger.catalog, ledger.commit, over_ms + 1) == 1
    assert bytes_of(ledger) == (0, 0)


def test_a_repository_that_ends_takes_its_bin_along_and_a_later_one_has_none(ledger: Ledger) -> None:
    write(ledger, *published("1.0", wheel("1.0", 1)))
    written(ledger, DropVersion("pypi", "demo", "1.0"))
    write(ledger, PutBinned(Binned("bin_x", "pypi", "demo", "3", (PutFile("pypi", "demo", wheel("3", 3)),))))
    assert bytes_of(ledger) == (0, 200)
    write(ledger, DropRepository(*AT), PutRepository(Repository(*AT, bin_s=DAY_S)))
    assert held(ledger) == []
    assert bytes_of(ledger) == (0, 0)
    with ledger.catalog.read() as reading:
        assert list(reading.bins_due(NOW_MS * 2)) == []


# ---------------------------------------------------------------- versions that consist of builds

DEMO, SNAPSHOT = "org/acme/demo", "2-SNAPSHOT"
BUILDS = ("2-20231107.000001-1", "2-20231107.000009-2")


def build_files(value: str, seed: int) -> list[File]:
    return [
        File(f"{SNAPSHOT}/demo-{value}.{kind}", SNAPSHOT, bytes([seed, n]) * 16, 100)
        for n, kind in enumerate(("jar", "pom"))
    ]


@pytest.fixture
def snapshot(ledger: Ledger) -> Ledger:
    """Two builds of a jar and its pom, whose plain names show the second."""
    puts: list[AnyChange] = [PutPackage("maven", Package(DEMO)), PutVersion("maven", DEMO, Version(SNAPSHOT))]
    for seed, value in enumerate(BUILDS, 1):
        puts += [PutFile("maven", DEMO, one) for one in build_files(value, seed)]
    for one in build_files(BUILDS[1], 2):
        plain = f"{SNAPSHOT}/demo-{SNAPSHOT}{one.name[-4:]}"
        puts.append(PutFile("maven", DEMO, alias(one, plain)))
    write(ledger, *puts)
    return ledger


def there(ledger: Ledger) -> dict[str, bytes]:
    with ledger.catalog.read() as reading:
        return {one.name.partition("/")[2]: one.sha256 for one in reading.view(*AT, "maven").files(DEMO)}


def remove(ledger: Ledger, version: str) -> None:
    with ledger.catalog.read() as reading:
        changes = handled(ROOMS["maven"]).remove(DEMO, version, reading.view(*AT, "maven"), NOW_MS)
    written(ledger, *changes, format="maven")


def restore(ledger: Ledger, build: str) -> None:
    (binned,) = [one for one in held(ledger) if one.build == build]
    with ledger.catalog.read() as reading:
        view = reading.view(*AT, "maven")
        changes = handled(ROOMS["maven"]).bring(Wanted(DEMO), Held("maven", binned.changes), view, NOW_MS)
    write(ledger, *changes, DropBinned(binned.id))


def test_each_build_of_a_snapshot_is_in_the_bin_by_itself(snapshot: Ledger) -> None:
    before = there(snapshot)
    remove(snapshot, SNAPSHOT)
    assert there(snapshot) == {}
    assert sorted((one.version, one.build) for one in held(snapshot)) == [(SNAPSHOT, one) for one in BUILDS]
    restore(snapshot, BUILDS[0])
    first = {name: sha256 for name, sha256 in before.items() if BUILDS[0] in name}
    plain = {f"demo-{SNAPSHOT}{name[-4:]}": sha256 for name, sha256 in first.items()}
    assert there(snapshot) == first | plain, "its plain names show what is there"
    restore(snapshot, BUILDS[1])
    assert there(snapshot) == before
    assert held(snapshot) == []


def test_one_build_is_deleted_by_its_version_and_emptied_alone(snapshot: Ledger) -> None:
    remove(snapshot, BUILDS[1])
    remove(snapshot, BUILDS[0])
    assert there(snapshot) == {}
    ids = {one.build: one.id for one in held(snapshot)}
    assert sorted(ids) == sorted(BUILDS)
    write(snapshot, DropBinned(ids[BUILDS[1]]))
    restore(snapshot, BUILDS[0])
    assert sorted(name for name in there(snapshot) if BUILDS[1] in name) == []
    assert len(there(snapshot)) == 4


def test_a_new_build_may_come_while_older_ones_are_in_the_bin(snapshot: Ledger) -> None:
    remove(snapshot, SNAPSHOT)
    fresh = build_files("2-20231108.000000-3", 3)
    puts = (PutFile("maven", DEMO, one) for one in fresh)
    written(
        snapshot,
        PutPackage("maven", Package(DEMO)), PutVersion("maven", DEMO, Version(SNAPSHOT)), *puts,
        format="maven",
    )  # fmt: skip
    assert sorted(one.build for one in held(snapshot)) == sorted(BUILDS)
    with pytest.raises(Conflict):
        written(
            snapshot,
            PutFile("maven", DEMO, build_files(BUILDS[0], 9)[0]),
            format="maven",
        )
