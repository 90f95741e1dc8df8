"""Which request is it that somebody speaks of? Each has an id: in its answer, in a problem, in the log of a fault.

A client that traces sends a traceparent (W3C Trace Context); then its trace id is the id, so that both ends, and an
edge between them, speak of the same one.
"""

import secrets

from storage.spans import parsed


def request_id(traceparent: str) -> str:
    """32 hex digits."""
    parent = parsed(traceparent)
    return secrets.token_hex(16) if parent is None else parent[0]
