"""Which names may a Workspace, a Repository or an Upstream have?

Slugs only: they stand in URLs, host names, file names and scopes unescaped, and no two of them look alike to a path
normaliser. What has a meaning of its own in the address space is reserved.
"""

import re
import unicodedata

from storage.errors import Invalid

SLUG_CHARS_MAX = 63
DISPLAY_CHARS_MAX = 100
RESERVED = frozenset({"-", "v2", "t"})
"""First path segments that are not Workspaces: our own pages, OCI, and the token ahead of the path."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def is_slug(name: str) -> bool:
    """Could something have this name?"""
    return _SLUG.fullmatch(name) is not None and name not in RESERVED


def slug(name: str, what: str) -> str:
    """`name` if it is one; raises Invalid, naming the rule, otherwise. `what` is e.g. "A workspace"."""
    if name in RESERVED:
        raise Invalid(f'{what} cannot be called "{name}": the name is reserved.', "Choose another name.")
    if not is_slug(name):
        raise Invalid(
            f"{what} cannot have this name.",
            f"Use 1 to {SLUG_CHARS_MAX} of a-z, 0-9, '.', '_' and '-', the first a letter or a digit.",
        )
    return name


def display(name: str, what: str) -> str:
    """`name` if it can be shown on one line of a log; raises Invalid otherwise."""
    if not 1 <= len(name) <= DISPLAY_CHARS_MAX or name != name.strip():
        raise Invalid(f"{what} needs a name of 1 to {DISPLAY_CHARS_MAX} characters, without space around it.")
    if any(unicodedata.category(char)[0] in "CZ" and char != " " for char in name):
        raise Invalid(f"{what} cannot have control characters or line ends in its name.")
    return name


def one_line(text: str) -> str:
    """A description as it is kept. Raises Invalid for what is no plain line; "" is none."""
    if text != text.strip() or any(unicodedata.category(char)[0] in "CZ" and char != " " for char in text):
        raise Invalid("A description is one line, without control characters and without space around it.")
    return text
