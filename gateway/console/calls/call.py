"""What is one call of the API? Who makes it, what it asks, and the one way in which it changes anything.

A handler is `async def handler(call: Call) -> Reply`, registered in a `Routes` with the Permission that it needs. What
is shown of one thing is `def show(call: Call, reading: Reading) -> Shown`: its ETag follows from that, under the write
lock too.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, get_origin

import msgspec
from quart import Request

from gateway.access.rights.verdicts import Principal, check_network
from gateway.console.calls.callers import API, who
from gateway.console.calls.cursors import CURSOR_CHARS_MAX, List
from gateway.console.calls.etags import Conditions, etag_of
from gateway.console.calls.once import REPLAYED, Keyed, Said
from gateway.console.calls.permissions import BY_ASKING, BY_CODE, Permission
from gateway.console.calls.places import place_of
from gateway.console.calls.problems import SCIM
from gateway.console.calls.services import Services, latest_ms_of
from gateway.console.shapes.replies import Page
from gateway.console.shapes.shown import page
from gateway.insight.reasons import REASON, reason_in
from gateway.scim import refusing as scim
from storage.commit import Committed, Decided
from storage.errors import Absent, Forbidden, Invalid, Unavailable, Unsupported
from storage.index.answers import Answer
from storage.index.catalog import Reading
from storage.nouns import Draft

BODY_BYTES_MAX = 512 << 10
"""The largest thing that is sent is a keyring: Debian's has 75 KB in base64."""
PAGE_ITEMS = 100
PAGE_ITEMS_MAX = 1_000
ARGUMENT_CHARS_MAX = 500
SERIAL = "Entrepot-Serial"
UNCHANGED = "request.unchanged"
"""The action of an entry that only keeps the answer to a request that changed nothing."""

PAGE = ("after", "limit")
"""The arguments of a list."""

UNDECLARED = object()
"""What a route gives that does not say; a test fails for it."""


@dataclass(frozen=True)
class Reply:
    """An answer: `body` is put into JSON, unless it is text or bytes already. None = no body."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


Decision = Callable[[Reading, Principal], Decided]


class Progress:
    """What a call has done so far."""

    __slots__ = ("changed", "kept")

    def __init__(self) -> None:
        self.changed = False
        self.kept = False


class _Done(Exception):
    """It was done already."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class Call:
    """One request whose caller has been identified and let in. `at` holds the parts of the path by name; `shows` what
    is there, where the address is that of one thing; `keyed` is set where it came with a key."""

    services: Services
    route: "Route"
    principal: Principal
    secret: str | None
    at: Mapping[str, str]
    request: Request
    shows: "Shows | None" = None
    keyed: Keyed | None = None
    progress: Progress = field(default_factory=Progress)

    def read(self) -> AbstractContextManager[Reading]:
        """A reading of the index; never held across an await."""
        return self.services.catalog.read()

    def argument(self, name: str, default: str = "") -> str:
        """The one value of a query argument. Raises Invalid for several, and for one that no name could equal.

        That of `after` is the place that its cursor stands for, where the route gives pages.
        """
        values = self.request.args.getlist(name)
        if len(values) > 1:
            raise Invalid(f"The argument {name} is given more than once.")
        value = values[0] if values else default
        chars_max = CURSOR_CHARS_MAX if name == "after" else ARGUMENT_CHARS_MAX
        if len(value) > chars_max:
            raise Invalid(f"The argument {name} has more than {chars_max} characters.", "Shorten it.")
        if "\0" in value:
            raise Invalid(f"The argument {name} is no name that could be here.")
        return self.list().opened(value) if name == "after" and self.route.paged else value

    def list(self) -> List:
        """The list that is asked for."""
        return List(self.request.path, self.request.args.items(multi=True))

    def page[T](self, found: Iterable[T], name: Callable[[T], str], show: Callable[[T], dict[str, Any]]) -> Reply:
        """The page that is asked for of what lies in memory, by a name that is nobody else's."""
        after, limit = self.argument("after"), self.limit()
        rest = sorted((one for one in found if not after or name(one) > after), key=name)
        return Reply(200, page(rest, limit, name, show))

    def page_in_order[T](
        self, found: Sequence[T], name: Callable[[T], str], show: Callable[[T], dict[str, Any]]
    ) -> Reply:
        """The same of what has an order that matters. It goes on behind the last item, or in the place of one that is
        gone."""
        after, limit = self.argument("after"), self.limit()
        place, _, last = after.partition(" ")
        names = [name(one) for one in found]
        start = names.index(last) + 1 if last in names else whole_in(place)
        shown = [show(one) for one in found[start : start + limit]]
        end = start + len(shown)
        more = f"{end - 1} {names[end - 1]}" if shown and end < len(found) else None
        return Reply(200, {"items": shown, "next": more})

    def limit(self) -> int:
        """How many items a page may hold."""
        return self.number("limit", PAGE_ITEMS, PAGE_ITEMS_MAX)

    def number(self, name: str, default: int, most: int) -> int:
        """An argument from 1 to `most`. Raises Invalid."""
        text = self.argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
            raise Invalid(f"The argument {name} is no number that can be used.", f"Use 1 to {most}.")
        return int(text)

    def flag(self, name: str) -> bool:
        """An argument that is true or false. Raises Invalid."""
        text = self.argument(name, "false")
        if text not in ("true", "false"):
            raise Invalid(f"The argument {name} is true or false.")
        return text == "true"

    @property
    def peer(self) -> str:
        """Where the client is; "" = not known."""
        return peer_of(self.request)

    def peer_in(self, workspace: str) -> str:
        """Where it is to what belongs to this Workspace; "" = nobody says who may speak of that (F5)."""
        within = self.request.headers.get("X-Entrepot-Client-Within")
        if within is None:
            return self.peer
        return self.request.headers.get("X-Entrepot-Client", "") if workspace in within.split(",") else ""

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
            raise Invalid(f"The body is not what this address takes: {place_of(error, shape)}.") from None

    def etag(self, reading: Reading, principal: Principal) -> str:
        """That of the thing at this address, as `principal` sees it; "" where there is none."""
        if self.shows is None:
            return ""
        try:
            return etag_of(self.shows(replace(self, principal=principal), reading))
        except (Absent, Forbidden):  # who may change something may not be one who may look at it
            return ""

    async def change(self, journal: str, decide: Decision) -> tuple[Any, dict[str, str]]:
        """Commit what `decide` decides, where another change follows: its value, and the headers that tell an edge
        which Serial to wait for.

        The caller is identified and let in again under the write lock, since the token may be gone by then. `journal`
        is the Workspace, or SYSTEM, whose journal is written. Raises what `decide` raises, and PreconditionFailed;
        then nothing has changed.
        """
        committed = await self._commit(journal, decide, None)
        return committed.value, _serial_of(journal, committed.serial)

    async def conclude(self, journal: str, decide: Decision, answer: Callable[[Any], Reply]) -> Reply:
        """The last change of a call, with the `answer` that its value leads to: pure, it is asked under the write lock.

        The answer of a request that came with a key becomes durable with the change. Raises as `change` does.
        """
        try:
            committed = await self._commit(journal, decide, answer)
        except _Done as done:
            return self.replayed(done.answer)
        reply: Reply = committed.value
        self.progress.kept = True
        headers = {**reply.headers, **_serial_of(journal, committed.serial), **self._etag_behind(journal, committed)}
        return replace(reply, headers=headers)

    def replayed(self, answer: Answer) -> Reply:
        """What was answered before. Raises KeyReused."""
        assert self.keyed is not None
        said = self.keyed.opened(answer)
        headers = {**said.headers, **_serial_of(answer.workspace, answer.serial), REPLAYED: "?1"}
        return Reply(said.status, said.body or None, headers, said.media)

    async def _commit(self, journal: str, decide: Decision, answer: Callable[[Any], Reply] | None) -> Committed:
        if self.services.commit is None:
            raise Unavailable(
                "This node is an edge and writes nothing by itself.", "Send this to the origin.", retry_after_s=5
            )
        reason = self.reason
        conditions = conditions_of(self.request) if self.route.mannered else None

        def guarded(reading: Reading) -> Decided:
            principal = who(reading, self.secret, latest_ms_of(self.services))
            check_network(principal, peer_of(self.request))
            if (done := self.answered(reading)) is not None:
                raise _Done(done)
            self.route.permission.check(self.services, reading, principal, self.at)
            if conditions and not self.progress.changed:
                conditions.check(self.etag(reading, principal))
            decided = decide(reading, principal)
            if answer is not None:
                decided = self._concluded(reading, principal, journal, decided, answer(decided.value))
            draft = decided.draft
            if draft is not None and reason:
                draft = msgspec.structs.replace(draft, reason=reason)
            return decided._replace(draft=draft, workspace=journal)

        committed = await self.services.commit(guarded)
        self.progress.changed = True
        return committed

    def answered(self, reading: Reading) -> Answer | None:
        """What was answered to a request with this key before."""
        if self.keyed is None:
            return None
        return reading.answer(self.keyed.principal, self.keyed.key, self.services.now_ms())

    def _concluded(
        self, reading: Reading, principal: Principal, journal: str, decided: Decided, reply: Reply
    ) -> Decided:
        """The answer as the value, and kept with the entry where the request came with a key."""
        if self.keyed is None:
            return decided._replace(value=reply)
        self.keyed.check_room(reading, self.services.keys_max, self.services.now_ms())
        draft = decided.draft or Draft(journal, "", principal.id, UNCHANGED, ())
        said = Said(reply.status, reply.media, dict(reply.headers), bytes_of(reply))
        return decided._replace(draft=msgspec.structs.replace(draft, once=self.keyed.once(said)), value=reply)

    def _etag_behind(self, journal: str, committed: Committed) -> dict[str, str]:
        """The ETag of what is there now, if that is what this call has made of it: nothing was written since."""
        if self.shows is None or self.route.method not in ("PUT", "PATCH"):
            return {}
        with self.read() as reading:
            if reading.serial(journal) != committed.serial:
                return {}
            etag = self.etag(reading, self.principal)
        return {"ETag": etag} if etag else {}


def whole_in(text: str) -> int:
    """The number in a cursor, 0 for "". Raises Invalid: anybody can make one up."""
    if not (text.isascii() and text.isdigit() and len(text) < 20) and text:
        raise Invalid("The argument after is none that a page of results gave.", "Give its next.")
    return int(text or 0)


def no_content(_: object) -> Reply:
    """Done, and there is nothing to tell."""
    return Reply(204)


def conditions_of(request: Request) -> Conditions:
    """If-Match and If-None-Match. Raises Invalid."""
    headers = request.headers
    return Conditions(",".join(headers.getlist("If-Match")), ",".join(headers.getlist("If-None-Match")))


def peer_of(request: Request) -> str:
    """Where the client is: the strict front says it, in a header that no client can send."""
    return request.headers.get("X-Entrepot-Peer", "")


def bytes_of(reply: Reply) -> bytes:
    """The body as it is sent."""
    if reply.body is None:
        return b""
    if isinstance(reply.body, bytes):
        return reply.body
    return reply.body.encode() if isinstance(reply.body, str) else msgspec.json.encode(reply.body)


def _serial_of(journal: str, serial: int) -> dict[str, str]:
    return {SERIAL: f"{journal}={serial}"}


Handler = Callable[[Call], Awaitable[Reply]]
Shows = Callable[[Call, Reading], dict[str, object]]


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
    shows: Shows | None = None
    """Where it shows one thing: what is shown of it, all but what only others than the index know."""

    @property
    def changes(self) -> bool:
        """May it change something?"""
        return self.method != "GET"

    @property
    def mannered(self) -> bool:
        """Does it change something of the API, and so take keys and conditions? Other protocols have their own."""
        return self.changes and self.rule.startswith(API)

    @property
    def keyed(self) -> bool:
        """Does it take an Idempotency-Key? What anybody may ask for, and costs nothing, keeps no answers: strangers
        would fill the journal with them, and take each other's keys."""
        return self.mannered and self.permission not in (BY_ASKING, BY_CODE)

    @property
    def selects(self) -> bool:
        """Can a caller say which members of the answer he wants?"""
        return self.method == "GET" and self.rule.startswith(API) and self.gives not in (None, str, UNDECLARED)

    @property
    def lists(self) -> bool:
        """Does it give a list?"""
        kind = get_origin(self.gives) or self.gives
        return isinstance(kind, type) and issubclass(kind, Page)

    @property
    def paged(self) -> bool:
        """Page by page, with cursors?"""
        return self.lists and "after" in self.arguments

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
        shows: Shows | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated handler. `status` is that of success, where it is not 200, or 204 for no body."""
        statuses = status if isinstance(status, tuple) else (status or (204 if gives is None else 200),)
        rule = self._prefix + rule

        def keep(handler: Handler) -> Handler:
            named = frozenset(arguments)
            self.all.append(
                Route(method, rule, permission, handler, named, alone, takes, gives, statuses, media, shows)
            )
            return handler

        return keep

    def show(
        self, rule: str, permission: Permission, arguments: tuple[str, ...] = (), *, gives: object
    ) -> Callable[[Shows], Shows]:
        """Register the decorated function as what GET answers of the one thing that is at `rule`."""

        def keep(shows: Shows) -> Shows:
            @wraps(shows)
            async def handler(call: Call) -> Reply:
                with call.read() as reading:
                    return Reply(200, shows(call, reading))

            self.add("GET", rule, permission, arguments, gives=gives, shows=shows)(handler)
            return shows

        return keep
