"""How is a store swept and scrubbed from a terminal? Asks the node, and shows how far it is until it is done."""

import time
from collections.abc import Callable
from typing import Any

from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl

LOOK_SECONDS = 0.5


def sweep(
    *, dry_run: bool = False, wait: bool = True, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> int:
    """Give back the room of what no file names any more. Needs admin on *. Exit code 1 if something is damaged.

    Parameters
    ----------
    dry_run
        Only tell what would be done.
    wait
        Stay until it is done, and show how far it is.
    """
    out = Output(json)
    with reach(url, profile) as node:
        if dry_run:
            would = node.post("/sweep", {"dry_run": True})["would"]
            out.fact(would, f"It would be: {_swept(would)}.")
            return 0
        before = node.get("/sweep")["runs"]
        told = node.post("/sweep", {})
        if wait:
            told = _awaited(node, "/sweep", before, out, lambda one: f"{one['phase']}: {_swept(one)}")
    return _ended(told, wait, out, _swept)


def scrub(*, wait: bool = True, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Read everything that a node has stored and compare. Needs admin on *. Exit code 1 if something is damaged.

    What is damaged on a cache is forgotten, and fetched again by who asks for it.

    Parameters
    ----------
    wait
        Stay until it is done, and show how far it is.
    """
    out = Output(json)
    with reach(url, profile) as node:
        before = node.get("/scrub")["runs"]
        told = node.call("POST", "/scrub")
        if wait:
            told = _awaited(node, "/scrub", before, out, lambda one: f"{one['phase']}: {_scrubbed(one)}")
    return _ended(told, wait, out, _scrubbed)


def _awaited(node: Client, path: str, before: int, out: Output, say: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Until a run that was not begun before is done; a note where it has got further."""
    said = ""
    while True:
        told: dict[str, Any] = node.get(path)
        if told["runs"] > before and not told["running"] and not told["waiting"]:
            return told
        if told["running"] and told["progress"] and (text := say(told["progress"])) != said:
            out.note(text)
            said = text
        time.sleep(LOOK_SECONDS)


def _ended(told: dict[str, Any], waited: bool, out: Output, say: Callable[[dict[str, Any]], str]) -> int:
    if not waited:
        out.fact(told, "Asked for. --wait shows how far it is.")
        return 0
    damaged = told["progress"].get("damaged", [])
    lines = [f"Done: {say(told['progress'])}.", *damaged] if not told["problem"] else [f"Stopped: {told['problem']}"]
    out.fact(told, "\n".join(lines))
    return 1 if damaged or told["problem"] else 0


def _swept(one: dict[str, Any]) -> str:
    return (
        f"{count_of(one['forgotten'], 'file')} of {size_of(one['forgotten_bytes'])} forgotten "
        f"({one['waiting']} waiting for their grace to end), "
        f"{size_of(one['copied_bytes'])} copied, {size_of(one['reclaimed_bytes'])} given back"
    )


def _scrubbed(one: dict[str, Any]) -> str:
    return (
        f"{count_of(one['blobs'], 'stored file')} of {size_of(one['bytes'])}, {count_of(one['rows'], 'row')}, "
        f"{size_of(one['journal_bytes'])} of journal, {len(one['damaged'])} damaged, {one['forgotten']} forgotten"
    )
