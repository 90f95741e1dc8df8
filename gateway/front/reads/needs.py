"""What does a read rest on, and what must be fetched first where this node does not have it?"""

import urllib.parse

import msgspec

from cache.asking.kept import only_kept
from cache.foreign.files import Where
from formats.kit.contract import Ask, Foreign, Listed, Manifest, Pull, Room, Serve, Show
from gateway.front.leave import Subject
from gateway.front.naming import named
from gateway.front.reads.overlay import may_draw
from gateway.front.routes import full_home
from storage.nouns import File, Repository, Upstream, View


class Scope(msgspec.Struct, frozen=True):
    """What an access decision rested on: an answer given under it holds as long as these labels and until then.
    `token_id` is whose leave it is, "" the anonymous one's. `by_address`: it hangs on where the client is, too."""

    repository: Repository
    depends: tuple[tuple[bytes, int], ...]
    until_s: float
    token_id: str = ""
    by_address: bool = False

    def subject(self, format: str = "", package: str = "", version: str = "") -> Subject:
        """What is sent under it."""
        where = self.repository
        return Subject(where.workspace, where.name, self.token_id, format, package, version)


class NeedForeign(msgspec.Struct, frozen=True):
    """What the upstreams know of `package` is missing or no longer fresh."""

    package: str
    upstreams: tuple[Upstream, ...]
    since: int
    refresh: bool = False
    """It is fresh, and does not list a file that is asked for: it may be newer than what is known."""


class NeedRender(msgspec.Struct, frozen=True):
    """The document must be rendered; `foreign` is what is laid under the view, if anything. Where it turns out that
    there is none, `otherwise` may have it."""

    show: Show
    key: bytes
    foreign: Foreign | None
    foreign_version: int
    otherwise: "NeedFile | None" = None


class NeedFile(msgspec.Struct, frozen=True):
    """A file by its path at the upstreams: missing here, or no longer fresh."""

    pull: Pull
    where: Where
    serve: Serve


class NeedBytes(msgspec.Struct, frozen=True):
    """The file is known and its bytes are not here. `pulled` is its shelf key when it is foreign, `since` the Serial
    of its package's last purge then. `upstreams` are those that say where it lies: what another one may, such as
    leading into the private network, is none of their leave (D2)."""

    file: File
    serve: Serve
    pulled: bytes
    since: int = 0
    upstreams: tuple[Upstream, ...] = ()


Need = NeedForeign | NeedRender | NeedBytes | NeedFile


def upstreams_of(repository: Repository, view: View, room: Room, package: str) -> tuple[Upstream, ...]:
    """The upstreams of this format that may answer for `package`."""
    candidates = tuple(one for one in repository.upstreams if one.format == room.name)
    return may_draw(view, package, candidates) if candidates and package else ()


def foreign_set(view: View, repository: Repository, room: Room, plan: Manifest | Listed) -> Manifest | Listed | Serve:
    """The plan, or what is asked of the upstreams where the set was never published here and they may answer for it."""
    serve = plan.otherwise
    upstreams = upstreams_of(repository, view, room, serve.package) if serve is not None else ()
    if isinstance(plan, Manifest) and any(one.signed_by for one in upstreams):
        return msgspec.structs.replace(plan, foreign=True)
    return serve if serve is not None and upstreams else plan


def by_version(view: View, plan: Serve) -> Serve:
    """The plan with its tag resolved to the file's own name; as it is, where there is no such tag here."""
    version = view.tag(plan.package, plan.tag) if plan.tag else None
    if version is None:
        return plan
    return msgspec.structs.replace(plan, file=plan.file + version)


def need_file(ask: Ask, room: Room, serve: Serve, pull: Pull, upstreams: tuple[Upstream, ...], since: int) -> NeedFile:
    """What stands for a file by its path at the upstreams."""
    at = (ask.workspace, ask.repository, room.name, target_of(ask))
    return NeedFile(pull, Where(*at, upstreams, since, only_kept(ask.headers)), serve)


def target_of(ask: Ask) -> str:
    """The client's own path, as an edge asks its parent for it: whole whatever its host implies, without slash ahead,
    with its query."""
    query = urllib.parse.urlencode(ask.query)
    home = ask.home if named(ask) else full_home(ask.workspace, ask.repository, ask.format)
    return f"{home[1:]}/{ask.raw_path}" + (f"?{query}" if query else "")
