"""How is one request made over a connection to a receiver, and when is the connection used again?

Again only for the same webhook, with the same place and leave: nothing of one customer's is left for another. It must
have been left clean: the answer was read to its end, nothing came behind it, and both sides keep it open. It grows no
older than AGE_SECONDS_MAX, so that a name is resolved, and its addresses judged, at least so often (THREATS D2).
"""

from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

import h11
import trio

HEAD_BYTES_MAX = 32 << 10
READ_BYTES = 16 << 10
BODY_SECONDS_MAX = 2.0
ANSWER_BYTES_MAX = 64 << 10
AGE_SECONDS_MAX = 30.0
IDLE_SECONDS_MAX = 5.0
USES_MAX = 1000
IDLE_MAX = 64
"""So many connections are kept open that nobody uses."""

BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError)
"""What a connection raises that is no good any more."""

Headers = list[tuple[str, str]]


class Stale(Exception):
    """A connection that was used before ended without a byte of an answer: who keeps it idle may close it any time."""


class Owner(NamedTuple):
    """Whose connection it is: a webhook's, to one place, with the leave that it had when it was dialled."""

    hook: str
    scheme: str
    host: str
    port: int
    private_network: bool


class Heard(NamedTuple):
    """The answer to one request: its head, and so much of its body as was let come."""

    status: int
    fields: dict[str, str]
    read_bytes: int


class Line:
    """A connection. One request at a time."""

    def __init__(self, stream: trio.abc.Stream, channel: trio.SocketStream) -> None:
        """`channel` is what `stream` rests on: the socket itself."""
        self.stream = stream
        self._channel = channel
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._made_s = self._left_s = trio.current_time()
        self._uses = 0
        self._heard = False

    async def ask(self, target: str, fields: Headers, body: bytes) -> Heard:
        """One POST. Raises what BROKEN names, EOFError for an end without an answer, Stale in the place of both where
        nothing was heard of a connection that was used before."""
        self._heard = False
        self._uses += 1
        try:
            request = h11.Request(method="POST", target=target, headers=fields)
            data = (self._http.send(request) or b"") + (self._http.send(h11.Data(data=body)) or b"")
            await self.stream.send_all(data + (self._http.send(h11.EndOfMessage()) or b""))
            return await self._answer()
        except (*BROKEN, EOFError) as error:
            if self._uses > 1 and not self._heard:
                raise Stale from error
            raise

    async def _answer(self) -> Heard:
        """The head of the answer decides; its body is let come for a moment, so that nobody is cut off amid it."""
        while not isinstance(event := await self._next(), h11.Response):
            if event is None:
                raise EOFError
        fields = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        size = 0
        with trio.move_on_after(BODY_SECONDS_MAX), suppress(*BROKEN):
            while size < ANSWER_BYTES_MAX and isinstance(data := await self._next(), h11.Data):
                size += len(data.data)
        return Heard(event.status_code, fields, size)

    async def _next(self) -> h11.Event | None:
        """The next event; None at the end."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self.stream.receive_some(READ_BYTES))
                self._heard = self._heard or bool(data)
                self._http.receive_data(data)
            elif isinstance(event, h11.Response | h11.Data | h11.InformationalResponse):
                return event
            else:
                return None

    def leave(self) -> bool:
        """The request is over: may there be another one?"""
        http = self._http
        if (http.our_state, http.their_state) != (h11.DONE, h11.DONE) or http.trailing_data != (b"", False):
            return False
        if self._uses >= USES_MAX or trio.current_time() - self._made_s >= AGE_SECONDS_MAX:
            return False
        http.start_next_cycle()
        self._left_s = trio.current_time()
        return True

    @property
    def is_good(self) -> bool:
        """Is it young enough, and did the other side neither say nor end anything since it was left?"""
        now_s = trio.current_time()
        if now_s - self._left_s >= IDLE_SECONDS_MAX or now_s - self._made_s >= AGE_SECONDS_MAX:
            return False
        return not self._channel.socket.is_readable()

    def close(self) -> None:
        """At once, whatever is under way."""
        self._channel.socket.close()


class Lines:
    """The connections of one worker that wait for their next request."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Owner, list[Line]] = OrderedDict()
        self._count = 0

    def take(self, owner: Owner) -> Line | None:
        """One that can be used."""
        found = self._idle.get(owner, [])
        while found:
            line = found.pop()
            self._count -= 1
            if line.is_good:
                return line
            line.close()
        self._idle.pop(owner, None)
        return None

    def give(self, owner: Owner, line: Line) -> None:
        """It may be used again; where there are too many, one of the webhook that was heard of longest ago goes."""
        self._idle.setdefault(owner, []).append(line)
        self._idle.move_to_end(owner)
        self._count += 1
        if self._count > IDLE_MAX:
            eldest, lines = next((one, lines) for one, lines in self._idle.items() if lines)
            lines.pop(0).close()
            self._count -= 1
            if not lines:
                del self._idle[eldest]

    def tidy(self) -> None:
        """Close what will not be used again."""
        for owner, lines in list(self._idle.items()):
            good = [line for line in lines if line.is_good]
            for line in lines:
                if line not in good:
                    line.close()
            self._count -= len(lines) - len(good)
            if good:
                self._idle[owner] = good
            else:
                del self._idle[owner]

    def close(self) -> None:
        """Close all."""
        for lines in self._idle.values():
            for line in lines:
                line.close()
        self._idle.clear()
        self._count = 0
