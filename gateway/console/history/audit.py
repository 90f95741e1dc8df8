"""Who did what, for people who may ask? The journal as an audit trail: listed, one with what was before, exported.

Who may audit a Workspace sees its own, and what of the SYSTEM journal (`-`) concerns it; that journal, all of them
together, and the history of a Workspace that was deleted are the node administrators'.
An origin alone keeps history; an edge sends these calls on.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import trio
from msgspec.structs import replace

from gateway.access.history.audit import compared, line_of, opening, shown, trace_of
from gateway.access.history.concerning import concerning
from gateway.access.history.heads import Heads
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import KINDS
from gateway.console.calls.permissions import NODE_ADMIN, WORKSPACE_HISTORY
from gateway.console.history import replies
from gateway.console.shapes.replies import Page
from storage.errors import Absent, Invalid, Unavailable
from storage.index.history import Head, History, Kept
from storage.index.index import NO_HASH
from storage.journal.journal import End
from storage.nouns import SYSTEM, Account, Entry

ROUTES = Routes("/-/api/v1")
LOOK_ENTRIES_MAX = 20_000
EXPORT_BYTES_MAX = 1 << 20
EXPORT_LINES_MAX = 1_000
_OF_ACCOUNTS = ("usr_", "svc_")
"""How their ids begin."""
FILTERS = ("actor", "action", "repository", "trace", "since_ms", "until_ms", "after", "limit")


@ROUTES.add("GET", "/audit", NODE_ADMIN, (*FILTERS, "workspace"), gives=Page[replies.AuditEntry])
async def list_all(call: Call) -> Reply:
    """Of all workspaces, or the one that is named; `-` is what belongs to none."""
    workspace = call.argument("workspace")
    return await _listed(call, *([workspace] if workspace else []))


@ROUTES.add("GET", "/audit/<serial>", NODE_ADMIN, gives=replies.AuditEntry)
async def show_system(call: Call) -> Reply:
    return await _one(call, SYSTEM, SYSTEM)


@ROUTES.add("GET", "/audit/export", NODE_ADMIN, ("after",), gives=replies.AuditExport)
async def export_system(call: Call) -> Reply:
    return await _exported(call, SYSTEM)


@ROUTES.add("GET", "/audit/heads", NODE_ADMIN, gives=replies.SignedHeads)
async def list_heads(call: Call) -> Reply:
    """Where every history ends, signed now and written down, with the public key."""
    history, heads = _history(call), _heads(call)

    def sign() -> dict[str, object]:
        found, at_ms = history.heads(), call.services.now_ms()
        heads.keep(found, at_ms)
        return {"key": heads.public(), "items": [heads.signed(one, at_ms) for one in found], "next": None}

    return Reply(200, await trio.to_thread.run_sync(sign))


@ROUTES.add("GET", "/workspaces/<workspace>/audit", WORKSPACE_HISTORY, FILTERS, gives=Page[replies.AuditEntry])
async def list_entries(call: Call) -> Reply:
    """Its own entries, and of `-` those on its tokens, service accounts, hosts and quota."""
    return await _listed(call, call.at["workspace"], SYSTEM)


@ROUTES.add("GET", "/workspaces/<workspace>/audit/<serial>", WORKSPACE_HISTORY, ("journal",), gives=replies.AuditEntry)
async def show_entry(call: Call) -> Reply:
    """One of its own, or with the argument `journal=-` one of the node's that concerns it."""
    workspace, journal = call.at["workspace"], call.argument("journal")
    if journal not in ("", SYSTEM, workspace):
        raise Absent("There is no such entry.")
    return await _one(call, journal or workspace, workspace)


@ROUTES.add("GET", "/workspaces/<workspace>/audit/export", WORKSPACE_HISTORY, ("after",), gives=replies.AuditExport)
async def export_entries(call: Call) -> Reply:
    return await _exported(call, call.at["workspace"])


def _history(call: Call) -> History:
    if call.services.history is None:
        raise Unavailable("This node keeps no history.", "Ask the origin.")
    return call.services.history


def _heads(call: Call) -> Heads:
    if call.services.heads is None:
        raise Unavailable("This node signs no heads.", "Ask the origin.")
    return call.services.heads


def _number(call: Call, name: str) -> int | None:
    text = call.argument(name)
    if text and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Invalid(f"The argument {name} is no number that can be used.")
    return int(text) if text else None


def _telling(call: Call, workspace: str) -> Callable[[Entry], Entry | None]:
    """What of an entry is told to who manages the Workspace, or ("" or SYSTEM) the node."""
    if workspace in ("", SYSTEM):
        return lambda entry: entry

    def account_of(id: str) -> Account | None:
        with call.read() as reading:
            return reading.account(id)

    return lambda entry: concerning(entry, workspace, account_of)


async def _listed(call: Call, *workspaces: str) -> Reply:
    """Of these Workspaces (none: all), as the first one is told."""
    history, limit, wanted = _history(call), call.limit(), _filter(call)
    below, since_ms = _place(call.argument("after")), _number(call, "since_ms") or 0
    tell = _telling(call, workspaces[0] if workspaces else "")

    def look() -> dict[str, object]:
        items: list[dict[str, object]] = []
        last = None
        for looked, kept in enumerate(history.latest(*workspaces, below=below), start=1):
            entry = tell(kept.entry) if kept.entry.at_ms >= since_ms and wanted(kept) else None
            if entry is not None:
                items.append(_with_names(call, shown(entry, kept.hash)))
            last = kept.at
            if len(items) == limit or looked == LOOK_ENTRIES_MAX:
                break
        more = last is not None and next(history.latest(*workspaces, below=last), None) is not None
        return {"items": items, "next": f"{last.segment}:{last.offset}" if more and last is not None else None}

    return Reply(200, await trio.to_thread.run_sync(look))


def _with_names(call: Call, told: dict[str, Any]) -> dict[str, Any]:
    """With `who` in each change that is about an account: what that is called now. The journal knows ids alone."""
    with call.read() as reading:
        for change in told["changes"]:
            accounts = (reading.account(part) for part in change["subject"][1:] if part.startswith(_OF_ACCOUNTS))
            if (account := next(filter(None, accounts), None)) is not None:
                change["who"] = f"{account.kind}:{account.name}"
    return told


def _place(text: str) -> End | None:
    if not text:
        return None
    segment, _, offset = text.partition(":")
    if not (text.isascii() and segment.isdigit() and offset.isdigit() and len(text) < 30):
        raise Invalid("The argument after is no place in the history.", "Give the `next` of the page before.")
    return End(int(segment), int(offset))


def _filter(call: Call) -> Callable[[Kept], bool]:
    actor, action, repository, trace = (call.argument(name) for name in ("actor", "action", "repository", "trace"))
    until_ms, kind = _number(call, "until_ms"), actor.partition(":")[0]
    actor = actor.partition(":")[2] if kind in KINDS else actor  # as people are called everywhere else

    def wanted(kept: Kept) -> bool:
        entry = kept.entry
        return (
            (not actor or actor in (entry.actor, entry.actor_name, entry.actor_name.partition(" (")[0]))
            and (not action or entry.action == action or entry.action.startswith(f"{action}."))
            and (not repository or entry.repository == repository)
            and (not trace or trace_of(entry) == trace)
            and (until_ms is None or entry.at_ms < until_ms)
        )

    return wanted


async def _one(call: Call, journal: str, workspace: str) -> Reply:
    history, text, tell = _history(call), call.at["serial"], _telling(call, workspace)
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Absent("There is no such entry.")
    serial = int(text)

    def look() -> dict[str, object]:
        kept = history.one(journal, serial)
        entry = tell(kept.entry)
        if entry is None:
            raise Absent("There is no such entry.")
        earlier = (tell(older.entry) or replace(older.entry, changes=()) for older in history.before(journal, serial))
        return _with_names(call, shown(entry, kept.hash) | {"changes": compared(entry, earlier)})

    return Reply(200, await trio.to_thread.run_sync(look))


async def _exported(call: Call, workspace: str) -> Reply:
    """Lines of an export from an entry on, with what comes before and behind them."""
    history, heads, after = _history(call), _heads(call), _number(call, "after") or 0

    def look() -> dict[str, object]:
        epoch = next((one.epoch for one in history.heads()), 0)
        first = Head(epoch, workspace, after, history.one(workspace, after).hash if after else NO_HASH)
        lines, size, last = [], 0, first
        rest = history.after(workspace, after)
        for kept in islice(rest, EXPORT_LINES_MAX):
            lines.append(line_of(kept.body))
            size += len(lines[-1])
            last = Head(kept.entry.epoch, workspace, kept.entry.serial, kept.hash)
            if size > EXPORT_BYTES_MAX:
                break
        more = next(rest, None) is not None
        return {
            "opening": opening(heads.store, first, heads.public()),
            "items": lines,
            "closing": heads.signed(last, call.services.now_ms()),
            "next": last.serial if more else None,
        }

    return Reply(200, await trio.to_thread.run_sync(look))
