"""What does a small XML document from a stranger say, read within bounds?

expat does the parsing; what it could be made to do beyond is refused as soon as it begins: no document type, hence no
entity but the five that XML itself has, no processing of anything elsewhere, bounded depth, elements and text. The
result is a tree of names as they are written, prefix and all: readers of poms disagree about namespaces. Who needs
them asks for them, and gets attributes with them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from storage.errors import Invalid, TooLarge

DEPTH_MAX = 64
ELEMENTS_MAX = 200_000
PIECE_BYTES = 64 << 10


@dataclass(slots=True)
class Element:
    """One element: its name as written, its own text without space around it, and its children in order. Where it was
    read with namespaces its name is "namespace local", or local for none, and so are those of its `attributes`."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    def child(self, name: str) -> "Element | None":
        """The first child of this name."""
        return next((one for one in self.children if one.name == name), None)

    def all(self, *names: str) -> Iterator["Element"]:
        """Every element at the end of a path of names below this one."""
        if not names:
            yield self
            return
        for one in self.children:
            if one.name == names[0]:
                yield from one.all(*names[1:])

    def said(self, *names: str) -> str:
        """The text of the first element at the end of a path, "" where there is none."""
        found = next(self.all(*names), None)
        return found.text if found is not None else ""


class _Reader:
    """The handlers of one parse."""

    def __init__(self, depth_max: int, elements_max: int, with_attributes: bool) -> None:
        self.top: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._depth_max = depth_max
        self._left = elements_max
        self._with_attributes = with_attributes

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) >= self._depth_max:
            raise TooLarge("This XML has more elements, or is nested deeper, than anybody needs.")
        element = Element(name, attributes=attributes if self._with_attributes else {})
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.top = element
        self._open.append(element)
        self._texts.append([])

    def end(self, name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def characters(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def refuse(self, *about: object) -> None:
        raise Invalid("XML with a document type is not taken here.", "Leave the DOCTYPE and its entities out.")


def read(
    raw: bytes,
    bytes_max: int,
    *,
    depth_max: int = DEPTH_MAX,
    elements_max: int = ELEMENTS_MAX,
    namespaces: bool = False,
) -> Element:
    """The root of the document in `raw`. Raises TooLarge, Invalid."""
    if len(raw) > bytes_max:
        raise TooLarge(f"This XML is over {bytes_max} bytes.")
    reader = _Reader(depth_max, elements_max, namespaces)
    parser = expat.ParserCreate(namespace_separator=" " if namespaces else None)
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    try:
        for at in range(0, len(raw), PIECE_BYTES):
            parser.Parse(raw[at : at + PIECE_BYTES], False)
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError, UnicodeError):
        raise Invalid("This is no well-formed XML.", "Check it with an XML parser.") from None
    assert reader.top is not None
    return reader.top


def escaped(text: str) -> str:
    """`text` as character data."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
