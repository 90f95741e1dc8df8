"""Do pip's own parsers read on our pages what is in the repository, in HTML as in JSON?"""

import json
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pip._internal.index.collector import IndexContent, parse_links
from pip._internal.models.link import Link

from formats.kit.contract import Foreign, Show
from formats.pypi import ROOM
from formats.pypi.facts import FORMAT, FileFacts, ProjectFacts, packed
from storage.errors import Absent
from storage.nouns import File, Package, PutFile, PutPackage, PutVersion, Version
from tests.harness.publishing import AT_MS, ask
from tests.harness.untimed import untimed
from tests.harness.views import MemoryView

BASE = "http://127.0.0.1:8080/acme/main/pypi"
WHEEL = "foo_bar-1!2.0+l.1-py3-none-any.whl"
SHA, SHA_METADATA = "ab" * 32, "cd" * 32


def view_of(*files: File, project: ProjectFacts | None = None) -> MemoryView:
    view = MemoryView(PutPackage(FORMAT, Package("foo-bar", 1, packed(project or ProjectFacts("Foo.Bar")))))
    view.apply(PutVersion(FORMAT, "foo-bar", Version(one.version)) for one in files)
    return view.apply(PutFile(FORMAT, "foo-bar", one) for one in files)


def file(name: str = WHEEL, facts: FileFacts | None = None, **more: object) -> File:
    one = File(name, "1!2.0+l.1", bytes.fromhex(SHA), 1234, at_ms=AT_MS, facts=packed(facts or FileFacts()))
    return msgspec.structs.replace(one, **more)


def full() -> MemoryView:
    facts = FileFacts(">=3.9,<4", "a \"bad\" <day> & 'more'", SHA_METADATA, provenance=True)
    siblings = [file(WHEEL + ".metadata", sha256=bytes.fromhex(SHA_METADATA)), file(WHEEL + ".provenance")]
    return view_of(file(facts=facts), *siblings, file("foo-bar-1.tar.gz", version="1"))


def page(view: MemoryView, name: str) -> bytes:
    package = "" if name.startswith("root") else "foo-bar"
    return ROOM.render(Show(name, "", package=package), view, BASE).body


def by_pip(view: MemoryView, name: str) -> dict[str, Link]:
    """The links that pip takes from a page of ours."""
    media = "application/vnd.pypi.simple.v1+json" if name.endswith("json") else "text/html"
    content = IndexContent(page(view, name), media, None, f"{BASE}/simple/foo-bar/", cache_link_parsing=False)
    return {link.filename: link for link in parse_links(content)}


@pytest.mark.parametrize("name", ["project.json", "project.html"])
def test_pip_reads_what_is_there(name: str) -> None:
    links = by_pip(full(), name)
    assert sorted(links) == sorted([WHEEL, "foo-bar-1.tar.gz"])
    link = links[WHEEL]
    place = f"files/foo-bar/{WHEEL}".replace("!", "%21").replace("+", "%2B")
    assert link.url_without_fragment.replace("!", "%21").replace("+", "%2B") == f"{BASE}/{place}"
    assert (link.hash_name, link.hash) == ("sha256", SHA)
    assert link.requires_python == ">=3.9,<4"
    assert link.yanked_reason == "a \"bad\" <day> & 'more'"
    metadata = link.metadata_link()
    assert metadata
    assert metadata.hash == SHA_METADATA
    assert metadata.url_without_fragment == link.url_without_fragment + ".metadata"
    plain = links["foo-bar-1.tar.gz"]
    assert (plain.yanked_reason, plain.requires_python, plain.metadata_link()) == (None, None, None)


def test_the_links_of_a_page_are_served() -> None:
    for link in by_pip(full(), "project.json").values():
        path = link.path.removeprefix("/acme/main/pypi/")
        assert ROOM.read(ask("GET", path)).file == link.filename  # type: ignore[union-attr]


def test_the_json_is_what_the_standard_asks_for() -> None:
    told = json.loads(page(full(), "project.json"))
    assert told["meta"] == {"api-version": "1.4"}
    assert (told["name"], told["versions"]) == ("foo-bar", ["1", "1!2.0+l.1"])
    assert told["project-status"] == {"status": "active"}
    plain, wheel = told["files"]
    assert plain == {
        "filename": "foo-bar-1.tar.gz",
        "url": "../../files/foo-bar/foo-bar-1.tar.gz",
        "hashes": {"sha256": SHA},
        "size": 1234,
        "upload-time": "2023-11-14T22:13:20.123000Z",
    }
    assert wheel["core-metadata"] == wheel["dist-info-metadata"] == {"sha256": SHA_METADATA}
    assert wheel["provenance"].startswith("../../integrity/foo-bar/1%212.0%2Bl.1/")
    assert wheel["yanked"]


def test_a_file_yanked_without_reason_is_yanked() -> None:
    view = view_of(file(facts=FileFacts(yanked="")))
    assert json.loads(page(view, "project.json"))["files"][0]["yanked"] is True
    assert b'data-yanked=""' in page(view, "project.html")
    for name in ("project.json", "project.html"):
        assert by_pip(view, name)[WHEEL].is_yanked


def test_metadata_is_announced_only_where_it_can_be_had() -> None:
    view = view_of(file(facts=FileFacts(metadata=SHA_METADATA, provenance=True)))
    assert b"metadata" not in page(view, "project.json")
    assert b"data-core-metadata" not in page(view, "project.html")
    assert b"provenance" not in page(view, "project.json")


def test_a_project_says_its_status_and_a_quarantined_one_offers_nothing() -> None:
    view = view_of(file(), project=ProjectFacts("Foo", "archived", 'moved "to" <x>'))
    told = json.loads(page(view, "project.json"))
    assert told["project-status"] == {"status": "archived", "reason": 'moved "to" <x>'}
    assert len(told["files"]) == 1
    html = page(view, "project.html")
    assert b'<meta name="pypi:project-status" content="archived">' in html
    assert b'<meta name="pypi:project-status-reason" content="moved &quot;to&quot; &lt;x&gt;">' in html
    view = view_of(file(), project=ProjectFacts("Foo", "quarantined"))
    assert json.loads(page(view, "project.json"))["files"] == []
    assert b"<a " not in page(view, "project.html")


def test_the_root_lists_projects_as_they_spell_themselves() -> None:
    view = view_of(file()).apply([PutPackage(FORMAT, Package("zed"))])
    told = json.loads(page(view, "root.json"))
    assert told == {"meta": {"api-version": "1.4"}, "projects": [{"name": "Foo.Bar"}, {"name": "zed"}]}
    html = page(view, "root.html")
    assert b'<a href="foo-bar/">Foo.Bar</a>' in html
    assert b'<meta name="pypi:repository-version" content="1.4">' in html


def test_an_empty_repository_has_a_root_and_no_projects() -> None:
    assert json.loads(page(MemoryView(), "root.json"))["projects"] == []
    for name in ("project.json", "project.html"):
        with pytest.raises(Absent):
            page(MemoryView(), name)


def test_foreign_files_are_shown_as_ours_with_what_is_known_of_them() -> None:
    view = MemoryView()
    source = "http://127.0.0.1:9/packages/x.whl"
    known = file(sha256=b"", size=-1, at_ms=0, digests={"sha256": SHA, "md5": "0" * 32}, source=source)
    weak = file("foo-bar-0.tar.gz", sha256=b"", digests={"md5": "1" * 32, "blake2b_256": SHA}, source=source)
    bare = file("foo-bar-00.tar.gz", sha256=b"", facts=FileFacts(provenance_url="https://127.0.0.1/p"), source=source)
    view.lay(Foreign(Package("foo-bar"), (Version("1"),), (known, weak, bare)))
    told = {one["filename"]: one for one in json.loads(page(view, "project.json"))["files"]}
    assert told[WHEEL]["hashes"] == {"sha256": SHA}
    assert "size" not in told[WHEEL]
    assert "upload-time" not in told[WHEEL]
    assert told["foo-bar-0.tar.gz"]["hashes"] == {"md5": "1" * 32}
    assert told["foo-bar-00.tar.gz"]["provenance"] == "https://127.0.0.1/p"
    assert source.encode() not in page(view, "project.json") + page(view, "project.html")
    assert by_pip(view, "project.html")[WHEEL].hash == SHA


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.links.append(dict(attrs))


TEXTS = st.text(max_size=30) | st.sampled_from(
    ['"><script>alert(1)</script>', "' onclick=x", "--><a href=x>", "&quot;"]
)
PRINTABLE = TEXTS.filter(lambda text: not set(text) & set("\0\r") and not any("\ud800" <= c <= "\udfff" for c in text))


@untimed
@given(PRINTABLE, PRINTABLE, PRINTABLE)
def test_d10_no_text_becomes_markup(python: str, reason: str, display: str) -> None:
    view = view_of(file(facts=FileFacts(python, reason)), project=ProjectFacts(display, "deprecated", reason))
    tags = Tags()
    tags.feed(page(view, "project.html").decode())
    tags.close()
    expected = ["html", "head", "meta", "meta", "meta", *(["meta"] if reason else []), "title", "body", "h1", "a", "br"]
    assert tags.tags == expected
    assert tags.links[0].get("data-yanked") == reason
    assert tags.links[0].get("data-requires-python", "") == python
    told = json.loads(page(view, "project.json"))
    assert told["files"][0].get("requires-python", "") == python
