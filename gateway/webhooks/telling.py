"""How is one event told to one receiver? Found in the journal, written as the webhook wants it, signed, sent."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import trio

from gateway.insight.tracing import Tracer, traced
from gateway.webhooks.catalogue import PING
from gateway.webhooks.events import Event, KnownAs, Told, events_of, stamp
from gateway.webhooks.filters import Filter, OrderOf
from gateway.webhooks.queue import Queue, Rules, State
from gateway.webhooks.records import Delivery, Records
from gateway.webhooks.sealed import Sealed, Sealing
from gateway.webhooks.sending import Answer, Sender
from gateway.webhooks.signatures import signed
from gateway.webhooks.templates import renderer
from storage.errors import Absent, Invalid, Problem
from storage.hooks import Webhook
from storage.index.catalog import Catalog
from storage.index.history import History
from storage.nouns import Entry
from storage.spans import Kind

EVENT, REDELIVERY = "event", "redelivery"
HIDDEN = "(hidden)"
SHOWN_CHARS_MAX = 200
NOW_MAX = 4
"""So many are sent at a time because somebody asks for it."""
SENT_MEDIA = "content-type"


class Message(NamedTuple):
    """What is to be sent: its id, the kind of event, the entry it comes from, and the document."""

    id: str
    kind: str
    journal: str
    serial: int
    document: Mapping[str, object]
    trace: str = ""
    """The mark of the trace in which that was written."""


class Ready(NamedTuple):
    """A message that can go out: the body that the webhook wants of it, and with what it is signed and where it goes.
    `problem` tells why there is none of these."""

    message: Message
    sealed: Sealed | None
    body: bytes
    problem: str = ""


class Attempt(NamedTuple):
    """What came of it, as it is kept and as it was answered."""

    delivery: Delivery
    answer: Answer


class Telling:
    """Whatever an origin needs to tell anybody anything; one for each worker."""

    def __init__(
        self,
        catalog: Catalog,
        history: History,
        sealing: Sealing,
        records: Records,
        sender: Sender,
        known_as: KnownAs,
        order_of: OrderOf,
        now_ms: Callable[[], int],
        tracer: Tracer | None = None,
    ) -> None:
        self.catalog = catalog
        self.history = history
        self.sealing = sealing
        self.records = records
        self.now_ms = now_ms
        self.sender = sender
        self._known_as = known_as
        self._order_of = order_of
        self._tracer = tracer
        self._now: trio.CapacityLimiter | None = None

    def filter_of(self, hook: Webhook) -> Filter:
        """Blocking."""
        with self.catalog.read() as reading:
            repository = reading.repository(hook.workspace, hook.repository) if hook.repository else None
        return Filter(hook, self._order_of, 0 if repository is None else repository.at_ms)

    def told_by(self, entry: Entry, workspace: str) -> list[Told]:
        """The events of an entry, each once. Blocking."""
        with self.catalog.read() as reading:
            found = events_of(entry, workspace, reading.account, self._known_as)
        return [Told(entry, one) for one in {(one.kind, one.about): one for one in found}.values()]

    def message(self, hook: Webhook, journal: str, serial: int, id: str) -> Message:
        """The message that has this id, out of the journal. Blocking. Raises Absent."""
        entry = self.history.one(journal, serial).entry
        for told in self.told_by(entry, hook.workspace):
            if told.message_id(hook.id) == id:
                return Message(id, told.event.kind, journal, serial, told.document(hook.workspace), entry.trace)
        raise Absent("This entry of the journal tells no such event.")

    def ready(self, hook: Webhook, message: Message) -> Ready:
        """Whatever can be done before it is sent. Blocking."""
        sealed: Sealed | None = None
        try:
            sealed = self.sealing.get(hook.revision)
            return Ready(message, sealed, renderer(hook.template, hook.media)(message.document))
        except Problem as problem:
            return Ready(message, sealed, b"", problem.message)

    def trial(self, hook: Webhook, id: str) -> Message:
        """A ping: it tells of nothing but the webhook itself."""
        at_ms = self.now_ms()
        entry = Entry(0, hook.workspace, 0, b"", at_ms, "", PING, hook.repository, ())
        data: dict[str, object] = {"webhook": hook.id, "name": hook.name}
        document = Told(entry, Event(PING, (), hook.repository, data)).document(hook.workspace)
        return Message(id, PING, hook.workspace, 0, document | {"timestamp": stamp(at_ms)})

    async def attempt(self, hook: Webhook, ready: Ready, cause: str, number: int) -> Attempt:
        """Send it, once. What comes of it is told, not raised.

        It is a step in the trace of what it tells of, and of whoever has it sent now. Where it goes is no part of that:
        the address is the receiver's secret.
        """
        with traced(self._tracer, ready.message.trace, "deliver webhook", Kind.CLIENT) as span:
            attempt = await self._attempt(hook, ready, cause, number)
            if span is not None:
                span.attributes |= {
                    "entrepot.event": ready.message.kind,
                    "entrepot.cause": cause,
                    "entrepot.attempt": number,
                    "http.response.status_code": attempt.answer.status,
                }
                span.failed = "" if attempt.answer.delivered else "not delivered"
            return attempt

    async def _attempt(self, hook: Webhook, ready: Ready, cause: str, number: int) -> Attempt:
        message, sealed, body = ready.message, ready.sealed, ready.body
        at_ms = self.now_ms()
        headers: dict[str, str] = {}
        hidden = sealed.hidden if sealed is not None else ()
        if sealed is None or ready.problem:
            answer = Answer(0, ready.problem, 0)
        else:
            marks = signed(sealed.good(at_ms), message.id, at_ms // 1000, body)
            headers = {SENT_MEDIA: hook.media, **sealed.headers, **marks}
            again = hook.id if cause == EVENT else ""
            private = hook.private_network
            answer = await self.sender.post(sealed.url, headers, body, private_network=private, hook=again)
        head = tuple((name, _masked(value, hidden)) for name, value in answer.head)
        return Attempt(
            Delivery(
                0, message.id, message.kind, message.journal, message.serial, number, cause, at_ms, answer.took_ms,
                answer.status, _masked(answer.problem, hidden), _shown(headers), len(body), head, answer.read_bytes,
            ),
            answer,
        )  # fmt: skip

    async def tell_now(self, hook: Webhook, message: Message, cause: str) -> Delivery:
        """Send it now, whatever the queue is at, and keep what came of it."""
        self._now = self._now or trio.CapacityLimiter(NOW_MAX)
        async with self._now:
            ready = await trio.to_thread.run_sync(self.ready, hook, message)
            delivery = (await self.attempt(hook, ready, cause, 1)).delivery

        def keep() -> Delivery:
            [number] = self.records.write({}, [(hook.id, delivery)])
            return msgspec.structs.replace(delivery, number=number)

        return await trio.to_thread.run_sync(keep)

    def told(self, hook: Webhook, head: int) -> dict[str, object]:
        """How far its queue is, as it was last written; `head` is the last Serial of its Workspace."""
        state = self.records.state(hook.id)
        if state is None or state.run != hook.run:
            state = State(hook.run, hook.after, hook.after_system)
        serial, system_serial = Queue(state, Rules()).settled()
        return {
            "serial": serial,
            "system_serial": system_serial,
            "lag_entries": max(0, head - serial),
            "waiting": len(state.waiting),
            "failures": state.failures,
            "failing_ms": state.failing_ms,
            "paused_ms": state.paused_ms,
            "delivered": state.delivered,
            "refused": state.refused,
            "given_up": state.given_up,
            "sent_ms": state.sent_ms,
        }


def _shown(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The head of a request as it may be kept: no signature, and of headers that were given only their names."""
    shown = (SENT_MEDIA, "webhook-id", "webhook-timestamp")
    return tuple((name, value if name in shown else HIDDEN) for name, value in headers.items())


def _masked(text: str, hidden: tuple[str, ...]) -> str:
    """A receiver may send back what it was sent; what is secret in it is not kept."""
    for one in hidden:
        text = text.replace(one, HIDDEN)
    return text[:SHOWN_CHARS_MAX]


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that a receiver wants besides, by lower-case names. Raises Invalid, without their values."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if (
            not lower
            or not all(char in _NAME_CHARS for char in lower)
            or lower in _OURS
            or lower.startswith("webhook-")
        ):
            raise Invalid("A header that was given cannot be set.", "Use names of letters, digits and -, like x-token.")
        if not value.isascii() or not value.isprintable() or value != value.strip() or not value:
            raise Invalid("The value of a header cannot be sent.", "Use printable ASCII without space around it.")
        found[lower] = value
    return found


_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_OURS = frozenset(
    ("host", "user-agent", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding", "te",
     "upgrade", "expect", "trailer", "keep-alive", "proxy-connection", "proxy-authorization")
)  # fmt: skip
