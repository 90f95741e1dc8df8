"""Does a node remember what was drawn in its order, within its bounds, and choose of it as policies say?"""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from cache.replication.drawn import DAY_MS, NEVER, TOLD_MAX, Drawn, Place, Row
from cache.replication.wanted_drawn import Known, chosen_drawn
from storage.index.index import open_environment
from storage.nouns import Replication

MAIN, SIDE = Place("acme", "main"), Place("acme", "side")
NOW_MS = 100 * DAY_MS


@pytest.fixture
def env(tmp_path: Path) -> Iterator[lmdb.Environment]:
    (tmp_path / "env").mkdir()
    one = open_environment(tmp_path / "env", durable=False)
    yield one
    one.close()


def row(target: str, content: bytes = b"a", at_ms: int = NOW_MS, version: str = "") -> Row:
    return Row(0, "pypi", target, "*/*", version, content.ljust(32, b"."), 10, at_ms)


def everything(sha256: bytes) -> bool:
    return True


def test_what_was_drawn_is_told_in_its_order_once_and_by_repository(env: lmdb.Environment) -> None:
    drawn = Drawn(env)
    for name in ("one", "two"):
        drawn.add(MAIN, row(name))
    drawn.add(SIDE, row("other"))
    told = drawn.tell(MAIN, NEVER, 0, NOW_MS, everything)
    assert [one.target for one in told.rows] == ["one", "two"]
    assert not told.more
    assert drawn.tell(MAIN, told.life, told.upto, NOW_MS, everything).rows == ()
    drawn.add(MAIN, row("one", b"other"))
    again = drawn.tell(MAIN, told.life, told.upto, NOW_MS, everything)
    assert [one.sha256[:5] for one in again.rows] == [b"other"], "what is drawn anew is told anew"
    assert [one.target for one in drawn.tell(MAIN, NEVER, 0, NOW_MS, everything).rows] == ["two", "one"]


def test_what_is_too_old_or_not_here_any_more_is_not_told_and_the_oldest_go(env: lmdb.Environment) -> None:
    drawn = Drawn(env, many_max=3, days_max=30)
    drawn.add(MAIN, row("old", at_ms=NOW_MS - 31 * DAY_MS))
    drawn.add(MAIN, row("gone", b"gone"))
    drawn.add(MAIN, row("here"))
    told = drawn.tell(MAIN, NEVER, 0, NOW_MS, lambda sha256: not sha256.startswith(b"gone"))
    assert [one.target for one in told.rows] == ["here"]
    assert told.upto == 3
    for number in range(5):
        drawn.add(SIDE, row(f"more {number}"))
    assert drawn.rows(MAIN) == []
    assert [one.target for one in drawn.rows(SIDE)] == ["more 2", "more 3", "more 4"]


def test_many_rows_come_in_pages(env: lmdb.Environment) -> None:
    drawn = Drawn(env)
    for number in range(TOLD_MAX + 1):
        drawn.add(MAIN, row(str(number)))
    first = drawn.tell(MAIN, NEVER, 0, NOW_MS, everything)
    assert (len(first.rows), first.more) == (TOLD_MAX, True)
    second = drawn.tell(MAIN, first.life, first.upto, NOW_MS, everything)
    assert (len(second.rows), second.more) == (1, False)


def test_an_edge_keeps_what_it_has_done_until_the_file_is_another_one(tmp_path: Path, env: lmdb.Environment) -> None:
    origin = Drawn(env)
    (tmp_path / "edge").mkdir()
    with open_environment(tmp_path / "edge", durable=False) as other:
        edge = Drawn(other)

        def hear() -> None:
            edge.take(MAIN, origin.tell(MAIN, *edge.heard(MAIN), NOW_MS, everything))

        for name in ("one", "two"):
            origin.add(MAIN, row(name))
        hear()
        for one in edge.rows(MAIN):
            edge.came(MAIN, one, needs=("part",))
        origin.add(MAIN, row("one"))
        origin.add(MAIN, row("two", b"other"))
        hear()
        assert [(one.target, one.here, one.needs) for one in edge.rows(MAIN)] == [
            ("one", True, ("part",)), ("two", False, ()),
        ]  # fmt: skip
        before = edge.mark()
        hear()
        assert edge.mark() == before, "no news are no change"
        assert edge.places() == [MAIN]
        edge.forget(MAIN, edge.rows(MAIN)[0])
        assert [one.target for one in edge.rows(MAIN)] == ["two"]
        edge.clear(MAIN)
        assert (edge.rows(MAIN), edge.places(), edge.heard(MAIN)) == ([], [], (NEVER, 0))


def test_e12_numbers_of_an_origin_that_lost_its_cache_are_not_taken_for_the_former_ones(
    tmp_path: Path, env: lmdb.Environment
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    edge = Drawn(env)
    for name in ("first", "second"):
        with open_environment(tmp_path / name, durable=False) as one:
            origin = Drawn(one)
            origin.add(MAIN, row(name))
            edge.take(MAIN, origin.tell(MAIN, *edge.heard(MAIN), NOW_MS, everything))
    assert [one.target for one in edge.rows(MAIN)] == ["second"]


# ---------------------------------------------------------------- which of them a policy wants


def known(
    name: str, package: str = "app", *, version: str = "", tag: str = "", days: int = 0, needs: str = ""
) -> Known:
    one = Row(1, "oci", name, "", version, b"s" * 32, 1, NOW_MS - days * DAY_MS, 0, True, tuple(needs.split()))
    return Known(one, package, version, name, tag)


def names(policy: Replication, *files: Known, tags: dict[str, str] | None = None) -> list[str]:
    return sorted(one.name for one in chosen_drawn(policy, files, NOW_MS, lambda format, package: tags or {}))


IMAGE = (
    known("m/1", version="1", tag="v1", needs="b/1 b/common"),
    known("m/2", version="2", tag="dev", days=3, needs="m/2x"),
    known("m/2x", version="2x", days=2, needs="b/2 b/common"),
    known("b/1"), known("b/2"), known("b/common"), known("b/stray"),
)  # fmt: skip


def test_a_policy_without_a_query_wants_all_of_what_its_names_say() -> None:
    assert names(Replication("asia"), *IMAGE) == sorted(one.name for one in IMAGE)
    assert names(Replication("asia", "on-demand"), *IMAGE) == []
    assert names(Replication("asia", formats=("pypi",)), *IMAGE) == []
    assert names(Replication("asia", packages=("o*",)), *IMAGE, known("x", "other")) == ["x"]


def test_by_tag_rank_and_age_an_image_comes_with_what_it_needs_and_nothing_beside() -> None:
    first, second = ["b/1", "b/common", "m/1"], ["b/2", "b/common", "m/2", "m/2x"]
    assert names(Replication("asia", tags=("v*",)), *IMAGE) == first
    assert names(Replication("asia", tags=("dev",)), *IMAGE) == second
    assert names(Replication("asia", newest_max=1), *IMAGE) == first
    assert names(Replication("asia", days_max=1), *IMAGE) == first
    assert names(Replication("asia", days_max=4), *IMAGE) == sorted({*first, *second})


def test_of_packages_by_version_the_tags_of_their_registry_count() -> None:
    files = [known(f"app-{one}", version=one, days=9 - int(one)) for one in "123"]
    assert names(Replication("asia", tags=("latest",)), *files, tags={"latest": "2", "next": "3"}) == ["app-2"]
    assert names(Replication("asia", newest_max=2), *files) == ["app-2", "app-3"]


def test_where_nothing_tells_versions_each_file_is_one() -> None:
    files = [known(name, days=age) for name, age in (("a", 1), ("b", 2), ("c", 30))]
    assert names(Replication("asia", newest_max=2), *files) == ["a", "b"]
    assert names(Replication("asia", days_max=7), *files) == ["a", "b"]
