"""How does one request outside the hot path get exactly one answer, and in what state does it leave the connection?

The loop lends a connection to a task of `attend`, with its parsed head. The handler reads the body as far as it wants
and answers through the Request; afterwards a small unread rest is drained, a large one makes the connection close, and
the loop takes it back. A handler that fails before answering becomes a logged 500; after it, the client sees a reset.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Protocol

import trio

from gateway.config import Delivery
from gateway.delivery.connections.connection import Connection, Engine, Gone, Phase
from gateway.delivery.messages.answers import Answer, Extents, connection_lines, field_lines, plan
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.bodies import Body
from gateway.insight.requestlog import family, fragment
from storage.errors import Problem

REQUEST_ID = "Entrepot-Request-Id"
OWN_RUNNING_MAX = 64
"""Tasks for what is below /-/ alone: health, metrics, API, the streams of edges."""
log = logging.getLogger("entrepot.delivery")

Headers = Iterable[tuple[str, str]]


class Request:
    """One request, and the one response that it gets. `outcome`, `principal` and `repository` go to log and metrics;
    `fields` are headers of the answer, whoever gives it; `trace` is the id of the trace that it is in, "" for none.

    Sending raises Gone when the client left; let it pass through, there is nobody to tell. `toll(status, size)` is
    awaited ahead of an answer that is more than a reply, and may raise a Problem instead; size None = not known.
    """

    __slots__ = (
        "_c",
        "_engine",
        "_keep",
        "_size",
        "_started_s",
        "_status",
        "_stream",
        "about",
        "body",
        "fields",
        "head",
        "outcome",
        "principal",
        "repository",
        "toll",
        "trace",
    )

    def __init__(self, engine: Engine, c: Connection, head: Head) -> None:
        self._engine = engine
        self._c = c
        self._keep = False
        self._status = 0
        self._size = 0
        self._stream: Stream | None = None
        self._started_s = monotonic()
        self.head = head
        self.about: tuple[str, ...] = ()
        self.body = Body(engine, c, head)
        self.fields: tuple[tuple[str, str], ...] = ()
        self.outcome = ""
        self.principal = ""
        self.repository = ""
        self.toll: Callable[[int, int | None], Awaitable[None]] | None = None
        self.trace = ""

    @property
    def answered(self) -> bool:
        """Has a response been begun?"""
        return self._status != 0

    @property
    def status(self) -> int:
        """Of the response, 0 before it is begun."""
        return self._status

    @property
    def size(self) -> int:
        """How many bytes of body were sent, in bytes."""
        return self._size if self._stream is None else self._stream.written

    @property
    def leave(self) -> object:
        """What the answer is given under: where the handler says that it stands no more, the answer is cut."""
        return self._c.leave

    @leave.setter
    def leave(self, leave: object) -> None:
        self._c.leave = leave

    @property
    def draining(self) -> bool:
        """Is the node about to stop? Whoever streams without end ends now."""
        return self._engine.draining

    def disconnected(self) -> bool:
        """Is it known that the client is gone? A client that only stopped sending still reads."""
        return self._c.gone

    async def reply(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """One whole response from memory. Adds Content-Length, Date and Connection; a HEAD gets no body."""
        keep = self._begin(status)
        fields = list(headers)
        if status not in (204, 304) and "content-length" not in [name.lower() for name, _ in fields]:
            fields.append(("Content-Length", str(len(body))))
        data = self._head_bytes(status, fields, keep)
        if self.head.method != "HEAD" and status not in (204, 304):
            self._size = len(body)
            data += body
        await self._send(data)

    async def answer(self, answer: Answer) -> None:
        """Sends an Answer as the hot path would: variant, conditions, range, sendfile."""
        if self.toll is not None:
            asked = plan(answer, self.head)
            await self.toll(asked.status, asked.size)
        keep = self._begin(answer.status)
        self.outcome = self.outcome or answer.outcome
        self.repository = self.repository or answer.repository
        self.principal = self.principal or answer.principal
        if self.fields or self.trace:
            answer.headers = tuple(self._traced([*answer.headers, *self.fields]))
        wire = plan(answer, self.head, keep)
        self._status, self._size = wire.status, wire.size
        await self._send(self._engine.notes.preamble(wire.status) + wire.rest, wire.extents, wire.lease, wire.body)

    async def start(
        self, status: int, headers: Headers, length: int | None, first: Extents = (), opening: bytes = b""
    ) -> "Stream":
        """Begins a response whose body follows; `length` None = not known (chunked, or until close for HTTP/1.0).

        `opening` and then `first`, where the length is known, are bytes of the body that leave together with the head.
        Leaving the handler without `finish` closes the connection hard, so that the client sees a truncation.
        """
        if self.toll is not None:
            await self.toll(status, length)
        bodiless = status in (204, 304)
        framed = bodiless or length is not None or self.head.version == 1
        keep = self._begin(status, framed)
        fields = list(headers)
        if length is not None and not bodiless:
            fields.append(("Content-Length", str(length)))
        elif framed and not bodiless:
            fields.append(("Transfer-Encoding", "chunked"))
        self._stream = Stream(
            self, length, chunked=length is None and framed, silent=bodiless or self.head.method == "HEAD"
        )
        counted = length is not None and self._stream._count(len(opening) + sum(size for _, _, size in first))
        head = self._head_bytes(status, fields, keep)
        await self._send(head + opening if counted else head, first if counted else ())
        return self._stream

    def lines(self, headers: Headers, length: int) -> bytes:
        """Of the head of an answer of `length` bytes, what all have in common who get it: see `begin`."""
        fields = [*headers, ("Content-Length", str(length))]
        if self.outcome:
            fields.append(("Entrepot-Outcome", self.outcome))
        return field_lines(fields)

    def begin(self, status: int, lines: bytes, length: int, opening: bytes) -> None:
        """As `start`, at once: `lines` were made before, and nobody waits until all of `opening` is out (see `begun`).
        What is charged for it must be by now."""
        keep = self._begin(status)
        self._stream = stream = Stream(self, length, chunked=False, silent=self.head.method == "HEAD")
        own = (*self._traced([*self.fields]), *connection_lines(self.head, keep))
        head = self._engine.notes.preamble(status) + lines + (field_lines(own) if own else b"") + b"\r\n"
        self._engine.push(self._c, head + opening if stream._count(len(opening)) else head)

    async def begun(self) -> "Stream":
        """The rest of what was begun, once the client has taken the opening."""
        assert self._stream is not None, "begin comes first"
        while self._c.sending:
            await self._c.park()
        if self._c.gone:
            raise Gone
        return self._stream

    # ------------------------------------------------------------ for this module

    def _begin(self, status: int, framed: bool = True) -> bool:
        """Notes that the response begins; returns whether the connection stays open after it."""
        assert not self._status, "a request gets exactly one response"
        assert status >= 200
        self._status = status
        body = self.body
        self._keep = (
            framed
            and self.head.keep
            and not self._engine.draining
            and not body.broken
            and (body.done or body.drainable)
        )
        return self._keep

    def _head_bytes(self, status: int, fields: list[tuple[str, str]], keep: bool) -> bytes:
        if self.outcome:
            fields.append(("Entrepot-Outcome", self.outcome))
        fields.extend(self.fields)
        fields = self._traced(fields)
        fields.extend(connection_lines(self.head, keep))
        return self._engine.notes.preamble(status) + field_lines(fields) + b"\r\n"

    def _traced(self, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """With the id under which this request is found, where it has one and the answer does not tell it."""
        if self.trace and all(name.lower() != REQUEST_ID.lower() for name, _ in fields):
            fields.append((REQUEST_ID, self.trace))
        return fields

    async def _send(self, data: bytes, extents: Extents = (), lease: object = None, body: bytes = b"") -> None:
        c = self._c
        if not self._engine.push(c, data, extents, lease, body):
            while c.sending:
                await c.park()
        if c.gone:
            raise Gone

    async def settle(self) -> tuple[bool, bool]:
        """(keep, clean) for the loop, once the handler has returned."""
        if self._stream is not None and not self._stream.finished:
            raise Gone
        body = self.body
        if self._keep and not body.done:
            self._keep = await body.discard()
        return self._keep and not body.broken, body.done and not body.broken

    def record(self) -> None:
        """One line in the access log, one count."""
        seconds = monotonic() - self._started_s
        size = self.size
        line = self._c.who(self.head.peer, self.head.scheme) + fragment(
            self.head.method, self.head.target, self._status, size, outcome=self.outcome, principal=self.principal,
            repository=self.repository, seconds=seconds, about=self.about,
            client=family(self.head.headers.get("user-agent", "")), trace=self.trace,
        )  # fmt: skip
        key = (self.head.method, str(self._status), self.outcome)
        self._engine.notes.record(self._c, line, key, size, seconds)


class Stream:
    """The body of a response in pieces. `finish` completes it; without it the client sees a truncation."""

    __slots__ = ("_chunked", "_length", "_request", "_silent", "finished", "written")

    def __init__(self, request: Request, length: int | None, *, chunked: bool, silent: bool) -> None:
        self._request = request
        self._length = length
        self._chunked = chunked
        self._silent = silent
        self.finished = False
        self.written = 0

    async def write(self, data: bytes) -> None:
        """Sends `data`; returns when the kernel has taken it, so a slow reader holds the writer back."""
        if not self._count(len(data)):
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        await self._request._send(data)

    async def sendfile(self, fd: int, offset: int, n: int) -> None:
        """Sends `n` bytes of an open file without copying them through this process (TLS aside)."""
        if not self._count(n):
            return
        await self._request._send(b"%x\r\n" % n if self._chunked else b"", ((fd, offset, n),))
        if self._chunked:
            await self._request._send(b"\r\n")

    async def finish(self) -> None:
        """The body is complete. A body shorter than announced is no body: ValueError, and the connection is cut."""
        if self._length is not None and self.written != self._length and not self._silent:
            raise ValueError(f"{self.written} bytes were written of {self._length} announced")
        if self._chunked and not self._silent:
            await self._request._send(b"0\r\n\r\n")
        self.finished = True

    def _count(self, n: int) -> bool:
        """Should these bytes be sent at all?"""
        if self._silent or not n:
            return False
        if self._length is not None and self.written + n > self._length:
            raise ValueError("more bytes were written than announced")
        self.written += n
        return True


class Handler(Protocol):
    """What answers requests; gateway/front.py is one."""

    def moment(self) -> int:
        """A number that moves whenever anything that an answer may depend on has changed."""
        ...

    def look(self, head: Head) -> Answer | None:
        """From local knowledge at once, for a GET or HEAD without body; None = it needs a request task."""
        ...

    def holds(self, answer: Answer) -> bool:
        """Is a memoised answer still right? Asked when the moment has moved since it was made."""
        ...

    def standing(self) -> object:
        """Moves whenever `stands` may say something else than before."""
        ...

    def stands(self, leave: object) -> bool:
        """May a body go on that is being sent under this, as its lease or as its request's leave?"""
        ...

    def in_use(self, answer: Answer) -> None:
        """A memoised answer that is sent from forgettable blobs goes on being asked for."""
        ...

    async def handle(self, request: Request) -> None:
        """Everything else. Sends exactly one response through the request."""
        ...


def running_max(config: Delivery, head: Head) -> int:
    """With so many tasks at work this request is shed. What clients of packages have filled leaves room for whoever
    looks after the node, and for its edges: a flood of uploads must not look like a node that has died."""
    return config.requests_running_max + (OWN_RUNNING_MAX if head.segments[0] == "-" else 0)


async def attend(engine: Engine, handler: Handler, c: Connection, head: Head) -> None:
    """The request task: from the borrowed connection to giving it back. Raises nothing but a foreign cancellation."""
    request = Request(engine, c, head)
    keep = clean = False
    c.phase = Phase.TASK
    try:
        with trio.CancelScope() as scope:
            c.scope = scope
            if c.gone:
                return
            try:
                await handler.handle(request)
                assert request.answered, "the handler returned without a response"
            except Exception as error:
                if not (c.gone or _only_gone(error)):
                    await _apologise(request, error)
            if request.answered and not c.gone:
                keep, clean = await request.settle()
    except Gone:
        keep, c.hard = False, True
    except Exception as bug:
        keep, c.hard = False, True
        log.error("a request task failed", exc_info=bug)
    except BaseException:
        c.hard = True
        raise
    finally:
        c.scope = c.leave = None
        if scope.cancelled_caught or not request.answered:
            keep, c.hard = False, True
        if request.answered:
            request.record()
        engine.give_back(c, keep, clean)


async def _apologise(request: Request, error: Exception) -> None:
    """A Problem that the handler let through is told as it is. Anything else is a bug: the operator gets the traceback,
    the client a 500. Where a response had begun, the client sees a reset."""
    status, text = 500, "The server failed on this request."
    if isinstance(error, Problem):
        status, text = error.status, error.text()
    else:
        log.error("the handler failed on a %s", request.head.method, exc_info=error)
    if request.answered:
        raise Gone
    request.outcome = ""
    await request.reply(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{text}\n".encode())


def _only_gone(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only_gone(inner) for inner in error.exceptions)
    return isinstance(error, Gone)
