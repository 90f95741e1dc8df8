"""Is what a node has stored whole, and what if its index or its admin token is lost?"""

from pathlib import Path

import msgspec

from gateway.access import bootstrap
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson
from storage.errors import Absent, Problem
from storage.open import rebuild_index as rebuild
from storage.upkeep.verify import verify

DATA = Path("./entrepot-data")
_IDENTITY = "store.json"


def fsck(*, data: Path = DATA, deep: bool = False, json: AsJson = False) -> int:
    """Check what is stored; a node may go on running. Exit code 1 if something is wrong.

    Parameters
    ----------
    data
        A node's data, or what `entrepot up` was given.
    deep
        Read every byte, and compare the index with the journal.
    """
    out = Output(json)
    found = []
    for root in stores(data):
        out.note(f"{root}: looking")
        report = verify(root, deep)
        counts = {"entries": report.entries, "rows": report.rows, "packs": report.packs, "blobs": report.blobs}
        found.append({"data": str(root)} | counts | {"bytes": report.bytes, "problems": report.problems})
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        if not json:
            out.fact(None, "\n".join([f"{root}: {text}: {_verdict(report.problems)}", *report.problems]))
    whole = not any(one["problems"] for one in found)
    if json:
        out.document({"whole": whole, "stores": found})
    return 0 if whole else 1


def rebuild_index(*, data: Path = DATA, json: AsJson = False) -> int:
    """Compute an origin's index anew from its journal and packs. The node must be stopped.

    Parameters
    ----------
    data
        The origin's data, or what `entrepot up` was given.
    """
    root = origin_of(data)
    with bootstrap.alone(root):
        entries, missing = rebuild(root)
    told = {"data": str(root), "entries": entries, "missing_blobs": missing}
    lost = f" Named and in no pack: {count_of(missing, 'blob')}; restore the packs from a copy." if missing else ""
    Output(json).fact(told, f"The index of {root} is made anew from {count_of(entries, 'entry', 'entries')}.{lost}")
    return 1 if missing else 0


def admin_token(*, data: Path = DATA, json: AsJson = False) -> None:
    """Make an admin token for an origin whose own is lost. The node must be stopped; older tokens stay.

    Parameters
    ----------
    data
        The origin's data, or what `entrepot up` was given.
    """
    text = bootstrap.renew_admin(origin_of(data))
    out = Output(json)
    out.fact({"token": text}, text)
    out.note("The token is shown this once. Keep it where it is safe.")


def stores(data: Path) -> list[Path]:
    """The stores at `data`: itself, or those that `entrepot up` made in it. Raises Absent."""
    found = [root for root in (data, data / "origin", data / "edge") if (root / _IDENTITY).is_file()]
    if not found:
        raise Absent(f"There is no node's data in {data}.", "Name it with --data.")
    return found[:1] if found[0] == data else found


def origin_of(data: Path) -> Path:
    """The origin's store at `data`. Raises Absent, Problem."""
    root = stores(data)[0]
    if _role_of(root) == "edge":
        raise Problem(f"{root} is the data of an edge, which is made anew by starting it.", "Name an origin's data.")
    return root


def _role_of(root: Path) -> str:
    """What the store at `root` says that it is; "" where that cannot be read."""
    try:
        told = msgspec.json.decode((root / _IDENTITY).read_bytes())
    except (OSError, msgspec.DecodeError):
        return ""
    return str(told.get("role", "")) if isinstance(told, dict) else ""


def _verdict(problems: list[str]) -> str:
    return count_of(len(problems), "problem") if problems else "whole"
