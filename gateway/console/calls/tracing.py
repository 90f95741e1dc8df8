"""Which request is it that somebody speaks of? Each has an id: in its answer, in a problem, in the log of a fault.

A client that traces sends a traceparent (W3C Trace Context); then its trace id is the id, so that both ends, and an
edge between them, speak of the same one.
"""

import re
import secrets

HEADER = "Entrepot-Request-Id"
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def request_id(traceparent: str) -> str:
    """32 hex digits."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is not None and not traceparent.startswith("ff") and set(found[1]) != {"0"}:
        return found[1]
    return secrets.token_hex(16)
