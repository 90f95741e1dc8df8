"""How is a package deleted by its name, and how does it come back out of the bin?

Deleted by whichever way, native clients see it no more; where the Repository has a bin it stands there until its time
is over, and its name stays taken meanwhile (gateway.access.binning). Each is one entry of the Workspace's journal, so
an edge that has it has all of it.
"""

from functools import cache
from itertools import islice

import trio

from formats.kit.handling import Held, Wanted
from gateway.access.binning import with_bin
from gateway.access.rights.grants import DELETE, MANAGE, PUBLISH
from gateway.access.rights.verdicts import Principal, judge_action
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.looking import look
from gateway.console.calls.permissions import REPOSITORY_ADMIN, REPOSITORY_WRITE
from gateway.console.packages import replies
from gateway.console.packages.deleted import may_know_gone
from gateway.console.packages.handling import Named, named, permitted, version_meant
from gateway.console.packages.parts import check_network_of
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from storage.commit import Decided
from storage.errors import Absent
from storage.index.bins import files_of
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Binned, Draft, DropBinned, DropFile, DropPackage, DropVersion, PutBinned, View

ROUTES = Routes("/-/api/v1")
EMPTIED_MAX = 5_000
"""Out of the bin in one entry."""

_AT = "/repositories/<workspace>/<repository>"


@ROUTES.add(
    "DELETE",
    f"{_AT}/packages/<path:package>",
    REPOSITORY_WRITE,
    ("format", "version", "purge"),
    gives=replies.Deleted,
)
async def delete(call: Call) -> Reply:
    """A version, or without one the package. `purge=true`: not into the bin; it takes manage on the repository."""
    what = named(call.services, call.argument("format"), call.at["package"], call.argument("version"))
    purge = call.flag("purge")
    at, at_ms = (call.at["workspace"], call.at["repository"]), call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        permit = permitted(call, reading, principal, what, DELETE)
        if purge:
            judge_action(reading, principal, *at, MANAGE)
        view = reading.view(*at, what.room.name)
        version = version_meant(what, view)
        changes = what.handled.remove(what.package, version, view, at_ms)
        permit.may_make(changes)
        draft = Draft(*at, principal.id, "package.purge" if purge else "package.delete", changes, call.reason)
        version = _spelt(version, changes)
        if not purge:
            # what is one graph comes back as one
            one = (version or hasattr(what.room, "needs")) and not hasattr(what.room, "build")
            as_one = (what.package, version, "") if one else None
            draft = with_bin(reading, what.room, draft, at_ms, as_one=as_one)
        return Decided(draft, _deleted(what, version, draft.changes, view))

    return await call.conclude(at[0], decide, lambda told: Reply(200, told))


def _spelt(version: str, changes: tuple[AnyChange, ...]) -> str:
    """The version as it is kept: 1.0.0 is the release 1.0 of some formats."""
    dropped = {one.version for one in changes if isinstance(one, DropVersion)}
    return dropped.pop() if version and version not in dropped and len(dropped) == 1 else version


def _deleted(what: Named, version: str, changes: tuple[AnyChange, ...], view: View) -> shown.Shown:
    """`view` is as it was before."""
    bins = [one.binned for one in changes if isinstance(one, PutBinned)]
    names = {one.file for one in changes if isinstance(one, DropFile)}
    versions = {one.version for one in changes if isinstance(one, DropVersion)}
    whole = any(isinstance(one, DropPackage) for one in changes)
    files = [one for one in view.files(what.package) if whole or one.name in names or one.version in versions]
    return {
        "format": what.room.name,
        "package": what.package,
        "version": version,
        "files": len(files),
        "bytes": sum(max(one.size, 0) for one in files),
        "id": bins[0].id if len(bins) == 1 else "",
        "until_ms": max((one.until_ms for one in bins), default=0),
    }


@ROUTES.add("GET", f"{_AT}/bin", REPOSITORY_WRITE, ("after", "limit"), gives=Page[replies.Binned])
async def list_bin(call: Call) -> Reply:
    """What was deleted of the packages that the caller may delete or publish, by id. A page may be short and not the
    last."""
    after, limit = call.argument("after"), call.limit()
    at = call.at["workspace"], call.at["repository"]

    def page() -> shown.Shown:
        with call.read() as reading:
            check_network_of(call, reading, *at)
            may = cache(lambda format, package: may_know_gone(call, reading, call.principal, at, format, package))
            rows = reading.bin(*at, after)
            return look(rows, limit, lambda one: one.id, lambda one: may(one.format, one.package)).shown(shown.binned)

    return Reply(200, await trio.to_thread.run_sync(page))


@ROUTES.show(f"{_AT}/bin/<id>", REPOSITORY_WRITE, gives=replies.Binned)
def show_binned(call: Call, reading: Reading) -> shown.Shown:
    return shown.binned(_found(call, reading, call.principal))


@ROUTES.add("POST", f"{_AT}/bin/<id>/restore", REPOSITORY_WRITE, gives=replies.Restored)
async def restore(call: Call) -> Reply:
    """Everything that was deleted together, with the tags that point nowhere else by now."""
    at, at_ms = (call.at["workspace"], call.at["repository"]), call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        binned = _found(call, reading, principal)
        what = named(call.services, binned.format, binned.package)
        permit = permitted(call, reading, principal, what, PUBLISH)
        source, target = Held(binned.format, binned.changes), reading.view(*at, binned.format)
        changes = what.handled.bring(Wanted(binned.package), source, target, at_ms)
        if changes:
            permit.may_make(changes)
        draft = Draft(*at, principal.id, "package.restore", (*changes, DropBinned(binned.id)), call.reason)
        told = {"format": binned.format, "package": binned.package, "version": binned.version, "build": binned.build}
        return Decided(draft, told | {"files": len(files_of(binned))})

    return await call.conclude(at[0], decide, lambda told: Reply(200, told))


@ROUTES.add("DELETE", f"{_AT}/bin/<id>", REPOSITORY_ADMIN, gives=replies.Emptied)
async def purge_one(call: Call) -> Reply:
    """It never comes back; its bytes go with the next sweep, unless something else names them."""

    def decide(reading: Reading, principal: Principal) -> Decided:
        binned = _found(call, reading, principal)
        return _emptied(call, principal, [binned.id], left=False)

    return await call.conclude(call.at["workspace"], decide, lambda told: Reply(200, told))


@ROUTES.add("DELETE", f"{_AT}/bin", REPOSITORY_ADMIN, gives=replies.Emptied)
async def empty(call: Call) -> Reply:
    """All of it, as much as one entry takes."""

    def decide(reading: Reading, principal: Principal) -> Decided:
        ids = list(islice(reading.bin_ids(call.at["workspace"], call.at["repository"]), EMPTIED_MAX + 1))
        return _emptied(call, principal, ids[:EMPTIED_MAX], left=len(ids) > EMPTIED_MAX)

    return await call.conclude(call.at["workspace"], decide, lambda told: Reply(200, told))


def _emptied(call: Call, principal: Principal, ids: list[str], *, left: bool) -> Decided:
    told = {"emptied": len(ids), "left": left}
    if not ids:
        return Decided(None, told)
    drops = tuple(DropBinned(one) for one in ids)
    return Decided(Draft(call.at["workspace"], call.at["repository"], principal.id, "bin.empty", drops), told)


def _found(call: Call, reading: Reading, principal: Principal) -> Binned:
    """What the call's id names. Raises Absent, also where the caller may not know of it, and Forbidden where he may
    not know of anything here from where he is."""
    check_network_of(call, reading, call.at["workspace"], call.at["repository"])
    id = call.at["id"]
    known = len(id) < 100 and id.isascii() and id.isprintable()
    found = reading.binned(call.at["workspace"], call.at["repository"], id) if known else None
    if found is None or not _may_know(call, reading, principal, found):
        raise Absent("There is no such thing in the bin.", "Look with: entrepot bin list.")
    return found


def _may_know(call: Call, reading: Reading, principal: Principal, binned: Binned) -> bool:
    at = (call.at["workspace"], call.at["repository"])
    return may_know_gone(call, reading, principal, at, binned.format, binned.package)
