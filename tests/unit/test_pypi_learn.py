"""Is a foreign index believed exactly as far as it makes sense? (THREATS D1, D3, D6, C14)"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.kit.contract import ABOUT, Foreign, Show, about
from formats.pypi import ROOM, upstream
from formats.pypi.facts import FileFacts, ProjectFacts, file_facts, project_facts
from storage.errors import Problem, UpstreamFailed
from storage.nouns import File, Package, PutFile, PutPackage
from tests.harness.publishing import upload
from tests.harness.untimed import untimed
from tests.harness.views import MemoryView

URL = "http://127.0.0.1:9/index/simple/foo/"
SHA, OTHER = "ab" * 32, "cd" * 32
WHEEL = "foo-1.0-py3-none-any.whl"


def entry(filename: str = WHEEL, **more: object) -> dict[str, object]:
    hashes = {"sha256": SHA}
    return {"filename": filename, "url": f"../../packages/{filename}", "hashes": hashes, **more}


def learn(*files: object, **more: object) -> Foreign:
    page = {"meta": {"api-version": "1.4"}, "name": "Foo", "files": files, **more}
    return ROOM.learn("foo", json.dumps(page).encode(), URL)


def only(**more: object) -> File:
    """What is made of one entry."""
    (file,) = learn(entry(**more)).files
    return file


def test_how_a_project_is_asked_for() -> None:
    fetch = ROOM.upstream(ABOUT, about("foo"))
    assert fetch
    assert fetch.path == "foo/"
    assert fetch.accept.startswith("application/vnd.pypi.simple.v1+json,")
    assert "text/html" in fetch.accept
    assert ROOM.upstream(ABOUT, about("")) is None


def test_a_page_in_json_is_told_in_our_nouns() -> None:
    told = {
        "requires-python": ">=3.8",
        "size": 77,
        "upload-time": "2024-05-01T10:00:00.250000Z",
        "yanked": "broken",
        "core-metadata": {"sha256": OTHER},
        "provenance": "https://127.0.0.1/prov",
    }
    foreign = learn(entry(**told), entry("foo-1.1.tar.gz"), versions=["1.0", "1.1", "0.9", "junk"])
    assert [one.name for one in foreign.versions] == ["0.9", "1.0", "1.1"]
    assert project_facts(foreign.package.facts) == ProjectFacts("Foo")
    wheel, metadata, source = foreign.files
    facts = FileFacts(">=3.8", "broken", OTHER, provenance_url="https://127.0.0.1/prov")
    assert file_facts(wheel.facts) == facts
    assert (wheel.version, wheel.sha256, wheel.size, wheel.at_ms) == ("1.0", b"", 77, 1_714_557_600_250)
    assert wheel.source == f"http://127.0.0.1:9/index/packages/{WHEEL}"
    assert (metadata.name, metadata.source) == (WHEEL + ".metadata", wheel.source + ".metadata")
    assert (metadata.digests, metadata.size) == ({"sha256": OTHER}, -1)
    assert (source.name, source.size, source.digests) == ("foo-1.1.tar.gz", -1, {"sha256": SHA})


@pytest.mark.parametrize(
    ("told", "yanked"), [(True, ""), (False, None), ("why", "why"), ("", None), (None, None), ("a\nb", "a b")]
)
def test_yanked_is_a_bool_or_a_reason(told: object, yanked: str | None) -> None:
    assert file_facts(only(yanked=told).facts).yanked == yanked


def test_the_old_key_of_metadata_counts_and_a_bare_true_does_not() -> None:
    assert len(learn(entry(**{"dist-info-metadata": {"sha256": OTHER}})).files) == 2
    # Without its digest it could not be verified.
    assert len(learn(entry(**{"core-metadata": True})).files) == 1


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"project-status": {"status": "archived", "reason": "old"}}, ("archived", "old")),
        ({"meta": {"api-version": "1.4", "project-status": "deprecated"}}, ("deprecated", "")),
        ({"project-status": {"status": "frozen"}}, ("active", "")),
        ({"project-status": {"status": ["x"], "reason": 1}}, ("active", "")),
        ({}, ("active", "")),
    ],
)
def test_the_status_of_a_project_is_kept(told: dict[str, object], status: tuple[str, str]) -> None:
    facts = project_facts(learn(entry(), **told).package.facts)
    assert (facts.status, facts.reason) == status


HTML = f"""<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0">
<meta name="pypi:project-status" content="archived"><base href="/mirror/"></head><body><h1>x</h1>
<a href="foo/{WHEEL}#sha256={SHA.upper()}" data-requires-python="&gt;=3.8" data-yanked
 data-dist-info-metadata="sha256={OTHER}">any text</a>
<A HREF='https://127.0.0.2/y/foo-1.1%2Bl.tar.gz#md5={"0" * 32}' data-yanked="why &amp; how">foo</A>
<a href="foo-1.2.tar.gz" data-core-metadata="true">no digest</a>
<a href="../">up</a><a>nothing</a><a href="mailto:x@y">mail</a><a href="bar-1.0.tar.gz">other</a>
</body></html>"""


def test_a_page_in_html_is_told_alike() -> None:
    foreign = ROOM.learn("foo", HTML.encode(), URL)
    files = {one.name: one for one in foreign.files}
    assert list(files) == [WHEEL, WHEEL + ".metadata", "foo-1.1+l.tar.gz", "foo-1.2.tar.gz"]
    assert files[WHEEL].source == f"http://127.0.0.1:9/mirror/foo/{WHEEL}"
    assert files[WHEEL].digests == {"sha256": SHA}
    assert file_facts(files[WHEEL].facts) == FileFacts(">=3.8", "", OTHER)
    assert files["foo-1.1+l.tar.gz"].digests == {"md5": "0" * 32}
    assert file_facts(files["foo-1.1+l.tar.gz"].facts).yanked == "why & how"
    assert files["foo-1.1+l.tar.gz"].version == "1.1+l"
    assert files["foo-1.2.tar.gz"].digests == {}
    assert project_facts(foreign.package.facts).status == "archived"


def test_our_own_pages_are_understood_by_ourselves() -> None:
    facts = upstream.packed(FileFacts(">=3.9", "a <b> \"c\" & 'd'", OTHER))
    ours = MemoryView(PutPackage("pypi", Package("foo")))
    ours.apply(
        [
            PutFile("pypi", "foo", File(WHEEL, "1.0", bytes.fromhex(SHA), 5, at_ms=1000, facts=facts)),
            PutFile("pypi", "foo", File(WHEEL + ".metadata", "1.0", bytes.fromhex(OTHER), 5)),
        ]
    )
    for kind in ("json", "html"):
        page = ROOM.render(Show(f"project.{kind}", "", package="foo"), ours, "").body
        wheel, metadata = ROOM.learn("foo", page, URL).files
        assert wheel.facts == facts
        assert (wheel.digests, metadata.digests) == ({"sha256": SHA}, {"sha256": OTHER})
        assert metadata.source == f"http://127.0.0.1:9/index/files/foo/{WHEEL}.metadata"


@pytest.mark.parametrize(
    "bad",
    [
        entry("bar-1.0-py3-none-any.whl"),
        entry("foobar-1.0.tar.gz"),
        entry("../foo-1.0.tar.gz"),
        entry("foo-1.0.tar.gz\n"),
        entry('foo-1.0"><script>.tar.gz'),
        entry("foo-1.0.tar.gz.metadata"),
        entry("foo-1.0.tar.gz.provenance"),
        entry("foo-" + "1" * 300 + ".tar.gz"),
        entry(""),
        entry(url=""),
        entry(url="file:///etc/passwd"),
        entry(url="javascript:alert(1)"),
        entry(url="ftp://127.0.0.1/x"),
        entry(url="https:///x"),
        entry(url="http://user:secret@127.0.0.1/x"),
        entry(url="http://127.0.0.1:99999/x"),
        entry(url="http://[::1/x"),
        entry(url="http://127.0.0.1/a\r\nX: y"),
        entry(url="http://127.0.0.1/a b"),
        entry(url="/" + "x" * 5000),
        entry(hashes={"sha256": "ab"}),
        entry(hashes={"sha256": "zz" * 32}),
        entry(hashes={"sha256": 1}),
        entry(hashes={"sha512": SHA}),
        entry(hashes=[]),
        entry(size="x"),
        entry(filename=1),
        {"filename": WHEEL},
        None,
        7,
        "x",
        [],
    ],
)
def test_an_entry_that_makes_no_sense_is_left_out(bad: object) -> None:
    foreign = learn(entry("foo-2.0.tar.gz"), bad)
    assert [one.name for one in foreign.files] == ["foo-2.0.tar.gz"]


@pytest.mark.parametrize(
    ("told", "size", "at_ms"),
    [
        ({"size": -5}, -1, 0),
        ({"size": 1 << 60}, -1, 0),
        ({"size": 0}, 0, 0),
        ({"upload-time": "yesterday"}, -1, 0),
        ({"upload-time": "0001-01-01T00:00:00+14:00"}, -1, 0),
        ({"upload-time": "1969-01-01T00:00:00Z"}, -1, 0),
        ({"upload-time": "9999-12-31T23:59:59-14:00"}, -1, 0),
        ({"upload-time": "9999-12-31T23:59:59Z"}, -1, 253_402_300_799_000),
        ({"upload-time": "2024-05-01T10:00:00"}, -1, 1_714_557_600_000),
        ({"requires-python": None, "yanked": None, "provenance": "javascript:x"}, -1, 0),
    ],
)
def test_odd_sizes_and_times_are_unknown(told: dict[str, object], size: int, at_ms: int) -> None:
    file = only(**told)
    assert (file.size, file.at_ms) == (size, at_ms)
    assert file_facts(file.facts) == FileFacts()


def test_the_first_of_two_entries_counts() -> None:
    foreign = learn(entry(), entry(hashes={"sha256": OTHER}))
    assert [one.digests for one in foreign.files] == [{"sha256": SHA}]


def test_d3_digests_are_kept_in_one_case_under_our_names() -> None:
    told = {"sha256": SHA.upper(), "blake2b": OTHER, "sha3_256": "x", "md5": "F" * 32}
    assert only(hashes=told).digests == {"sha256": SHA, "blake2b_256": OTHER, "md5": "f" * 32}


@pytest.mark.parametrize(
    "page",
    [
        b"{}",
        b"{",
        b'{"files": 1}',
        b'{"files": []} x',
        b'{"files": [], "name": "bar"}',
        b'{"files": [], "name": "???"}',
        b'{"files": [], "name": 1}',
        b'{"files": [], "meta": {"api-version": "2.0"}}',
        b'{"files": [], "meta": {"api-version": "x"}}',
        b'{"files": [NaN]}',
        b'{"files": [' + b"[" * 100_000,
        b'{"files": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"files": "\xff"}',
        b'{"a":' * 50_000,
        b"",
        b"Not found",
        b"\x1f\x8b\x08\x00",
        b'<html><form action="/login"><input name=password></form></html>',
        b'<html><meta name="pypi:repository-version" content="2.0"></html>',
    ],
)
def test_d6_a_page_that_makes_no_sense_is_the_upstreams_failure(page: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        ROOM.learn("foo", page, URL)


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "FILES_MAX", 3)
    assert len(learn(*[entry(f"foo-{i}.tar.gz") for i in range(3)]).files) == 3
    with pytest.raises(UpstreamFailed):
        learn(*[entry(f"foo-{i}.tar.gz") for i in range(4)])
    with pytest.raises(UpstreamFailed):
        learn(versions=["1"] * 4)
    with pytest.raises(UpstreamFailed):
        ROOM.learn("foo", b"<a href=foo-1.tar.gz></a>" * 5, URL)


def test_an_empty_index_page_is_an_empty_project() -> None:
    foreign = ROOM.learn("foo", b"\n<!DOCTYPE html><html><body></body></html>", URL)
    assert (foreign.files, foreign.versions) == ((), ())
    assert learn().files == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(SHA) | st.just(WHEEL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["filename", "url", "hashes", "yanked", "size", "upload-time", "core-metadata", "requires-python", "provenance"]


@untimed
@given(
    st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(["name", "versions", "meta"]), JSON)
)
def test_odd_json_raises_problems_only(bad: dict[str, Any], top: dict[str, Any]) -> None:
    page = {"files": [bad, {**entry(), **bad}], **top}
    try:
        foreign = ROOM.learn("foo", json.dumps(page).encode(), URL)
    except Problem:
        return
    view = MemoryView().lay(foreign)
    for kind in ("json", "html"):
        assert ROOM.render(Show(f"project.{kind}", "", package="foo"), view, "").body


@untimed
@given(st.text(alphabet='<>!/-="&;a#[] \nh', max_size=80), st.binary(max_size=40))
def test_odd_html_raises_problems_only(text: str, noise: bytes) -> None:
    for page in (text.encode(), b"<a href=" + noise, b"<!" + text.encode(), b"<![" + noise, HTML.encode() + noise):
        try:
            ROOM.learn("foo", page, URL)
        except Problem as problem:
            assert problem.status == 502  # noqa: PT017


def test_c14_what_is_published_here_hides_the_upstream() -> None:
    view = MemoryView(PutPackage("pypi", Package("foo"))).lay(learn(entry()))
    assert json.loads(ROOM.render(Show("project.json", "", package="foo"), view, "").body)["files"] == []
    with pytest.raises(Problem):
        upload(ROOM, view, {":action": ["file_upload"]}, WHEEL, b"x")
