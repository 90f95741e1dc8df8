"""How is an answer that comes in pages read to its end (RFC 8288, `Link: <...>; rel="next"`)?

Whoever answers may lead to further pages of its own and nowhere else: of a link the path and the query alone are taken,
which also mends the links of registries that do not know their own name behind a proxy. Pages are bounded in number,
bytes and time together. What was read from several pages has no validator: that of the first says nothing of the rest.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit

from cache.asking.upstream import Fetched
from storage.errors import UpstreamFailed

PAGE_BREAK = b"\x1e"
"""Between two pages (RFC 7464): no JSON text has this byte in it."""

SECONDS_MAX = 120.0
LINK_CHARS_MAX = 8_000
_NEXT = re.compile(r'<([^<>]{1,4000})>\s*;[^,<]*?\brel="?next"?(?=[\s;,]|$)', re.IGNORECASE)
_BUSY = (429, 503)
_VALIDATORS = ("etag", "last-modified")
log = logging.getLogger("entrepot.cache")

Fetch = Callable[[str, int], Fetched]
"""(url, bytes_max) to an answer of any status."""


def next_page(url: str, headers: Mapping[str, str]) -> str:
    """The address of the page after the one that came from `url`, "" where it is the last."""
    link = headers.get("link", "")
    found = _NEXT.search(link) if len(link) <= LINK_CHARS_MAX else None
    if found is None:
        return ""
    try:
        there = urlsplit(urljoin(url, found[1]))
    except ValueError:
        return ""
    return urlsplit(url)._replace(path=there.path or "/", query=there.query, fragment="").geturl()


def read(fetch: Fetch, url: str, *, pages_max: int, bytes_max: int, seconds_max: float = SECONDS_MAX) -> Fetched:
    """The answer at `url`; where that is the first of several pages, all of them as one body. Blocking.

    An answer other than 200 to the first page, or one that asks for patience (429, 503), is the answer to all. Raises
    UpstreamFailed where another page fails, or pages lead in a circle or are together too large or too slow.
    """
    first = answer = fetch(url, bytes_max)
    pages, seen, end_s = [first.body], {first.url}, time.monotonic() + seconds_max
    while answer.status == 200 and (there := next_page(answer.url, answer.headers)):
        if len(pages) >= pages_max:
            if pages_max > 1:
                log.warning("an upstream's list has more than %d pages: the rest is left out", pages_max)
            break
        left = bytes_max - sum(map(len, pages))
        if there in seen or left <= 0 or time.monotonic() > end_s:
            raise UpstreamFailed("The upstream's pages do not end.", "Ask the operator to look at it.")
        seen.add(there)
        answer = fetch(there, left)
        if answer.status in _BUSY:
            return answer
        if answer.status != 200:
            raise UpstreamFailed(f"The upstream answered {answer.status} to a page of its list.", "Try again later.")
        pages.append(answer.body)
    if len(pages) == 1:
        return first
    headers = {name: value for name, value in first.headers.items() if name not in _VALIDATORS}
    return Fetched(first.status, headers, PAGE_BREAK.join(pages), first.url)
