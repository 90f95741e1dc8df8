"""How is a package put into quarantine and released, and how do nodes get anew what they keep of one?

Each is one entry of the Workspace's journal, so it reaches every edge as any other, and an edge whose Serial has passed
it has obeyed it. Quarantine withholds files; nothing is deleted, and indexes go on telling of them. A purge takes
nothing away that was published: what was pulled, learnt or rendered is got or made again when it is asked for.
"""

import msgspec

from gateway.access.rights.verdicts import Principal, judge
from gateway.console.calls.call import PAGE, Call, Reply, Routes, no_content
from gateway.console.calls.permissions import REPOSITORY_ADMIN, REPOSITORY_READ
from gateway.console.packages import replies
from gateway.console.packages.parts import may_know
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import NewPurge, NewQuarantine
from storage.commit import Decided
from storage.errors import Absent, Invalid
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Draft, DropQuarantine, Purge, PutQuarantine, Quarantine

ROUTES = Routes("/-/api/v1")
QUARANTINES_MAX = 10_000

_AT = "/repositories/<workspace>/<repository>"


@ROUTES.add("GET", f"{_AT}/quarantine", REPOSITORY_READ, PAGE, gives=Page[replies.Quarantine])
async def list_quarantines(call: Call) -> Reply:
    with call.read() as reading:
        may = may_know(call, reading)
        held = reading.quarantines(call.at["workspace"], call.at["repository"])
        found = [one for one in held if may(one.format, one.package)]
    return call.page(found, lambda one: "\n".join((one.format, one.package, one.version)), shown.quarantine)


@ROUTES.show(f"{_AT}/quarantine/<format>/<path:package>", REPOSITORY_READ, ("version",), gives=replies.Quarantine)
def show_quarantine(call: Call, reading: Reading) -> shown.Shown:
    format = call.at["format"]
    _check_format(call, format)
    package = call.services.normalise(format, call.at["package"])
    at = (call.at["workspace"], call.at["repository"], format, package)
    found = reading.quarantine(*at, call.argument("version")) if may_know(call, reading)(format, package) else None
    if found is None:
        raise _not_held()
    return shown.quarantine(found)


@ROUTES.add("POST", f"{_AT}/quarantine", REPOSITORY_ADMIN, takes=NewQuarantine, gives=replies.Quarantine, status=201)
async def quarantine(call: Call) -> Reply:
    body = await call.body(NewQuarantine)
    _check_format(call, body.format)
    package = call.services.normalise(body.format, body.package)
    made = Quarantine(body.format, package, body.version, body.reason, call.services.now_ms())

    def decide(reading: Reading, principal: Principal) -> Decided:
        at = (call.at["workspace"], call.at["repository"])
        before = reading.quarantine(*at, made.format, made.package, made.version)
        if before is not None and msgspec.structs.replace(before, at_ms=made.at_ms) == made:
            return Decided(None, before)
        if before is None and sum(1 for _ in reading.quarantines(*at)) >= QUARANTINES_MAX:
            raise Invalid(f"A repository holds at most {QUARANTINES_MAX} quarantines.", "Delete what is condemned.")
        return _written(call, reading, principal, "quarantine.put", PutQuarantine(made), made)

    return await call.conclude(call.at["workspace"], decide, lambda found: Reply(201, shown.quarantine(found)))


@ROUTES.add("DELETE", f"{_AT}/quarantine/<format>/<path:package>", REPOSITORY_ADMIN, ("version",), gives=None)
async def release(call: Call) -> Reply:
    format, version = call.at["format"], call.argument("version")
    _check_format(call, format)
    package = call.services.normalise(format, call.at["package"])

    def decide(reading: Reading, principal: Principal) -> Decided:
        if reading.quarantine(call.at["workspace"], call.at["repository"], format, package, version) is None:
            raise _not_held()
        return _written(call, reading, principal, "quarantine.release", DropQuarantine(format, package, version), None)

    return await call.conclude(call.at["workspace"], decide, no_content)


@ROUTES.add("POST", f"{_AT}/purge", REPOSITORY_ADMIN, takes=NewPurge, gives=replies.Purged)
async def purge(call: Call) -> Reply:
    body = await call.body(NewPurge)
    if body.package and not body.format:
        raise Invalid("A package to purge needs its format.", "Name the format too.")
    if body.format:
        _check_format(call, body.format)
    package = call.services.normalise(body.format, body.package) if body.package else ""

    def decide(reading: Reading, principal: Principal) -> Decided:
        return _written(call, reading, principal, "purge", Purge(body.format, package), None)

    return await call.conclude(
        call.at["workspace"], decide, lambda _: Reply(200, {"format": body.format, "package": package})
    )


def _not_held() -> Absent:
    return Absent("This is not in quarantine here.", "entrepot quarantine list shows what is.")


def _check_format(call: Call, format: str) -> None:
    if format not in call.services.formats:
        known = ", ".join(call.services.formats)
        raise Invalid("This names no format of this registry.", f"One of {known}.")


def _written(
    call: Call, reading: Reading, principal: Principal, action: str, change: AnyChange, value: object
) -> Decided:
    ws, repository = call.at["workspace"], call.at["repository"]
    judge(reading, principal, ws, repository, "admin")
    return Decided(Draft(ws, repository, principal.id, action, (change,)), value)
