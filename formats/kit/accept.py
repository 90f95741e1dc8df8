"""Which of the media types on offer does an Accept header like best?"""

import re
from collections.abc import Sequence

_RANGE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)/([!#$%&'*+\-.^_`|~0-9A-Za-z]+)")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_RANGES_MAX = 64


def choose(header: str | None, offered: Sequence[str], default: str) -> str | None:
    """The best of `offered` (lower case, best first, without parameters), or None where none is acceptable (406).

    The higher q wins, then the more exact match, then the order of `offered`. `default` (one of `offered`) is the
    answer to who does not care: no header, an empty one, or nothing but `*/*` in favour of it. A range that is
    malformed counts as not sent. RFC 9110 section 12.5.1.
    """
    if header is None or not header.strip():
        return default
    ranges = _ranges(header)
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen: str | None = None
    for place, media in enumerate(offered):
        quality, exactness = _liking(media, ranges)
        if quality > 0 and (chosen is None or (quality, exactness, -place) > best):
            best, chosen = (quality, exactness, -place), media
    if chosen is not None and best[1] == 0 and _liking(default, ranges) == best[:2]:
        return default
    return chosen


def _ranges(header: str) -> dict[str, float]:
    """media range → q, lower case; the first of a repeated one counts."""
    found: dict[str, float] = {}
    for item in header.split(",", _RANGES_MAX)[:_RANGES_MAX]:
        media, *parameters = (one.strip() for one in item.split(";"))
        match = _RANGE.fullmatch(media)
        if match is None or (match[1] == "*" and match[2] != "*"):
            continue
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = float(value) if _QUALITY.fullmatch(value.strip()) else -1.0
                break
        if quality >= 0:
            found.setdefault(media.lower(), quality)
    return found


def _liking(media: str, ranges: dict[str, float]) -> tuple[float, int]:
    """(q, exactness 2 exact, 1 type/*, 0 */*) of one type: the most exact range that fits decides."""
    whole = media.partition("/")[0] + "/*"
    for exactness, one in ((2, media), (1, whole), (0, "*/*")):
        if one in ranges:
            return ranges[one], exactness
    return 0.0, 0
