"""Which host names are bound to what, and how do they come to be?

Only an administrator of the node binds a name: whoever has a name leads its clients, and nothing here can see who owns
a name in the DNS. A name is exact, means one thing, and is answered by every node that its DNS leads to.
"""

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

from gateway.access.names import slug
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import PAGE, Call, Reply, Routes, no_content
from gateway.console.calls.permissions import NODE_ADMIN
from gateway.console.nodes import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import NewHost
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, AnyChange, Draft, DropHost, Host, PutHost

ROUTES = Routes("/-/api/v1")
EXPORT = Routes("/-")
HOSTS_MAX = 10_000
CSV = "text/csv; charset=utf-8; header=present"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@ROUTES.add("GET", "/hosts", NODE_ADMIN, PAGE, gives=Page[replies.Host])
async def list_hosts(call: Call) -> Reply:
    with call.read() as reading:
        found = reading.hosts()
    return call.page(found, lambda one: one.name, shown.host)


@ROUTES.show("/hosts/<host>", NODE_ADMIN, gives=replies.Host)
def show_host(call: Call, reading: Reading) -> shown.Shown:
    return shown.host(_bound(reading, call.at["host"].lower()))


@ROUTES.add("POST", "/hosts", NODE_ADMIN, takes=NewHost, gives=replies.Host, status=201)
async def add_host(call: Call) -> Reply:
    body = await call.body(NewHost)
    region = slug(body.region, "A region") if body.region else ""
    if region and body.redirects:
        raise Invalid("A name either leads to a region or sends on to one.", "Leave out the region, or redirects.")
    host = Host(dns_name(body.name), body.scope, region, call.services.now_ms(), base_url(body.url), body.redirects)

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = reading.host(host.name)
        if before is not None and msgspec.structs.replace(before, at_ms=host.at_ms) == host:
            return Decided(None, before)
        if before is not None:
            raise Conflict(f"{host.name} is bound already.", "Remove that first: entrepot host remove.")
        if len(reading.hosts()) >= HOSTS_MAX:
            raise Invalid(f"At most {HOSTS_MAX} host names can be bound.")
        _check_scope(reading, host.scope)
        return _written(principal, "host.add", PutHost(host), host)

    return await call.conclude(SYSTEM, decide, lambda found: Reply(201, shown.host(found)))


@ROUTES.add("DELETE", "/hosts/<host>", NODE_ADMIN, gives=None)
async def remove_host(call: Call) -> Reply:
    name = call.at["host"].lower()

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = _bound(reading, name)
        return _written(principal, "host.remove", DropHost(name, before.scope), None)

    return await call.conclude(SYSTEM, decide, no_content)


@EXPORT.add("GET", "/hosts", NODE_ADMIN, ("form",), gives=replies.Hosts, media=CSV)
async def export(call: Call) -> Reply:
    """For what answers DNS: as JSON with the hosts of each region, or as CSV of host,scope,region,url,redirects
    (1: it sends on, so that any node may answer for it)."""
    with call.read() as reading:
        hosts = reading.hosts()
    form = call.argument("form", "json")
    if form == "csv":
        rows = (f"{one.name},{one.scope},{one.region},{one.url},{int(one.redirects)}" for one in hosts)
        lines = ["host,scope,region,url,redirects", *rows]
        return Reply(200, "\r\n".join(lines) + "\r\n", media=CSV)
    if form != "json":
        raise Invalid("There is no such form of this list.", "Use json or csv.")
    regions: dict[str, list[str]] = {}
    for one in hosts:
        if one.region:
            regions.setdefault(one.region, []).append(one.name)
    return Reply(200, {"hosts": [shown.host(one) for one in hosts], "regions": regions})


def _bound(reading: Reading, name: str) -> Host:
    found = reading.host(name)
    if found is None:
        raise Absent("No such host name is bound here.")
    return found


def dns_name(text: str) -> str:
    """A name as it is in the DNS, in lower case. Raises Invalid for what is none: an address, a port, a wildcard."""
    name = text.lower().rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        raise Invalid("An address is no host name.", "Bind a name.")
    if len(name) > 253 or "." not in name or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Invalid("This is no host name.", "Write it as in the DNS, without scheme and port: pkgs.example.org.")
    return name


def base_url(text: str) -> str:
    """scheme://host or scheme://host:port, "" for none given. Raises Invalid."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if text and (not good or text.rstrip("/") != f"{parts.scheme}://{parts.netloc}" or parts.username is not None):
        raise Invalid("The url of a host is not understood.", "Write it as http(s)://HOST[:PORT] and nothing else.")
    if not all(character.isascii() and character.isprintable() for character in text):
        raise Invalid("The url of a host is not understood.", "Write it in ASCII.")
    return text.rstrip("/")


def _check_scope(reading: Reading, scope: str) -> None:
    """Raises Absent where there is no such place."""
    workspace, slash, repository = scope.partition("/")
    known = not scope or (reading.workspace(workspace) is not None and not slash)
    if not known and reading.repository(workspace, repository) is None:
        raise Absent("There is no such workspace or repository.", "Name it as WORKSPACE or WORKSPACE/REPOSITORY.")


def _written(principal: Principal, action: str, change: AnyChange, value: object) -> Decided:
    return Decided(Draft(SYSTEM, "", principal.id, action, (change,)), value)
