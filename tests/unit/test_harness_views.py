"""Does the view that rooms are tested with behave as the index promises?"""

from formats.kit.contract import Foreign
from storage.nouns import (
    DropFile,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)
from tests.harness.views import MemoryView


def local() -> MemoryView:
    return MemoryView(
        PutPackage("x", Package("p")),
        PutVersion("x", "p", Version("1")),
        PutFile("x", "p", File("p-1", "1", b"a" * 32, 1)),
        PutTag("x", "p", "latest", "1"),
    )


def test_the_fake_is_a_view_and_counts_serials() -> None:
    view: View = local()
    assert view.serial == 1
    assert [one.name for one in view.files("p")] == ["p-1"]
    assert view.tags("p") == {"latest": "1"}


def test_a_dropped_version_takes_files_and_tags_and_leaves_tombstones() -> None:
    view = local().apply([DropVersion("x", "p", "1")])
    assert view.files("p") == []
    assert view.tags("p") == {}
    assert view.gone("p", "p-1") == b"a" * 32
    assert view.claimed("p")


def test_a_forgotten_file_leaves_no_tombstone() -> None:
    view = local().apply([DropFile("x", "p", "p-1", forget=True)])
    assert view.file("p", "p-1") is None
    assert view.gone("p", "p-1") is None


def test_c14_foreign_knowledge_lies_under_unclaimed_names_only() -> None:
    foreign = File("p-9", "9", b"", -1, source="http://127.0.0.1/p-9")
    view = local().lay(Foreign(Package("p"), (Version("9"),), (foreign,)))
    assert view.file("p", "p-9") is None
    view.lay(Foreign(Package("q"), (Version("9"),), (foreign,)))
    assert view.package("q") == Package("q")
    assert [one.name for one in view.files("q")] == ["p-9"]
    assert [one.name for one in view.packages()] == ["p"]
    view.lay(Foreign(Package("p"), (Version("9"),), (foreign,)), allowed=True)
    assert [one.name for one in view.files("p")] == ["p-1", "p-9"]
