"""How is a control file read when its author may be lying, and how is a paragraph written?

deb822 (Policy 5.1) without its leniencies: a field is said once, a paragraph has no line that some reader takes for
its end, and nothing but text is in it. What passes can be put into an index as it stands, and ends no stanza there.
"""

import re
from collections.abc import Iterable, Mapping

from storage.errors import Invalid, TooLarge

FIELD = re.compile(r"([!-,.-9;-~][!-9;-~]{0,99}):[ \t]*(.*)")
CONTROL_BYTES_MAX = 1 << 20
VALUE_CHARACTERS_MAX = 256 << 10
FIELDS_MAX = 300
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_ARMOR = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"

Paragraph = dict[str, str]
"""Fields by their names as written, in their order; values with their continuation lines."""


def parse(raw: bytes, what: str) -> Paragraph:
    """The one paragraph of `raw`. Raises Invalid, TooLarge; `what` names it in the message."""
    lines = text_of(raw, what).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    while lines and not lines[0].strip():
        del lines[0]
    found: Paragraph = {}
    seen: set[str] = set()
    field = ""
    for line in lines:
        if not line.strip():
            raise Invalid(f"The {what} has an empty line in it, so it would be two.", "Write ' .' for an empty line.")
        if line[0] in " \t":
            if not field:
                raise Invalid(f"The {what} begins in the middle of a field.")
            found[field] += "\n" + line.rstrip()
        else:
            match = FIELD.fullmatch(line)
            if match is None or line.startswith(("#", "-")):
                raise Invalid(
                    f"The {what} has a line that is no field.", "Each line is 'Name: value', or begins with a space."
                )
            field = match[1]
            if field.lower() in seen or len(seen) >= FIELDS_MAX:
                raise Invalid(f"The {what} says the field {field} twice, or has more than {FIELDS_MAX}.")
            seen.add(field.lower())
            found[field] = match[2].rstrip()
        if len(found[field]) > VALUE_CHARACTERS_MAX:
            raise TooLarge(f"The field {field} of the {what} is over {VALUE_CHARACTERS_MAX} characters.")
    return found


def text_of(raw: bytes, what: str) -> str:
    """The text of a control file, as it stands within a signature where there is one. Raises Invalid, TooLarge."""
    if len(raw) > CONTROL_BYTES_MAX:
        raise TooLarge(f"The {what} is over {CONTROL_BYTES_MAX} bytes.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"The {what} is not UTF-8.", "Policy 5.1 asks for it.") from None
    text = text.replace("\r\n", "\n")
    if _UNFIT.search(text):
        raise Invalid(f"The {what} holds control characters.")
    if not text.lstrip().startswith(_ARMOR):
        return text
    head, _, body = text.lstrip().partition("\n\n")
    body, signature, _ = body.partition(_SIGNATURE)
    if not signature or any(not line.startswith("Hash:") for line in head.split("\n")[1:]):
        raise Invalid(f"The {what} has a broken signature around it.")
    return "\n".join(line.removeprefix("- ") for line in body.split("\n"))


class Fields:
    """A paragraph asked by names in any case."""

    def __init__(self, paragraph: Mapping[str, str]) -> None:
        self._by_name = {name.lower(): value for name, value in paragraph.items()}

    def get(self, name: str) -> str:
        """The value, "" where there is none."""
        return self._by_name.get(name.lower(), "")

    def need(self, name: str, what: str) -> str:
        """The value of one line. Raises Invalid where it is missing, empty or longer."""
        value = self.get(name)
        if not value or "\n" in value:
            raise Invalid(f"The {what} lacks the field {name}.")
        return value

    def lines(self, name: str) -> list[list[str]]:
        """A list field: the words of each of its lines."""
        return [line.split() for line in self.get(name).split("\n") if line.strip()]


def stanza(fields: Iterable[tuple[str, str]]) -> str:
    """The text of a paragraph, without the empty line that ends it. A value that begins with a new line has its lines
    below the name."""
    return "".join(f"{name}:{value if value.startswith(chr(10)) else ' ' + value}\n" for name, value in fields if value)
