"""How does one call of the API go, from its head to its answer? Let in, looked up, handled, dressed.

Whatever all routes have in common is here, once: the request's id, limits, keys, conditions, cursors, fields, ETags.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from quart import Request, g, request

from gateway.access.limits.rates import network_of
from gateway.access.rights.verdicts import ANONYMOUS, Principal, check_network
from gateway.access.signin import sessions
from gateway.console.calls.call import (
    Call,
    Reply,
    Route,
    Shows,
    conditions_of,
    peer_of,
)
from gateway.console.calls.callers import API, presented, renew, who
from gateway.console.calls.etags import Tags, etag_of
from gateway.console.calls.fields import item_of, selected, wanted
from gateway.console.calls.leased import check_leased
from gateway.console.calls.once import HEADER, Keyed, key_in, keyed
from gateway.console.calls.problems import SCIM
from gateway.console.calls.services import Services, latest_ms_of
from storage.commit import Decided
from storage.errors import Invalid, PreconditionFailed, Unauthenticated, Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM
from storage.spans import step


async def run(services: Services, route: Route, at: Mapping[str, str], shows: Shows | None) -> Reply:
    """Let the current request in, or not, and have it handled. `shows`: what is shown of the thing at this address."""
    asked: Request = request._get_current_object()
    secret = presented(services, route.rule, route.method)
    governed = route.rule.startswith((API, SCIM))
    if services.outdated() and governed and not route.alone:
        raise Unavailable("This edge has lost its origin and may not tell private things.", retry_after_s=2)
    has_key = route.keyed and HEADER in asked.headers
    with step("authorise"), services.catalog.read() as reading:
        principal = _identified(services, reading, secret, peer_of(asked))
        g.principal = principal.id
        if governed:
            g.limits = services.spend(principal, peer_of(asked))
        if not has_key:
            route.permission.check(services, reading, principal, at)
            if governed and not route.alone:
                check_leased(services, reading, route.permission, principal, at)
    if not has_key:
        return await _let_in(Call(services, route, principal, secret, at, asked, shows, None))
    key = await _keyed(services, asked, principal, secret)
    call = Call(services, route, principal, secret, at, asked, shows, key)
    with services.running.hold(key) if key is not None and services.running is not None else nullcontext():
        with services.catalog.read() as reading:  # anew: its body was waited for, and another may have done the same
            principal = _identified(services, reading, secret, peer_of(asked))
            if (done := call.answered(reading)) is not None:
                return call.replayed(done)
            route.permission.check(services, reading, principal, at)
        return await _let_in(replace(call, principal=principal))


async def _let_in(call: Call) -> Reply:
    """Who calls is known, and may."""
    _check_arguments(call.route, call.request)
    if call.principal.kind == sessions.KIND and call.secret is not None:
        await renew(call.services, call.secret)
    return await (_changed(call) if call.route.changes else _looked_at(call))


def _identified(services: Services, reading: Reading, secret: str | None, peer: str) -> Principal:
    try:
        principal = who(reading, secret, latest_ms_of(services))
        check_network(principal, peer)
    except Unauthenticated:
        services.spend(ANONYMOUS, peer)  # whoever guesses is slowed
        raise
    return principal


def _check_arguments(route: Route, asked: Request) -> None:
    taken = route.arguments | {"fields"} if route.selects else route.arguments
    if set(asked.args) - taken:
        told = ", ".join(sorted(taken)) or "none"
        raise Invalid("This address does not take all of these query arguments.", f"It takes: {told}.")


# ---------------------------------------------------------------- what changes something


async def _keyed(services: Services, asked: Request, principal: Principal, secret: str | None) -> Keyed | None:
    """The request with its key; None where this node could keep no answer. Who has no token is known by the network he
    comes from: a key of his is nobody's elsewhere, and those that he can fill are his own. Raises Invalid."""
    key = key_in(",".join(asked.headers.getlist(HEADER)))
    if services.commit is None:
        return None
    body = await asked.get_data(as_text=False)
    assert isinstance(body, bytes)
    address = asked.full_path.encode()
    whose = principal.id or f"@{network_of(peer_of(asked))}"
    return keyed(whose, secret, key, (asked.method.encode(), address, body))


async def _changed(call: Call) -> Reply:
    if call.route.mannered and call.shows is None and call.request.headers.get("If-Match"):
        conditions_of(call.request).check("")
    reply = await call.route.handler(call)
    if call.keyed is None or call.progress.kept:
        return reply

    def nothing(reading: Reading, principal: Principal) -> Decided:
        return Decided(None, None)

    # what it did left no entry, so one is made that keeps the answer
    return await call.conclude(SYSTEM, nothing, lambda _: reply)


# ---------------------------------------------------------------- what is only looked at


async def _looked_at(call: Call) -> Reply:
    route, asked = call.route, call.request
    shape = item_of(route.gives) if route.lists else route.gives
    fields = wanted(call.argument("fields"), shape) if route.selects else {}
    before = ""
    if route.shows is not None and not hasattr(route.handler, "__wrapped__"):
        with call.read() as reading:  # ahead of the body: an ETag that is older than it is safe
            before = call.etag(reading, call.principal)
    reply = await route.handler(call)
    if not route.selects or reply.status != 200 or reply.body is None:
        return reply
    headers, body = dict(reply.headers), reply.body
    if isinstance(body, dict) and route.paged:
        closed = call.list().closed(body["next"]) if body["next"] is not None else None
        body = {**body, "next": closed}
        headers["Link"] = call.list().link(closed or "", call.limit())
    etag = before or etag_of(body)
    headers["ETag"] = etag
    if (none := ",".join(asked.headers.getlist("If-None-Match"))) and Tags(none).match(etag, weak=True):
        return Reply(304, None, headers)
    if (match := ",".join(asked.headers.getlist("If-Match"))) and not Tags(match).match(etag):
        raise PreconditionFailed("This is not as it was when you looked.", "Leave out If-Match to get what is there.")
    return replace(reply, body=_selected(body, fields, of_items=route.lists), headers=headers)


def _selected(body: Any, fields: Any, *, of_items: bool) -> Any:
    """Of a list its frame stays, and of its items what was named."""
    if not fields or not of_items:
        return selected(body, fields)
    return {**body, "items": selected(body["items"], fields)}
