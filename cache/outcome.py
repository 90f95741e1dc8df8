"""How did an answer come about, and why was it not a plain hit?

One value goes to the response header, to the metric label and to the log line, so that the three never disagree.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What the cache did for one request."""

    HIT = "HIT"
    """Known and stored here."""
    FILL = "FILL"
    """Fetched from the parent or upstream, streamed while it was stored; this request began the fetch."""
    JOINED = "JOINED"
    """As FILL, and another request had begun the fetch."""
    STALE = "STALE"
    """Older than its freshness, because whoever could renew it does not answer."""
    REVALIDATED = "REVALIDATED"
    """Its owner said that it is unchanged."""
    BYPASS = "BYPASS"
    """Passed through without being stored."""
    MISS = "MISS"
    """Not here, and nobody to ask knows it."""
    RELAYED = "RELAYED"
    """Handed to the parent and answered by it."""


class Why(StrEnum):
    """Why an Outcome was not HIT."""

    NONE = ""
    COLD = "cold"
    """Never asked for here, or evicted since."""
    EXPIRED = "expired"
    """Its freshness had passed."""
    REFRESH = "refresh"
    """A file was asked for that the stored knowledge does not list."""
    UPSTREAM_FAILED = "upstream-failed"
    UPSTREAM_SILENT = "upstream-silent"
    NEGATIVE = "negative"
    """Its absence is known and fresh."""
    FAR_RANGE = "far-range"
    """A range too far ahead of the fill to wait for."""
    WRITE = "write"
    """Only the origin may do it."""
