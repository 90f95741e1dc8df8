"""Who did what, and is the history as it was written? Asked of a node, or of files that came from one."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from gateway.access.history.audit import check_export
from gateway.access.history.heads import KEPT, SignedHead, kept, read_head, verified
from gateway.cli.nodes.operate import DATA, origin_of
from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, instant, seconds
from gateway.console.calls.clock import now_ms
from storage.errors import Absent, Problem
from storage.index.history import Head
from storage.nouns import SYSTEM
from storage.upkeep.chain import check_journal

app = App(name="audit", help="Who did what: list, show, export, verify.")
LIMIT = 50
Of = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A workspace, or SYSTEM, which looks like an option."""
_OF_ACCOUNTS = ("usr_", "svc_")
_CALLED = ("token", "account", "provider", "webhook", "edge")
"""What has a name beside its id."""
PAGE = 1_000


@app.command(name="list")
def list_entries(
    workspace: Of = "",
    /,
    *,
    repository: str = "",
    actor: str = "",
    action: str = "",
    trace: str = "",
    since: str = "",
    until: str = "",
    limit: int = LIMIT,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """List what was changed, the latest first.

    Parameters
    ----------
    workspace
        One workspace, with what the node's own history ("-") says of its tokens, services, hosts and quota; "-" is
        all of that: accounts, tokens, edges. Without it all of them.
    repository
        Of this repository alone.
    actor
        By this user or service account, by any of its tokens; or by the token with this id.
    action
        Like key.add, or all of a kind: key.
    trace
        What was done in the trace with this id.
    since
        Not older than this: 30m, 12h, 7d.
    until
        Older than this.
    limit
        At most so many.
    """
    path = "/audit" if workspace in ("", SYSTEM) else f"/workspaces/{workspace}/audit"
    told = {
        "workspace": workspace if workspace == SYSTEM else "",
        "repository": repository,
        "actor": actor,
        "action": action,
        "trace": trace,
        "since_ms": _ago(since),
        "until_ms": _ago(until),
        "limit": str(max(1, min(limit, PAGE))),
    }
    with reach(url, profile) as node:
        found = list(itertools.islice(node.items(path, **told), limit))
    rows = [
        (
            one["workspace"],
            one["serial"],
            instant(one["at_ms"]),
            _who(one),
            one["action"],
            one["repository"],
            _about(one),
            one["reason"],
        )
        for one in found
    ]
    names = ("workspace", "serial", "time", "actor", "action", "repository", "about", "reason")
    Output(json).rows({"items": found}, names, rows)


@app.command
def show(
    workspace: Of,
    serial: int,
    /,
    *,
    system: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show one entry, with what stood there before and after.

    Parameters
    ----------
    workspace
        Its workspace; "-" is what belongs to none.
    serial
        As `audit list` tells it.
    system
        It is of "-", and concerns the workspace.
    """
    more = {"journal": SYSTEM} if system else {}
    with reach(url, profile) as node:
        one = node.get(f"{_path(workspace)}/{serial}", **more)
    lines = [
        f"{one['workspace']} {one['serial']}  {instant(one['at_ms'])}",
        f"{one['action']} by {_who(one)}" + (f" in {one['repository']}" if one["repository"] else ""),
        *([f"reason: {one['reason']}"] if one["reason"] else []),
        *([f"trace: {one['trace']}"] if one["trace"] else []),
        f"hash: {one['hash']}",
    ]
    for change in one["changes"]:
        who = f" ({change['who']})" if change.get("who") else ""
        lines.append(f"{change['change']} {' '.join(part for part in change['subject'][1:] if part)}{who}")
        before = _short(change["before"]) if "before" in change else "too long ago to be looked for"
        lines += [f"  before: {before}", f"  after:  {_short(change['after'])}"]
    Output(json).fact(one, "\n".join(lines))


@app.command
def export(
    workspace: Of,
    /,
    *,
    out: Path | None = None,
    after: int = 0,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Write the history of a workspace ("-" = of what belongs to none) as JSON Lines that prove themselves.

    Parameters
    ----------
    workspace
        The workspace, or "-".
    out
        The file to write; without it stdout.
    after
        Begin behind this serial.
    """
    with reach(url, profile) as node:
        if out is None:
            for line in _exported(node, workspace, after):
                sys.stdout.write(line + "\n")
            return
        fresh = out.with_name(f"{out.name}.new")
        try:
            with fresh.open("w") as file:
                file.writelines(line + "\n" for line in _exported(node, workspace, after))
            fresh.replace(out)
        except OSError as error:
            raise Usage(f"{out} cannot be written: {error.strerror}.", "Name another file with --out.") from None
        except Problem:
            fresh.unlink(missing_ok=True)
            raise


@app.command
def heads(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Where every history ends, signed. Keep the output of --json away from the origin, for `verify --heads`."""
    with reach(url, profile) as node:
        told = node.get("/audit/heads")
    rows = [(one["workspace"], one["serial"], one["hash"], instant(one["at_ms"])) for one in told["items"]]
    Output(json).rows(told, ("workspace", "serial", "hash", "time"), rows)


@app.command
def verify(
    export: Path | None = None,
    /,
    *,
    data: Path = DATA,
    heads: Path | None = None,
    key: str = "",
    json: AsJson = False,
) -> int:
    """Look whether a history is as it was written. Exit code 1 if not. A node may go on running.

    Parameters
    ----------
    export
        An export to look at; without it the journal in --data.
    data
        An origin's data, or what `entrepot up` was given.
    heads
        What `entrepot audit heads --json` gave at any time before.
    key
        The origin's public key that must have signed.
    """
    held = [*(_read_heads(heads) if heads is not None else ())]
    problems: list[str] = []
    if export is not None:
        claims = _claims(held, key, problems)
        try:
            with export.open("rb") as file:
                proof = check_export(file, claims, key)
        except OSError as error:
            raise Absent(f"{export} cannot be read: {error.strerror}.") from None
        checked, told = proof.checked, {"workspace": proof.workspace, "key": proof.key}
    else:
        root = origin_of(data)
        held += kept(root / KEPT)
        claims = _claims(held, key, problems)
        checked, told = check_journal(root, claims), {"data": str(root)}
    problems += checked.problems
    document = told | {
        "entries": checked.entries,
        "signed_heads": checked.signed,
        "whole": not problems,
        "problems": problems,
    }
    verdict = count_of(len(problems), "problem") if problems else "as it was written"
    text = [
        f"{count_of(checked.entries, 'entry', 'entries')}, {count_of(checked.signed, 'signed head')}: {verdict}",
        *problems,
    ]
    Output(json).fact(document, "\n".join(text))
    return 1 if problems else 0


def _claims(held: list[SignedHead], key: str, problems: list[str]) -> list[Head]:
    good = [one for one in held if verified(one, key)]
    if len(good) < len(held):
        problems.append(f"Not signed by the key: {count_of(len(held) - len(good), 'head')}.")
    return [one.head for one in good]


def _read_heads(path: Path) -> list[SignedHead]:
    """One document of `heads --json`, or heads one a line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Absent(f"{path} cannot be read: {error.strerror}.") from None
    try:
        told = msgspec.json.decode(raw)
        return [read_head(msgspec.json.encode(one)) for one in told["items"]]
    except (msgspec.DecodeError, KeyError, TypeError):
        return [read_head(line) for line in raw.splitlines() if line]


def _exported(node: Client, workspace: str, after: int) -> Iterator[str]:
    """The lines of an export, page by page."""
    page = node.get(f"{_path(workspace)}/export", after=str(after))
    yield page["opening"]
    while True:
        yield from page["items"]
        if page["next"] is None:
            yield msgspec.json.encode(msgspec.convert(page["closing"], SignedHead)).decode()
            return
        page = node.get(f"{_path(workspace)}/export", after=str(page["next"]))


def _path(workspace: str) -> str:
    if "/" in workspace:
        raise Usage(f'"{workspace}" names no workspace.', "Name a workspace alone, or - for what belongs to none.")
    return "/audit" if workspace == SYSTEM else f"/workspaces/{workspace}/audit"


def _ago(text: str) -> str:
    return str(now_ms() - seconds(text) * 1000) if text else ""


def _who(entry: dict[str, Any]) -> str:
    actor = entry["actor"]
    return f"{actor['name']} ({actor['id']})" if actor["name"] else str(actor["id"])


def _about(entry: dict[str, Any]) -> str:
    """What its first change is about, and how many more it has: its kind and its name, or else what it is known by."""
    if not entry["changes"]:
        return ""
    first, more = entry["changes"][0], len(entry["changes"]) - 1
    kind, *names = first["subject"]
    called = next((one["name"] for one in first.values() if isinstance(one, dict) and one.get("name")), "")
    known = called if kind in _CALLED and called else " ".join(filter(None, names[1:] or names))
    if who := first.get("who"):
        known = " ".join(who if one.startswith(_OF_ACCOUNTS) else one for one in names if one)
    return f"{kind} {known}".strip() + (f" and {more} more" if more else "")


def _short(value: object) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
