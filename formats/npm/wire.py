"""What does a request of an npm client mean?

Paths come decoded, so `@scope%2fname` and `@scope/name` are the same here. Old clients repeat the registry's own path
in front of an address that they took from a document: that prefix is dropped.
"""

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from formats.kit.accept import choose
from formats.kit.contract import Accept, Amend, Ask, Login, Plan, Reply, Serve, Show
from formats.kit.refusals import BASIC, REALM, signals
from formats.kit.routes import Declared, reads, writes
from formats.npm.facts import FORMAT
from formats.npm.names import BUNDLE, bare, bundle_name, checked_name
from formats.npm.upstream import KEYS
from storage.errors import Absent, Invalid, MethodRefused, OverQuota, Problem, Unauthenticated, Unsupported

JSON = "application/json"
SHORT_JSON = "application/vnd.npm.install-v1+json"
AUDIT_BYTES_MAX = 8 << 20
USER = "org.couchdb.user:"


ROUTES: tuple[Declared, ...] = (
    *reads("", "-/ping", "-/whoami", "-/npm/v1/user", "-/npm/v1/keys", "-/v1/search", "-/all", "-/all/since"),
    *reads("-/npm/v1/attestations/<scoped:package>@<version>", "-/user/org.couchdb.user:<path:user>"),
    Declared(("PUT",), "-/user/org.couchdb.user:<path:user>"),
    Declared(("DELETE",), "-/user/token/<token>"),
    Declared(("POST",), "-/npm/v1/security/advisories/bulk"),
    Declared(("POST",), "-/npm/v1/security/audits"),
    Declared(("POST",), "-/npm/v1/security/audits/quick"),
    *reads("-/package/<scoped:package>/dist-tags", "-/package/<scoped:package>/visibility"),
    writes("-/package/<scoped:package>/dist-tags/<path:tag>", "PUT", "POST", "DELETE"),
    *reads("<scoped:package>", "<scoped:package>/<version>", "<scoped:package>/-/<path:file>"),
    writes("<scoped:package>/-/<path:file>", "DELETE"),
    writes("<scoped:package>/-/<path:file>/-rev/<rev>", "DELETE"),
    writes("<scoped:package>/-rev/<rev>", "PUT", "DELETE"),
    writes("<scoped:package>", "PUT"),
)
"""Every address of this room."""


class Route(NamedTuple):
    """What an address names: `kind` and its parts. `detail` is a version, file, tag, user or the rest of the path."""

    kind: str
    name: str = ""
    detail: str = ""
    rev: str = ""


def route(ask: Ask) -> Route:
    """The Route of a request. Raises Absent for an address that means nothing here."""
    path = ask.path
    own = urlsplit(ask.base).path.strip("/")
    for prefix in (own, f"{ask.workspace}/{ask.repository}/{FORMAT}"):
        if prefix and path.startswith(prefix + "/"):
            path = path[len(prefix) + 1 :]
            break
    segments = path.removesuffix("/").split("/")
    if segments == [""]:
        return Route("root")
    if "" in segments:
        raise _nothing()
    if segments[0] == "-":
        return _service(segments[1:])
    name, rest = _split_name(segments)
    return _of_package(name, rest)


def _split_name(segments: list[str]) -> tuple[str, list[str]]:
    """The package name at the head of these segments, and what follows it."""
    taken = 2 if segments[0].startswith("@") else 1
    return checked_name("/".join(segments[:taken])), segments[taken:]


def _of_package(name: str, rest: list[str]) -> Route:
    match rest:
        case []:
            return Route("package", name)
        case ["-rev", rev]:
            return Route("revision", name, rev=rev)
        case ["-", *file] if file:
            rev = ""
            if len(file) >= 3 and file[-2] == "-rev":
                *file, _, rev = file
            if len(file) == 2 and file[0] == name.partition("/")[0]:
                file = file[1:]
            if len(file) == 1:
                return Route("file", name, file[0], rev)
        case [detail] if detail not in ("-", "-rev"):
            return Route("version", name, detail)
    raise _nothing()


def _service(segments: list[str]) -> Route:
    match segments:
        case ["package", *rest] if rest:
            return _package_service(rest)
        case ["user", user, *_] if user.startswith(USER) and len(user) > len(USER):
            return Route("user", detail=user.removeprefix(USER))
        case ["user", "token", _]:
            return Route("logout")
        case ["v1", "search"]:
            return Route("search")
        case ["v1", "login"]:
            return Route("web-login")
        case ["all"] | ["all", "since"]:
            return Route("all")
        case ["ping"] | ["whoami"]:
            return Route(segments[0])
        case ["npm", "v1", "attestations", *rest] if rest:
            name, at, version = "/".join(rest).rpartition("@")
            if at and version:
                return Route("attestations", checked_name(name), version)
        case ["npm", "v1", "security", "advisories", "bulk"]:
            return Route("advisories")
        case ["npm", "v1", "security", "audits"] | ["npm", "v1", "security", "audits", "quick"]:
            return Route("audit")
        case ["npm", "v1", "keys"]:
            return Route("keys")
        case ["npm", "v1", "user"]:
            return Route("profile")
    raise _nothing()


def _package_service(segments: list[str]) -> Route:
    name, rest = _split_name(segments)
    match rest:
        case ["dist-tags"]:
            return Route("tags", name)
        case ["dist-tags", *tag]:
            return Route("tag", name, "/".join(tag))
        case ["visibility"]:
            return Route("visibility", name)
    raise _nothing()


def address(name: str, file: str) -> str:
    """Where a published file is read: beside the others, but for attestations."""
    if not file.endswith(BUNDLE):
        return f"{name}/-/{file}"
    version = file.removesuffix(BUNDLE).removeprefix(f"{bare(name)}-")
    return f"-/npm/v1/attestations/{name}@{version}"


def _nothing() -> Absent:
    return Absent("There is nothing at this address.", "Check the registry address in .npmrc.")


# ---------------------------------------------------------------- rights and plans


def right(ask: Ask) -> Literal["read", "write"]:
    """Asking, logging in and auditing are reads, also where npm does them with POST or PUT."""
    if ask.method in ("GET", "HEAD"):
        return "read"
    try:
        kind = route(ask).kind
    except Problem:
        return "write"
    return "read" if kind in ("user", "logout", "web-login", "advisories", "audit", "ping") else "write"


def read(ask: Ask) -> Plan:
    """The Plan of a request. Raises Absent, MethodRefused, Unsupported, Unauthenticated."""
    at = route(ask)
    if ask.method in ("GET", "HEAD"):
        return _reading(ask, at)
    if ask.headers.get("content-encoding", "identity") not in ("identity", "") and at.kind not in (
        "advisories",
        "audit",
    ):
        raise Unsupported("A compressed body is not taken here.", "Send it without Content-Encoding.")
    return _writing(ask, at)


def _reading(ask: Ask, at: Route) -> Plan:
    match at.kind:
        case "package":
            return _packument(ask, at.name)
        case "version":
            return Show("version", JSON, at.name, at.detail, foreign=True, absolute=True)
        case "file" if not at.rev:
            return Serve(at.name, at.detail)
        case "attestations":
            return Serve(at.name, bundle_name(at.name, at.detail))
        case "tags":
            return Show("tags", JSON, at.name, foreign=True)
        case "visibility":
            return Show("visibility", JSON, at.name, "" if ask.principal else "public")
        case "keys":
            return Show("keys", JSON, KEYS, foreign=True)
        case "search":
            return Show("search", JSON, argument=_search(ask), keep=False)
        case "all":
            return Show("all", JSON)
        case _:
            return _answer(ask, at)


def _packument(ask: Ask, name: str) -> Show:
    """`?write=true` is asked by a client that will put the document back: it gets what is ours to change alone."""
    if ask.argument("write") == "true":
        return Show("full", JSON, name, "local", absolute=True, vary=True)
    accept = ask.headers.get("accept", "").lower()
    if SHORT_JSON in accept and choose(accept, (SHORT_JSON, JSON), JSON) == SHORT_JSON:
        return Show("abbreviated", SHORT_JSON, name, foreign=True, absolute=True, vary=True)
    return Show("full", JSON, name, foreign=True, absolute=True, vary=True)


def _search(ask: Ask) -> str:
    """The arguments of a search as the room's own text: size, offset, time and words."""
    numbers = []
    for name, default, most in (("size", 20, 250), ("from", 0, 1 << 31)):
        text = ask.argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 11):
            raise Invalid(f"The search's {name} is no number.")
        numbers.append(min(int(text), most))
    return f"{numbers[0]} {numbers[1]} {ask.at_ms} {ask.argument('text')[:500]}"


def _answer(ask: Ask, at: Route) -> Reply:
    """What can be said without looking at anything."""
    match at.kind:
        case "root":
            return said(200, {"db_name": "registry"})
        case "ping":
            return said(200, {})
        case "whoami":
            return said(200, {"username": _known(ask)})
        case "profile":
            return said(200, {"tfa": False, "name": _known(ask), "email": "", "email_verified": False})
        case "user":
            return said(200, {"_id": USER + at.detail, "name": at.detail, "email": "", "type": "user", "roles": []})
    raise MethodRefused("This address cannot be read.")


def _known(ask: Ask) -> str:
    if not ask.principal:
        raise Unauthenticated("You are not logged in.", "Set _authToken for this registry in .npmrc.")
    return ask.principal


def _writing(ask: Ask, at: Route) -> Plan:
    match ask.method, at.kind:
        case ("PUT", "package") | ("PUT", "revision"):
            return Accept("spool")
        case ("DELETE", "revision") | ("DELETE", "file") | ("PUT", "tag") | ("POST", "tag") | ("DELETE", "tag"):
            return Amend()
        case ("POST", "advisories") | ("POST", "audit"):
            return Amend(AUDIT_BYTES_MAX)
        case ("PUT", "user"):
            return Login()
        case ("DELETE", "logout"):
            # Tokens are revoked by whoever made them; the client only wants to forget its copy.
            return said(200, {"ok": True})
        case ("POST", "web-login"):
            # Any 4xx makes npm go on with the login by name and password.
            raise Absent("Login with a browser is not offered.", "Use an API token as the password.")
    raise MethodRefused(f"{ask.method} does nothing at this address.")


# ---------------------------------------------------------------- answers


def said(status: int, value: object) -> Reply:
    """A JSON answer."""
    return Reply(status, msgspec.json.encode(value), JSON)


def refuse(ask: Ask, problem: Problem) -> Reply:
    """The dialect of npm: `error` is what the client prints. A version that is taken is 403, as clients expect."""
    status = problem.status
    if status == 409 and "/-rev/" not in ask.path:
        status = 403
    if isinstance(problem, OverQuota):
        status = 403  # after a 5xx npm would send all of it again
    body = msgspec.json.encode({"error": problem.text(), "reason": problem.message, "code": problem.code})
    challenge = f'Bearer realm="{REALM}", {BASIC}'
    return Reply(status, body, JSON, signals(problem, _allowed(ask), challenge))


def _allowed(ask: Ask) -> str:
    """The methods of an address, for `Allow` (RFC 9110 section 15.5.6)."""
    try:
        kind = route(ask).kind
    except Problem:
        return "GET, HEAD"
    return {
        "package": "GET, HEAD, PUT",
        "revision": "PUT, DELETE",
        "file": "GET, HEAD, DELETE",
        "tag": "PUT, POST, DELETE",
        "advisories": "POST",
        "audit": "POST",
        "user": "GET, HEAD, PUT",
        "logout": "DELETE",
        "web-login": "POST",
    }.get(kind, "GET, HEAD")
