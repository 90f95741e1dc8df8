"""Which address, and which network, does a text name? One spelling of each client, whatever stands on the way."""

import ipaddress
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(text: str) -> Address | None:
    """The address; of an IPv4 one that is spelt as IPv6, the IPv4 one. None for what is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=8192)
def network_of(cidr: str) -> Network:
    """A network as it was checked when it was written down. Raises ValueError."""
    return ipaddress.ip_network(cidr)
