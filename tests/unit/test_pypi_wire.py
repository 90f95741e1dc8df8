"""Is every request understood as the Python tools mean it, and refused in their dialect?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.kit.contract import Accept, Amend, Reply, Serve, Show
from formats.pypi import ROOM
from formats.pypi.wire import HTML, HTML1, JSON
from storage.errors import (
    Absent,
    Conflict,
    Forbidden,
    MethodRefused,
    Problem,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from tests.harness.publishing import ask
from tests.harness.untimed import untimed

PIP = f"{JSON}, {HTML1}; q=0.1, {HTML}; q=0.01"


@pytest.mark.parametrize(
    ("accept", "page", "media"),
    [
        (PIP, "project.json", JSON),
        (None, "project.html", "text/html; charset=utf-8"),
        ("*/*", "project.html", "text/html; charset=utf-8"),
        (HTML1, "project.html", HTML1),
        ("application/vnd.pypi.simple.latest+json", "project.json", JSON),
        ("application/vnd.pypi.simple.latest+html", "project.html", HTML1),
    ],
)
def test_a_page_is_negotiated(accept: str | None, page: str, media: str) -> None:
    request = ask("GET", "simple/foo-bar/", **({"accept": accept} if accept else {}))
    assert ROOM.read(request) == Show(page, media, package="foo-bar", foreign=True, vary=True)


def test_the_root_depends_on_all_packages() -> None:
    assert ROOM.read(ask("HEAD", "simple/", accept=JSON)) == Show("root.json", JSON, vary=True)


def test_what_is_not_offered_is_406_and_varies() -> None:
    reply = ROOM.read(ask("GET", "simple/foo/", accept="application/vnd.pypi.simple.v2+json"))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.headers) == (406, (("Vary", "Accept"),))
    assert JSON.encode() in reply.body


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("simple", "simple/"),
        ("simple/Foo", "foo/"),
        ("simple/foo", "foo/"),
        ("simple/Foo.Bar_baz/", "../foo-bar-baz/"),
        ("files/Foo/Foo-1.0.tar.gz", "../foo/Foo-1.0.tar.gz"),
        ("files/Foo/Foo-1.0+l.tar.gz", "../foo/Foo-1.0%2Bl.tar.gz"),
    ],
)
def test_another_spelling_is_redirected_relatively(path: str, location: str) -> None:
    assert ROOM.read(ask("GET", path)) == Reply(301, headers=(("Location", location),))


@pytest.mark.parametrize(
    ("path", "plan"),
    [
        ("files/foo/foo-1.0.tar.gz", Serve("foo", "foo-1.0.tar.gz")),
        ("files/foo/foo-1-py3-none-any.whl.metadata", Serve("foo", "foo-1-py3-none-any.whl.metadata")),
        ("integrity/foo/1.0/foo-1.0.tar.gz/provenance", Serve("foo", "foo-1.0.tar.gz.provenance")),
        ("integrity/foo/1.0.0/foo-1.0.tar.gz/provenance", Serve("foo", "foo-1.0.tar.gz.provenance")),
    ],
)
def test_files_are_served_by_project_and_name(path: str, plan: Serve) -> None:
    assert ROOM.read(ask("GET", path)) == plan
    assert ROOM.right(ask("GET", path)) == "read"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "pypi",
        "+simple/foo/",
        "simple/foo/bar",
        "simple/../",
        "simple/a b/",
        "simple/ä/",
        "simple//",
        "files/foo",
        "files/foo/",
        "files/foo/.hidden",
        "files/foo/a/b",
        "files/foo/foo-1.0.tar.gz.provenance",
        "integrity/foo/2.0/foo-1.0.tar.gz/provenance",
        "integrity/bar/1.0/foo-1.0.tar.gz/provenance",
        "integrity/foo/1.0/foo-1.0.tar.gz",
        "integrity/Foo/1.0/foo-1.0.tar.gz/provenance",
        "legacy/x",
        "a/" * 1000,
    ],
)
def test_other_addresses_are_absent(path: str) -> None:
    with pytest.raises(Absent):
        ROOM.read(ask("GET", path))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "simple/"),
        ("POST", "simple/foo/"),
        ("PUT", "files/foo/foo-1.0.tar.gz"),
        ("GET", "legacy/"),
        ("DELETE", "simple/foo/"),
        ("DELETE", "integrity/foo/1.0/foo-1.0.tar.gz/provenance"),
        ("POST", "simple"),
    ],
)
def test_other_methods_are_refused_with_those_that_are_allowed(method: str, path: str) -> None:
    request = ask(method, path)
    with pytest.raises(MethodRefused) as refused:
        ROOM.read(request)
    reply = ROOM.refuse(request, refused.value)
    assert reply.status == 405
    assert method not in dict(reply.headers)["Allow"].split(", ")


def test_uploads_are_forms() -> None:
    for path in ("legacy/", "legacy"):
        assert ROOM.read(ask("POST", path, content_type="Multipart/Form-Data; boundary=x")) == Accept("multipart")
    assert isinstance(ROOM.read(ask("POST", "legacy/", content_type="application/x-www-form-urlencoded")), Amend)
    for media in ("", "application/json", "multipart/mixed"):
        with pytest.raises(Unsupported):
            ROOM.read(ask("POST", "legacy/", content_type=media))
    assert isinstance(ROOM.read(ask("DELETE", "files/Foo/foo-1.0.tar.gz")), Amend)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_c7_whatever_is_no_read_needs_the_right_to_write(method: str) -> None:
    assert ROOM.right(ask(method, "simple/")) == "write"


@pytest.mark.parametrize(
    ("problem", "status", "header"),
    [
        (Unauthenticated("Who?"), 401, ("WWW-Authenticate", 'Basic realm="Entrepot"')),
        (Unavailable("Later.", retry_after_s=7), 503, ("Retry-After", "7")),
        (Forbidden("No."), 403, None),
        # twine would skip a file on any 409, so that one is not said.
        (Conflict("No."), 400, None),
    ],
)
def test_a_refusal_is_a_line_of_text(problem: Problem, status: int, header: tuple[str, str] | None) -> None:
    reply = ROOM.refuse(ask("POST", "legacy/"), problem)
    assert (reply.status, reply.body) == (status, problem.text().encode() + b"\n")
    assert reply.media.startswith("text/plain")
    assert reply.headers == (("Cache-Control", "no-store"), *((header,) if header else ()))


def test_b9_absent_reads_the_same_whatever_the_name() -> None:
    told = set()
    for path in ("simple/a b/", "files/a b/x", "simple/" + "x" * 300 + "/"):
        with pytest.raises(Absent) as refused:
            ROOM.read(ask("GET", path))
        told.add(ROOM.refuse(ask("GET", path), refused.value).body)
    assert told == {b"There is no such project.\n"}


@untimed
@given(st.text(max_size=60), st.sampled_from(["GET", "POST", "DELETE", "x"]), st.text(max_size=40))
def test_any_request_gets_a_plan_or_a_problem(path: str, method: str, header: str) -> None:
    for prefix in ("", "simple/", "files/foo/", "integrity/foo/", "legacy/"):
        request = ask(method, prefix + path, accept=header, content_type=header)
        refused: Reply | None = None
        try:
            plan = ROOM.read(request)
        except Problem as problem:
            refused = ROOM.refuse(request, problem)
        if refused is not None:
            assert 400 <= refused.status < 500
        elif isinstance(plan, Reply):
            assert all("\n" not in value and "\r" not in value and value.isascii() for _, value in plan.headers)
