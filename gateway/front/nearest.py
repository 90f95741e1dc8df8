"""To which edge is a client sent that came by a global name? To its region's, if that is well, else to another's.

A host name that is bound with `redirects` answers an anonymous read of a public package with 307 and the same path at
a host of the client's region. The region comes from explicit networks, the most specific first, then from a geo-IP
file by country and continent, then from the default. Health is what a client would find: every host of a region is
asked for /-/ready, by each worker, each PROBE_SECONDS; who does not answer well and soon is passed over. Where nobody
is well, the node that was asked answers itself.

Who shows a credential is answered here, but for files: for those the Location carries a ticket
(gateway.access.credentials.tickets), good for this one read for a minute. It never carries a credential (THREATS C11,
C12).
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import httpx2
import trio

from cache.asking.connecting import trust
from gateway.access.credentials.tickets import ARGUMENT as TICKET
from gateway.access.rights.geography import Geography
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from storage.index.catalog import Catalog
from storage.nouns import Host

PROBE_SECONDS = 2.0
PROBE_SECONDS_MAX = 1.5
PROBES_RUNNING_MAX = 32
log = logging.getLogger("entrepot.front")

Probe = Callable[[str], bool]


class Nearest:
    """Where the clients of global names are sent."""

    def __init__(self, catalog: Catalog, geography: Geography) -> None:
        self._catalog = catalog
        self._geography = geography
        self._well: frozenset[str] = frozenset()

    def answer(
        self, head: Head, hosts: Callable[[], list[Host]], host: Host, sign: Callable[[str], str] | None = None
    ) -> Answer | None:
        """The way on from `host`; None where this node shall answer itself. It is never remembered: the next client
        that sends these bytes may be somewhere else. `sign` makes a ticket for who shows a credential, of the host and
        port that it is sent to; "" = there is none for it."""
        url = self.choose(self._geography.region_of(head.peer), hosts(), host.scope)
        if url is None:
            return None
        if not head.target.startswith(b"/"):
            return None  # asked for as a proxy is: its target names a host already
        location = url + head.target.decode("ascii")
        if sign is not None:
            ticket = sign(url.partition("://")[2].rstrip("/"))
            if not ticket:
                return None
            location += f"{'&' if '?' in location else '?'}{TICKET}={ticket}"
        return Answer(
            status=307,
            body=b"",
            headers=(("Location", location), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")),
            outcome="REDIRECT",
            until_s=0.0,
        )

    def choose(self, region: str, hosts: Sequence[Host], scope: str) -> str | None:
        """The url of a well host of `region`, else of any other; only one that implies the same, so that a path means
        the same there."""
        well = [one for one in hosts if one.region and one.scope == scope and one.name in self._well]
        ordered = sorted(well, key=lambda one: (one.region != region, one.region, one.name))
        return url_of(ordered[0]) if ordered else None

    async def run(self) -> None:
        """Ask after the hosts of regions until cancelled; nobody where no name redirects, and then without a client,
        which would read the machine's certificates."""
        while True:
            if self._asked():
                await self._ask()
            await trio.sleep(PROBE_SECONDS)

    async def _ask(self) -> None:
        """As long as a name redirects."""
        limits = httpx2.Limits(max_connections=PROBES_RUNNING_MAX)
        tls = trust()
        async with httpx2.AsyncClient(trust_env=False, verify=tls, timeout=PROBE_SECONDS_MAX, limits=limits) as client:
            while asked := self._asked():
                self._take(await _probed(client, asked))
                await trio.sleep(PROBE_SECONDS)
        self._take({})

    def _asked(self) -> list[Host]:
        with self._catalog.read() as reading:
            hosts = reading.hosts()
        return [one for one in hosts if one.region] if any(one.redirects for one in hosts) else []

    def _take(self, found: Mapping[str, bool]) -> None:
        well = frozenset(name for name, good in found.items() if good)
        for name in sorted(self._well - well):
            log.warning("%s is not well; clients are sent elsewhere", name)
        for name in sorted(well - self._well):
            log.info("%s is well; clients of its region are sent there", name)
        self._well = well


async def _probed(client: httpx2.AsyncClient, hosts: Sequence[Host]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    limiter = trio.CapacityLimiter(PROBES_RUNNING_MAX)

    async def probe(host: Host) -> None:
        async with limiter:
            try:
                answer = await client.get(f"{url_of(host)}/-/ready")
                found[host.name] = answer.status_code == 200
            except httpx2.HTTPError:
                found[host.name] = False

    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(probe, host)
    return found


def url_of(host: Host) -> str:
    """Where its clients reach it."""
    return host.url or f"https://{host.name}"
