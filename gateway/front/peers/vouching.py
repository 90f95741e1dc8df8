"""From where does a client ask whom an edge asks for?

An edge that hands a request on says in a header from where it came, and proves that it is an edge: by its certificate,
or, where it has none, by its token in another header. Then, and only then, address and scheme in the head are the
client's, for everything that asks for them: rules of networks, tokens bound to networks, limits, cookies, logs.
Everybody else's word is passed over, and what such a header says goes no further than here.

An edge vouches within the workspaces that it may see, so that a stolen one cannot say where clients of others are (F5).
A request may lead into several: what it names as a source is judged by what is believed there (`Head.peer_in`), and
where the edge has no say, the client is nowhere, which is stricter than any place.
"""

from cache.following.relay import CLIENT, EDGE, SCHEME, WITHIN
from gateway.access.clock import latest_ms
from gateway.access.peers import edges
from gateway.access.rights.verdicts import Principal, check_network, identify
from gateway.delivery.connections.addresses import address_of
from gateway.delivery.messages.heads import Head, Told
from storage.errors import Absent, Problem
from storage.index.catalog import Reading

_SAYING = (CLIENT, EDGE, SCHEME, WITHIN)
_OF_API = ("workspaces", "repositories")


def settle(reading: Reading, head: Head, workspace: str) -> bool:
    """Put the client's address into `head`, as far as an edge vouches for it; whether one does. `workspace` is what a
    path of packages names, "" for others. None of these headers is left in `head`."""
    client, secret = head.headers.get(CLIENT), head.headers.get(EDGE)
    if client is None and secret is None:
        return False
    scheme, within = head.headers.get(SCHEME, ""), head.headers.get(WITHIN)
    head.headers = {name: value for name, value in head.headers.items() if name not in _SAYING}
    address = address_of(client or "")
    if address is None:
        return False
    try:
        seen = _sight(reading, head, secret)
    except Problem:
        return False
    if within is not None:
        listed = frozenset(within.split(","))
        seen = listed if seen is None else seen & listed
    if seen is not None:
        named = workspace or _named(head)
        head.told = Told(str(address), seen, named)
        if named not in seen:
            return True
    head.peer = str(address)
    if scheme in ("http", "https"):
        head.scheme = scheme
    return True


def _sight(reading: Reading, head: Head, secret: str | None) -> frozenset[str] | None:
    """The workspaces of which the edge may speak that sent this, None = of all. Raises Problem for who is no edge."""
    if head.key:
        return edges.workspaces_of(edges.living_edge(reading, head.key))
    principal: Principal = identify(reading, secret, latest_ms())
    check_network(principal, head.peer)
    if principal.kind != edges.KIND:
        raise Absent("There is no such edge.")
    return edges.workspaces_of_token(principal)


def _named(head: Head) -> str:
    """The Workspace in a path of the API; "" for none, of which only an edge that may see all can speak."""
    segments = head.segments
    return segments[4] if segments[:1] == ("-",) and len(segments) > 4 and segments[3] in _OF_API else ""
