"""Which request heads must get which answer, and leave their connection in which state, on every path there is?

One table for all doors: the loop alone (tests/unit/test_delivery_shapes.py) and a running origin, edge, relay and TLS
port (tests/native/test_head_shapes.py). `{line}` in a head is METHOD PATH of the path under test.
"""

from typing import NamedTuple

CRLF = "\r\n"
OWN = 0
"""In place of a status: the head is good, and the path under test gives its own answer."""


class Shape(NamedTuple):
    """A head with its body. `state` is what becomes of the connection behind the answer: kept, or closed in good order.

    `state_reading` is that of a path that reads the whole body (an upload, the management application), "" = the same.
    """

    name: str
    head: str
    body: bytes = b""
    status: int = OWN
    state: str = "kept"
    state_reading: str = ""


def head(*lines: str, line: str = "{line} HTTP/1.1", host: str | None = "a") -> str:
    fields = ([f"Host: {host}"] if host is not None else []) + list(lines)
    return CRLF.join((line, *fields, "", ""))


def refused(name: str, text: str, body: bytes = b"", status: int = 400) -> Shape:
    return Shape(name, text, body, status, "closed")


CL5, CHUNKED = "Content-Length: 5", "Transfer-Encoding: chunked"
HELLO, LAST = b"hello", b"0\r\n\r\n"
SMUGGLED = b"GET /smuggled-within HTTP/1.1\r\nHost: a\r\n\r\n"
FIELD = "{line} HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n"

SHAPES: tuple[Shape, ...] = (
    Shape("plain", head()),
    refused("a1 length and chunked", head(CL5, CHUNKED), HELLO),
    refused("a1 chunked and length", head(CHUNKED, CL5), LAST),
    refused("a1 chunked and length zero", head(CHUNKED, "Content-Length: 0"), LAST),
    refused("a1 length twice, equal", head(CL5, CL5), HELLO),
    refused("a1 length twice, unlike", head(CL5, "Content-Length: 6"), HELLO),
    refused("a1 length as a list", head("Content-Length: 5, 5"), HELLO),
    refused("a1 length with a plus", head("Content-Length: +5"), HELLO),
    refused("a1 length negative", head("Content-Length: -5"), HELLO),
    refused("a1 length in hex", head("Content-Length: 0x5"), HELLO),
    refused("a1 length empty", head("Content-Length: ")),
    refused("a1 length with an underscore", head("Content-Length: 1_0")),
    refused("a1 length of other digits", head("Content-Length: \xb2")),
    refused("a1 length with a blank within", head("Content-Length: 5 5"), HELLO),
    refused("a1 length under a name with an underscore and a blank", head("Content-Length : 5"), HELLO),
    refused("a1 1.0 and chunked", head(CHUNKED, line="{line} HTTP/1.0"), LAST),
    refused("a1 coding twice", head(CHUNKED, CHUNKED), LAST),
    refused("a1 gzip, chunked", head("Transfer-Encoding: gzip, chunked"), LAST, 501),
    refused("a1 chunked, chunked", head("Transfer-Encoding: chunked, chunked"), LAST, 501),
    refused("a1 xchunked", head("Transfer-Encoding: xchunked"), LAST, 501),
    refused("a1 chunked with a parameter", head("Transfer-Encoding: chunked;a=b"), LAST, 501),
    refused("a1 identity", head("Transfer-Encoding: identity"), b"", 501),
    refused("a1 empty coding", head("Transfer-Encoding: "), LAST, 501),
    refused("a1 VT before chunked", head("Transfer-Encoding: \x0bchunked"), LAST),
    refused("a1 space before colon", head("Transfer-Encoding : chunked"), LAST),
    refused("a1 NUL in the name", head("Transfer-Encoding\0: chunked"), LAST),
    Shape("a1 tab before chunked", head("Transfer-Encoding:\tchunked"), LAST, OWN, "closed", "kept"),
    Shape("a1 zero length", head("Content-Length: 0")),
    refused("a2 bare LF", "{line} HTTP/1.1\nHost: a\n\n"),
    refused("a2 one bare LF", "{line} HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    refused("a2 bare LF at the end", "{line} HTTP/1.1\r\nHost: a\r\n\n"),
    refused("a2 bare CR", head("X: a\rb")),
    refused("a2 obs-fold", head("X: a", " b")),
    refused("a2 obs-fold of a framing", head("Transfer-Encoding:", " chunked"), LAST),
    refused("a2 space before the first field", "{line} HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused("a2 empty line first", "\r\n" + head()),
    refused("a2 HTTP/9.9", head(line="{line} HTTP/9.9"), b"", 505),
    refused("a2 HTTP/1.2", head(line="{line} HTTP/1.2"), b"", 505),
    refused("a2 HTTP/2.0", head(line="{line} HTTP/2.0"), b"", 505),
    refused("a2 HTTP/1.10", head(line="{line} HTTP/1.10")),
    refused("a2 HTTP/0.9", "{line}\r\n\r\n"),
    refused("a2 lower-case version", head(line="{line} http/1.1")),
    refused("a2 lower-case method", head(line="get /x HTTP/1.1")),
    refused("a2 unknown method", head(line="FROB /x HTTP/1.1"), b"", 501),
    refused("a2 two spaces", head(line="GET  /x HTTP/1.1")),
    refused("a2 tab", head(line="GET\t/x HTTP/1.1")),
    refused("a2 space at the end", head(line="{line} HTTP/1.1 ")),
    refused("a2 NUL in a field", head("X: a\0b")),
    refused("a2 DEL in a field", head("X: a\x7fb")),
    refused("a2 field without a name", head(": x")),
    refused("a2 field without a colon", head("X")),
    refused("a2 name with a bracket", head("X(y): z")),
    refused("a2 name not ASCII", head("X\xe9: z")),
    refused("a2 no host", head(host=None)),
    refused("a2 two hosts", head("Host: a")),
    refused("a2 host empty", head(host="")),
    refused("a2 host with user", head(host="e@x")),
    refused("a2 host with a path", head(host="x/../y")),
    refused("a2 host with a blank", head(host="x y")),
    refused("a2 host with a quote", head(host='x"y')),
    refused("a2 host as a list", head(host="x, y")),
    refused("a2 host of a long port", head(host="x:123456")),
    refused("a2 absolute form of another host", head(line="GET http://b/x HTTP/1.1")),
    refused("a2 absolute form with user", head(line="GET http://u@a/x HTTP/1.1")),
    refused("a2 absolute form of another scheme", head(line="GET ftp://a/x HTTP/1.1")),
    refused("a2 asterisk", head(line="GET * HTTP/1.1")),
    refused("a2 authority form", head(line="GET a:80 HTTP/1.1")),
    refused("a2 two credentials", head("Authorization: Bearer x", "Authorization: Bearer y")),
    refused("a2 two ranges", head("Range: bytes=0-1", "Range: bytes=2-3")),
    refused("a2 expect something else", head(CL5, "Expect: x"), HELLO, 417),
    refused("a2 expect twice", head(CL5, "Expect: 100-continue", "Expect: 100-continue"), HELLO),
    Shape("a3 upgrade to h2c", head("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")),
    Shape("a3 upgrade to foo", head("Connection: Upgrade", "Upgrade: foo")),
    Shape("a3 upgrade to a socket", head("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")),
    refused("a3 preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", 505),
    refused("a3 connect", head(line="CONNECT a:80 HTTP/1.1"), b"", 405),
    refused("a3 trace", head(line="TRACE /x HTTP/1.1"), b"", 405),
    Shape("a4 with a body", head(CL5), HELLO),
    Shape("a4 with chunks", head(CHUNKED), b"5\r\nhello\r\n0\r\n\r\n", OWN, "closed", "kept"),
    Shape("a4 with a body that is a request", head(f"Content-Length: {len(SMUGGLED)}"), SMUGGLED),
    Shape("a4 with a body too large to drain", head("Content-Length: 70000"), b"x" * 70_000, OWN, "closed", "kept"),
    refused("a6 dot segments", head(line="GET /x/../y HTTP/1.1")),
    refused("a6 escaped dot segments", head(line="GET /x/%2e%2E/y HTTP/1.1")),
    refused("a6 hidden dot segments", head(line="GET /x%2f..%2f../y HTTP/1.1")),
    refused("a6 leading escaped slashes", head(line="GET /%2F%2F..%2Fetc HTTP/1.1")),
    refused("a6 empty segment", head(line="GET //x HTTP/1.1")),
    refused("a6 escaped backslash", head(line="GET /a%5cb HTTP/1.1")),
    refused("a6 backslash", head(line="GET /a\\b HTTP/1.1")),
    refused("a6 escaped twice", head(line="GET /a%252fb HTTP/1.1")),
    refused("a6 NUL", head(line="GET /a%00b HTTP/1.1")),
    refused("a6 not UTF-8", head(line="GET /%ff HTTP/1.1")),
    refused("a6 overlong", head(line="GET /%c0%ae%c0%ae/x HTTP/1.1")),
    refused("a6 broken escape", head(line="GET /%2 HTTP/1.1")),
    refused("a6 fragment", head(line="GET /x#x HTTP/1.1")),
    refused("a6 control in the query", head(line="GET /x?a=%00 HTTP/1.1")),
    refused("a6 raw UTF-8", head(line="GET /\xc3\xa9 HTTP/1.1")),
    refused("a7 many fields", head(*(f"X{n}: y" for n in range(101))), b"", 431),
    refused("a7 large field", head("X: " + "y" * 17_000), b"", 431),
    refused("a7 long target", head(line="GET /x?" + "q" * 9_000 + " HTTP/1.1"), b"", 414),
    refused("a7 endless target", "GET /" + "q" * 20_000, b"", 414),
    refused("a7 many arguments", head(line="GET /x?" + "&".join(["a=b"] * 201) + " HTTP/1.1")),
    refused("a11 length beyond 63 bits", head("Content-Length: 9223372036854775808"), b"", 413),
    refused("a11 length beyond all", head("Content-Length: " + "9" * 400), b"", 413),
    Shape("1.0 closes", head(line="{line} HTTP/1.0", host=None), b"", OWN, "closed"),
    Shape("1.0 kept", head("Connection: keep-alive", line="{line} HTTP/1.0")),
    Shape("close", head("Connection: close"), b"", OWN, "closed"),
    Shape("close in a list", head("Connection: x, Close"), b"", OWN, "closed"),
    Shape("keep-alive", head("Connection: keep-alive")),
    Shape("connection names a header", head("Connection: authorization-x", "Authorization-X: y")),
)  # fmt: skip

# What only a path that reads bodies tells apart. The state may also be "reset": the client itself broke off.
BODIES: tuple[Shape, ...] = (
    Shape("a4 chunks", head(CHUNKED), b"5\r\nhello\r\n0\r\n\r\n"),
    Shape("a4 chunks with an extension", head(CHUNKED), b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    Shape("a4 chunks with a trailer", head(CHUNKED), b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    Shape("a4 expected", head(CL5, "Expect: 100-continue"), HELLO),
    refused("a11 chunk size that is none", head(CHUNKED), b"zz\r\nhello\r\n0\r\n\r\n"),
    refused("a11 chunk size negative", head(CHUNKED), b"-5\r\nhello\r\n0\r\n\r\n"),
    refused("a11 chunk size with a plus", head(CHUNKED), b"+5\r\nhello\r\n0\r\n\r\n"),
    refused("a11 chunk size in 0x", head(CHUNKED), b"0x5\r\nhello\r\n0\r\n\r\n"),
    refused("a11 chunk size of 17 digits", head(CHUNKED), b"f" * 17 + b"\r\nhello"),
    refused("a11 chunk of another length", head(CHUNKED), b"3\r\nhello\r\n0\r\n\r\n"),
    refused("a11 chunk with bare LF", head(CHUNKED), b"5\nhello\n0\n\n"),
    refused("a11 chunk extension without end", head(CHUNKED), b"5;" + b"x" * 9_000 + b"\r\nhello\r\n0\r\n\r\n"),
    refused("a11 trailer without a colon", head(CHUNKED), b"5\r\nhello\r\n0\r\nx\r\n\r\n"),
    refused("a11 trailer without end", head(CHUNKED), b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 2_000 + b"\r\n"),
)  # fmt: skip
