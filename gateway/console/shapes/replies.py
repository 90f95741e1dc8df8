"""What does the API answer? The shapes that its document tells of, and that tests hold every answer against.

The handlers build plain objects (`shown.py`); a member with a default is left out where it says nothing.
"""

from typing import Literal

import msgspec

Actions = tuple[str, ...]
Texts = tuple[str, ...]
Role = Literal["owner", "manager", "member", "collaborator"]


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class Page[T](Told, frozen=True):
    """`next` is the `after` of the following page, null at the end; the Link header has its whole address. A page may
    have fewer items than were asked for, or none, and not be the last."""

    items: tuple[T, ...]
    next: str | None


class Refused(msgspec.Struct, frozen=True):
    """Problem details (RFC 9457). `type` is an address of the node where it is explained, `code` is for programs,
    `remedy` for people; `request_id` is that of the Entrepot-Request-Id."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str = ""
    request_id: str = ""
