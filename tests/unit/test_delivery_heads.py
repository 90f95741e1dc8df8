"""Does the head parser read what is right, refuse what is not, and never fail in any other way?"""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.messages.heads import Refused, complaint, parse, secret_of, split_path, split_query

GOOD = b"GET /w/r/pypi/simple/?a=1&b=%20x+y HTTP/1.1\r\nHost: example:8080\r\nX-A: 1\r\nx-a: 2\r\nAccept: */*\r\n\r\n"


def test_a_head_says_what_was_sent() -> None:
    head = parse(GOOD, peer="192.0.2.1", scheme="https")
    assert (head.method, head.raw_path, head.host) == ("GET", "/w/r/pypi/simple/", "example:8080")
    assert head.segments == ("w", "r", "pypi", "simple", "")
    assert head.query == (("a", "1"), ("b", " x y"))
    assert head.headers["x-a"] == "1, 2"
    assert (head.length, head.expect, head.keep, head.secret, head.version) == (0, False, True, None, 1)
    assert (head.peer, head.scheme) == ("192.0.2.1", "https")
    assert head.argument("b") == " x y"
    assert head.argument("c", "none") == "none"


def test_what_is_said_of_the_connection_and_the_body() -> None:
    assert parse(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n").length == (1 << 63) - 1
    assert parse(b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").length == -1
    expecting = b"PUT /x HTTP/1.%d\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    assert parse(expecting % 1).expect
    assert not parse(expecting % 0).expect
    assert not parse(b"GET / HTTP/1.0\r\n\r\n").keep
    assert parse(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep
    assert not parse(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, CLOSE\r\n\r\n").keep


def test_the_same_block_means_the_same_under_another_line() -> None:
    block = b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert parse(b"PUT / HTTP/1.1\r\n" + block).length == -1
    with pytest.raises(Refused):
        parse(b"PUT / HTTP/1.0\r\n" + block)


@pytest.mark.parametrize(
    ("field", "secret"),
    [
        (None, None),
        ("", None),
        ("Bearer ent_abc", "ent_abc"),
        ("bearer   ent_abc ", "ent_abc"),
        ("token ent_abc", "ent_abc"),
        ("Basic " + base64.b64encode(b"token:ent_abc").decode(), "ent_abc"),
        ("Basic " + base64.b64encode(b"u:a:b").decode(), "a:b"),
        ("Basic " + base64.b64encode(b"ent_abc:").decode(), "ent_abc"),
        ("Basic " + base64.b64encode(b"nocolon").decode(), base64.b64encode(b"nocolon").decode()),
        ("Basic %%%", "%%%"),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), base64.b64encode(b"\xff:\xff").decode()),
        ("ent_abc", "ent_abc"),
        ("Digest x=y", "Digest x=y"),
    ],
)
def test_the_credential_is_found_and_one_that_cannot_be_read_is_never_no_credential(
    field: str | None, secret: str | None
) -> None:
    assert secret_of(field) == secret


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("",)),
        ("/a", ("a",)),
        ("/a/", ("a", "")),
        ("/a%20b/%C3%A9", ("a b", "é")),
        ("/@scope%2fname", ("@scope/name",)),
        ("/a/...", ("a", "...")),
        ("/a/.b./c", ("a", ".b.", "c")),
        ("/!alpha/1+2:3", ("!alpha", "1+2:3")),
    ],
)
def test_a6_paths_are_decoded_once(path: str, segments: tuple[str, ...]) -> None:
    assert split_path(path) == segments


@given(st.text("/.%25fFcCeE\\0abABé", max_size=20))
def test_a6_no_accepted_path_can_leave_its_place_even_if_it_were_decoded_again(rest: str) -> None:
    try:
        head = parse(f"GET /{rest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    except Refused:
        return
    for segment in head.segments:
        assert not {".", ".."} & set(segment.split("/"))
        assert "\\" not in segment
        assert "\0" not in segment
        assert not any(code in segment.lower() for code in ("%2e", "%2f", "%5c", "%00"))


def test_the_query_is_decoded_once_and_bounded() -> None:
    assert split_query("a&b=&=c&a=%2526") == (("a", ""), ("b", ""), ("", "c"), ("a", "%26"))
    with pytest.raises(Refused):
        split_query("&".join(["a=1"] * 201))
    with pytest.raises(Refused):
        split_query("a=%f")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHo", None),
        (b"GET / HTTP/1.1\r", None),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET /\rx", 400),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
    ],
)
def test_a_head_that_can_never_become_right_is_refused_before_it_is_whole(data: bytes, status: int | None) -> None:
    found = complaint(data, 0, 16 << 10)
    assert (found.status if found else None) == status


PIECES = st.sampled_from(
    [b"GET", b"PUT", b"CONNECT", b" ", b"/", b"/small", b"http://a/", b"*", b"%2f", b"?a=b", b" HTTP/1.1", b" HTTP/1.0",
     b" HTTP/9.9", b"\r\n", b"\n", b"\r", b"Host: a\r\n", b"Host: a:b\r\n", b"Content-Length: 5\r\n",
     b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x, chunked\r\n",
     b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Authorization: Basic =\r\n",
     b" fold\r\n",
     b"X:\t\r\n", b"\0", b"\x80\xff", b":", b"Range: bytes=0-\r\n"]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=6), max_size=14))
def test_a2_no_bytes_make_the_parser_fail(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    complaint(data, 0, 16 << 10)
    data = data.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = parse(data)
    except Refused:
        pass
    else:
        assert head.version == 0 or head.host
        assert not ("content-length" in head.headers and "transfer-encoding" in head.headers)
        assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")


def test_a_refusal_repeats_nothing_of_the_client() -> None:
    with pytest.raises(Refused) as caught:
        parse(b"GET /<script>ent_secret HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "secret" not in caught.value.reason
    assert "secret" not in repr(parse(b"GET /ent_secret HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\n\r\n"))
