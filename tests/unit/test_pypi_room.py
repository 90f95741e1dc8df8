"""Does the PyPI room, asked only through its contract, carry a file from its upload to an installer, and from one index
to the next?"""

import json
from hashlib import sha256
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin

import pytest

from formats import ROOMS
from formats.kit.contract import Reply, Serve, Show
from formats.pypi import ROOM
from storage.errors import Absent, Invalid, TooLarge, Unauthenticated
from tests.harness.distributions import core_metadata, sdist, tarred, wheel
from tests.harness.publishing import amend, ask, upload
from tests.harness.views import MemoryView

WHEEL, SDIST = "foo_bar-1.0-py3-none-any.whl", "foo_bar-1.0.tar.gz"
FORM = {":action": ["file_upload"], "name": ["Foo.Bar"], "version": ["1.0"]}
DATA = {
    WHEEL: wheel("Foo.Bar", "1.0", "Requires-Python: >=3.9,<4"),
    SDIST: sdist("Foo.Bar", "1.0", "Requires-Python: >=3.9,<4"),
}
PAGE = "simple/foo-bar/"
ACCEPTS = ["application/vnd.pypi.simple.v1+json", "text/html"]


class Anchors(HTMLParser):
    """The anchors of a page, as attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append({name: value or "" for name, value in attrs})


def filled() -> MemoryView:
    view = MemoryView()
    for filename, data in DATA.items():
        assert upload(ROOM, view, FORM, filename, data).status == 200
    return view


def page(view: MemoryView, accept: str) -> bytes:
    request = ask("GET", PAGE, accept=accept)
    plan = ROOM.read(request)
    assert isinstance(plan, Show)
    assert plan.media.startswith(accept)
    assert (plan.package, plan.foreign, plan.vary) == ("foo-bar", True, True)
    return ROOM.render(plan, view, request.base).body


def links(view: MemoryView, accept: str) -> dict[str, tuple[str, str, str]]:
    """Path below the room → sha256 of the file, sha256 of its metadata ("" = not announced), Requires-Python."""
    text = page(view, accept)
    found = {}
    if accept == ACCEPTS[0]:
        for file in json.loads(text)["files"]:
            metadata = file.get("core-metadata", {}).get("sha256", "")
            found[urljoin(PAGE, file["url"])] = (file["hashes"]["sha256"], metadata, file["requires-python"])
        return found
    for one in Anchors(text.decode()).found:
        path, fragment = urldefrag(urljoin(PAGE, one["href"]))
        metadata = one.get("data-core-metadata", "").removeprefix("sha256=")
        found[path] = (fragment.removeprefix("sha256="), metadata, one["data-requires-python"])
    return found


def served(view: MemoryView, path: str) -> bytes:
    """The sha256 of what a path below the room gives."""
    plan = ROOM.read(ask("GET", path))
    assert isinstance(plan, Serve)
    file = view.file(plan.package, plan.file)
    assert file
    return file.sha256


def test_the_room_is_in_the_list() -> None:
    assert ROOMS["pypi"] is ROOM
    assert not ROOM.escaped_slash


@pytest.mark.parametrize("accept", ACCEPTS)
def test_an_installer_gets_from_the_page_to_the_bytes_that_were_sent(accept: str) -> None:
    view = filled()
    found = links(view, accept)
    assert set(found) == {f"files/foo-bar/{WHEEL}", f"files/foo-bar/{SDIST}"}
    for path, (digest, metadata, python) in found.items():
        data = DATA[path.rpartition("/")[2]]
        assert served(view, path).hex() == digest == sha256(data).hexdigest()
        assert python == ">=3.9,<4"
        assert bool(metadata) == path.endswith(".whl")
        if metadata:
            told = core_metadata("Foo.Bar", "1.0", "Requires-Python: >=3.9,<4")
            assert served(view, path + ".metadata").hex() == metadata == sha256(told).hexdigest()


@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_second_index_shows_what_the_first_one_does(accept: str) -> None:
    first = filled()
    url = "http://127.0.0.1:9/acme/main/pypi/simple/foo-bar/"
    foreign = ROOM.learn("foo-bar", page(first, accept), url)
    second = MemoryView().lay(foreign)
    for kind in ACCEPTS:
        assert links(second, kind) == links(first, kind)
    assert {one.name: one.source for one in foreign.files} == {
        name: f"http://127.0.0.1:9/acme/main/pypi/files/foo-bar/{name}" for name in (WHEEL, WHEEL + ".metadata", SDIST)
    }


def test_c15_the_same_bytes_are_fine_and_others_are_not_also_after_removal() -> None:
    view = filled()
    before = view.serial
    assert upload(ROOM, view, FORM, WHEEL, DATA[WHEEL]).status == 200
    assert view.serial == before
    with pytest.raises(Invalid) as problem:
        upload(ROOM, view, FORM, WHEEL, wheel("Foo.Bar", "1.0"))
    reply = ROOM.refuse(ask("POST", "legacy/"), problem.value)
    assert (reply.status, b"File already exists" in reply.body) == (400, True)
    assert amend(ROOM, view, ask("DELETE", f"files/Foo.Bar/{WHEEL}")).status == 204
    assert [one.name for one in view.files("foo-bar")] == [SDIST]
    with pytest.raises(Invalid):
        upload(ROOM, view, FORM, WHEEL, wheel("Foo.Bar", "1.0"))
    upload(ROOM, view, FORM, WHEEL, DATA[WHEEL])
    assert served(view, f"files/foo-bar/{WHEEL}.metadata")


@pytest.mark.parametrize("told", [{"name": ["evil"]}, {"version": ["2"]}, {"md5_digest": ["0" * 32]}])
def test_d9_a_form_and_a_file_that_differ_change_nothing(told: dict[str, list[str]]) -> None:
    view = MemoryView()
    with pytest.raises(Invalid):
        upload(ROOM, view, {**FORM, **told}, WHEEL, DATA[WHEEL])
    assert view.serial == 0


def test_d4_an_archive_that_grows_beyond_reason_changes_nothing() -> None:
    view = MemoryView()
    top = "foo_bar-1.0"
    grown = tarred({f"{top}/PKG-INFO": core_metadata("Foo.Bar", "1.0"), f"{top}/zeros": bytes(65 << 20)})
    with pytest.raises(TooLarge, match="times its own size"):
        upload(ROOM, view, FORM, SDIST, grown)
    assert view.serial == 0


def test_an_unknown_project_is_absent_in_every_form() -> None:
    for accept in ACCEPTS:
        with pytest.raises(Absent):
            page(MemoryView(), accept)


def test_who_is_not_known_is_asked_for_a_password() -> None:
    reply = ROOM.refuse(ask("GET", PAGE), Unauthenticated("No token was sent.", "Send one."))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.media) == (401, "text/plain; charset=utf-8")
    assert dict(reply.headers)["WWW-Authenticate"] == 'Basic realm="Entrepot"'
