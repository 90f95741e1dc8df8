"""What does an edge do when it is asked for what it has not heard of itself? It waits until it has, for a moment.

Each edge is told the journal by the origin, so that one behind a shield may know a file some milliseconds before it.
With what it asks for it says which Serial of the Workspace it knows. A shield that is behind waits; one that stays
behind says so, and the edge asks its next parent. So it is with a client that was sent here with a ticket: that says
which Serial was known where it was made. An origin is never behind.
"""

from cache.following.relay import SEEN, await_serial, parse_seen
from gateway.access.credentials import tickets
from gateway.access.peers.leases import Lease
from gateway.delivery.messages.heads import Head
from gateway.front.peers.peering import asking_of
from storage.errors import Absent, Unauthenticated, Unavailable
from storage.index.catalog import Catalog, Reading

SECONDS_MAX = 2.0


class Seeing:
    """The patience of one node. `lease` None = an origin."""

    def __init__(self, catalog: Catalog, lease: Lease | None) -> None:
        self._catalog = catalog
        self._lease = lease

    def ahead(self, reading: Reading, head: Head) -> tuple[str, int] | None:
        """(Workspace, Serial) that the asking edge knows, or who sent the client here, and this one does not. What
        others say makes nobody wait."""
        if self._lease is None:
            return None
        text = head.headers.get(SEEN)
        if not text:
            sent = tickets.known_when_sent(reading, head)
            return sent if sent is not None and reading.serial(sent[0]) < sent[1] else None
        seen = parse_seen(text)
        if seen is None or reading.serial(seen[0]) >= seen[1]:
            return None
        try:
            asking = asking_of(reading, head)
        except (Absent, Unauthenticated):
            return None
        return seen if asking.sees(seen[0]) else None

    async def catch_up(self, head: Head) -> None:
        """Until this node is no further behind than who asks. Raises Unavailable where it stays so."""
        if SEEN not in head.headers and not head.argument(tickets.ARGUMENT):
            return
        with self._catalog.read() as reading:
            seen = self.ahead(reading, head)
        if seen is not None and not await await_serial(self._catalog, *seen, SECONDS_MAX):
            raise Unavailable(
                "This edge is behind the one that sent you.", "Try again, or ask another.", retry_after_s=1
            )
