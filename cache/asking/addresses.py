"""Which network addresses may a pull connect to?

A URL that comes from a registry's answer or a redirect is hostile input. A name is resolved once, every address it
has is judged, and the connection goes to a judged address, so that a second resolution cannot slip in another one.
Odd spellings (0x7f1, 2130706433, a mapped IPv6 address) need no parser of their own: the resolver reads them as the
kernel would, and it is the outcome that is judged.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from storage.errors import Invalid, UpstreamFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
"""(host name, port) to its addresses as text."""

PORTS = {"http": 80, "https": 443}
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.ip_network("::/96")
_CARRIER = ipaddress.ip_network("100.64.0.0/10")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_TARGET_SAFE = "/?:@!$&'()*+,;=%-._~[]"


@dataclass(frozen=True, slots=True)
class Place:
    """An address of the web taken apart: `host` in lower case without brackets, `target` as it goes on the wire."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a credential belongs to."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def place(url: str) -> Place:
    """Take an absolute http or https URL apart. Raises Invalid; the message never repeats what may hold a secret."""
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url) or "\\" in url:
        raise Invalid("The address holds spaces, control characters or backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid("The address cannot be read.", "Write it as https://host/path/.") from error
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in PORTS or not host:
        raise Invalid("The address is not http or https.", "Write it as https://host/path/.")
    if "@" in parts.netloc:
        raise Invalid("The address holds a credential.", "Give the credential separately.")
    if not host.isascii() or any(character in host for character in "%/?#<>^|"):
        raise Invalid("The host name of the address is not plain ASCII.", "Write it in its xn-- form.")
    if port == 0:
        raise Invalid("Port 0 cannot be connected to.")
    target = quote(parts.path or "/", safe=_TARGET_SAFE) + (
        "?" + quote(parts.query, safe=_TARGET_SAFE) if parts.query else ""
    )
    return Place(parts.scheme, host.lower(), port or PORTS[parts.scheme], target)


def next_place(here: Place, location: str) -> Place:
    """Where a redirect leads. Raises UpstreamFailed where it may not be followed: another scheme than http and https,
    from https to http, or to a privileged port that is neither the web's nor the one just used."""
    try:
        there = place(urljoin(here.url, location))
    except (Invalid, ValueError) as error:
        raise UpstreamFailed(f"{here.authority} redirects to an address that cannot be followed.") from error
    if here.scheme == "https" and there.scheme == "http":
        raise UpstreamFailed(f"{here.authority} redirects from https to http.")
    if there.port < 1024 and there.port not in (80, 443, here.port):
        raise UpstreamFailed(f"{here.authority} redirects to port {there.port}.")
    return there


def resolve_by_system(host: str, port: int) -> list[str]:
    """The system's resolver; blocking. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def public(address: Address) -> bool:
    """Is it an address of the public Internet, whichever way it is wrapped?"""
    inner = embedded(address)
    if inner is not None:
        return public(inner)
    if isinstance(address, ipaddress.IPv6Address) and address in _SITE_LOCAL:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def allowed_privately(address: Address) -> bool:
    """May an upstream that is declared to be in the private network have it? Never where the addresses of cloud
    metadata services are (link-local), nor multicast, unspecified or reserved ones."""
    inner = embedded(address)
    if inner is not None:
        return allowed_privately(inner)
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    inside = address.is_loopback or (address.is_private and not address.is_reserved) or address in _CARRIER
    return inside or public(address)


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 one: mapped, compatible, 6to4, Teredo, or translated by NAT64."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def inside_only(url: str, resolve: Resolve = resolve_by_system) -> str:
    """The host and port of `url` where an upstream may have it in the private network alone, else ""; "" also where the
    name cannot be resolved now. Blocking."""
    try:
        there = place(url)
        resolve(there.host, there.port)
        checked(there, resolve, private_network=True)
    except (Invalid, UpstreamFailed, OSError, UnicodeError):
        return ""
    try:
        checked(there, resolve, private_network=False)
    except UpstreamFailed:
        return there.authority
    return ""


def checked(place: Place, resolve: Resolve, *, private_network: bool) -> list[str]:
    """The addresses of a place, each of them allowed. One refused address refuses the place: a name that has both
    kinds is a trap or a mistake. Raises UpstreamFailed."""
    try:
        found = resolve(place.host, place.port)
    except (OSError, UnicodeError) as error:
        raise UpstreamFailed(f"The name {place.host} cannot be resolved.", "Check the upstream's address.") from error
    if not found:
        raise UpstreamFailed(f"The name {place.host} has no address.", "Check the upstream's address.")
    judge = allowed_privately if private_network else public
    for text in found:
        try:
            good = judge(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            good = False
        if not good:
            raise UpstreamFailed(
                f"{place.authority} is not on the public Internet, and its upstream is not allowed to be elsewhere.",
                "If it is meant, add the upstream with --private-network (private_network in the API).",
            )
    return found
