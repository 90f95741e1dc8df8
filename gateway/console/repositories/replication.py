"""What do the nodes of a region hold of a Repository before anybody asks, and how far are they?

The policies are part of the Repository: they reach every node that may see it. How far this node is, it alone knows.
Patterns and sums speak of all packages: they are for who may read all of them (THREATS B9).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import cast

import msgspec

from gateway.access.names import slug
from gateway.access.rights.verdicts import Principal, judge
from gateway.console.calls.call import PAGE, Call, Reply, Routes
from gateway.console.calls.leased import leased
from gateway.console.calls.permissions import REPOSITORY_ADMIN, REPOSITORY_WHOLE, SOMEBODY, reads_whole
from gateway.console.repositories import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import REPLICATION_RATE_MIN, REPLICATIONS_MAX, NewReplication
from storage.commit import Decided
from storage.errors import Absent, Invalid, Problem, TooLarge
from storage.index.catalog import Reading
from storage.nouns import Draft, PutRepository, Replication, Repository

ROUTES = Routes("/-/api/v1/repositories/<workspace>/<repository>/replication")
NODE = Routes("/-/api/v1/replication")

Edit = Callable[[tuple[Replication, ...]], tuple[Replication, ...]]


@NODE.add("GET", "", SOMEBODY, PAGE, gives=replies.ReplicatedHere)
async def show_progress(call: Call) -> Reply:
    """How far this node is, of the repositories that the caller may read as a whole."""
    told = {(str(one["workspace"]), str(one["repository"])): one for one in call.services.replicated()}
    with call.read() as reading:
        found, left_out = leased(call.services, _read(call, reading, told))
    items = [told[one.workspace, one.name] for one in found]
    page = call.page(items, lambda one: f"{one['workspace']}/{one['repository']}", dict)
    return replace(page, body=cast("dict[str, object]", page.body) | left_out)


@ROUTES.add("GET", "", REPOSITORY_WHOLE, PAGE, gives=Page[replies.Replication])
async def list_policies(call: Call) -> Reply:
    with call.read() as reading:
        found = _policies(call, reading)
    return call.page(found, lambda one: one.region, shown.replication)


@ROUTES.show("/<region>", REPOSITORY_WHOLE, gives=replies.Replication)
def show_policy(call: Call, reading: Reading) -> shown.Shown:
    for one in _policies(call, reading):
        if one.region == call.at["region"]:
            return shown.replication(one)
    raise _no_policy()


@ROUTES.add("PUT", "/<region>", REPOSITORY_ADMIN, takes=NewReplication, gives=replies.Replication)
async def set_policy(call: Call) -> Reply:
    body = await call.body(NewReplication)
    policy = _policy_of(slug(call.at["region"], "A region"), body, call.services.now_ms())

    def edit(known: tuple[Replication, ...]) -> tuple[Replication, ...]:
        before = next((one for one in known if one.region == policy.region), None)
        if before is not None and msgspec.structs.replace(before, at_ms=policy.at_ms) == policy:
            return known
        others = [one for one in known if one.region != policy.region]
        if len(others) >= REPLICATIONS_MAX:
            raise TooLarge(f"A repository has policies for at most {REPLICATIONS_MAX} regions.")
        return tuple(sorted([*others, policy], key=lambda one: one.region))

    return await _change(call, "replication.set", edit, Reply(200, shown.replication(policy)))


@ROUTES.add("DELETE", "/<region>", REPOSITORY_ADMIN, gives=None)
async def clear_policy(call: Call) -> Reply:
    def edit(known: tuple[Replication, ...]) -> tuple[Replication, ...]:
        left = tuple(one for one in known if one.region != call.at["region"])
        if left == known:
            raise _no_policy()
        return left

    return await _change(call, "replication.clear", edit, Reply(204))


def _policy_of(region: str, body: NewReplication, now_ms: int) -> Replication:
    """Raises Invalid for what would say nothing."""
    narrowing = body.formats or body.packages or body.tags or body.newest_max or body.days_max
    if body.mode != "eager" and (narrowing or body.rate_max_bytes_s):
        raise Invalid(
            f'A policy that is "{body.mode}" is for all of the repository.', "Leave queries and rate out, or say eager."
        )
    if 0 < body.rate_max_bytes_s < REPLICATION_RATE_MIN:
        raise Invalid(f"A rate is at least {REPLICATION_RATE_MIN} bytes a second.", "Use 0 for as fast as it goes.")
    if any(not one.isprintable() for one in (*body.formats, *body.packages, *body.tags)):
        raise Invalid("A pattern holds characters that cannot be shown.")
    return Replication(
        region,
        body.mode,
        body.formats,
        body.packages,
        body.tags,
        body.newest_max,
        body.days_max,
        body.rate_max_bytes_s,
        now_ms,
    )


def _policies(call: Call, reading: Reading) -> tuple[Replication, ...]:
    return judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read").replications


def _read(call: Call, reading: Reading, places: Iterable[tuple[str, str]]) -> Iterator[Repository]:
    """Those that the caller may read as a whole."""
    for place in places:
        with suppress(Problem):
            if reads_whole(reading, call.principal, *place):
                yield judge(reading, call.principal, *place, "read")


def _no_policy() -> Absent:
    return Absent("This repository has no policy for that region.", "Without one a region holds what was asked for.")


async def _change(call: Call, action: str, edit: Edit, answer: Reply) -> Reply:
    workspace, name = call.at["workspace"], call.at["repository"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = judge(reading, principal, workspace, name, "admin")
        after = msgspec.structs.replace(before, replications=edit(before.replications))
        if after == before:
            return Decided(None, None)
        return Decided(Draft(workspace, name, principal.id, action, (PutRepository(after),)), None)

    return await call.conclude(workspace, decide, lambda _: answer)
