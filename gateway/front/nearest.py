"""To which edge is a client sent that came by a global name? To its region's, if that is well, else to another's.

A host name that is bound with `redirects` answers an anonymous read of a public package with 307 and the same path at
a host of the client's region. The region comes from explicit networks, the most specific first, then from a geo-IP
file by country and continent, then from the default. Health is what a client would find: every host of a region is
asked for /-/ready, by each worker, each PROBE_SECONDS; who does not answer well and soon is passed over. Where nobody
is well, the node that was asked answers itself.

No Location ever carries a credential (THREATS C11, C12): whoever shows one is answered here. Most tools drop their
credential when they are sent to another host, and the others would hand a long-lived secret to whatever is there.
"""

import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx2
import maxminddb
import trio

from cache.connecting import trust
from gateway.config import Regions
from gateway.delivery.answers import Answer
from gateway.delivery.heads import Head
from storage.index.catalog import Catalog
from storage.nouns import Host

PROBE_SECONDS = 2.0
PROBE_SECONDS_MAX = 1.5
PROBES_RUNNING_MAX = 32
log = logging.getLogger("entrepot.front")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Probe = Callable[[str], bool]


class Geography:
    """Which region is an address in? Reads its file once. Raises OSError, ValueError for what it cannot use."""

    def __init__(self, regions: Regions) -> None:
        networks = [(ipaddress.ip_network(text), region) for text, region in regions.networks]
        self._networks: list[tuple[Network, str]] = sorted(networks, key=lambda one: -one[0].prefixlen)
        self._places = dict(regions.places)
        self._default = regions.default
        self._geo = _opened(Path(regions.geo)) if regions.geo else None

    def region_of(self, peer: str) -> str:
        """The region, "" where nothing says."""
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return self._default
        for network, region in self._networks:
            if address.version == network.version and address in network:
                return region
        for place in self._places_of(str(address)):
            if place in self._places:
                return self._places[place]
        return self._default

    def _places_of(self, address: str) -> Sequence[str]:
        """Its country and continent by the file."""
        try:
            found = self._geo.get(address) if self._geo is not None else None
        except ValueError:  # an IPv6 address in a file of IPv4, or a broken record
            return ()
        if not isinstance(found, dict):
            return ()
        parts = (found.get("country"), found.get("continent"))
        codes = [
            part.get(name) for part, name in zip(parts, ("iso_code", "code"), strict=True) if isinstance(part, dict)
        ]
        return [code for code in codes if isinstance(code, str)]


def _opened(path: Path) -> maxminddb.Reader:
    try:
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(f"{path} is no geo-IP file: {error}") from error


class Nearest:
    """Where the clients of global names are sent."""

    def __init__(self, catalog: Catalog, geography: Geography) -> None:
        self._catalog = catalog
        self._geography = geography
        self._well: frozenset[str] = frozenset()

    def answer(self, head: Head, hosts: Callable[[], list[Host]], host: Host) -> Answer | None:
        """The way on from `host`; None where this node shall answer itself. It is never remembered: the next client
        that sends these bytes may be somewhere else."""
        url = self.choose(self._geography.region_of(head.peer), hosts(), host.scope)
        if url is None:
            return None
        if not head.target.startswith(b"/"):
            return None  # asked for as a proxy is: its target names a host already
        location = url + head.target.decode("ascii")
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
        """Ask after the hosts of regions until cancelled; nobody where no name redirects."""
        tls = trust()
        limits = httpx2.Limits(max_connections=PROBES_RUNNING_MAX)
        async with httpx2.AsyncClient(trust_env=False, verify=tls, timeout=PROBE_SECONDS_MAX, limits=limits) as client:
            while True:
                with self._catalog.read() as reading:
                    hosts = reading.hosts()
                asked = [one for one in hosts if one.region] if any(one.redirects for one in hosts) else []
                self._take(await _probed(client, asked))
                await trio.sleep(PROBE_SECONDS)

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
