"""Is every shape of head answered as declared, in the declared state of the socket, on both ways through the loop?

Each shape is sent with another request pipelined right behind it. Where the connection is declared closed, that request
must never have been seen by anyone; where it is kept, it must be answered in its turn.
"""

from pathlib import Path

import pytest
import trio

from tests.harness.loops import started

CRLF = "\r\n"
BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: str, line: str = "GET {path} HTTP/1.1", host: str | None = "a") -> str:
    fields = ([f"Host: {host}"] if host is not None else []) + list(lines)
    return CRLF.join((line, *fields, "", ""))


CL5, CHUNKED = "Content-Length: 5", "Transfer-Encoding: chunked"
PUT = "PUT {path} HTTP/1.1"

# (name, head, body, status, kept)
SHAPES: list[tuple[str, str, bytes, int, bool]] = [
    ("plain", head(), b"", 200, True),
    ("a1 length and chunked", head(CL5, CHUNKED), b"hello", 400, False),
    ("a1 chunked and length", head(CHUNKED, CL5), b"0\r\n\r\n", 400, False),
    ("a1 length twice, equal", head(CL5, CL5), b"hello", 400, False),
    ("a1 length twice, unlike", head(CL5, "Content-Length: 6"), b"hello", 400, False),
    ("a1 length as a list", head("Content-Length: 5, 5"), b"hello", 400, False),
    ("a1 length with a plus", head("Content-Length: +5"), b"hello", 400, False),
    ("a1 length negative", head("Content-Length: -5"), b"hello", 400, False),
    ("a1 length in hex", head("Content-Length: 0x5"), b"hello", 400, False),
    ("a1 length empty", head("Content-Length: "), b"", 400, False),
    ("a1 length with an underscore", head("Content-Length: 1_0"), b"", 400, False),
    ("a1 1.0 and chunked", head(CHUNKED, line="GET {path} HTTP/1.0"), b"0\r\n\r\n", 400, False),
    ("a1 coding twice", head(CHUNKED, CHUNKED), b"0\r\n\r\n", 400, False),
    ("a1 gzip, chunked", head("Transfer-Encoding: gzip, chunked"), b"0\r\n\r\n", 501, False),
    ("a1 xchunked", head("Transfer-Encoding: xchunked"), b"0\r\n\r\n", 501, False),
    ("a1 identity", head("Transfer-Encoding: identity"), b"", 501, False),
    ("a1 VT before chunked", head("Transfer-Encoding: \x0bchunked"), b"0\r\n\r\n", 400, False),
    ("a1 space before colon", head("Transfer-Encoding : chunked"), b"0\r\n\r\n", 400, False),
    ("a1 zero length", head("Content-Length: 0"), b"", 200, True),
    ("a2 bare LF", "GET {path} HTTP/1.1\nHost: a\n\n", b"", 400, False),
    ("a2 one bare LF", "GET {path} HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", b"", 400, False),
    ("a2 bare CR", head("X: a\rb"), b"", 400, False),
    ("a2 obs-fold", head("X: a", " b"), b"", 400, False),
    ("a2 space before the first field", "GET {path} HTTP/1.1\r\n Host: a\r\n\r\n", b"", 400, False),
    ("a2 empty line first", "\r\n" + head(), b"", 400, False),
    ("a2 HTTP/9.9", head(line="GET {path} HTTP/9.9"), b"", 505, False),
    ("a2 HTTP/1.2", head(line="GET {path} HTTP/1.2"), b"", 505, False),
    ("a2 HTTP/2.0", head(line="GET {path} HTTP/2.0"), b"", 505, False),
    ("a2 HTTP/0.9", "GET {path}\r\n\r\n", b"", 400, False),
    ("a2 lower-case version", head(line="GET {path} http/1.1"), b"", 400, False),
    ("a2 lower-case method", head(line="get {path} HTTP/1.1"), b"", 400, False),
    ("a2 unknown method", head(line="FROB {path} HTTP/1.1"), b"", 501, False),
    ("a2 two spaces", head(line="GET  {path} HTTP/1.1"), b"", 400, False),
    ("a2 tab", head(line="GET\t{path} HTTP/1.1"), b"", 400, False),
    ("a2 space at the end", head(line="GET {path} HTTP/1.1 "), b"", 400, False),
    ("a2 NUL in a field", head("X: a\0b"), b"", 400, False),
    ("a2 field without a name", head(": x"), b"", 400, False),
    ("a2 field without a colon", head("X"), b"", 400, False),
    ("a2 no host", head(host=None), b"", 400, False),
    ("a2 two hosts", head("Host: a"), b"", 400, False),
    ("a2 host with user", head(host="e@x"), b"", 400, False),
    ("a2 host with a path", head(host="x/../y"), b"", 400, False),
    ("a2 host with a blank", head(host="x y"), b"", 400, False),
    ("a2 absolute form of another host", head(line="GET http://b{path} HTTP/1.1"), b"", 400, False),
    ("a2 absolute form with user", head(line="GET http://u@a{path} HTTP/1.1"), b"", 400, False),
    ("a2 absolute form of another scheme", head(line="GET ftp://a{path} HTTP/1.1"), b"", 400, False),
    ("a2 absolute form", head(line="GET http://a{path} HTTP/1.1"), b"", 200, True),
    ("a2 asterisk", head(line="GET * HTTP/1.1"), b"", 400, False),
    ("a2 expect something else", head(CL5, "Expect: x", line=PUT), b"hello", 417, False),
    ("a2 expect twice", head(CL5, "Expect: 100-continue", "Expect: 100-continue", line=PUT), b"hello", 400, False),
    ("a3 upgrade to h2c", head("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), b"", 200, True),
    ("a3 upgrade to foo", head("Connection: Upgrade", "Upgrade: foo"), b"", 200, True),
    ("a3 preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", 505, False),
    ("a3 connect", head(line="CONNECT a:80 HTTP/1.1"), b"", 405, False),
    ("a3 trace", head(line="TRACE {path} HTTP/1.1"), b"", 405, False),
    ("a4 GET with a body", head(CL5), b"hello", 200, True),
    ("a4 GET with chunks", head(CHUNKED), b"5\r\nhello\r\n0\r\n\r\n", 200, False),
    ("a6 dot segments", head(line="GET /x/..{path} HTTP/1.1"), b"", 400, False),
    ("a6 escaped dot segments", head(line="GET /x/%2e%2E{path} HTTP/1.1"), b"", 400, False),
    ("a6 hidden dot segments", head(line="GET /x%2f..%2f..{path} HTTP/1.1"), b"", 400, False),
    ("a6 leading escaped slashes", head(line="GET /%2F%2F..%2Fetc HTTP/1.1"), b"", 400, False),
    ("a6 empty segment", head(line="GET /{path} HTTP/1.1"), b"", 400, False),
    ("a6 escaped backslash", head(line="GET /a%5cb HTTP/1.1"), b"", 400, False),
    ("a6 backslash", head(line="GET /a\\b HTTP/1.1"), b"", 400, False),
    ("a6 escaped twice", head(line="GET /a%252fb HTTP/1.1"), b"", 400, False),
    ("a6 NUL", head(line="GET /a%00b HTTP/1.1"), b"", 400, False),
    ("a6 not UTF-8", head(line="GET /%ff HTTP/1.1"), b"", 400, False),
    ("a6 overlong", head(line="GET /%c0%ae%c0%ae/x HTTP/1.1"), b"", 400, False),
    ("a6 broken escape", head(line="GET /%2 HTTP/1.1"), b"", 400, False),
    ("a6 fragment", head(line="GET {path}#x HTTP/1.1"), b"", 400, False),
    ("a6 control in the query", head(line="GET {path}?a=%00 HTTP/1.1"), b"", 400, False),
    ("a7 many fields", head(*(f"X{n}: y" for n in range(101))), b"", 431, False),
    ("a7 large field", head("X: " + "y" * 17_000), b"", 431, False),
    ("a7 long target", head(line="GET {path}?" + "q" * 9_000 + " HTTP/1.1"), b"", 414, False),
    ("a7 endless target", "GET /" + "q" * 20_000, b"", 414, False),
    ("a11 length beyond 63 bits", head("Content-Length: 9223372036854775808", line=PUT), b"", 413, False),
    ("a11 length beyond all", head("Content-Length: " + "9" * 400, line=PUT), b"", 413, False),
    ("1.0 closes", head(line="GET {path} HTTP/1.0", host=None), b"", 200, False),
    ("1.0 kept", head("Connection: keep-alive", line="GET {path} HTTP/1.0"), b"", 200, True),
    ("close", head("Connection: close"), b"", 200, False),
    ("close in a list", head("Connection: x, Close"), b"", 200, False),
]  # fmt: skip


def test_the_table_is_large_enough() -> None:
    assert len(SHAPES) >= 45
    assert len({name for name, *_ in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("path", ["/small", "/slow"], ids=["hot", "task"])
@pytest.mark.parametrize(("name", "shape", "body", "status", "kept"), SHAPES, ids=[shape[0] for shape in SHAPES])
async def test_each_shape_gets_its_answer_and_leaves_the_socket_as_declared(
    nursery: trio.Nursery, tmp_path: Path, path: str, name: str, shape: str, body: bytes, status: int, kept: bool
) -> None:
    loop = await started(nursery, tmp_path)
    for _ in range(2):  # the second time from memory, where there is one
        client = await loop.client()
        loop.fake.seen.clear()
        await client.send(shape.replace("{path}", path).encode("latin-1") + body + BEHIND)
        got = await client.response()
        assert got.status == status
        if kept:
            assert (await client.response()).status == 200
            assert loop.fake.seen.count("/smuggled") == 1
            assert got.headers.get("connection", "keep-alive") == "keep-alive"
        else:
            assert await client.rest() == b""
            assert "/smuggled" not in loop.fake.seen
            assert got.headers["connection"] == "close"
        await client.stream.aclose()


@pytest.mark.parametrize(("name", "shape", "body", "status", "kept"), SHAPES[:30], ids=[s[0] for s in SHAPES[:30]])
async def test_a_head_that_comes_byte_by_byte_is_the_same_head(
    nursery: trio.Nursery, tmp_path: Path, name: str, shape: str, body: bytes, status: int, kept: bool
) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    data = shape.replace("{path}", "/small").encode("latin-1") + body
    with trio.move_on_after(5):
        try:
            for n in range(min(len(data), 400)):
                await client.stream.send_all(data[n : n + 1])
        except trio.BrokenResourceError:
            pass  # refused before the end, as it may be
    assert (await client.response()).status == status
