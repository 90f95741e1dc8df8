"""How is a person told in which way bytes are stored: whole or in chunks, and what of them was there before?

The last is told to who may read everything alone: chunks are shared by all workspaces.
"""

from collections.abc import Sequence
from typing import Any

from gateway.cli.terminal.plotting import BLOCKS, SHADE, shares
from gateway.cli.terminal.sizes import count_of, size_of

COLUMNS = ("file", "version", "size", "stored", "chunks", "extents", "was there")
LEGEND = f"{BLOCKS[8]} new, {SHADE} was there"


def rows(files: Sequence[Any]) -> list[tuple[str, str, str, str, str, str, str]]:
    """One for each file of a package, by COLUMNS."""
    return [(one["name"], one["version"], size_of(one["size_bytes"]), *_cells(one)) for one in files]


def _cells(file: Any) -> tuple[str, str, str, str]:
    stored = file["stored"]
    if stored is None:
        return ("not here", "", "", "")
    there = saved(stored["saved_bytes"], file["size_bytes"])
    extents = "" if stored["extents"] is None else str(stored["extents"])
    return (stored["why"], str(stored["chunks"] or ""), extents, there)


def saved(bytes: int | None, of: int) -> str:
    """How much of something was there, and which part of it that is; "" = that is not told."""
    if bytes is None:
        return ""
    return f"{size_of(bytes)} ({100 * bytes / of:.0f} %)" if bytes and of else "nothing"


def drawn(files: Sequence[Any]) -> str:
    """The files of a package, each as what was new of it and what was there."""
    here = [one for one in files if one["stored"] is not None]
    bars = [
        (one["name"], one["size_bytes"] - there, there, _words(one))
        for one in here
        for there in [one["stored"]["saved_bytes"] or 0]
    ]
    return "\n".join([shares(bars), LEGEND] if bars else ["None of its files is stored at this node."])


def _words(file: Any) -> str:
    stored = file["stored"]
    there = saved(stored["saved_bytes"], file["size_bytes"])
    return f"{size_of(file['size_bytes'])}, {stored['why']}" + (f", {there} was there" if there else "")


def of_repository(kept: Any) -> list[str]:
    """What a repository's files take here, and by how they are cut."""
    cuts = sorted(kept["by_cut"].values(), key=lambda one: (-one["bytes"], one["why"]))
    here, bytes = sum(one["files"] for one in cuts), sum(one["bytes"] for one in cuts)
    counted = (f"{here:,} of " if here != kept["files"] else "") + count_of(kept["files"], "file")
    more = "" if kept["complete"] else ", and more that were not looked at"
    lines = [f"stored here: {counted}, {size_of(bytes)}{_there(kept['saved_bytes'], bytes)}{more}"]
    for one in cuts:
        chunks = f" in {count_of(one['chunks'], 'chunk')}" if one["chunks"] else ""
        there = _there(one["saved_bytes"], one["bytes"]) if one["chunks"] else ""
        lines.append(f"  {count_of(one['files'], 'file')}, {size_of(one['bytes'])}{chunks}, {one['why']}{there}")
    return lines


def _there(bytes: int | None, of: int) -> str:
    told = saved(bytes, of)
    return f", of which was there: {told}" if told else ""


def drawn_of_repository(kept: Any) -> str:
    """The same as bars, one for each way in which files are cut."""
    cuts = sorted(kept["by_cut"].values(), key=lambda one: (-one["bytes"], one["why"]))
    bars = [
        (
            one["why"],
            one["bytes"] - (one["saved_bytes"] or 0),
            one["saved_bytes"] or 0,
            f"{count_of(one['files'], 'file')}, {size_of(one['bytes'])}",
        )
        for one in cuts
    ]
    return "\n".join([shares(bars), LEGEND] if bars else ["None of its files is stored at this node."])
