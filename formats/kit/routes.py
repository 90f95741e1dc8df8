"""Which addresses has a room, and which right does each need? Declared, so that a test can ask for every one (C7).

A path of a Declared is what stands behind the room's home. `<name>` is one segment, `<path:name>` one or more,
`<scoped:name>` one, or two that begin with "@". The first that fits the method and the path counts. One slash at the
end makes no difference.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

_PART = re.compile(r"<(?:(path|scoped):)?([a-z]+)>")
_SHAPES = {"": "[^/]+", "path": ".+", "scoped": "(?:@[^/]+/)?[^/]+"}


class Declared(NamedTuple):
    """What can be done at some addresses."""

    methods: tuple[str, ...]
    path: str
    right: Literal["read", "write"] = "read"

    def fill(self, values: dict[str, str]) -> str:
        """The address of something; KeyError for a part that has no value."""
        return _PART.sub(lambda match: values[match[2]], self.path)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names in it."""
        return tuple(match[2] for match in _PART.finditer(self.path))


def reads(*paths: str) -> tuple[Declared, ...]:
    """What is looked at."""
    return tuple(Declared(("GET", "HEAD"), path) for path in paths)


def writes(path: str, *methods: str) -> Declared:
    """What is changed."""
    return Declared(methods, path, "write")


def find(routes: Sequence[Declared], method: str, path: str) -> Declared | None:
    """The one that a request is for."""
    for one in routes:
        if method in one.methods and _pattern(one.path).fullmatch(path):
            return one
    return None


@lru_cache(1024)
def _pattern(path: str) -> re.Pattern[str]:
    text, at = "", 0
    for match in _PART.finditer(path):
        text += re.escape(path[at : match.start()]) + _SHAPES[match[1] or ""]
        at = match.end()
    return re.compile(text + re.escape(path[at:]).removesuffix("/") + "/?", re.DOTALL)
