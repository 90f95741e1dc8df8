"""Which XML do readers disagree about, or not survive? Made from a valid document, for any room."""

from collections.abc import Iterator

Made = tuple[str, bytes]

DEPTH = 100_000
MANY = 300_000
_LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


def xml_attacks(document: bytes, root: str) -> Iterator[Made]:
    """What is no XML, not only that, or has a document type. `document` has the root element `root`, no declaration."""
    begin, end = b"<" + root.encode(), b"</" + root.encode() + b">"
    inner = document.removesuffix(end)
    assert document.startswith(begin)
    assert inner != document
    for name, raw in (
        ("nothing", b""), ("blanks", b" \n"), ("text", b"hello"), ("JSON", b'{"a": 1}'), ("zeros", b"\0" * 300),
        ("HTML", b"<!DOCTYPE html><html><body>not found</body></html>"), ("another root", b"<other/>"),
        ("an archive", b"PK\3\4" + b"\0" * 40), ("gzip", b"\x1f\x8b\x08\0" + b"\0" * 40), ("one bracket", b"<"),
    ):  # fmt: skip
        yield f"xml is {name}", raw
    yield "xml cut", document[: len(document) // 2]
    yield "xml cut at the end", document[:-1]
    yield "xml twice", document + document
    yield "xml with a trailer", document + b"more"
    yield "xml with text ahead", b"more" + document
    yield "xml with a late declaration", b'\n<?xml version="1.0"?>' + document
    yield "xml of version 9", b'<?xml version="9.0" nonsense?>' + document
    yield from _types(document, inner + b"&l9;" + end, inner + b"&x;" + end)
    yield from _signs(inner, end)
    yield from _encodings(document)
    yield "xml deep", inner + b"<a>" * DEPTH + b"</a>" * DEPTH + end
    yield "xml deep and cut", inner + b"<a>" * DEPTH
    yield "xml of many elements", inner + b"<a/>" * MANY + end
    yield "xml with a name of 1 MB, unclosed", inner + b"<" + b"a" * (1 << 20) + end


def _types(document: bytes, laughing: bytes, referring: bytes) -> Iterator[Made]:
    """Document types, which none of our clients sends."""
    for name, kind, body in (
        ("a billion laughs", f'[<!ENTITY l0 "ha">{_LAUGHS}]', laughing),
        ("a quadratic entity", f'[<!ENTITY x "{"a" * 50_000}">]', referring.replace(b"&x;", b"&x;" * 5_000)),
        ("an entity that names itself", '[<!ENTITY x "&x;">]', referring),
        ("a file as an entity", '[<!ENTITY x SYSTEM "file:///etc/passwd">]', referring),
        ("an address as an entity", '[<!ENTITY x SYSTEM "http://127.0.0.1:9/">]', referring),
        ("a parameter entity", '[<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;]', document),
        ("a type elsewhere", 'SYSTEM "http://127.0.0.1:9/x.dtd"', document),
        ("a public type", 'PUBLIC "-//x//y" "http://127.0.0.1:9/x.dtd"', document),
        ("an empty type", "[]", document),
        ("defaults of attributes", '[<!ATTLIST a b CDATA "c">]', document),
        ("a notation", '[<!NOTATION n SYSTEM "cat">]', document),
    ):
        yield f"xml with {name}", f"<!DOCTYPE r {kind}>".encode() + body
    laughs = f'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE r [<!ENTITY l0 "ha">{_LAUGHS}]>'
    yield "xml with a billion laughs in UTF-16", (laughs + laughing.decode()).encode("utf-16")
    yield "xml with an unknown entity", referring
    yield "xml with an entity of HTML", referring.replace(b"&x;", b"&nbsp;")


def _signs(inner: bytes, end: bytes) -> Iterator[Made]:
    for name, raw in (
        ("a NUL", b"\0"), ("an escape", b"\x1b[31m"), ("a reference to NUL", b"&#0;"), ("U+FFFF", b"\xef\xbf\xbf"),
        ("a reference to a surrogate", b"&#xD800;"), ("a reference too large", b"&#x110000;"),
        ("a huge reference", b"&#" + b"9" * 5_000 + b";"),
        ("a raw surrogate", b"\xed\xa0\x80"), ("overlong UTF-8", b"\xc0\xaf"), ("no UTF-8", b"\xff\xfe"),
        ("a bare ampersand", b"a & b"), ("an attribute twice", b"<a b='1' b='2'/>"), ("a bare attribute", b"<a b/>"),
        ("an attribute with a bracket", b"<a b='<'/>"), ("crossed elements", b"<a><b></a></b>"),
        ("an unclosed element", b"<a>"), ("an unclosed comment", b"<!-- "), ("dashes in a comment", b"<!-- -- -->"),
        ("an unclosed CDATA", b"<![CDATA[ "), ("the end of a CDATA", b"]]>"), ("a digit as a name", b"<1/>"),
        ("a second declaration", b'<?xml version="1.0"?>'), ("another case of its end", b"<a></A>"),
    ):  # fmt: skip
        yield f"xml with {name}", inner + raw + end


def _encodings(document: bytes) -> Iterator[Made]:
    for name in ("utf-7", "no-such", "zip", "rot13", "base64", "utf-32", "undefined", "idna", "big5", "a" * 3_000):
        yield f"xml that says {name[:20]}", f'<?xml version="1.0" encoding="{name}"?>'.encode() + document
    yield "xml in UTF-32", document.decode().encode("utf-32")
    yield (
        "xml in UTF-16 that says UTF-8",
        ('<?xml version="1.0" encoding="utf-8"?>' + document.decode()).encode("utf-16"),
    )
    yield "xml in UTF-8 that says UTF-16", b'<?xml version="1.0" encoding="utf-16"?>' + document
    yield "xml in EBCDIC", document.decode().encode("cp037")


def xml_oddities(document: bytes, root: str) -> Iterator[Made]:
    """Valid XML that hurts weak readers: it may be taken, and must do no harm."""
    end = b"</" + root.encode() + b">"
    inner = document.removesuffix(end)
    for name, raw in (
        ("an inclusion", b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'),
        ("10,000 attributes", b"<a " + b"".join(b'a%d="x" ' % n for n in range(10_000)) + b"/>"),
        ("an attribute of 1 MB", b"<a b='" + b"x" * (1 << 20) + b"'/>"),
        ("a text of 3 MB", b"<a>" + b"x" * (3 << 20) + b"</a>"),
        ("a comment of 3 MB", b"<!--" + b"x" * (3 << 20) + b"-->"),
        ("100,000 comments", b"<!---->" * 100_000),
        ("100,000 references", b"<a>" + b"&amp;" * 100_000 + b"</a>"),
        ("100,000 CDATA sections", b"<a>" + b"<![CDATA[x]]>" * 100_000 + b"</a>"),
        ("10,000 namespaces", b"<a " + b"".join(b'xmlns:n%d="x" ' % n for n in range(10_000)) + b"/>"),
        ("a prefix that nobody bound", b"<x:a/>"), ("a style sheet", b'<?xml-stylesheet href="http://127.0.0.1:9/"?>'),
        ("right to left", "<a>\u202e</a>".encode()), ("a program", b"<?php system('id'); ?>"),
    ):  # fmt: skip
        yield f"xml with {name}", inner + raw + end
    yield "xml with a byte order mark", b"\xef\xbb\xbf" + document
    yield "xml in UTF-16", document.decode().encode("utf-16")
    yield "xml in Latin-1", b'<?xml version="1.0" encoding="iso-8859-1"?>' + inner + b"\xe9" + end
