"""From where does a client ask whom an edge asks for?

An edge that hands a request on says in a header from where it came, and proves that it is an edge: by its certificate,
or, where it has none, by its token in another header. Then, and only then, address and scheme in the head are the
client's, for everything that asks for them: rules of networks, tokens bound to networks, limits, cookies, logs.
Everybody else's word is passed over, and what such a header says goes no further than here.

An edge vouches within the workspaces that it may see, so that a stolen one cannot say where clients of others are (F5).
"""

from cache.relay import CLIENT, EDGE, SCHEME
from gateway.access.clock import latest_ms
from gateway.access.peers import edges
from gateway.access.rights.verdicts import Principal, check_network, identify
from gateway.delivery.addresses import address_of
from gateway.delivery.heads import Head
from storage.errors import Problem
from storage.index.catalog import Reading

_OF_API = ("workspaces", "repositories")


def settle(reading: Reading, head: Head, workspace: str) -> bool:
    """Put the client's address into `head`, if an edge vouches for it; whether one does. `workspace` is what a path of
    packages names, "" for others. Neither header is left in `head`."""
    client, secret = head.headers.get(CLIENT), head.headers.get(EDGE)
    if client is None and secret is None:
        return False
    scheme = head.headers.get(SCHEME, "")
    head.headers = {name: value for name, value in head.headers.items() if name not in (CLIENT, EDGE, SCHEME)}
    address = address_of(client or "")
    if address is None or not _vouches(reading, head, secret, workspace or _named(head)):
        return False
    head.peer = str(address)
    if scheme in ("http", "https"):
        head.scheme = scheme
    return True


def _vouches(reading: Reading, head: Head, secret: str | None, workspace: str) -> bool:
    try:
        if head.key:
            return edges.sees(edges.living_edge(reading, head.key), workspace)
        principal: Principal = identify(reading, secret, latest_ms())
        check_network(principal, head.peer)
        seen = edges.workspaces_of_token(principal) if principal.kind == edges.KIND else frozenset()
    except Problem:
        return False
    return seen is None or workspace in seen


def _named(head: Head) -> str:
    """The Workspace in a path of the API; "" for none, of which only an edge that may see all can speak."""
    segments = head.segments
    return segments[4] if segments[:1] == ("-",) and len(segments) > 4 and segments[3] in _OF_API else ""
