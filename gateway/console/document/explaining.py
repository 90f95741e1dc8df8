"""What does each kind of problem mean, and what is to be done about it? The pages that its `type` leads to.

One text, in three places: at every node under /-/problems, as docs/problems.md, and in the document of the API by its
addresses. A test fails for a kind that is not explained.
"""

from functools import cache

from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import ANYBODY
from storage import errors
from storage.errors import TYPES, Absent, Problem

ROUTES = Routes("/-/problems")
MEDIA = "text/markdown; charset=utf-8"

REMEDIES: dict[str, str] = {
    "problem": "It is a fault of the node. Its operator finds the reason in the log, under the `request_id`.",
    "invalid": "Read `detail`: it names the place. Change the request; unchanged it fails again.",
    "unauthenticated": "Send a token as Bearer, as the password of Basic, or as X-Api-Key. One that worked before has "
    "expired, was revoked, is for other networks, or lost its owner: make a new one.",
    "forbidden": "Ask whoever manages the workspace for the right; `explain` tells which grant decides.",
    "absent": "Check the name. A thing that this token may not know of is answered the same as one that never was.",
    "method-refused": "The Allow header names the methods that there are.",
    "conflict": "Look at what is there. A published version is never replaced by other bytes, a taken name not given "
    "twice.",
    "precondition-failed": "Somebody changed it since you looked, or made it, or took it away. Get it anew, make your "
    "change to what is there now, and send that with the new ETag.",
    "too-large": "The message names the limit; some are in the node's configuration.",
    "unsupported": "The API takes `application/json`; a room takes what its tool sends.",
    "key-reused": "An Idempotency-Key stands for one request, with its method, address and body, for a day. Take a new "
    "key for another one.",
    "still-running": "The first of two equal requests is not done yet. Wait as Retry-After says, and send it again: it "
    "is answered as the first one was.",
    "range-refused": "Ask where the upload stands, or for the length, and go on from there.",
    "too-many": "Wait as Retry-After says. RateLimit-Policy tells the limits, RateLimit what is left of them.",
    "damaged": "The node refuses to serve bytes that are not what was stored. Its operator runs `entrepot fsck`; "
    "whoever publishes the same bytes again mends it.",
    "upstream-failed": "A foreign registry, or the origin, failed. Try again; its operator may know more.",
    "unavailable": "Try again, after Retry-After where it is told. An edge that lost its origin writes nothing.",
    "not-kept": "Whoever asks with `Cache-Control: only-if-cached` wants nothing fetched for it. Ask without that.",
    "over-quota": "Delete what is not needed, or have the quota raised.",
    "full": "The disk of the node is full. Reads and deletions go on; its operator makes room.",
}


def kinds() -> dict[str, type[Problem]]:
    """Every kind of problem by its code."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Problem)]
    return {one.code: one for one in found}


@cache
def page(code: str) -> str:
    """What is told of one kind. Raises Absent."""
    kind = kinds().get(code)
    if kind is None:
        raise Absent("There is no such kind of problem.", f"They are listed at {TYPES[:-1]}.")
    said = " ".join((kind.__doc__ or "").split())
    return f"## {code}\n\n`{TYPES}{code}` · {kind.status} · {kind.__name__}\n\n{said}\n\n{REMEDIES[code]}\n"


@cache
def book() -> str:
    """All of them."""
    opening = (
        "# Problems\n\n"
        "A request that is refused is answered by `application/problem+json` (RFC 9457), unless the tool that sent it "
        "wants another form. `type` is the address of one of the paragraphs below, at the node that was asked; `code` "
        "is its name, for programs; `detail` says what happened and `remedy` what to do; `request_id` is that of the "
        "`Entrepot-Request-Id` header, by which the node's log and its operator know the request.\n"
    )
    return "\n".join([opening, *(page(code) for code in sorted(kinds(), key=_by_status))])


def _by_status(code: str) -> tuple[int, str]:
    return kinds()[code].status, code


@ROUTES.add("GET", "", ANYBODY, gives=str, media=MEDIA)
async def list_problems(call: Call) -> Reply:
    return Reply(200, book(), media=MEDIA)


@ROUTES.add("GET", "/<code>", ANYBODY, gives=str, media=MEDIA)
async def explain_problem(call: Call) -> Reply:
    return Reply(200, page(call.at["code"]), media=MEDIA)
