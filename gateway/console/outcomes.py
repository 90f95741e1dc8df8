"""What does the API answer of what was done to packages by name? (The other shapes of answers are in replies.py.)"""

from gateway.console.replies import Texts, Told


class Deleted(Told, frozen=True):
    """`id` in the bin and until when it is there; "" and 0 for what is gone at once."""

    format: str
    package: str
    version: str
    files: int
    bytes: int
    id: str
    until_ms: int


class Binned(Told, frozen=True):
    """Something in a bin. `tags` pointed to it."""

    id: str
    format: str
    package: str
    version: str
    files: Texts
    tags: Texts
    bytes: int
    deleted_ms: int
    until_ms: int
    actor: str
    reason: str


class Restored(Told, frozen=True):
    format: str
    package: str
    version: str
    files: int


class Emptied(Told, frozen=True):
    """`left`: there is more, ask again."""

    emptied: int
    left: bool


class Copied(Told, frozen=True):
    """How much came; nothing where all of it was there."""

    format: str
    package: str
    version: str
    versions: int
    files: int
    bytes: int


class Tag(Told, frozen=True):
    """`version` "" = it was removed."""

    tag: str
    version: str


class Tags(Told, frozen=True):
    items: tuple[Tag, ...]
