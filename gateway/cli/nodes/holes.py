"""How is an operator told of an entry that an edge could not take in: what it is, what follows, and what to do?"""

from collections.abc import Mapping
from typing import Any


def not_taken_in(hole: Mapping[str, Any], where: str = "here") -> str:
    """One line; `where` is the edge, as seen from whom it is told to."""
    names = "all workspaces" if "*" in hole["closes"] else ", ".join(hole["closes"])
    closes = f"private packages of {names} are refused {where}" if hole["closes"] else "all else is served"
    place = "/".join(part for part in (hole["workspace"], hole["repository"]) if part)
    return (
        f"not taken in: entry {hole['serial']} of {place} ({hole['action'] or 'unreadable'}): {hole['why']}; {closes}. "
        "Upgrade this edge, or make the change anew."
    )
