"""What does a piece of signed XML say? Read with its namespaces and its attributes, within bounds.

A comment ends no text: `ann@acme.example<!---->.evil.example` is one name, and not the first half of it. expat does
the parsing; a document type is refused as soon as it begins, and there are no entities but the five of XML itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from storage.errors import Invalid, TooLarge

DEPTH_MAX = 32
ELEMENTS_MAX = 10_000


@dataclass(slots=True)
class Element:
    """`name` is "namespace local"; `attributes` are those without a namespace, and those with one likewise."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, namespace: str, *names: str) -> Iterator["Element"]:
        """Every element at the end of a path of local names of one namespace below this one."""
        if not names:
            yield self
            return
        for one in self.children:
            if one.name == f"{namespace} {names[0]}":
                yield from one.all(namespace, *names[1:])

    def one(self, namespace: str, *names: str) -> "Element":
        """The only one there. Raises Invalid for none, and for several."""
        found = list(self.all(namespace, *names))
        if len(found) != 1:
            raise Invalid(f"What the identity provider sent has {len(found)} of {'/'.join(names)}, where one is due.")
        return found[0]


class _Reader:
    """The handlers of one parse."""

    def __init__(self) -> None:
        self.top: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._left = ELEMENTS_MAX

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) >= DEPTH_MAX:
            raise TooLarge("What the identity provider sent has more elements than anybody needs.")
        element = Element(name, dict(attributes))
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
        raise Invalid("XML with a document type is not taken here.")


def read(raw: bytes) -> Element:
    """The root of a document. Raises Invalid, TooLarge."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise Invalid("What the identity provider sent is no well-formed XML.") from None
    assert reader.top is not None
    return reader.top
