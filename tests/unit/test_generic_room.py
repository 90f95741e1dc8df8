"""Does the generic room keep what it promises about paths, conditions, digests, listings and resumable uploads?"""

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.generic import ROOM, pages, wire
from formats.generic.media import media_of
from formats.generic.wire import Listing
from formats.kit.contract import (
    ABOUT,
    Accept,
    Amend,
    Ask,
    Blob,
    Decision,
    Finds,
    Progress,
    Received,
    Reply,
    Resume,
    Serve,
    Show,
    about,
)
from storage.errors import (
    Absent,
    Conflict,
    Invalid,
    MethodRefused,
    PreconditionFailed,
    RangeRefused,
    TooMany,
    Unauthenticated,
    Unsupported,
)
from storage.nouns import File, Package, PutFile, PutPackage
from tests.harness.views import MemoryView

BASE = "http://node/acme/main/generic"


def ask(method: str, path: str, query: tuple[tuple[str, str], ...] = (), **headers: str) -> Ask:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Ask(method, path, path, query, named, BASE, "acme", "main", "ann", 1_700_000_000_123)


def blob(body: bytes, digests: tuple[str, ...] = ()) -> Blob:
    return Blob(
        sha256=hashlib.sha256(body).digest(),
        size=len(body),
        digests={name: hashlib.new(name, body).hexdigest() for name in digests},
    )


def put(view: MemoryView, path: str, body: bytes, **headers: str) -> Decision:
    request = ask("PUT", path, **headers)
    plan = ROOM.read(request)
    assert isinstance(plan, Accept)
    decision = ROOM.decide(request, Finds(blobs={"file": blob(body, plan.digests)}, context=plan.context), view)
    view.apply(decision)
    return decision


def delete(view: MemoryView, path: str, **headers: str) -> Decision:
    request = ask("DELETE", path, **headers)
    plan = ROOM.read(request)
    assert isinstance(plan, Amend)
    decision = ROOM.decide(request, Finds(context=plan.context), view)
    view.apply(decision)
    return decision


def tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def sf(digest: bytes) -> str:
    return f":{base64.b64encode(digest).decode()}:"


# ---------------------------------------------------------------- put, replace, delete


def test_new_same_and_other_bytes() -> None:
    view = MemoryView()
    first = put(view, "a/b ü.bin", b"one")
    headers = dict(first.reply.headers)
    assert first.reply.status == 201
    assert headers["Location"] == BASE + "/a/b%20%C3%BC.bin"
    assert headers["ETag"] == tag(b"one")
    assert headers["Repr-Digest"] == "sha-256=" + sf(hashlib.sha256(b"one").digest())
    again = put(view, "a/b ü.bin", b"one")
    assert (again.reply.status, again.changes) == (200, ())
    with pytest.raises(Conflict, match="other bytes") as refused:
        put(view, "a/b ü.bin", b"two")
    assert tag(b"one") in refused.value.remedy
    file = view.file("a/b ü.bin", "b ü.bin")
    assert file is not None
    assert (file.sha256, file.size, file.at_ms) == (hashlib.sha256(b"one").digest(), 3, 1_700_000_000_123)


def test_conditions_on_put() -> None:
    view = MemoryView()
    put(view, "x", b"one", if_none_match="*")
    with pytest.raises(PreconditionFailed):
        put(view, "x", b"one", if_none_match="*")
    with pytest.raises(PreconditionFailed):
        put(view, "x", b"two", if_none_match=f"W/{tag(b'one')}")
    with pytest.raises(PreconditionFailed):
        put(view, "x", b"two", if_match=tag(b"two"))
    with pytest.raises(PreconditionFailed):
        put(view, "x", b"two", if_match=f"W/{tag(b'one')}")
    with pytest.raises(PreconditionFailed):
        put(view, "y", b"two", if_match="*")
    replaced = put(view, "x", b"two", if_match=f'"other", {tag(b"one")}')
    assert (replaced.action, replaced.reply.status) == ("replace", 200)
    assert dict(replaced.reply.headers)["ETag"] == tag(b"two")
    assert put(view, "x", b"three", if_match="*").reply.status == 200
    # A condition that holds is no permission to overwrite unless it names what is overwritten.
    with pytest.raises(Conflict):
        put(view, "x", b"four", if_none_match='"something else"')


def test_delete_then_put_other_bytes() -> None:
    view = MemoryView()
    with pytest.raises(Absent):
        delete(view, "x")
    put(view, "x", b"one")
    with pytest.raises(PreconditionFailed):
        delete(view, "x", if_match=tag(b"two"))
    assert delete(view, "x", if_match=tag(b"one")).reply.status == 204
    assert view.package("x") is None
    assert view.file("x", "x") is None
    assert put(view, "x", b"two").reply.status == 201


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b/c", "a/b/c/d/e"), ("a/b", "a"), ("a/b/c/d", "a/b")])
def test_c15_a_file_is_never_a_directory(first: str, second: str) -> None:
    view = MemoryView()
    put(view, first, b"one")
    put(view, "a-z", b"near in the order of names, and no conflict")
    with pytest.raises(Conflict):
        put(view, second, b"one")
    delete(view, first)
    put(view, second, b"one")


# ---------------------------------------------------------------- digests


@pytest.mark.parametrize("header", ["repr_digest", "content_digest"])
@pytest.mark.parametrize(("name", "algorithm"), [("sha-256", "sha256"), ("sha-512", "sha512"), ("md5", "md5")])
def test_structured_digests_are_compared(header: str, name: str, algorithm: str) -> None:
    good = f"{name}={sf(hashlib.new(algorithm, b'one').digest())}, crc32c=:AAAAAA==:"
    file = put(view := MemoryView(), "x", b"one", **{header: good})
    assert file.reply.status == 201
    with pytest.raises(Invalid, match=algorithm):
        put(view, "y", b"two", **{header: good})
    assert view.package("y") is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
def test_old_checksum_headers_are_compared(algorithm: str) -> None:
    header = {f"x_checksum_{algorithm}": hashlib.new(algorithm, b"one").hexdigest().upper()}
    put(view := MemoryView(), "x", b"one", **header)
    kept = view.file("x", "x")
    assert kept is not None
    assert kept.digests == ({} if algorithm == "sha256" else {algorithm: header[f"x_checksum_{algorithm}"].lower()})
    with pytest.raises(Invalid):
        put(view, "y", b"two", **header)


@pytest.mark.parametrize(
    "headers",
    [
        {"repr_digest": "sha-256=abc"},
        {"repr_digest": "sha-256=:abc:"},
        {"repr_digest": "sha-256=" + sf(b"short")},
        {"content_digest": ""},
        {"repr_digest": "sha-256=:" + "A" * 10_000 + ":"},
        {"x_checksum_sha1": "zz"},
        {"x_checksum_md5": "0" * 31},
        {"x_checksum_sha256": "0" * 64, "repr_digest": "sha-256=" + sf(bytes([1] * 32))},
    ],
)
def test_digests_that_cannot_be_read_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        ROOM.read(ask("PUT", "x", **headers))


def test_a_digest_that_was_not_computed_refuses() -> None:
    request = ask("PUT", "x", x_checksum_md5="0" * 32)
    plan = ROOM.read(request)
    assert isinstance(plan, Accept)
    assert plan.digests == ("md5",)
    with pytest.raises(Invalid, match="cannot be checked"):
        ROOM.decide(request, Finds(blobs={"file": blob(b"one")}, context=plan.context), MemoryView())


@pytest.mark.parametrize(
    ("headers", "problem"),
    [({"content_encoding": "gzip"}, Unsupported), ({"content_range": "bytes 0-1/2"}, Invalid)],
)
def test_bodies_that_are_not_the_file_are_refused(headers: dict[str, str], problem: type[Exception]) -> None:
    with pytest.raises(problem):
        ROOM.read(ask("PUT", "x", **headers))


# ---------------------------------------------------------------- names and verbs

BAD_PATHS = [
    "a//b", "/a", "a/./b", "..", "a/../b", ".", "a\\b", "a\x00b", "a\nb", "a\x7fb", "a\u0085b", "\ud800", "a\u202eb",
    "e\u0301", "\ufeffa", "x" * 256, "/".join(["x" * 200] * 3), "a%2fb", "a%2E%2E", "a%5Cb", "a%00", "a\u2028b",
    "a\uffff", "a\ufdd0", "a\U0010ffff",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a6_paths_that_could_be_taken_for_another_are_refused(path: str, method: str) -> None:
    with pytest.raises(Invalid):
        ROOM.read(ask(method, path))


@pytest.mark.parametrize(
    "path", ["a", "a b", "-", "%", "100%.txt", "é", "日本/語.txt", ".hidden", "...", "a/-/b", "x" * 255]
)
def test_paths_are_taken_as_they_are(path: str) -> None:
    if path == "-":
        with pytest.raises(Invalid, match="reserved"):
            ROOM.read(ask("GET", path))
        return
    plan = ROOM.read(ask("GET", path))
    assert isinstance(plan, Serve)
    assert (plan.package, plan.file) == (path, path.split("/")[-1])
    assert any("sandbox" in value for name, value in plan.headers if name == "Content-Security-Policy")


def test_verbs() -> None:
    assert ROOM.right(ask("GET", "x")) == ROOM.right(ask("HEAD", "x")) == ROOM.right(ask("OPTIONS", "x")) == "read"
    assert ROOM.right(ask("PUT", "x")) == ROOM.right(ask("HEAD", "-/uploads/abc")) == "write"
    for method in ("PATCH", "POST", "MKCOL"):
        with pytest.raises(MethodRefused):
            ROOM.read(ask(method, "x"))
    for method in ("PUT", "DELETE"):
        with pytest.raises(MethodRefused):
            ROOM.read(ask(method, "x/"))
    options = ROOM.read(ask("OPTIONS", "x"))
    assert isinstance(options, Reply)
    assert dict(options.headers)["Accept-Patch"] == "application/partial-upload"


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("a.txt", "", "text/plain"),
        ("a.TAR", "application/x-www-form-urlencoded", "application/x-tar"),
        ("a.zip", "application/octet-stream", "application/zip"),
        ("a", "text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        ("a.json", "text/x\r\nSet-Cookie: a", "application/json"),
        ("a", "nonsense", "application/octet-stream"),
        ("txt", "", "application/octet-stream"),
        ("a.json", "multipart/form-data; boundary=x", "application/json"),
    ],
)
def test_media_types(name: str, sent: str, kept: str) -> None:
    assert media_of(name, sent) == kept


# ---------------------------------------------------------------- listings


def tree(*paths: str) -> MemoryView:
    view = MemoryView()
    for path in paths:
        file = File(path.rpartition("/")[2], "", hashlib.sha256(path.encode()).digest(), len(path), "text/plain", 1)
        view.apply([PutPackage("generic", Package(path, 1)), PutFile("generic", path, file)])
    return view


def listed(view: MemoryView, path: str, accept: str = "application/json", **query: str) -> Any:
    show = ROOM.read(ask("GET", path, tuple(query.items()), accept=accept))
    assert isinstance(show, Show)
    return json.loads(ROOM.render(show, view, BASE).body)


def test_listing_as_json() -> None:
    view = tree("a", "b/c", "b/d/e", "b-x", "b0", "z")
    top = listed(view, "")
    assert [one["name"] for one in top["directories"]] == ["b"]
    assert [one["name"] for one in top["files"]] == ["a", "b-x", "b0", "z"]
    assert top["next"] is None
    inner = listed(view, "b/")
    assert [one["name"] for one in inner["directories"]] == ["d"]
    assert inner["files"] == [
        {
            "name": "c",
            "size": 3,
            "modified": "1970-01-01T00:00:00Z",
            "sha256": hashlib.sha256(b"b/c").hexdigest(),
            "media": "text/plain",
        }
    ]
    assert listed(MemoryView(), "")["files"] == []
    with pytest.raises(Absent):
        listed(view, "nothing/")


SEGMENTS = st.sampled_from(["a", "a-b", "a.b", "a0", "b", "é", "\U0001f600", "A", "~"])


@given(
    names=st.sets(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), max_size=30),
    limit=st.integers(1, 5),
)
def test_pages_put_together_are_the_directory(names: set[str], limit: int) -> None:
    files = {name for name in names if not any(other.startswith(name + "/") for other in names)}
    view = tree(*sorted(files))
    found: list[tuple[str, str]] = []
    after = ""
    while True:
        page = pages.gather(Listing("", limit, after), view)
        assert len(page.directories) + len(page.files) <= limit
        found += [("directory", one.name) for one in page.directories] + [("file", one.name) for one in page.files]
        if page.next is None:
            break
        after = page.next
    wanted = {("directory" if "/" in name else "file", name.split("/")[0]) for name in files}
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_a_page_reads_no_more_than_it_shows() -> None:
    read: list[str] = []

    class Counting(MemoryView):
        def packages(self, prefix: str = "", after: str = "") -> Any:
            for package in super().packages(prefix, after):
                read.append(package.name)
                yield package

    view = Counting()
    view.apply([PutPackage("generic", Package(f"deep/{n:04}/x")) for n in range(500)])
    view.apply([PutPackage("generic", Package(f"file{n:04}")) for n in range(500)])
    pages.gather(Listing("", 10), view)
    assert len(read) <= 12


def test_d10_names_in_a_page_are_inert() -> None:
    hostile = ['"><script>alert(1)</script>', "javascript:alert(1)", "a&lt;b", "'onclick='x", "?q#f", "<!--"]
    show = ROOM.read(ask("GET", ""))
    assert isinstance(show, Show)
    body = ROOM.render(show, tree(*hostile, *(f"<d>{n}/x" for n in range(3))), BASE).body.decode()
    assert "<script" not in body
    assert "<!--" not in body
    assert "<d>" not in body
    links = re.findall(r'href="([^"]*)"', body)
    assert len(links) == 9  # "</script>" holds a slash, so its name begins as a directory
    assert all(re.fullmatch(r"\./[A-Za-z0-9%._~-]+/?", link) for link in links)
    assert dict(show.headers)["Content-Security-Policy"] == "default-src 'none'"
    assert dict(show.headers)["X-Content-Type-Options"] == "nosniff"


def test_html_of_a_long_directory_links_to_its_next_page() -> None:
    view = tree(*(f"d/{n}&" for n in range(5)))
    show = ROOM.read(ask("GET", "d/", (("limit", "2"),)))
    assert isinstance(show, Show)
    assert not show.keep
    document = ROOM.render(show, view, BASE)
    assert b'href="?after=1%26&amp;limit=2"' in document.body
    assert dict(document.headers)["Link"] == '<?after=1%26&limit=2>; rel="next"'
    assert b'href="../"' in document.body
    assert [one["name"] for one in listed(view, "d/", limit="2", after="1&")["files"]] == ["2&", "3&"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/json, */*", "application/json"),
        ("text/html;q=0.5, application/json;q=0.9", "application/json"),
    ],
)
def test_listing_is_negotiated(accept: str, media: str) -> None:
    show = ROOM.read(ask("GET", "", accept=accept))
    assert isinstance(show, Show)
    assert show.media.startswith(media)
    assert show.vary


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "x"}, {"limit": "10001"}, {"after": "a/b"}, {"after": "é" * 300}]
)
def test_listing_arguments_are_checked(query: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        ROOM.read(ask("GET", "", tuple(query.items())))


# ---------------------------------------------------------------- resumable uploads


def test_upload_in_parts() -> None:
    body = b"one and two"
    checksum = hashlib.sha512(body).hexdigest()
    for method, path in (("PUT", "a/x.txt"), ("POST", "a/x.txt"), ("POST", "-/uploads/a/x.txt")):
        start = ROOM.read(ask(method, path, upload_complete="?0", upload_length="11", x_checksum_sha512=checksum))
        assert isinstance(start, Resume)
        assert (start.step, start.length, start.digests, start.session) == ("start", 11, ("sha512",), "")
        part = ask(
            "PATCH",
            "-/uploads/s-1_A",
            upload_complete="?1",
            upload_offset="4",
            content_type="application/partial-upload",
            upload_draft_interop_version="8",
        )
        end = ROOM.read(part)
        assert end == Resume("append", session="s-1_A", offset=4, finish=True)
        assert ROOM.unpack(part, Received({}, "", -1, blob(body), "", start.context)) == Finds(context=start.context)
        finds = Finds(blobs={"file": blob(body, start.digests)}, context=start.context)
        decision = ROOM.decide(part, finds, view := MemoryView())
        view.apply(decision)
        assert decision.reply.status == 201
        assert ("Upload-Complete", "?1") in decision.reply.headers
        kept = view.file("a/x.txt", "x.txt")
        assert kept is not None
        assert (kept.media, kept.size) == ("text/plain", 11)


def test_upload_steps_and_their_answers() -> None:
    request = ask("HEAD", "-/uploads/abc")
    state = ROOM.read(request)
    assert state == Resume("state", session="abc")
    assert ROOM.read(ask("DELETE", "-/uploads/abc")) == Resume("cancel", session="abc")
    at = Progress("abc", 7, length=20, bytes_max=1000, seconds_left=60)
    told = {
        step: ROOM.progress(request, Resume(step, session="abc", offset=3), at)  # type: ignore[attr-defined]
        for step in ("start", "state", "append", "cancel")
    }
    assert {step: reply.status for step, reply in told.items()} == {
        "start": 201, "state": 204, "append": 204, "cancel": 204,
    }  # fmt: skip
    assert dict(told["start"].headers)["Location"] == BASE + "/-/uploads/abc"
    assert dict(told["state"].headers) == {
        "Upload-Offset": "7",
        "Upload-Complete": "?0",
        "Upload-Length": "20",
        "Upload-Limit": "max-size=1000, max-age=60",
        "Cache-Control": "no-store",
    }
    refused = ROOM.progress(request, Resume("append", session="abc", offset=3), Progress("abc", 7, refused=True))  # type: ignore[attr-defined]
    assert refused.status == 409
    assert dict(refused.headers)["Upload-Offset"] == "7"
    assert json.loads(refused.body)["expected-offset"] == 7


@pytest.mark.parametrize(
    ("method", "path", "headers", "problem"),
    [
        ("PATCH", "-/uploads/abc", {"upload_complete": "?1", "upload_offset": "0"}, Unsupported),
        ("PATCH", "-/uploads/abc", {"upload_complete": "?1", "content_type": "application/partial-upload"}, Invalid),
        ("PATCH", "-/uploads/abc", {"upload_offset": "-1", "content_type": "application/partial-upload"}, Invalid),
        ("PATCH", "-/uploads/a/c", {}, Unsupported),
        ("HEAD", "-/uploads/a/c", {}, Invalid),
        ("HEAD", "-/uploads/" + "a" * 200, {}, Invalid),
        ("POST", "-/uploads/x", {}, Invalid),
        ("POST", "-/uploads/-/x", {"upload_complete": "?0"}, Invalid),
        ("POST", "-/uploads/", {"upload_complete": "?0"}, Invalid),
        ("PUT", "-/uploads/x", {}, MethodRefused),
        ("GET", "-/other", {}, Invalid),
        ("PUT", "x", {"upload_complete": "true"}, Invalid),
        ("PUT", "x", {"upload_incomplete": "?1"}, Unsupported),
        ("PUT", "x", {"upload_complete": "?0", "upload_draft_interop_version": "3"}, Unsupported),
    ],
)
def test_uploads_that_could_be_misunderstood_are_refused(
    method: str, path: str, headers: dict[str, str], problem: type[Exception]
) -> None:
    with pytest.raises((problem, Invalid) if path.endswith("a/c") else problem):
        ROOM.read(ask(method, path, **headers))


def test_a_whole_upload_needs_no_session() -> None:
    plan = ROOM.read(ask("PUT", "x", upload_complete="?1", upload_draft_interop_version="8"))
    assert isinstance(plan, Accept)


def test_a_part_has_no_content_digest_of_the_whole() -> None:
    plan = ROOM.read(ask("PUT", "x", upload_complete="?0", content_digest="sha-512=" + sf(b"x" * 64)))
    assert isinstance(plan, Resume)
    assert plan.digests == ()


# ---------------------------------------------------------------- refusals


def test_refusals_speak_text_and_json() -> None:
    problem = Conflict("There is a file.", "Delete it.")
    plain = ROOM.refuse(ask("PUT", "x"), problem)
    assert (plain.status, plain.body) == (409, b"There is a file. Delete it.\n")
    spoken = ROOM.refuse(ask("PUT", "x", accept="application/json"), problem)
    assert json.loads(spoken.body) == problem.document()
    assert "WWW-Authenticate" in dict(ROOM.refuse(ask("PUT", "x"), Unauthenticated("Who?")).headers)
    assert "PUT" in dict(ROOM.refuse(ask("PATCH", "x"), MethodRefused("No.")).headers)["Allow"]
    assert dict(ROOM.refuse(ask("PUT", "x"), TooMany("Slow.", retry_after_s=7)).headers)["Retry-After"] == "7"
    assert ROOM.refuse(ask("GET", "x"), RangeRefused("Beyond.")).status == 416


def test_there_is_no_upstream() -> None:
    assert ROOM.upstream(ABOUT, about("x")) is None
    with pytest.raises(Unsupported):
        ROOM.learn("x", b"", "")


@given(st.text(max_size=40))
def test_c15_every_name_is_its_own_or_refused(path: str) -> None:
    try:
        name = wire.file_path(path)
    except Invalid:
        return
    assert name == path
