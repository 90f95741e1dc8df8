"""How is a receiver told of what happens in a workspace? Webhooks: made, changed, tried, looked into, played again.

Who manages the workspace manages its webhooks; who manages a repository those of the repository. To others one is as
absent as one that never was (THREATS C5). The address and what is secret go to the origin's own file and nowhere else.
"""

from collections.abc import Callable
from typing import NoReturn

import msgspec
import trio

from gateway.access.names import slug
from gateway.access.rights.grants import MANAGE, What
from gateway.access.rights.verdicts import (
    Principal,
    judge_action,
    judge_node,
    judge_workspace,
    needs_token,
    on_node,
    outlined,
    standing,
)
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.permissions import BY_BODY, SOMEBODY
from gateway.console.people.people import new_id
from gateway.console.repositories.upstreams import check_place
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import EditWebhook, NewWebhook, Replay, Rotation
from gateway.console.webhooks import replies as webhook_replies
from gateway.webhooks.catalogue import CATALOGUE, COMMON, PING, kinds_of
from gateway.webhooks.filters import check_filter
from gateway.webhooks.records import Delivery
from gateway.webhooks.sealed import Sealed, Secret
from gateway.webhooks.sending import receiver
from gateway.webhooks.signatures import new_secret
from gateway.webhooks.telling import REDELIVERY, Telling, check_headers
from gateway.webhooks.templates import check_template
from storage.commit import Decided
from storage.errors import Absent, Conflict, Forbidden, Invalid, Problem, TooLarge, Unavailable
from storage.hooks import DropWebhook, PutWebhook, Webhook
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft

ROUTES = Routes("/-/api/v1")
WEBHOOKS_MAX = 100
SWITCHED_OFF = "It was switched off by hand."
_AT = "/workspaces/<workspace>/webhooks"
_ONE = f"{_AT}/<webhook>"


@ROUTES.add("GET", "/webhook-events", SOMEBODY, gives=webhook_replies.WebhookEvents)
async def list_events(call: Call) -> Reply:
    """Of what a webhook can be told."""
    events = [
        {"name": one.name, "told": one.told, "data": list(one.fields), "of_repository": one.of_repository}
        for one in CATALOGUE
    ]
    return Reply(200, {"data": list(COMMON), "events": events})


@ROUTES.add("GET", _AT, SOMEBODY, ("repository", "after", "limit"), gives=Page[webhook_replies.Webhook])
async def list_webhooks(call: Call) -> Reply:
    """Those that the caller may manage: of the workspace and of its repositories, or of one `repository`."""
    repository = call.argument("repository")
    with call.read() as reading:
        found = [one for one in _known(reading, call.at["workspace"]) if _governs(reading, call.principal, one)]
    wanted = [one for one in found if repository in ("", one.repository)]
    return call.page(wanted, lambda one: one.name, lambda one: _noun(one) | _doing(call, one))


@ROUTES.add("POST", _AT, BY_BODY, takes=NewWebhook, gives=webhook_replies.MintedWebhook, status=201)
async def create_webhook(call: Call) -> Reply:
    """Its signing secret is told now and never again. It hears what happens from now on."""
    body, telling = await call.body(NewWebhook), _telling(call)
    ws, now_ms = call.at["workspace"], call.services.now_ms()
    there = receiver(body.url, private_network=body.private_network)
    headers = check_headers(body.headers)
    draft = Webhook(
        new_id("whk_"),
        ws,
        body.repository,
        slug(body.name, "A webhook"),
        f"{there.scheme}://{there.authority}",
        new_id("rev_"),
        0,
        0,
        tuple(dict.fromkeys(body.events)),
        body.query,
        body.template,
        body.media,
        body.private_network,
        at_ms=now_ms,
    )
    _check(draft)
    await check_place(call, body.url, body.private_network)
    secret = new_secret()
    sealed = Sealed(draft.id, now_ms, body.url, (Secret(secret),), headers)

    def decide(reading: Reading, principal: Principal) -> Decided:
        _judge_place(reading, principal, ws, body.repository)
        if body.private_network:
            judge_node(principal, "admin")
        known = _known(reading, ws)
        if any(one.name == draft.name for one in known):
            raise Conflict("There is a webhook of this name in the workspace already.", "Choose another name.")
        if len(known) >= WEBHOOKS_MAX:
            raise TooLarge(f"A workspace has at most {WEBHOOKS_MAX} webhooks.", "Remove one first.")
        # its own entry is the next one
        made = msgspec.structs.replace(draft, after=reading.serial(ws) + 1, after_system=reading.serial(SYSTEM))
        return _written(principal, "webhook.create", made)

    def answer(made: Webhook) -> Reply:
        return Reply(201, _noun(made) | {"headers": sorted(headers), "secret": secret})

    return await _concluded(call, telling, draft.id, draft.revision, sealed, decide, answer)


def show_settings(call: Call, reading: Reading) -> shown.Shown:
    """What the index knows of it: its ETag does not move with what is delivered."""
    return _noun(_governed(reading, call, call.principal))


@ROUTES.add("GET", _ONE, SOMEBODY, gives=webhook_replies.Webhook, shows=show_settings)
async def show_webhook(call: Call) -> Reply:
    with call.read() as reading:
        hook = _governed(reading, call, call.principal)
    return Reply(200, _noun(hook) | _doing(call, hook))


@ROUTES.add("PATCH", _ONE, BY_BODY, takes=EditWebhook, gives=webhook_replies.Webhook)
async def edit_webhook(call: Call) -> Reply:
    """What is not named stays. Switched on again, it goes on where it stopped: nothing was lost. Where one that leads
    into the private network goes and what it sends, only who may give that leave says. A public url takes the leave
    away, and with it the headers that were for inside."""
    body, telling = await call.body(EditWebhook), _telling(call)
    now_ms = call.services.now_ms()
    with call.read() as reading:
        before = _governed(reading, call, call.principal)
    if body.url is None and body.private_network is not None:
        raise Invalid("Whether a receiver is in the private network goes with its url.", "Give the url as well.")
    asked: dict[str, object] = {
        name: value for name in ("query", "template", "media") if (value := getattr(body, name)) is not None
    }
    if body.events is not None:
        asked["events"] = tuple(dict.fromkeys(body.events))
    if body.enabled is not None:
        asked |= {"enabled": body.enabled, "why": "" if body.enabled else SWITCHED_OFF}
    private = before.private_network if body.private_network is None else body.private_network
    if body.url is not None:
        there = receiver(body.url, private_network=private)
        await check_place(call, body.url, private)
        asked |= {"host": f"{there.scheme}://{there.authority}", "private_network": private}
    sealed = _resealed(telling, before, body, now_ms, out=before.private_network and not private)
    if sealed is not None:
        asked["revision"] = new_id("rev_")

    def decide(reading: Reading, principal: Principal) -> Decided:
        now = _unchanged(reading, call, principal, before)
        after = msgspec.structs.replace(now, **asked)
        sends = (after.template, after.media) != (now.template, now.media)
        if after.private_network and (sends or sealed is not None):
            _judge_leave(principal)
        _check(after)
        return Decided(None, now) if after == now else _written(principal, "webhook.edit", after)

    revision = str(asked.get("revision", ""))

    def answer(made: Webhook) -> Reply:
        return Reply(200, _noun(made) | ({} if sealed is None else {"headers": sorted(sealed.headers)}))

    return await _concluded(call, telling, before.id, revision, sealed, decide, answer)


@ROUTES.add("DELETE", _ONE, BY_BODY, gives=None)
async def remove_webhook(call: Call) -> Reply:
    telling, gone = _telling(call), list[str]()

    def decide(reading: Reading, principal: Principal) -> Decided:
        hook = _governed(reading, call, principal)
        gone[:] = [hook.id]
        drop = DropWebhook(hook.repository, hook.id)
        return Decided(Draft(hook.workspace, hook.repository, principal.id, "webhook.remove", (drop,)), None)

    reply = await call.conclude(call.at["workspace"], decide, no_content)
    for id in gone:
        await trio.to_thread.run_sync(telling.sealing.keep_only, id, "")
    return reply


@ROUTES.add("POST", f"{_ONE}/rotate", BY_BODY, takes=Rotation, gives=webhook_replies.MintedWebhook)
async def rotate_secret(call: Call) -> Reply:
    """A new signing secret. For `overlap_s` each request has a signature by either, so that nothing is refused while
    the receiver learns the new one."""
    body, telling = await call.body(Rotation), _telling(call)
    now_ms = call.services.now_ms()
    with call.read() as reading:
        before = _governed(reading, call, call.principal)
    old, secret, revision = telling.sealing.get(before.revision), new_secret(), new_id("rev_")
    ends_ms = now_ms + body.overlap_s * 1000
    staying = tuple(Secret(old.good(now_ms)[0], ends_ms) for _ in range(1) if body.overlap_s)
    sealed = msgspec.structs.replace(old, at_ms=now_ms, secrets=(Secret(secret), *staying))

    def decide(reading: Reading, principal: Principal) -> Decided:
        now = _unchanged(reading, call, principal, before)
        return _written(principal, "webhook.rotate", msgspec.structs.replace(now, revision=revision))

    def answer(made: Webhook) -> Reply:
        return Reply(200, _noun(made) | {"secret": secret})

    return await _concluded(call, telling, before.id, revision, sealed, decide, answer)


@ROUTES.add("POST", f"{_ONE}/replay", BY_BODY, takes=Replay, gives=webhook_replies.Webhook)
async def replay(call: Call) -> Reply:
    """Tell again what happened behind `serial`, a Serial of the workspace's journal, and of SYSTEM's behind
    `system_serial`. Each event has the id that it had."""
    body = await call.body(Replay)

    def decide(reading: Reading, principal: Principal) -> Decided:
        now = _governed(reading, call, principal)
        ends = reading.serial(now.workspace), reading.serial(SYSTEM)
        after, system = body.serial, ends[1] if body.system_serial is None else body.system_serial
        if after > ends[0] or system > ends[1]:
            raise Invalid("The journal has not come so far.", "entrepot audit list tells the last Serial.")
        anew = msgspec.structs.replace(now, after=after, after_system=system, run=now.run + 1)
        return _written(principal, "webhook.replay", anew)

    return await call.conclude(call.at["workspace"], decide, lambda made: Reply(200, _noun(made)))


@ROUTES.add("POST", f"{_ONE}/ping", BY_BODY, gives=webhook_replies.Delivery)
async def ping(call: Call) -> Reply:
    """Send a ping now, and tell what came of it."""
    telling = _telling(call)
    with call.read() as reading:
        hook = _governed(reading, call, call.principal)
    return Reply(200, _delivery(await telling.tell_now(hook, telling.trial(hook, new_id("msg_")), PING)))


@ROUTES.add("GET", f"{_ONE}/deliveries", SOMEBODY, ("after", "limit"), gives=Page[webhook_replies.Delivery])
async def list_deliveries(call: Call) -> Reply:
    """The last attempts, the latest first."""
    telling, limit = _telling(call), call.limit()
    below = _number(call.argument("after") or "0", _no_page)
    with call.read() as reading:
        hook = _governed(reading, call, call.principal)
    found = await trio.to_thread.run_sync(telling.records.deliveries, hook.id, below, limit + 1)
    return Reply(200, shown.page(found, limit, lambda one: str(one.number), _delivery))


@ROUTES.add("POST", f"{_ONE}/deliveries/<number>/redeliver", BY_BODY, gives=webhook_replies.Delivery)
async def redeliver(call: Call) -> Reply:
    """Send again, now, what one attempt sent: the same event with the same id, as the webhook is now."""
    telling = _telling(call)
    with call.read() as reading:
        hook = _governed(reading, call, call.principal)
    number = _number(call.at["number"], _no_delivery)
    was = await trio.to_thread.run_sync(telling.records.delivery, hook.id, number)
    if was is None:
        _no_delivery()
    if was.event == PING:
        message = telling.trial(hook, was.message)
    else:
        message = await trio.to_thread.run_sync(telling.message, hook, was.journal, was.serial, was.message)
    return Reply(200, _delivery(await telling.tell_now(hook, message, REDELIVERY)))


# ---------------------------------------------------------------- steps


def _telling(call: Call) -> Telling:
    if call.services.telling is None:
        raise Unavailable("This node tells nobody of anything.", "Ask the origin.")
    return call.services.telling


def _known(reading: Reading, ws: str) -> list[Webhook]:
    return reading.webhooks(ws) if "\0" not in ws and reading.workspace(ws) is not None else []


def _governs(reading: Reading, principal: Principal, hook: Webhook) -> bool:
    """Is it the caller's to manage?"""
    ws, name = hook.workspace, hook.repository
    repository = outlined(reading, ws, name)
    if name and not repository.exists:
        return False
    return standing(reading, principal, ws).whole(What(MANAGE, ws, name), repository.at_ms)


def _governed(reading: Reading, call: Call, principal: Principal) -> Webhook:
    """The webhook that the path names. Raises Absent for one that the caller may not manage as for none (C5)."""
    if not principal.id:
        raise needs_token()
    name = call.at["webhook"]
    hook = next((one for one in _known(reading, call.at["workspace"]) if one.name == name), None)
    if hook is None or not _governs(reading, principal, hook):
        raise Absent("There is no such webhook, or this token may not know of it.")
    return hook


def _unchanged(reading: Reading, call: Call, principal: Principal, before: Webhook) -> Webhook:
    """The same as it was looked up, under the lock. Raises Conflict where its address or secret was changed since."""
    now = _governed(reading, call, principal)
    if (now.id, now.revision) != (before.id, before.revision):
        raise Conflict("This webhook was changed at the same moment.", "Try again.")
    return now


def _judge_place(reading: Reading, principal: Principal, ws: str, repository: str) -> None:
    if repository:
        judge_action(reading, principal, ws, repository, MANAGE)
    else:
        judge_workspace(reading, principal, ws, "admin")


def _check(hook: Webhook) -> None:
    """Raises Invalid for what could not be used."""
    check_filter(hook)
    check_template(hook.template, hook.media, kinds_of(hook.events, of_repository=bool(hook.repository)))


def _judge_leave(principal: Principal) -> None:
    """Raises Forbidden for who may not send into the private network."""
    if not on_node(principal, "admin"):
        raise Forbidden(
            "This webhook leads into the private network: where and what it sends, the node's administrators say.",
            "Ask them, or give it a public url with private_network false: then it leads there no more.",
        )


def _resealed(telling: Telling, hook: Webhook, body: EditWebhook, now_ms: int, *, out: bool) -> Sealed | None:
    """What is secret of it after the edit; None = as before. `out`: it leads into the private network no more."""
    if body.url is None and body.headers is None:
        return None
    old = telling.sealing.find(hook.revision)
    if old is None:
        if body.url is None:
            telling.sealing.get(hook.revision)  # says what to do
        old = Sealed(hook.id, now_ms, "", (Secret(new_secret()),))
    headers = ({} if out else old.headers) if body.headers is None else check_headers(body.headers)
    return Sealed(hook.id, now_ms, old.url if body.url is None else body.url, old.secrets, headers)


async def _concluded(
    call: Call,
    telling: Telling,
    id: str,
    revision: str,
    sealed: Sealed | None,
    decide: Callable[[Reading, Principal], Decided],
    answer: Callable[[Webhook], Reply],
) -> Reply:
    """The secret half first, then the commit that names it, then the old half goes; where nothing was committed, the
    new one."""
    if sealed is None:
        return await call.conclude(call.at["workspace"], decide, answer)
    await trio.to_thread.run_sync(telling.sealing.put, revision, sealed)
    try:
        reply = await call.conclude(call.at["workspace"], decide, answer)
    except Problem:
        await trio.to_thread.run_sync(telling.sealing.drop, revision)
        raise
    if call.progress.changed:
        await trio.to_thread.run_sync(telling.sealing.keep_only, id, revision)
    else:  # it was done before, by an earlier request with the same key
        await trio.to_thread.run_sync(telling.sealing.drop, revision)
    return reply


def _written(principal: Principal, action: str, hook: Webhook) -> Decided:
    return Decided(Draft(hook.workspace, hook.repository, principal.id, action, (PutWebhook(hook),)), hook)


def _number(text: str, refuse: Callable[[], NoReturn]) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        refuse()
    return int(text)


def _no_page() -> NoReturn:
    raise Invalid("The argument after is none that a page of results gave.", "Give its next.")


def _no_delivery() -> NoReturn:
    raise Absent("There is no such delivery, or it is no longer kept.")


# ---------------------------------------------------------------- shown


def _noun(hook: Webhook) -> shown.Shown:
    return {
        "id": hook.id,
        "name": hook.name,
        "workspace": hook.workspace,
        "repository": hook.repository,
        "host": hook.host,
        "events": list(hook.events),
        "query": hook.query,
        "template": hook.template,
        "media": hook.media,
        "private_network": hook.private_network,
        "enabled": hook.enabled,
        "why": hook.why,
        "revision": hook.revision,
        "created_ms": hook.at_ms,
    }


def _doing(call: Call, hook: Webhook) -> shown.Shown:
    """What only the origin knows of it."""
    telling = call.services.telling
    if telling is None:
        return {}
    sealed = telling.sealing.find(hook.revision)
    with call.read() as reading:
        head = reading.serial(hook.workspace)
    return {"headers": sorted(sealed.headers) if sealed is not None else [], "queue": telling.told(hook, head)}


def _delivery(one: Delivery) -> shown.Shown:
    return {
        "number": one.number,
        "message": one.message,
        "event": one.event,
        "journal": one.journal,
        "serial": one.serial,
        "attempt": one.attempt,
        "cause": one.cause,
        "at_ms": one.at_ms,
        "took_ms": one.took_ms,
        "delivered": one.delivered,
        "status": one.status,
        "problem": one.problem,
        "request": {"headers": dict(one.sent), "bytes": one.sent_bytes},
        "response": {"headers": dict(one.answered), "bytes": one.answered_bytes},
    }
