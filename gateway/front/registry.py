"""What is at /v2/ itself: is this a registry, who am I to it, and where does a client fetch a pass?

`/v2/` answers who shows a good credential, and tells everybody else where to fetch a pass: clients ask it first and
take every later step as it says. `/v2/-/token` gives passes (gateway/access/credentials): by GET with Basic, by POST
with a form, and without a credential the one that is worth nothing, with which public images are pulled. Edges answer
both from their own index.
"""

import urllib.parse
from datetime import UTC, datetime

import msgspec

from formats.kit.contract import Reply
from formats.oci import wire
from gateway.access.clock import latest_ms
from gateway.access.credentials import passes
from gateway.access.credentials.passes import Scope
from gateway.access.rights.verdicts import identify, token_of
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front.complaints import headers_of, now_ms
from gateway.front.routes import host_name, implied_by
from storage.errors import Absent, Invalid, MethodRefused, Problem, Unauthenticated
from storage.index.catalog import Catalog, Reading

FORM_BYTES_MAX = 64 << 10
FIELDS_MAX = 100
RESOURCE_CHARS_MAX = 400
JSON = "application/json"


def is_own(head: Head) -> bool:
    """Is this an address of the registry itself?"""
    return head.segments[0] == "v2" and (len(head.segments) < 3 or head.segments[1] == "-")


class Registry:
    """The addresses of /v2/ that belong to no image."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def handle(self, request: Request) -> None:
        """Raises Problem."""
        head = request.head
        match head.segments[1:]:
            case () | ("",):
                reply = self._ping(head)
            case ("-", "token"):
                reply = await self._token(request)
            case _:
                raise Absent("There is nothing at this address.", "Images are at /v2/WORKSPACE/REPOSITORY/NAME/.")
        await request.reply(reply.status, headers_of(reply), reply.body)

    def _ping(self, head: Head) -> Reply:
        if head.method not in ("GET", "HEAD"):
            raise MethodRefused("This address can only be read.")
        if not head.secret:
            raise _needs_pass()
        with self._catalog.read() as reading:
            at_ms = now_ms()
            if passes.is_pass(head.secret):
                passes.holder(reading, head.secret, at_ms, latest_ms())
            else:
                identify(reading, head.secret, latest_ms())
        return Reply(200, b"{}", JSON, (wire.VERSION,))

    async def _token(self, request: Request) -> Reply:
        head = request.head
        if head.method == "GET":
            asked, secret = list(head.query), head.secret or ""
        elif head.method == "POST":
            form = _form(await request.body.whole(FORM_BYTES_MAX))
            asked = [*head.query, *form]
            fields = dict(form)
            secret = fields.get("password") or fields.get("refresh_token") or head.secret or ""
        else:
            raise MethodRefused("Passes are fetched by GET or POST.")
        with self._catalog.read() as reading:
            ahead = implied_by(reading.host(host_name(head.host)))
            return _given(reading, secret, [value for name, value in asked if name == "scope"], ahead)


def _given(reading: Reading, secret: str, asked: list[str], ahead: tuple[str, ...]) -> Reply:
    at_ms = now_ms()
    if not secret or secret == passes.ANONYMOUS_PASS:
        text, seconds = passes.ANONYMOUS_PASS, passes.PASS_SECONDS_MAX
    else:
        text, seconds = passes.issue(secret, token_of(reading, secret, latest_ms()), scopes_of(asked, ahead), at_ms)
    issued = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"token": text, "access_token": text, "expires_in": seconds, "issued_at": issued}
    return Reply(200, msgspec.json.encode(body), JSON, (("Cache-Control", "no-store"),))


def scopes_of(asked: list[str], ahead: tuple[str, ...] = ()) -> list[Scope]:
    """The scopes of `repository:NAME:ACTION,ACTION` texts, several by space. Others are passed over, as the
    specification of token servers wants; a pass for nothing is what a login asks for. A client names images as it knows
    them; `ahead` is what its host implies."""
    found: dict[str, set[str]] = {}
    for text in " ".join(asked).split():
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind.partition("(")[0] == "repository" and 0 < len(name) <= RESOURCE_CHARS_MAX:
            wanted = {one for one in actions.split(",") if one == "*" or one in passes.RIGHT_OF}
            found.setdefault("/".join((*ahead, name)), set()).update(wanted)
    if len(found) > passes.SCOPES_MAX:
        raise Invalid(f"A pass is for at most {passes.SCOPES_MAX} images.", "Fetch several.")
    return [Scope(name, tuple(sorted(actions))) for name, actions in found.items() if actions]


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return urllib.parse.parse_qsl(body.decode(), max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Invalid("The body is no form.", "Send it as application/x-www-form-urlencoded.") from None


def _needs_pass() -> Problem:
    from_where = f"Fetch a pass at {wire.PASSES_PATH}, or send a token as the password of Basic."
    return Unauthenticated("This needs a credential.", from_where)


def base_of(head: Head) -> str:
    return f"{head.scheme}://{head.host}"


def refusal(head: Head, problem: Problem) -> Reply:
    """A Problem in the words of this protocol, where no room knows the address."""
    headers: list[tuple[str, str]] = []
    if problem.status == 401 and head.segments[1:] != ("-", "token"):
        headers.append(("WWW-Authenticate", wire.challenge(base_of(head))))
    if problem.status == 405:
        headers.append(("Allow", "GET, HEAD" if head.segments[1:2] != ("-",) else "GET, POST"))
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    return wire.errors(problem, wire.code_of(problem, ""), headers)
