"""Why was something changed, in the words of who changed it? The header that carries them, and what it may hold.

The words stand in the entry for good, so they are short and plain. Text beyond ASCII comes percent-encoded, as UTF-8.
"""

import re
from urllib.parse import quote, unquote

from storage.errors import Invalid

REASON = "entrepot-reason"
REASON_CHARS_MAX = 400
_CREDENTIAL = re.compile(r"(?:ent|enr)_[A-Za-z0-9]{16}")


def reason_in(value: str) -> str:
    """The reason that a header gives; "" for none. Raises Invalid for one that cannot be kept."""
    if not value:
        return ""
    try:
        text = unquote(value, errors="strict").strip(" ")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable() or len(text) > REASON_CHARS_MAX:
        raise Invalid(
            "The reason that was given cannot be kept.", f"Use up to {REASON_CHARS_MAX} characters, on one line."
        )
    if _CREDENTIAL.search(text):
        raise Invalid("The reason that was given looks like a credential.", "It would be kept for good; leave it out.")
    return text


def told_reason(text: str) -> str:
    """`text` as the value of the header."""
    return quote(text, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")
