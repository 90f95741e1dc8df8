"""What does a piece of signed XML say? Read with its namespaces and its attributes, within bounds.

A comment ends no text: `ann@acme.example<!---->.evil.example` is one name, and not the first half of it. The parsing,
and what is refused of a document type, is formats.kit.xmls.
"""

from collections.abc import Iterator
from datetime import datetime

from formats.kit import xmls
from formats.kit.xmls import Element
from storage.errors import Invalid

BYTES_MAX = 1 << 20
"""Of what canonical form makes of an answer of 256 KiB."""
DEPTH_MAX = 32
ELEMENTS_MAX = 10_000


def read(raw: bytes) -> Element:
    """The root of a document; each name is "namespace local". Raises Invalid, TooLarge."""
    return xmls.read(raw, BYTES_MAX, depth_max=DEPTH_MAX, elements_max=ELEMENTS_MAX, namespaces=True)


def every(within: Element, namespace: str, *names: str) -> Iterator[Element]:
    """Every element at the end of a path of local names of one namespace below `within`."""
    return within.all(*(f"{namespace} {one}" for one in names))


def only(within: Element, namespace: str, name: str) -> Element:
    """The only child of this name. Raises Invalid for none, and for several."""
    found = list(every(within, namespace, name))
    if len(found) != 1:
        raise Invalid(f"What the identity provider sent has {len(found)} of {name}, where one is due.")
    return found[0]


def moment_ms(element: Element, name: str, without: int) -> int:
    """A time as milliseconds since 1970 UTC; `without` where there is none. Raises Invalid."""
    text = element.attributes.get(name)
    if text is None:
        return without
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
        return int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Invalid(f"The {name} of this answer is no time.") from None
