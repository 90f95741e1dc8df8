"""How does a package come from one Repository into another by its name, and how does a Tag move?

No bytes are read or sent: the target's files name what the store has. The caller must be able to read the package
where it is and to publish it where it comes to, each judged by its own Repository's grants, networks and quarantines
under the write lock (THREATS C2): nothing is reachable by a digest, and what somebody cannot read he cannot copy.

A copy is one entry of the target's journal, so it is there whole or not at all. A move is that and then one entry of
the source's, which only takes away what the target has at that moment. A node that ends in between leaves both; the
same call once more finds the first half done and does the second.
"""

from dataclasses import replace
from typing import NamedTuple

from formats.kit.handling import Wanted
from gateway.access.binning import with_bin
from gateway.access.rights.grants import DELETE, PUBLISH, READ, TAG
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import SERIAL, Call, Reply, Routes
from gateway.console.calls.permissions import REPOSITORY_READ, REPOSITORY_WRITE
from gateway.console.packages import replies
from gateway.console.packages.handling import Named, named, permitted, permitted_in, released, version_meant
from gateway.console.shapes.schemas import NewCopy, NewTag
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Draft, PutFile, PutVersion, View

ROUTES = Routes("/-/api/v1")
_AT = "/repositories/<workspace>/<repository>"
Place = tuple[str, str]


class Way(NamedTuple):
    """From where to where."""

    source: Place
    target: Place
    what: Named
    listed: str
    """DISTRIBUTION/COMPONENT of the target, for formats that have such places."""


@ROUTES.add("POST", f"{_AT}/copies", REPOSITORY_WRITE, takes=NewCopy, gives=replies.Copied)
async def copy(call: Call) -> Reply:
    """A version of another repository's package, or without one all of it, comes here; with `move` it leaves there."""
    body = await call.body(NewCopy)
    workspace, slash, repository = body.source.partition("/")
    way = Way(
        (workspace, repository),
        (call.at["workspace"], call.at["repository"]),
        named(call.services, body.format, body.package, body.version),
        body.place,
    )
    if not slash or way.source == way.target:
        raise Invalid("The source is not another repository.", "Write it as WORKSPACE/REPOSITORY.")

    def come(reading: Reading, principal: Principal) -> Decided:
        if body.move:
            _leaving(call, reading, principal, way)
        changes, version = _coming(call, reading, principal, way)
        told = _told(way, version, changes)
        if not changes:
            return Decided(None, told)
        action = "package.move" if body.move else "package.copy"
        draft = Draft(*way.target, principal.id, action, changes, call.reason)
        return Decided(with_bin(reading, way.what.room, draft, call.services.now_ms()), told)

    if not body.move:
        return await call.conclude(way.target[0], come, lambda told: Reply(200, told))
    told, headers = await call.change(way.target[0], come)
    return await _leave(call, way, told, headers)


async def _leave(call: Call, way: Way, told: object, headers: dict[str, str]) -> Reply:
    def leave(reading: Reading, principal: Principal) -> Decided:
        missing, _ = _coming(call, reading, principal, way)
        if missing:
            raise Conflict("It was changed while it was moved; it is here and there.", "Do it again.")
        changes = _leaving(call, reading, principal, way)
        return Decided(Draft(*way.source, principal.id, "package.move", changes, call.reason), told)

    reply = await call.conclude(way.source[0], leave, lambda told: Reply(200, told))
    if way.source[0] == way.target[0]:
        return reply
    return replace(reply, headers={**reply.headers, SERIAL: f"{headers[SERIAL]},{reply.headers[SERIAL]}"})


def _coming(call: Call, reading: Reading, principal: Principal, way: Way) -> tuple[tuple[AnyChange, ...], str]:
    """What the target lacks, and the version that is meant. Raises what forbids it."""
    what = way.what
    permitted_in(call, reading, principal, way.source, what, READ)
    permit = permitted_in(call, reading, principal, way.target, what, PUBLISH)
    source, target = reading.view(*way.source, what.room.name), reading.view(*way.target, what.room.name)
    version = version_meant(what, source)
    versions = {version} if version else {one.name for one in source.versions(what.package)}
    released(reading, way.source, what, versions)
    released(reading, way.target, what, versions)
    wanted = Wanted(what.package, version, way.listed)
    changes = what.handled.bring(wanted, source, target, call.services.now_ms())
    if changes:
        _all_released(reading, way, changes)
        permit.may_make(changes)
    return changes, version


def _all_released(reading: Reading, way: Way, changes: tuple[AnyChange, ...]) -> None:
    """A room may bring more than what was named, or what is spelt in another way: none of it may be in quarantine,
    here or there. Raises Forbidden (F14)."""
    source = reading.view(*way.source, way.what.room.name)
    files = [one for one in changes if isinstance(one, PutFile)]
    put = {one.version.name for one in changes if isinstance(one, PutVersion)} | {one.file.version for one in files}
    theirs = {found.version for one in files if (found := source.file(one.package, one.file.name)) is not None}
    released(reading, way.source, way.what, put | theirs)
    released(reading, way.target, way.what, put)


def _leaving(call: Call, reading: Reading, principal: Principal, way: Way) -> tuple[AnyChange, ...]:
    """What a move takes away. Raises Absent, Forbidden."""
    permit = permitted_in(call, reading, principal, way.source, way.what, DELETE)
    view = reading.view(*way.source, way.what.room.name)
    version = version_meant(way.what, view)
    changes = way.what.handled.remove(way.what.package, version, view, call.services.now_ms())
    permit.may_make(changes)
    return changes


def _told(way: Way, version: str, changes: tuple[AnyChange, ...]) -> dict[str, object]:
    files = [one.file for one in changes if isinstance(one, PutFile)]
    return {
        "format": way.what.room.name,
        "package": way.what.package,
        "version": version,
        "versions": len({one.version.name for one in changes if isinstance(one, PutVersion)}),
        "files": len(files),
        "bytes": sum(max(one.size, 0) for one in files),
    }


# ---------------------------------------------------------------- tags


@ROUTES.show(f"{_AT}/tags/<path:package>", REPOSITORY_READ, ("format", "tag"), gives=replies.Tags)
def list_tags(call: Call, reading: Reading) -> dict[str, object]:
    """Which version each tag of a package points to, or the one that is named."""
    what = named(call.services, call.argument("format"), call.at["package"])
    permitted(call, reading, call.principal, what, READ)
    view = reading.view(call.at["workspace"], call.at["repository"], what.room.name)
    if view.package(what.package) is None:
        raise Absent("This repository holds no such package.")
    only, tags = call.argument("tag"), view.tags(what.package)
    return {"items": [{"tag": tag, "version": version} for tag, version in tags.items() if only in ("", tag)]}


@ROUTES.add("PUT", f"{_AT}/tags/<path:package>", REPOSITORY_WRITE, ("format",), takes=NewTag, gives=replies.Tag)
async def set_tag(call: Call) -> Reply:
    """The tag points to this version from now on; `version` may be another tag. `only`: "new" = there must be no such
    tag, "there" = there must be one."""
    body = await call.body(NewTag)
    return await _retagged(call, body.tag, body.version, body.only)


@ROUTES.add("DELETE", f"{_AT}/tags/<path:package>", REPOSITORY_WRITE, ("format", "tag"), gives=replies.Tag)
async def remove_tag(call: Call) -> Reply:
    """The version stays."""
    return await _retagged(call, call.argument("tag"), "", "")


async def _retagged(call: Call, tag: str, version: str, only: str) -> Reply:
    what = named(call.services, call.argument("format"), call.at["package"], version)
    at = call.at["workspace"], call.at["repository"]
    if not tag or "\0" in tag:
        raise Invalid("It is not said which tag.")

    def decide(reading: Reading, principal: Principal) -> Decided:
        permit = permitted(call, reading, principal, what, TAG)
        view = reading.view(*at, what.room.name)
        _as_expected(view, what, tag, only)
        meant = version_meant(what, view)
        changes = what.handled.retag(what.package, tag, meant, view, call.services.now_ms())
        if changes:
            permit.may_make(changes)
        draft = Draft(*at, principal.id, "tag.set" if version else "tag.remove", changes, call.reason)
        return Decided(draft if changes else None, {"tag": tag, "version": meant})

    return await call.conclude(at[0], decide, lambda told: Reply(200, told))


def _as_expected(view: View, what: Named, tag: str, only: str) -> None:
    there = view.tag(what.package, tag)
    if only == "new" and there is not None:
        raise Conflict(f"The tag {tag} points to {there} already.", "Move it: entrepot tag move.")
    if only == "there" and there is None:
        raise Absent(f"There is no tag {tag}.", "Add it: entrepot tag add.")
