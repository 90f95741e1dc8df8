"""How is a node asked for what it keeps, and for nothing else? By what HTTP has for it (RFC 9111 section 5.2.1.7).

    Cache-Control: only-if-cached

Nodes are one cache to whoever asks: an edge that does not have it asks its parent in the same way, and the origin asks
no foreign registry. What it keeps it gives however old; what it does not is 504, and nothing of that is remembered.
"""

from collections.abc import Mapping

from storage.errors import NotKept

HEADER, WORD = "cache-control", "only-if-cached"
ASKED = {HEADER: WORD}


def only_kept(headers: Mapping[str, str]) -> bool:
    """Is that how these headers (lower-case names) ask?"""
    said = headers.get(HEADER, "")
    return bool(said) and any(one.strip().lower() == WORD for one in said.split(","))


def not_kept(what: str) -> NotKept:
    """What is said where it is not here."""
    return NotKept(f"{what} is not kept here.", "Ask for it without only-if-cached.")
