"""Which JSON, numbers, texts and forms do readers disagree about? Made from a valid one, for any room."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Made = tuple[str, bytes]

DEPTH = 100_000


def json_attacks(document: Mapping[str, Any]) -> Iterator[Made]:
    """What is no such JSON object, or not only one."""
    good = json.dumps(document).encode()
    inner = good[1:-1]
    yield "json nothing", b""
    for text in ("null", "true", "0", '""', "[]", "{}", "[[]]", "-", "NaN"):
        yield f"json {text}", text.encode()
    yield "json cut", good[: len(good) // 2]
    yield "json cut at the end", good[:-1]
    yield "json twice", good + good
    yield "json trailer", good + b"x"
    yield "json comma at the end", good[:-1] + b",}"
    yield "json with a BOM", b"\xef\xbb\xbf" + good
    yield "json in UTF-16", good.decode().encode("utf-16")
    yield "json in single quotes", good.replace(b'"', b"'")
    yield "json with a comment", b"/* */" + good
    yield "json deep arrays", b"{" + inner + b',"deep":' + b"[" * DEPTH + b"]" * DEPTH + b"}"
    yield "json deep objects", b"{" + inner + b',"deep":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}"
    yield "json deep and cut", b"[" * DEPTH
    yield "json of keys that collide", b"{" + inner + b"," + inner + b"}"
    yield "json of escaped keys that collide", b"{" + inner + b',"\\u006eame":"other","\\u006eame":"third"}'
    yield "json with __proto__", b'{"__proto__":{"admin":true},' + inner + b"}"
    yield "json with an escaped __proto__", b'{"\\u005f_proto__":{"admin":true},' + inner + b"}"
    yield "json not UTF-8", b'{"a":"\xff\xfe",' + inner + b"}"
    yield "json with overlong UTF-8", b'{"a":"\xc0\xaf",' + inner + b"}"
    yield "json with a raw surrogate", b'{"a":"\xed\xa0\x80",' + inner + b"}"
    yield "json with a raw NUL", b'{"a":"\0",' + inner + b"}"
    yield "json with a raw line end", b'{"a":"\n",' + inner + b"}"
    yield "json with NaN", b'{"a":NaN,' + inner + b"}"
    yield "json with Infinity", b'{"a":-Infinity,' + inner + b"}"
    yield "json with a leading zero", b'{"a":01,' + inner + b"}"
    yield "json with a hex number", b'{"a":0x1,' + inner + b"}"
    yield "json with a bare dot", b'{"a":.5,' + inner + b"}"


def json_oddities(document: Mapping[str, Any]) -> Iterator[Made]:
    """Valid JSON that hurts weak readers: it may be taken, and must do no harm."""
    good = json.dumps(document).encode()
    inner = good[1:-1]
    yield "json with a number of 5,000 digits", b'{"a":' + b"9" * 5_000 + b"," + inner + b"}"
    yield "json with 1e400", b'{"a":1e400,' + inner + b"}"
    yield "json with -0", b'{"a":-0,"b":-0.0e-9,' + inner + b"}"
    yield "json with a lone surrogate", b'{"a":"\\ud800",' + inner + b"}"
    yield "json with an escaped NUL", b'{"a":"\\u0000",' + inner + b"}"
    yield "json with 50,000 keys", b"{" + b"".join(b'"k%d":0,' % n for n in range(50_000)) + inner + b"}"
    yield "json with a text of 4 MB", b'{"a":"' + b"x" * (4 << 20) + b'",' + inner + b"}"
    yield "json with much blank", b"{" + b" \n\t" * 500_000 + inner + b"}"


ODD_TEXTS: tuple[tuple[str, str], ...] = (
    ("empty", ""),
    ("blank", " "),
    ("NUL", "a\0b"),
    ("line end", "a\r\nSet-Cookie: b=c"),
    ("path", "../../../etc/passwd"),
    ("absolute path", "/etc/passwd"),
    ("backslash", "..\\..\\x"),
    ("escaped path", "..%2f..%2fx"),
    ("right to left", "a\u202egpj.b"),
    ("zero width", "a\u200bb"),
    ("combining", "e\u0301"),
    ("full width", "\uff0e\uff0e\uff0fx"),
    ("script", "<script>alert(1)</script>"),
    ("quote", "a\"b'c`d"),
    ("shell", "$(id);`id`|id"),
    ("long", "a" * 3_000),
    ("very long", "a" * 900_000),
    ("formula", "=1+1"),
    ("null", "null"),
    ("device", "CON"),
)
"""(name, text) of what no name, version or tag may be."""


# ---------------------------------------------------------------- forms

BOUNDARY = "x-hostile-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
_MARK = f"--{BOUNDARY}".encode()


def field_part(name: str, value: bytes) -> bytes:
    return _MARK + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"


def file_part(name: str, filename: bytes, data: bytes, more: bytes = b"") -> bytes:
    head = b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"; filename="' + filename + b'"\r\n'
    return _MARK + head + b"Content-Type: application/octet-stream\r\n" + more + b"\r\n" + data + b"\r\n"


def form(fields: Sequence[tuple[str, str]], part: str = "", filename: str = "", data: bytes = b"") -> bytes:
    """A whole form, with a file where a part is named."""
    body = b"".join(field_part(name, value.encode("utf-8", "surrogateescape")) for name, value in fields)
    if part:
        body += file_part(part, filename.encode("utf-8", "surrogateescape"), data)
    return body + _MARK + b"--\r\n"


def form_attacks(fields: Sequence[tuple[str, str]], part: str, filename: str, data: bytes) -> Iterator[Made]:
    """Forms whose framing is wrong, or that two readers take apart differently. All under BOUNDARY."""
    name = filename.encode()
    head = b"".join(field_part(key, value.encode()) for key, value in fields)
    file, end = file_part(part, name, data), _MARK + b"--\r\n"
    good = head + file + end
    yield "form nothing", b""
    yield "form end alone", end
    yield "form without its end", head + file
    yield "form cut within the file", good[: len(good) - len(end) - len(data) // 2]
    yield "form with bare line ends", good.replace(b"\r\n", b"\n", 8)
    yield "form with a preamble", b"preamble\r\n" + good
    yield "form with an epilogue", good + b"epilogue"
    yield "form twice", good + good
    yield "form with two files", head + file + file + end
    yield "form with another large file", head + file + file_part("gpg_signature", b"sig", b"x" * (2 << 20)) + end
    yield "form with padding behind the boundary", good.replace(_MARK + b"\r\n", _MARK + b"  \r\n", 1)
    yield "form with a longer boundary", good.replace(_MARK + b"\r\n", _MARK + b"x\r\n", 1)
    yield "form with a nested form", head + file_part(part, name, data, b"Content-Type: multipart/mixed\r\n") + end
    yield "form in base64", head + file_part(part, name, data, b"Content-Transfer-Encoding: base64\r\n") + end
    yield "form part without a disposition", head + _MARK + b"\r\n\r\nx\r\n" + file + end
    yield "form part without a name", head + _MARK + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + file + end
    yield (
        "form part with two names",
        (head + _MARK + b'\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n' + file + end),
    )
    yield (
        "form part with two dispositions",
        (
            head + _MARK + b'\r\nContent-Disposition: form-data; name="a"\r\n'
            b'Content-Disposition: form-data; name="b"\r\n\r\nx\r\n' + file + end
        ),
    )
    yield (
        "form part that is an attachment",
        (head + _MARK + b'\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n' + file + end),
    )
    yield (
        "form part with a folded header",
        (head + _MARK + b'\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\nx\r\n' + file + end),
    )
    yield "form part with a header of 64 KB", head + file_part(part, name, data, b"X: " + b"y" * 65_536 + b"\r\n") + end
    yield (
        "form part with many headers",
        (head + file_part(part, name, data, b"".join(b"X%d: y\r\n" % n for n in range(100))) + end),
    )
    yield (
        "form part with a NUL in its name",
        head + _MARK + (b'\r\nContent-Disposition: form-data; name="a\0"\r\n\r\nx\r\n' + file + end),
    )
    yield (
        "form part with a bad extended name",
        head
        + _MARK
        + (b"\r\nContent-Disposition: form-data; name=\"content\"; filename*=utf-8''%ff%fe\r\n\r\nx\r\n" + end),
    )
    yield "form field not UTF-8", head + field_part("summary", b"\xff\xfe") + file + end
    yield "form field of 2 MB", head + field_part("summary", b"x" * (2 << 20)) + file + end
    yield "form fields of 9 MB", head + b"".join(field_part(f"f{n}", b"x" * 900_000) for n in range(10)) + file + end
    yield "form with 2,000 parts", head + field_part("a", b"") * 2_000 + file + end
    yield "form with an empty file", head + file_part(part, name, b"") + end
    yield "form without its file", head + end
