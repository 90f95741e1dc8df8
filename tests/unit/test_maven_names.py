"""What does a path of a Maven repository name, and which version is higher?"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.maven.names import Route, Stamp, compare, in_order, is_fixed, package_of, route, snapshot
from storage.errors import Absent, Invalid, Problem
from tests.harness.untimed import untimed

ROUTES = {
    "": Route("root"),
    "org/acme/demo/": Route("directory", "org/acme/demo"),
    "junit/junit/4.13/junit-4.13.jar": Route("file", "junit/junit", "4.13", "junit-4.13.jar"),
    "org/acme/demo/1/demo-1.pom.sha512": Route("file", "org/acme/demo", "1", "demo-1.pom", "sha512"),
    "org/acme/demo/1/demo-1.jar.asc.md5": Route("file", "org/acme/demo", "1", "demo-1.jar.asc", "md5"),
    "org/acme/maven-metadata.xml": Route("metadata", "org/acme", "", "maven-metadata.xml"),
    "org/maven-metadata.xml.sha1": Route("metadata", "org", "", "maven-metadata.xml", "sha1"),
    "org/acme/demo/1-SNAPSHOT/maven-metadata.xml": Route(
        "metadata", "org/acme/demo", "1-SNAPSHOT", "maven-metadata.xml"
    ),
    "org/acme/x_2.12_1.0/1/x-1.jar": Route("file", "org/acme/x_2.12_1.0", "1", "x-1.jar"),
    "org.acme/demo/2.0/ivys/ivy.xml": Route("file", "org.acme/demo", "2.0", "ivys/ivy.xml"),
    "org.acme/demo/scala_2.12/sbt_1.0/2.0/jars/demo.jar.sha1": Route(
        "file", "org.acme/demo/scala_2.12/sbt_1.0", "2.0", "jars/demo.jar", "sha1"
    ),
}


@pytest.mark.parametrize("path", ROUTES)
def test_paths(path: str) -> None:
    assert route(path) == ROUTES[path]


@pytest.mark.parametrize(
    "path", ["a//b/c", "/a/b/c", "a/../b/c", "a/./b/c", "a\\b/c/d", "a/b/c\n", "a/b/ü", "a/b./c", "a/b/%41", "a/b/c*"]
)
def test_a6_paths_that_are_none(path: str) -> None:
    with pytest.raises(Invalid):
        route(path)


@pytest.mark.parametrize("path", ["robots.txt", "a/b", "maven-metadata.xml", "a/b/c.jar.sha1.md5"])
def test_paths_where_nothing_can_be(path: str) -> None:
    with pytest.raises(Absent):
        route(path)


@given(st.lists(st.text("aA1.-_S", min_size=1, max_size=3), min_size=3, max_size=6).map("/".join))
@untimed
def test_c15_two_paths_are_never_one_file(path: str) -> None:
    try:
        at = route(path)
    except Problem:
        return
    if at.kind == "file" and not at.digest:
        assert f"{at.package}/{at.file}" == path


@pytest.mark.parametrize(
    ("name", "classifier", "extension", "plain"),
    [
        ("demo-1.0-20261127.034500-12.jar", "", "jar", "demo-1.0-SNAPSHOT.jar"),
        ("demo-1.0-20261127.034500-12-sources.jar", "sources", "jar", "demo-1.0-SNAPSHOT-sources.jar"),
        ("demo-1.0-20261127.034500-12.jar.asc", "", "jar.asc", "demo-1.0-SNAPSHOT.jar.asc"),
        ("demo-1.0-20261127.034500-12-bin.tar.gz", "bin", "tar.gz", "demo-1.0-SNAPSHOT-bin.tar.gz"),
        ("demo-1.0-20261127.034500-12-jdk1.5.jar", "jdk1.5", "jar", "demo-1.0-SNAPSHOT-jdk1.5.jar"),
        ("demo-1.0-20261127.034500-12.pom.sigstore.json", "", "pom.sigstore.json", None),
    ],
)
def test_builds_of_a_snapshot(name: str, classifier: str, extension: str, plain: str | None) -> None:
    build = snapshot("org/acme/demo", "1.0-SNAPSHOT", name)
    assert build is not None
    assert (build.stamp, build.value) == (Stamp("20261127.034500", 12), "1.0-20261127.034500-12")
    assert (build.classifier, build.extension) == (classifier, extension)
    assert plain in (None, build.plain)
    assert is_fixed(route(f"org/acme/demo/1.0-SNAPSHOT/{name}"))


@pytest.mark.parametrize(
    "name", ["demo-1.0-SNAPSHOT.jar", "demo-1.0-2026.0345-1.jar", "other-1.0-20261127.034500-1.jar", "demo.jar"]
)
def test_what_is_no_build(name: str) -> None:
    assert snapshot("org/acme/demo", "1.0-SNAPSHOT", name) is None
    assert not is_fixed(route(f"org/acme/demo/1.0-SNAPSHOT/{name}"))
    assert is_fixed(route(f"org/acme/demo/1.0/{name}"))


def test_typed_names() -> None:
    assert package_of("org.acme:demo.x") == package_of("org/acme/demo.x") == "org/acme/demo.x"
    for typed in ("", ":", "a:b:c/..", "a b/../c", "ü:x"):
        with pytest.raises(Invalid):
            package_of(typed)


def test_versions_in_their_order() -> None:
    text = "1-alpha 1-beta1 1-milestone-1 1-rc2 1-SNAPSHOT 1 1-sp 1-foo 1-foo2 1-1 1.0.1 1.1 1.2-alpha-1 1.2 1.10 2"
    ordered = text.split(" ")
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=in_order) == ordered


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0.0"), ("1.0", "1-ga"), ("1-cr1", "1-rc1"), ("1a1", "1-alpha-1"), ("1..1", "1.0.1"), ("1-0", "1")],
)
def test_versions_that_are_equal(one: str, other: str) -> None:
    assert compare(one, other) == 0


VERSIONS = st.text("019.-abrcSP", max_size=6)


@given(VERSIONS, VERSIONS)
@untimed
def test_of_any_two_versions_one_is_not_older(one: str, other: str) -> None:
    """Of three nothing such holds by Maven's own rules: 1.0.alpha > 1.x > 1 > 1.0.alpha."""
    assert compare(one, other) == -compare(other, one)
    assert compare(one, one) == 0
