"""Are names, versions and file names the same exactly when they should be? (THREATS C15)"""

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from formats.pypi import names
from storage.errors import Absent, Invalid, Problem
from tests.harness.untimed import untimed

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.sampled_from(["1", "1.0", "1.0.0", "1.0.1", "1.0a1", "1.0.alpha1", "1!1", "1+a.1", "1.post1", "1.dev0"])
BUILDS = st.sampled_from(["", "1-", "1a-", "11-", "2-"])
TAGS = st.sampled_from(
    ["py3-none-any", "py2.py3-none-any", "py3.py2-none-any", "cp313-cp313-linux_x86_64", "cp313-abi3-linux_x86_64"]
)
WHEELS = st.tuples(VERSIONS, BUILDS, TAGS)


@untimed
@given(NAMES)
def test_a_normalised_name_is_its_own_normal_form(name: str) -> None:
    once = names.normalised(name)
    assert names.normalised(once) == once == names.normalised(name.upper()) == names.normalised(name.replace("-", "_"))


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".", "a b", "a/b", "ä", "\u017f", "\u212a", "a\n", "a" * 201, "../x", "a\0"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        names.normalised(name)
    with pytest.raises(Absent):
        names.known(name)


@untimed
@given(WHEELS, WHEELS)
def test_c15_wheels_have_one_identity_exactly_when_they_are_one_distribution(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    first, second = ("p-{}-{}{}.whl".format(*parts) for parts in (one, other))
    same = parse_wheel_filename(first)[1:] == parse_wheel_filename(second)[1:]
    assert (names.distribution(first).identity == names.distribution(second).identity) is same


@untimed
@given(WHEELS, VERSIONS)
def test_c15_a_wheel_is_never_a_source(wheel: tuple[str, str, str], version: str) -> None:
    source = names.distribution(f"p-{version}.tar.gz").identity
    assert names.distribution("p-{}-{}{}.whl".format(*wheel)).identity != source
    assert names.distribution(f"P-{Version(version)}.zip").identity == source


@pytest.mark.parametrize(
    ("filename", "name", "version", "wheel"),
    [
        ("Foo_Bar-1.0-py3-none-any.whl", "foo-bar", "1.0", True),
        ("foo.bar-1.0-1abc-py3-none-any.whl", "foo-bar", "1.0", True),
        ("foo-bar-1.0rc1.tar.gz", "foo-bar", "1.0rc1", False),
        ("foo-1!2.0+local.1.tar.gz", "foo", "1!2.0+local.1", False),
        ("foo-1.0.zip", "foo", "1.0", False),
    ],
)
def test_file_names_are_taken_apart(filename: str, name: str, version: str, wheel: bool) -> None:
    found = names.distribution(filename)
    assert (found.name, found.version, found.wheel) == (name, version, wheel)
    assert names.version_of(name, filename) == version


@pytest.mark.parametrize(
    "filename",
    [
        "",
        "foo.whl",
        "foo-1.0.whl",
        "foo-x-py3-none-any.whl",
        "foo-1.0-py3-none.whl",
        "foo-1.0-b-py3-none-any.whl",
        "foo.tar.gz",
        "foo-1.0.tar.bz2",
        "foo-1.0.exe",
        "foo-1.0.tar.gz.metadata",
        "foo-1.0-py3-none-any.whl.provenance",
        "../foo-1.0.tar.gz",
        "a/foo-1.0.tar.gz",
        ".foo-1.0.tar.gz",
        "foo-1.0\n.tar.gz",
        "foo-1.0.tar.gz\0",
        '"><script>-1.0.tar.gz',
        "f" * 300 + "-1.0.tar.gz",
        "foo-" + "1" * 5000 + ".tar.gz",
        "ä-1.0.tar.gz",
    ],
)
def test_what_no_backend_makes_is_refused(filename: str) -> None:
    with pytest.raises(Invalid):
        names.distribution(filename)


@untimed
@given(st.text(max_size=60))
def test_any_text_is_judged_without_surprise(text: str) -> None:
    for suffix in ("", ".whl", ".tar.gz", "-1.0.tar.gz", "-1-py3-none-any.whl"):
        with contextlib.suppress(Problem):
            names.distribution(text + suffix)
        assert names.version_of("p", text + suffix) in (None, "") or "p" in text.lower()


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("my-old-thing-1.2-final.tar.gz", ""),
        ("my-old-thing-1.2.tgz", "1.2"),
        ("my_old.thing-1.2-py2.7.egg", "1.2"),
        ("my-old-thing-1.2.linux-x86_64.exe", ""),
        ("other-1.2.tar.gz", None),
        ("my-old-1.2.tar.gz", None),
        ("my_old_thing_evil-1.2-py3-none-any.whl", None),
    ],
)
def test_c14_old_names_are_read_and_others_files_are_not_ours(filename: str, version: str | None) -> None:
    assert names.version_of("my-old-thing", filename) == version


@untimed
@given(VERSIONS, VERSIONS)
def test_releases_are_the_same_as_pep_440_says(one: str, other: str) -> None:
    assert names.same_version(one, other) is (Version(one) == Version(other))


@untimed
@given(st.text())
def test_cleaned_text_is_one_bounded_line(text: str) -> None:
    line = names.clean(text, 50)
    assume(text)
    assert len(line) <= 50
    assert line.isprintable() or not set(line) & set("\r\n\0\x1b\u202e\u2028")
