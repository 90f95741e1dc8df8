"""Who did what, for people who may ask? The journal as an audit trail: listed, one with what was before, exported.

Who manages a Workspace sees its own; the SYSTEM journal (`-`) and all of them together are the node administrators'.
An origin alone keeps history; an edge sends these calls on.
"""

from collections.abc import Callable
from itertools import islice

import trio

from gateway.access.history.audit import compared, line_of, opening, shown
from gateway.access.history.heads import Heads
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import NODE_ADMIN, WORKSPACE_ADMIN
from gateway.console.history import replies
from gateway.console.shapes.replies import Page
from storage.errors import Absent, Invalid, Unavailable
from storage.index.history import Head, History, Kept
from storage.index.index import NO_HASH
from storage.journal.journal import End
from storage.nouns import SYSTEM

ROUTES = Routes("/-/api/v1")
LOOK_ENTRIES_MAX = 20_000
EXPORT_BYTES_MAX = 1 << 20
EXPORT_LINES_MAX = 1_000
FILTERS = ("actor", "action", "repository", "since_ms", "until_ms", "after", "limit")


@ROUTES.add("GET", "/audit", NODE_ADMIN, (*FILTERS, "workspace"), gives=Page[replies.AuditEntry])
async def list_all(call: Call) -> Reply:
    """Of all workspaces, or the one that is named; `-` is what belongs to none."""
    return await _listed(call, call.argument("workspace") or None)


@ROUTES.add("GET", "/audit/<serial>", NODE_ADMIN, gives=replies.AuditEntry)
async def show_system(call: Call) -> Reply:
    return await _one(call, SYSTEM)


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


@ROUTES.add("GET", "/workspaces/<workspace>/audit", WORKSPACE_ADMIN, FILTERS, gives=Page[replies.AuditEntry])
async def list_entries(call: Call) -> Reply:
    return await _listed(call, call.at["workspace"])


@ROUTES.add("GET", "/workspaces/<workspace>/audit/<serial>", WORKSPACE_ADMIN, gives=replies.AuditEntry)
async def show_entry(call: Call) -> Reply:
    return await _one(call, call.at["workspace"])


@ROUTES.add("GET", "/workspaces/<workspace>/audit/export", WORKSPACE_ADMIN, ("after",), gives=replies.AuditExport)
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


async def _listed(call: Call, workspace: str | None) -> Reply:
    history, limit, wanted = _history(call), call.limit(), _filter(call)
    below, since_ms = _place(call.argument("after")), _number(call, "since_ms") or 0

    def look() -> dict[str, object]:
        items: list[dict[str, object]] = []
        last = None
        entries = history.latest(workspace, below)
        for looked, kept in enumerate(entries, start=1):
            if kept.entry.at_ms >= since_ms and wanted(kept):
                items.append(shown(kept))
            last = kept.at
            if len(items) == limit or looked == LOOK_ENTRIES_MAX:
                break
        more = last is not None and next(history.latest(workspace, last), None) is not None
        return {"items": items, "next": f"{last.segment}:{last.offset}" if more and last is not None else None}

    return Reply(200, await trio.to_thread.run_sync(look))


def _place(text: str) -> End | None:
    if not text:
        return None
    segment, _, offset = text.partition(":")
    if not (text.isascii() and segment.isdigit() and offset.isdigit() and len(text) < 30):
        raise Invalid("The argument after is no place in the history.", "Give the `next` of the page before.")
    return End(int(segment), int(offset))


def _filter(call: Call) -> Callable[[Kept], bool]:
    actor, action, repository = (call.argument(name) for name in ("actor", "action", "repository"))
    until_ms = _number(call, "until_ms")

    def wanted(kept: Kept) -> bool:
        entry = kept.entry
        return (
            (not actor or actor in (entry.actor, entry.actor_name))
            and (not action or entry.action == action or entry.action.startswith(f"{action}."))
            and (not repository or entry.repository == repository)
            and (until_ms is None or entry.at_ms < until_ms)
        )

    return wanted


async def _one(call: Call, workspace: str) -> Reply:
    history, text = _history(call), call.at["serial"]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Absent("There is no such entry.")
    serial = int(text)

    def look() -> dict[str, object]:
        kept = history.one(workspace, serial)
        return shown(kept) | {"changes": compared(kept, history.before(workspace, serial))}

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
