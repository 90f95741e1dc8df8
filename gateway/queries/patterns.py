"""Is a text what a pattern means, and does a value stand where a comparison wants it?

Pure. Steps are at most the product of both lengths.
"""

import re
from typing import Any

WITHIN = ("name", "filename", "license")
"""Fields whose words are found within."""


def matches(field: str, pattern: str, text: str) -> bool:
    """Is `text` what `pattern` means in this field? Names within, others whole; without regard to case."""
    pattern, text = pattern.lower(), text.lower()
    if field not in WITHIN:
        return _wild(pattern, text)
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and len(pattern) > 1
    pattern = pattern[1 if begins else 0 : -1 if ends else None]
    if not set(pattern) & set("*?"):
        if begins and ends:
            return pattern == text
        if begins or ends:
            return text.startswith(pattern) if begins else text.endswith(pattern)
        return pattern in text
    return _wild(pattern, text)


def _wild(pattern: str, text: str) -> bool:
    """Does `text` fit, with * for any characters and ? for one? Steps are at most the product of both lengths."""
    if not set(pattern) & set("*?"):
        return pattern == text
    at, put, star, mark = 0, 0, -1, 0
    while put < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark, at = at, put, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[put]):
            at, put = at + 1, put + 1
        elif star >= 0:
            mark += 1
            at, put = star + 1, mark
        else:
            return False
    return pattern[at:].strip("*") == ""


def compared(op: str, mine: Any, theirs: Any) -> bool:
    if op == "=":
        return bool(mine == theirs)
    if op in (">=", "<="):
        return bool(mine >= theirs if op == ">=" else mine <= theirs)
    return bool(mine > theirs if op == ">" else mine < theirs)


def same_release(version: str, least: str) -> bool:
    """All numbers but the last that `least` has are those of `version` (PEP 440, compatible release)."""
    kept = re.split(r"[.\-+]", least.split("-")[0])[:-1]
    return re.split(r"[.\-+]", version)[: len(kept)] == kept
