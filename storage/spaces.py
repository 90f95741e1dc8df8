"""Which Workspaces are there, from where may they be used, and which were there once?

One that was deleted keeps its name for good: its row stays and says when it ended. Whatever still speaks of that name,
in a lock file, a token or an edge that was away, means what is gone, and must never come to mean something else.
"""

from storage.contents import Bearing, Change, Noun


class NetworkRule(Noun, frozen=True):
    """Are clients let in that are in one of `networks` ("10.0.0.0/8") or `countries` (ISO codes)? All, if neither."""

    allow: bool
    networks: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    note: str = ""


class Workspace(Noun, frozen=True):
    """`closed_ms` is when it was deleted, and `closed_serial` the Serial of the SYSTEM entry that did it; 0 = it is
    there."""

    name: str
    at_ms: int = 0
    quota_bytes: int = 0
    """The most that the files of all its Repositories may come to, as visible; 0 = no bound."""
    networks: tuple[NetworkRule, ...] = ()
    """Asked where none of a Repository's own decides."""
    description: str = ""
    """One line for people."""
    closed_ms: int = 0
    closed_serial: int = 0


class PutWorkspace(Change, frozen=True, tag="pw"):
    workspace: Workspace


class DropWorkspace(Bearing, frozen=True, tag="@xw"):
    """Deletes the Workspace with all it holds and all that was only for it: Repositories, members, rights, providers,
    the Accounts that belong to it, the Tokens that reach nothing else, host names. See storage.index.ending."""

    name: str
