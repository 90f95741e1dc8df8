"""How are this node, the other nodes and their host names answered?"""

from typing import Any, Literal

import msgspec

from gateway.console.shapes.replies import Texts, Told


class Health(Told, frozen=True):
    """`connected` and `lag_ms` are an edge's, and so is `alone`: it has lost its origin."""

    status: Literal["ok", "starting", "alone", "draining"]
    role: str
    version: str
    connected: bool | None = None
    lag_ms: int | None = None


class Status(msgspec.Struct, frozen=True):
    """The health, and for those that read everything what the node knows of itself."""

    status: Literal["ok", "starting", "alone", "draining"]
    role: str
    version: str


class Host(Told, frozen=True):
    name: str
    scope: str
    region: str
    url: str
    redirects: bool
    created_ms: int


class Hosts(Told, frozen=True):
    """`regions` holds the names of each region."""

    hosts: tuple[Host, ...]
    regions: dict[str, Texts]


class Hole(Told, frozen=True):
    """An entry of the journal that an edge could not take in; private packages of the workspaces in `closes` ("*" = of
    all) are refused there for it."""

    workspace: str
    serial: int
    repository: str
    action: str
    why: str
    closes: Texts


class EdgeReport(Told, frozen=True):
    """What an edge last said of itself, and how long ago. `waiting_*` is what policies ask for and is not there yet."""

    version: str
    lag_ms: int
    waiting_files: int
    waiting_bytes: int
    holes: tuple[Hole, ...]
    heard_ms: int
    silent_ms: int


class Edge(Told, frozen=True, kw_only=True):
    """`report` null = it never said anything yet."""

    name: str
    region: str
    state: Literal["invited", "expired", "enrolled", "revoked"]
    parent: bool
    workspaces: Texts
    created_ms: int
    code_expires_ms: int
    enrolled_ms: int
    revoked_ms: int
    report: EdgeReport | None


class InvitedEdge(Edge, frozen=True, kw_only=True):
    """`code` is what it enrolls with, told here and never again."""

    code: str


class Chore(msgspec.Struct, frozen=True):
    """Work over the whole store, with what it has done so far. `waiting` = asked for and not begun. Of a dry run only
    what it would do."""

    running: bool = False
    waiting: bool = False
    would: dict[str, Any] = {}
