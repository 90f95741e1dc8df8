"""Where is an address: in which country, and in which region of ours? Reads one geo-IP file, once, for both."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import maxminddb

from gateway.config import Regions

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Geography:
    """Which region is an address in? Raises OSError, ValueError for what it cannot use."""

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

    def country_of(self, address: str) -> str | None:
        """The ISO code of the country; "" where the file does not tell it, None where there is no file."""
        if self._geo is None:
            return None
        return self._code(address, "country", "iso_code")

    def _places_of(self, address: str) -> Sequence[str]:
        """Its country and continent by the file."""
        if self._geo is None:
            return ()
        return self._code(address, "country", "iso_code"), self._code(address, "continent", "code")

    def _code(self, address: str, part: str, name: str) -> str:
        try:
            found = self._geo.get(address) if self._geo is not None else None
        except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address in a file of IPv4, or a broken record
            return ""
        told = found.get(part) if isinstance(found, dict) else None
        code = told.get(name) if isinstance(told, dict) else None
        return code if isinstance(code, str) else ""


def _opened(path: Path) -> maxminddb.Reader:
    try:
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(f"{path} is no geo-IP file: {error}") from error
