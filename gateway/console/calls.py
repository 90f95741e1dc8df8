"""What is one call of the API? Who makes it, what it asks, and the one way in which it changes anything.

A handler is `async def handler(call: Call) -> Reply`, registered in a `Routes` with the Permission that it needs.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import msgspec
from quart import Request, request
from werkzeug.datastructures import Headers

from gateway.access import sessions
from gateway.access.verdicts import ANONYMOUS, Principal, check_network, identify
from gateway.console import cookies
from gateway.console.permissions import Permission
from gateway.console.problems import SCIM
from gateway.console.services import Services
from gateway.insight.reasons import REASON, reason_in
from gateway.scim import refusing as scim
from storage.commit import Decided
from storage.errors import Invalid, Problem, Unauthenticated, Unavailable, Unsupported
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, PutToken

API = "/-/api/"
BODY_BYTES_MAX = 512 << 10
"""The largest thing that is sent is a keyring: Debian's has 75 KB in base64."""
PAGE_ITEMS = 100
PAGE_ITEMS_MAX = 1_000
CURSOR_CHARS_MAX = 500

UNDECLARED = object()
"""What a route gives that does not say; a test fails for it."""

_QUOTED = re.compile(r"'[^']*'")


@dataclass(frozen=True)
class Reply:
    """An answer: `body` is put into JSON, unless it is text or bytes already. None = no body."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


Decision = Callable[[Reading, Principal], Decided]


@dataclass(frozen=True)
class Call:
    """One request whose caller has been identified and let in. `at` holds the parts of the path by name."""

    services: Services
    permission: Permission
    principal: Principal
    secret: str | None
    at: Mapping[str, str]
    request: Request

    def read(self) -> AbstractContextManager[Reading]:
        """A reading of the index; never held across an await."""
        return self.services.catalog.read()

    def argument(self, name: str, default: str = "") -> str:
        """The one value of a query argument. Raises Invalid for several, and for one that no name could equal."""
        values = self.request.args.getlist(name)
        if len(values) > 1:
            raise Invalid(f"The argument {name} is given more than once.")
        value = values[0] if values else default
        if len(value) > CURSOR_CHARS_MAX or "\0" in value:
            raise Invalid(f"The argument {name} is no name that could be here.")
        return value

    def limit(self) -> int:
        """How many items a page may hold."""
        return self.number("limit", PAGE_ITEMS, PAGE_ITEMS_MAX)

    def number(self, name: str, default: int, most: int) -> int:
        """An argument from 1 to `most`. Raises Invalid."""
        text = self.argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
            raise Invalid(f"The argument {name} is no number that can be used.", f"Use 1 to {most}.")
        return int(text)

    @property
    def peer(self) -> str:
        """Where the client is; "" = not known."""
        return _peer_of(self.request)

    @property
    def reason(self) -> str:
        """What the caller gives for doing this. Raises Invalid."""
        return reason_in(self.request.headers.get(REASON, ""))

    async def body[T](self, shape: type[T]) -> T:
        """The JSON body as `shape`. Raises Unsupported, Invalid, and TooLarge by way of the framework."""
        if self.request.mimetype not in ("application/json", scim.MEDIA):
            raise Unsupported("The body is not declared as JSON.", "Send Content-Type: application/json.")
        raw = await self.request.get_data(as_text=False)
        try:
            return msgspec.json.decode(raw, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The body is not what this address takes: {_place_of(error)}.") from None

    async def change(self, journal: str, decide: Decision) -> tuple[object, dict[str, str]]:
        """Commit what `decide` decides: its value, and the headers that tell an edge which Serial to wait for.

        The caller is identified and let in again under the write lock, since the token may be gone by then. `journal`
        is the Workspace, or SYSTEM, whose journal is written. Raises what `decide` raises; then nothing has changed.
        """
        if self.services.commit is None:
            raise Unavailable(
                "This node is an edge and writes nothing by itself.", "Send this to the origin.", retry_after_s=5
            )
        at_ms, reason = self.services.now_ms(), self.reason

        def guarded(reading: Reading) -> Decided:
            principal = who(reading, self.secret, at_ms)
            check_network(principal, _peer_of(self.request))
            self.permission.check(self.services, reading, principal, self.at)
            decided = decide(reading, principal)
            draft = decided.draft
            if draft is not None and reason:
                draft = msgspec.structs.replace(draft, reason=reason)
            return decided._replace(draft=draft, workspace=journal)

        committed = await self.services.commit(guarded)
        return committed.value, {"Entrepot-Serial": f"{journal}={committed.serial}"}


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """One method of one address, who may use it, what it takes and what it answers."""

    method: str
    rule: str
    permission: Permission
    handler: Handler
    arguments: frozenset[str]
    alone: bool = False
    """Is it answered by an edge that has lost its origin, too?"""
    takes: object = None
    """The shape of its body, None = it has none."""
    gives: object = UNDECLARED
    """The shape of what it answers, None = nothing, str = text alone, of `media`."""
    status: tuple[int, ...] = (200,)
    media: str = ""
    """What else than JSON it can answer."""

    @property
    def dialect(self) -> str:
        """The media type of its JSON, where that is a protocol's own; "" = plain."""
        return scim.MEDIA if self.rule.startswith(SCIM) else ""


class Routes:
    """The routes of one group of handlers."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.all: list[Route] = []

    def add(
        self,
        method: str,
        rule: str,
        permission: Permission,
        arguments: tuple[str, ...] = (),
        *,
        alone: bool = False,
        takes: object = None,
        gives: object = UNDECLARED,
        status: int | tuple[int, ...] = 0,
        media: str = "",
    ) -> Callable[[Handler], Handler]:
        """Register the decorated handler. `status` is that of success, where it is not 200, or 204 for no body."""
        statuses = status if isinstance(status, tuple) else (status or (204 if gives is None else 200),)
        rule = self._prefix + rule

        def keep(handler: Handler) -> Handler:
            named = frozenset(arguments)
            self.all.append(Route(method, rule, permission, handler, named, alone, takes, gives, statuses, media))
            return handler

        return keep


async def run(services: Services, route: Route, at: Mapping[str, str]) -> Reply:
    """Let the current request in, or not, and have it handled."""
    secret = presented(services, route)
    governed = route.rule.startswith((API, SCIM))
    if services.outdated() and governed and not route.alone:
        raise Unavailable("This edge has lost its origin and may not tell private things.", retry_after_s=2)
    peer = request.headers.get("x-entrepot-peer", "")
    with services.catalog.read() as reading:
        try:
            principal = who(reading, secret, services.now_ms())
            check_network(principal, peer)
        except Unauthenticated:
            services.spend(ANONYMOUS, peer)  # whoever guesses is slowed
            raise
        if governed:
            services.spend(principal, peer)
        route.permission.check(services, reading, principal, at)
    strange = set(request.args) - route.arguments
    if strange:
        taken = ", ".join(sorted(route.arguments)) or "none"
        raise Invalid("This address does not take all of these query arguments.", f"It takes: {taken}.")
    if principal.kind == sessions.KIND and secret is not None:
        await renew(services, secret)
    return await route.handler(Call(services, route.permission, principal, secret, at, request._get_current_object()))


def who(reading: Reading, secret: str | None, now_ms: int) -> Principal:
    """The principal behind what was presented: a session's text comes from its cookie alone. Raises Unauthenticated."""
    if secret is not None and sessions.is_session(secret):
        return sessions.holder(reading, secret, now_ms)
    return identify(reading, secret, now_ms)


def presented(services: Services, route: Route) -> str | None:
    """The credential of the current request, else the text of the session in its cookie; None for neither.

    Raises Unauthenticated, and Forbidden for a change by cookie that no page of ours has sent (C13).
    """
    given = credential(request.headers)
    if given is not None:
        if sessions.is_session(given):
            raise Unauthenticated("A session is good in its cookie alone.", "Make a token: entrepot login.")
        return given
    if not route.rule.startswith(API):
        return None
    secure = cookies.is_secure(request._get_current_object(), services.sign_in.url)
    text = cookies.cookie(request._get_current_object(), cookies.SESSION, secure=secure)
    if text and route.method not in cookies.SAFE_METHODS:
        cookies.check_form(request._get_current_object(), text, request.headers.get(cookies.FORM_FIELD, ""))
    return text if sessions.is_session(text) else None


async def renew(services: Services, text: str) -> None:
    """Whoever does something stays signed in. An origin writes that, seldom; where it cannot, the session runs on."""
    if services.commit is None:
        return
    now_ms = services.now_ms()

    def decide(reading: Reading) -> Decided:
        token = sessions.session_of(reading, text, now_ms)
        later = sessions.renewed(token, now_ms)
        draft = None if later is None else Draft(SYSTEM, "", token.id, "session.renew", (PutToken(later),))
        return Decided(draft, None, SYSTEM)

    with services.catalog.read() as reading:
        try:
            due = sessions.renewed(sessions.session_of(reading, text, now_ms), now_ms)
        except Unauthenticated:
            due = None
    if due is not None:
        with suppress(Problem):
            await services.commit(decide)


def _peer_of(asked: Request) -> str:
    """Where the client is: the strict front says it, in a header that no client can send."""
    return asked.headers.get("X-Entrepot-Peer", "")


def credential(headers: Headers) -> str | None:
    """What the client presents: a Bearer, the password of Basic, or X-Api-Key; None for nothing.

    Raises Unauthenticated for an Authorization that is neither.
    """
    given = headers.get("Authorization", "").strip()
    if not given:
        return headers.get("X-Api-Key", "").strip() or None
    scheme, _, rest = given.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            pair = ""
        if ":" in pair:
            return pair.partition(":")[2]
    raise Unauthenticated("This Authorization cannot be read.", "Send a token as Bearer, or as the password of Basic.")


def _place_of(error: Exception) -> str:
    """What was wrong and where, without the value that was sent: it may be a secret in the wrong place."""
    if isinstance(error, msgspec.ValidationError):
        return _QUOTED.sub("this value", str(error))
    return "it is not JSON"
