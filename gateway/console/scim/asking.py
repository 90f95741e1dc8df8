"""What is common to the addresses of SCIM: where they are, how they answer, and how they change something?

A change is made of what was read, in a thread, since a Group can be large; under the write lock is only looked whether
that still stands, and if it does not, it is all done again. So an If-Match holds exactly.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from gateway.console.calls.call import Call, Reply
from gateway.console.calls.problems import SCIM
from gateway.scim.describing import RESULTS_MAX
from gateway.scim.refusing import MEDIA
from gateway.scim.resources import Shown
from storage.errors import Conflict, PreconditionFailed

PREFIX = f"{SCIM}v2"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ATTRIBUTES = ("attributes", "excludedAttributes", "aadOptscim062020")
"""The last says nothing here: one identity provider puts it behind every address."""
QUERY = (*ATTRIBUTES, "filter", "sortBy", "sortOrder", "startIndex", "count")
ITEMS = 100
THREADS_MAX = 2
TRIES_MAX = 8

_threads = trio.CapacityLimiter(THREADS_MAX)


class Moved(Exception):
    """What a change was made of is not what is there now."""


def at_of(call: Call) -> str:
    """The address under which the Workspace's SCIM is, as its client wrote it."""
    headers = call.request.headers
    scheme = "https" if headers.get("X-Entrepot-Scheme") == "https" else "http"
    return f"{scheme}://{headers.get('Host', 'localhost')}{SCIM}v2/{call.at['workspace']}"


def arguments_of(call: Call, names: Sequence[str]) -> dict[str, str]:
    """Those that the query has. Raises Invalid."""
    return {name: value for name in names if (value := call.argument(name)) and name != "aadOptscim062020"}


async def aside[T](step: Callable[..., T], *arguments: Any) -> T:
    """What would hold up the loop, in a thread."""
    return await trio.to_thread.run_sync(step, *arguments, limiter=_threads)


def listed(found: Sequence[Shown], total: int, start: int) -> Reply:
    """A page; `start` counts from 0."""
    told = {
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": start + 1,
        "itemsPerPage": len(found),
        "Resources": list(found),
    }
    return Reply(200, told, media=MEDIA)


def window(start: int | None, count: int | None) -> tuple[int, int]:
    """(how many to pass over, how many to show)."""
    return start or 0, min(ITEMS if count is None else count, RESULTS_MAX)


def told(status: int, shown: Shown, headers: Mapping[str, str] | None = None) -> Reply:
    """One resource, with its entity tag and its address."""
    meta = shown.get("meta", {})
    more = {}
    if "version" in meta:
        more["ETag"] = meta["version"]
    if "location" in meta:
        more["Location"] = meta["location"]
    return Reply(status, shown, more | dict(headers or {}), MEDIA)


def check_match(call: Call, version: str) -> None:
    """Raises PreconditionFailed where the client knows another one."""
    wanted = call.request.headers.get("If-Match", "").strip()
    if wanted and wanted != "*" and version not in (one.strip() for one in wanted.split(",")):
        raise PreconditionFailed("It has changed since.", "Read it again.")


async def settled[T](attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of an attempt that nothing came between. Raises Conflict."""
    for _ in range(TRIES_MAX):
        try:
            return await attempt()
        except Moved:
            continue
    raise Conflict("It is being changed by others all the time.", "Try again.")
