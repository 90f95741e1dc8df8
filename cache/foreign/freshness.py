"""How long is a foreign answer good, and what may be done with it afterwards?

Pure steps over one record: no clock, no network; the times are wall-clock milliseconds, handed in. A clock that went
backwards makes a record old, never young. Only answers are kept: "here it is" (200, renewed by 304) and "there is no
such thing" (404, 410). An error is not an answer: it changes when to ask next, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

FLOOR_S = 5
"""An upstream cannot make us ask it more often than this about one package."""

RETRY_MS = 2_000
RETRY_MS_MAX = 60_000


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one package at one place, without its content.

    `content` names the content's record, b"" = known to be absent. `version` changes with the content, 0 = absent.
    `answered_ms` is when its owner last said so; until `retry_ms` it is not asked again, since it failed `failures`
    times in a row. `withheld` says why none of the package's files is given out, "" where they are.
    """

    answered_ms: int
    fresh_s: int
    version: int = 0
    content: bytes = b""
    etag: str = ""
    modified: str = ""
    failures: int = 0
    retry_ms: int = 0
    withheld: str = ""

    @property
    def known(self) -> bool:
        return self.content != b""


class Standing(Enum):
    """What a record may be used for."""

    NOTHING = "nothing"
    """There is none, or it is too old to be believed."""
    FRESH = "fresh"
    """As good as asking."""
    RESTING = "resting"
    """Stale, and its owner just failed: use it and do not ask yet."""
    STALE = "stale"
    """Ask; use it only if that fails."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an Upstream's configuration says, in seconds."""

    fresh_s: int
    negative_s: int
    stale_s_max: int


def standing(held: Held | None, now_ms: int, terms: Terms) -> Standing:
    """What may be done with the record now. A record of absence is good while it is fresh, and never after."""
    if held is None:
        return Standing.NOTHING
    age_ms = now_ms - held.answered_ms
    if 0 <= age_ms < held.fresh_s * 1000:
        return Standing.FRESH
    if not held.known or not 0 <= age_ms < (held.fresh_s + terms.stale_s_max) * 1000:
        return Standing.NOTHING
    return Standing.RESTING if resting(held, now_ms) else Standing.STALE


def resting(held: Held | None, now_ms: int) -> bool:
    """Did its owner fail so lately that it is not asked again yet? A far-off end is a clock that was moved."""
    return held is not None and 0 < held.retry_ms - now_ms <= RETRY_MS_MAX


def left_s(held: Held, now_ms: int) -> float:
    """For how many seconds an answer that rests on the record may be given without looking again."""
    fresh_ms = held.answered_ms + held.fresh_s * 1000 - now_ms
    rest_ms = held.retry_ms - now_ms if resting(held, now_ms) else 0
    return max(fresh_ms if fresh_ms <= held.fresh_s * 1000 else 0, rest_ms, 0) / 1000


def lifetime_s(headers: Mapping[str, str], configured_s: int) -> int:
    """How long an answer stays fresh: as configured, or less where its owner says so, but not under FLOOR_S."""
    directives = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return min(FLOOR_S, configured_s)
    told = configured_s
    for name in ("s-maxage=", "max-age="):
        ages = [part.removeprefix(name).strip('"') for part in directives if part.startswith(name)]
        if ages and ages[0].isascii() and ages[0].isdigit() and len(ages[0]) < 12:
            age = headers.get("age", "0").strip()
            spent = int(age) if age.isascii() and age.isdigit() and len(age) < 12 else 0
            told = max(0, int(ages[0]) - spent)
            break
    return min(configured_s, max(told, FLOOR_S))


def found(
    headers: Mapping[str, str], content: bytes, version: int, now_ms: int, terms: Terms, withheld: str = ""
) -> Held:
    """The record after a 200 whose content was understood."""
    return Held(
        now_ms,
        lifetime_s(headers, terms.fresh_s),
        version,
        content,
        headers.get("etag", ""),
        headers.get("last-modified", ""),
        withheld=withheld,
    )


def unchanged(held: Held, headers: Mapping[str, str], now_ms: int, terms: Terms) -> Held:
    """The record after a 304."""
    fresh_s = lifetime_s(headers, terms.fresh_s)
    return msgspec.structs.replace(held, answered_ms=now_ms, fresh_s=fresh_s, failures=0, retry_ms=0)


def absent(now_ms: int, terms: Terms) -> Held:
    """The record after a 404 or 410: what was held before is over."""
    return Held(now_ms, terms.negative_s)


def failed(held: Held, now_ms: int) -> Held:
    """The record after no answer: as it was, and left alone for a time that doubles."""
    wait_ms = min(RETRY_MS << min(held.failures, 16), RETRY_MS_MAX)
    return msgspec.structs.replace(held, failures=held.failures + 1, retry_ms=now_ms + wait_ms)
