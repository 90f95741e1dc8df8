"""Is XML from a stranger read within bounds? THREATS D6."""

import pytest

from formats.kit import xmls
from storage.errors import Invalid, TooLarge

BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]><a>&y;</a>"""


def test_names_texts_and_paths() -> None:
    root = xmls.read(
        b'<m:a xmlns:m="urn:x"><b> one <c/> two </b><b><d k="v">&lt;&#65;</d></b><!-- no --><b/></m:a>', 1000
    )
    assert root.name == "m:a", "another name than a, for readers that know of no namespaces"
    assert [one.text for one in root.all("b")] == ["one  two", "", ""]
    assert root.said("b", "d") == "<A"
    assert root.said("nothing", "here") == ""
    first = root.child("b")
    assert first is not None
    assert first.child("d") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings_that_the_document_tells(encoding: str) -> None:
    raw = f'<?xml version="1.0" encoding="{encoding}"?><a>ü</a>'.encode(encoding)
    assert xmls.read(raw, 1000).text == "ü"


@pytest.mark.parametrize(
    "raw",
    [
        BOMB.encode(),
        BOMB.encode("utf-16"),
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        b"<!DOCTYPE a><a/>",
        b"<a>&undefined;</a>",
        b"<a><b></a></b>",
        b"<a>",
        b"",
        b"<a/><b/>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<?xml version="1.0" encoding="zip"?><a/>',
        b"<a b='1' b='2'/>",
        b"<a>\x00</a>",
    ],
)
def test_d6_what_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        xmls.read(raw, 10_000)


def test_d6_bounds() -> None:
    deep = b"<a>" * 65 + b"</a>" * 65
    with pytest.raises(TooLarge):
        xmls.read(deep, 10_000)
    assert xmls.read(b"<a>" * 64 + b"</a>" * 64, 10_000).name == "a"
    with pytest.raises(TooLarge):
        xmls.read(b"<a>" + b"<b/>" * 100 + b"</a>", 10_000, elements_max=100)
    with pytest.raises(TooLarge):
        xmls.read(b"<a>" + b" " * 100 + b"</a>", 100)
    with pytest.raises(TooLarge):
        xmls.read(b"<a>" * 1_000_000, 10_000_000)


def test_what_is_written_is_read_again() -> None:
    text = "a < b & c > d"
    assert xmls.read(f"<a>{xmls.escaped(text)}</a>".encode(), 1000).text == text
