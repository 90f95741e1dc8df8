"""Does a grant with a query let through what a search finds with it, and nothing else (THREATS C)?"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import ROOMS
from formats.kit.contract import Serve, Show, order_of
from formats.oci.manifest import Manifest, packed
from formats.oci.names import MANIFESTS, blob_file, manifest_file
from gateway.access.rights import queried
from gateway.access.rights.grants import READ, What, decide, possible, rule_of, whole
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import Clearance, Standing
from gateway.queries.fields import At, Held
from gateway.queries.parsing import parse
from storage.errors import Forbidden, Invalid
from storage.nouns import File, Grant, Package, PutFile, PutPackage, PutTag, PutVersion, Repository, Version
from tests.harness.views import MemoryView

NAMES = {
    "pypi": ["django", "django-filter"],
    "npm": ["@acme/ui", "left"],
    "maven": ["org.acme:app"],
    "deb": ["b/hello"],
}
VERSIONS = ["1.0", "1.9", "1.10", "2.0", "2.0.0", "2.0.0-beta.1", "2.0rc1", "3.0.1", "1:1.0-1", "nonsense"]
TAGS = ["latest", "next", "stable"]
TERMS = st.sampled_from([
    "name:^django$", "name:django", "left", "format:pypi", "format:npm", "repository:main", "repository:other",
    "version:>=2.0", "version:<3", "version:1.*", "version:~=1.9", "version:>1.9", "version:=2.0", "tag:latest",
    "tag:n*",
])  # fmt: skip
QUERIES = st.recursive(
    TERMS,
    lambda one: st.one_of(
        one.map(lambda text: f"NOT ({text})"),
        st.tuples(one, one).map(lambda pair: f"({pair[0]} AND {pair[1]})"),
        st.tuples(one, one).map(lambda pair: f"({pair[0]} OR {pair[1]})"),
    ),
    max_leaves=6,
)


def view_of(format: str, package: str, versions: Sequence[str], tags: dict[str, str]) -> MemoryView:
    view = MemoryView(PutPackage(format, Package(package)))
    for one in versions:
        file = File(f"{one}.bin", one, b"x" * 32, 1)
        view.apply((PutVersion(format, package, Version(one)), PutFile(format, package, file)))
    return view.apply([PutTag(format, package, tag, version) for tag, version in tags.items()])


def permit(query: str, format: str, more: str = "") -> Permit:
    rules = tuple(rule_of(Grant("acme/main", query=one), "rule", 10) for one in (query, more) if one)
    return Permit(Clearance(Repository("acme", "main"), Standing((rules,)), False), ROOMS[format])


def reads(permit: Permit, package: str, file: str, view: MemoryView) -> bool:
    try:
        permit.read(Serve(package, file), view)
    except Forbidden:
        return False
    return True


@given(QUERIES, st.sampled_from(sorted(NAMES)), st.data())
def test_it_lets_through_what_a_search_finds(query: str, format: str, data: st.DataObject) -> None:
    """The verdict on each file is that of a search on its version, with the same tags, order and spelling."""
    package = data.draw(st.sampled_from(NAMES[format]))
    versions = data.draw(st.lists(st.sampled_from(VERSIONS), min_size=1, unique=True))
    tags = data.draw(st.dictionaries(st.sampled_from(TAGS), st.sampled_from(versions)))
    view, may = view_of(format, package, versions, tags), permit(query, format)
    at = At("acme", "main", format, package, queried.sought(ROOMS[format], package).spelt)
    for one in versions:
        held = Held(one, [tag for tag, to in tags.items() if to == one], [(f"{one}.bin", "")], 1, 0)
        assert reads(may, package, f"{one}.bin", view) is parse(query).holds(at, held, order_of(ROOMS[format]))


@given(QUERIES, QUERIES, st.sampled_from(["pypi", "npm"]))
def test_two_grants_let_through_what_either_does_and_no_file_that_is_not_there(one: str, two: str, format: str) -> None:
    package = NAMES[format][0]
    view = view_of(format, package, VERSIONS[:4], {"latest": "2.0"})
    for version in VERSIONS[:4]:
        either = reads(permit(one, format), package, f"{version}.bin", view) or reads(
            permit(two, format), package, f"{version}.bin", view
        )
        assert reads(permit(one, format, two), package, f"{version}.bin", view) is either


UNJUDGED = (
    "downloads:>5", "size:<1k", "uploaded:>2020-01-01", "NOT (name:x OR license:mit)", "checksum:ab*", "upstream:*",
    "quarantined:false", "filename:x", "workspace:acme",
)  # fmt: skip


@pytest.mark.parametrize("query", UNJUDGED)
def test_what_cannot_be_judged_at_a_read_is_refused_with_what_can(query: str) -> None:
    with pytest.raises(Invalid) as refused:
        queried.query(query)
    assert "name, format, repository, version and tag" in refused.value.remedy


@pytest.mark.parametrize("query", ["(", "version:", "name:x AND", "a\nb", "x" * 501, "nofield:x"])
def test_what_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(Invalid):
        queried.query(query)


def test_b9_a_name_that_is_not_granted_is_refused_before_anything_is_looked_for() -> None:
    """What is there, another version of it and what never was: one refusal, and no look at the View but where the
    version decides."""

    class Blind(MemoryView):
        def file(self, package: str, name: str) -> File | None:
            raise AssertionError("nobody looks")

    may = permit("name:^django$ version:>=2.0", "pypi")
    for package in ("left", "never"):
        with pytest.raises(Forbidden) as refused:
            may.read(Serve(package, "1.0.bin"), Blind())
        with pytest.raises(Forbidden):
            may.read(Show("project", "text/html", package), Blind())
        assert "left" not in str(refused.value)
    view = view_of("pypi", "django", ["1.0", "2.0"], {})
    told = set()
    for file in ("1.0.bin", "9.0.bin"):
        with pytest.raises(Forbidden) as refused:
            may.read(Serve("django", file), view)
        told.add((refused.value.message, refused.value.remedy))
    with pytest.raises(Forbidden) as refused:
        may.read(Serve("left", "1.0.bin"), view)
    assert told == {(refused.value.message, refused.value.remedy)}
    may.read(Serve("django", "2.0.bin"), view)
    may.read(Show("project", "text/html", "django"), view)
    permit("name:^django$", "pypi").read(Serve("django", "any"), Blind())


def test_a_file_without_a_version_is_let_through_by_names_alone() -> None:
    view = MemoryView(PutFile("pypi", "django", File("loose", "", b"x" * 32, 1)))
    assert not reads(permit("NOT version:1.0", "pypi"), "django", "loose", view)
    assert reads(permit("name:django OR version:1.0", "pypi"), "django", "loose", view)


def test_a_moved_tag_and_a_file_of_another_version_take_effect_at_once() -> None:
    may = permit("tag:stable", "npm")
    view = view_of("npm", "left", ["1.0.0", "2.0.0"], {"stable": "1.0.0"})
    assert [reads(may, "left", f"{one}.bin", view) for one in ("1.0.0", "2.0.0")] == [True, False]
    view.apply([PutTag("npm", "left", "stable", "2.0.0")])
    assert [reads(may, "left", f"{one}.bin", view) for one in ("1.0.0", "2.0.0")] == [False, True]
    view.apply([PutFile("npm", "left", File("2.0.0.bin", "1.0.0", b"y" * 32, 1))])
    assert not reads(may, "left", "2.0.0.bin", view)


def test_a_query_is_a_part_of_a_repository_for_every_other_question() -> None:
    """Nothing over all packages, no write, no admin; without knowing what is asked for, nothing (C)."""
    rules = (rule_of(Grant("acme", True, True, True, query="version:>1"), "rule", 10),)
    place = What(READ, "acme", "main", "pypi")
    assert possible(rules, place)
    assert not whole(rules, place)
    assert not decide(rules, place).allowed
    assert not decide(rules, place._replace(package="django")).allowed
    assert not decide(rules, What("manage", "acme", "main")).allowed
    denied = (rule_of(Grant("acme"), "all", 10), rule_of(Grant("acme", query="version:>1", deny=True), "not", 10))
    assert not decide(denied, place._replace(package="django")).allowed


@pytest.mark.parametrize(
    ("version", "part"),
    [
        ("1.9", "version:>=2"),
        ("3.0", "(version:<3 OR tag:lts)"),
        ("2.0", '(version:>=2 AND (version:<3 OR tag:lts) AND NOT version:"2 b")'),
    ],
)
def test_the_part_of_a_query_that_decides_is_told(version: str, part: str) -> None:
    query = 'version:>=2 AND (version:<3 OR tag:lts) AND NOT version:"2 b"'
    sought = queried.sought(ROOMS["pypi"], "x")._replace(held=queried.held(version, {}))
    assert queried.deciding(query, ("acme", "main", "pypi"), sought) == part


def test_an_image_that_is_let_through_brings_its_parts_and_no_others() -> None:
    """An index by its tag, its images and their layers; not those of another, whatever else is shared."""
    view = MemoryView(PutPackage("oci", Package("app")))

    def put(digest: str, *, blobs: tuple[str, ...] = (), manifests: tuple[str, ...] = ()) -> None:
        facts = packed(Manifest("application/json", 1, blobs, manifests))
        view.apply((
            PutVersion("oci", "app", Version(digest, facts=facts)),
            PutFile("oci", "app", File(manifest_file(digest), digest, b"x" * 32, 1)),
        ))  # fmt: skip

    for blob in ("one", "two", "both"):
        view.apply([PutFile("oci", "app", File(blob_file(blob), "", b"y" * 32, 1))])
    put("image-1", blobs=("one", "both"))
    put("image-2", blobs=("two", "both"))
    put("index", manifests=("image-1",))
    view.apply([PutTag("oci", "app", "stable", "index"), PutTag("oci", "app", "next", "image-2")])
    may = permit("name:^app$ tag:stable", "oci")
    names = [manifest_file(one) for one in ("index", "image-1", "image-2")] + [
        blob_file(one) for one in ("one", "both", "two")
    ]
    assert [reads(may, "app", one, view) for one in names] == [True, True, False, True, True, False]
    may.read(Serve("app", MANIFESTS, tag="stable"), view)
    for tag in ("next", "never"):
        with pytest.raises(Forbidden):
            may.read(Serve("app", MANIFESTS, tag=tag), view)
