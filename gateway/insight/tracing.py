"""Which requests are traced, and how do their Spans reach a collector without anybody waiting for it?

Whether a request is traced is decided before anything is built for it. An edge that shows its certificate decides for
its parents; anybody else's traceparent is heeded `client_traces_s_max` times a second and worker, and is otherwise as
good as none: a client cannot make this node trace more than its operator means it to. Ended Spans wait in a bounded
queue; where the collector does not keep up they are dropped and counted.
"""

import os
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import trio

from gateway.config import Traces
from gateway.insight.errorlog import report
from gateway.insight.metrics import Metrics
from gateway.insight.otlp import encoded
from storage.errors import Invalid
from storage.spans import Attribute, Kind, Span, Trace, current, marked, parsed, state_of, step, within

BATCH_SPANS_MAX = 512
BATCH_SECONDS = 1.0
TRIES_MAX = 5
SEND_SECONDS_MAX = 5.0
COMPLAIN_SECONDS = 60.0
_AGAIN = frozenset((429, 502, 503, 504))
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*")


class Bucket:
    """So many in a second, and as many at once, but one at least."""

    def __init__(self, rate_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rate_s = rate_s
        self._most = max(1.0, rate_s) if rate_s > 0 else 0.0
        self._left = self._most
        self._now_s = now_s
        self._at_s = now_s()

    def holds(self) -> bool:
        """Is there one to take?"""
        now_s = self._now_s()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._rate_s)
        self._at_s = now_s
        return self._left >= 1.0

    def take(self) -> bool:
        """Takes one where there is one."""
        if not self.holds():
            return False
        self._left -= 1.0
        return True


class Tracer:
    """The traces of one worker. `take` serves any thread, all else the loop.

    Raises Invalid for settings that cannot work.
    """

    def __init__(self, settings: Traces, metrics: Metrics, resource: Mapping[str, Attribute]) -> None:
        if not settings.endpoint.startswith(("http://", "https://")):
            raise Invalid("traces.endpoint is no http address.", "Give it as http://HOST:4318/v1/traces.")
        self._settings = settings
        self._headers = headers_of(settings.headers_file)
        self._resource: dict[str, Attribute] = {"service.name": "entrepot", "process.pid": os.getpid(), **resource}
        self._clients = Bucket(settings.client_traces_s_max)
        self._waiting: deque[Span] = deque()
        self._complained_s = -COMPLAIN_SECONDS
        self._metrics = metrics

    def follows(self, traceparent: str, trusted: bool) -> bool:
        """Would a request that says this be traced for its sake?"""
        parent = parsed(traceparent) if traceparent else None
        return parent is not None and parent[2] and (trusted or self._clients.holds())

    def begin(self, name: str, traceparent: str = "", tracestate: str = "", *, trusted: bool = False) -> Span | None:
        """The Span of a request, None where it is not traced. `trusted`: an edge with a certificate says it."""
        parent = parsed(traceparent) if traceparent else None
        if parent is not None and parent[2] and (trusted or self._clients.take()):
            return Span(Trace(parent[0], self, state_of(tracestate)), name, Kind.SERVER, parent[1])
        if parent is not None and trusted:
            return None
        return self.root(name, Kind.SERVER)

    def root(self, name: str, kind: Kind = Kind.INTERNAL) -> Span | None:
        """The Span of what nobody asked for, or nobody traces yet; as often as `sample_ratio` says."""
        if random.random() >= self._settings.sample_ratio:  # noqa: S311  # which are looked at is no secret
            return None
        return Span(Trace(secrets.token_hex(16), self), name, kind, "")

    def later(self, mark: str, name: str, kind: Kind = Kind.INTERNAL) -> Span | None:
        """The Span of what a traced change (by its `mark`) leads to afterwards; of any other as `root`."""
        found = marked(mark)
        if found is None:
            return self.root(name, kind)
        return Span(Trace(found[0], self), name, kind, found[1])

    def took(self, name: str, start_ns: int, end_ns: int, attributes: Mapping[str, Attribute]) -> None:
        """Tells of a rare thing that is over, however few are traced."""
        span = Span(Trace(secrets.token_hex(16), self), name, Kind.INTERNAL, "")
        span.start_ns, span.end_ns, span.attributes = start_ns, end_ns, dict(attributes)
        self.take(span)

    def take(self, span: Span) -> None:
        """Keep an ended Span for the collector, where there is room."""
        if len(self._waiting) >= self._settings.waiting_spans_max:
            self._metrics.spans_dropped += 1
        else:
            self._waiting.append(span)

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        async with self._client() as client:
            while True:
                await trio.sleep(BATCH_SECONDS)
                while self._waiting:
                    await self._send(client, self._batch(), TRIES_MAX)

    async def flush(self, seconds_max: float) -> None:
        """Send what is left before the node goes; what cannot be sent in that time is dropped."""
        with trio.move_on_after(seconds_max):
            async with self._client() as client:
                while self._waiting:
                    await self._send(client, self._batch(), 1)

    def _batch(self) -> list[Span]:
        return [self._waiting.popleft() for _ in range(min(BATCH_SPANS_MAX, len(self._waiting)))]

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=SEND_SECONDS_MAX)

    async def _send(self, client: httpx2.AsyncClient, spans: list[Span], tries_max: int) -> None:
        """A collector that is away or overloaded is asked again, with pauses; then the Spans are dropped."""
        body, why, sent = encoded(spans, self._resource), "", False
        headers = self._headers | {"content-type": "application/json"}
        try:
            for number in range(tries_max):
                if number:
                    await trio.sleep(BATCH_SECONDS * 2 ** (number - 1))
                try:
                    answer = await client.post(self._settings.endpoint, content=body, headers=headers)
                except httpx2.HTTPError as error:
                    why = type(error).__name__
                    continue
                sent, why = answer.is_success, f"status {answer.status_code}"
                if answer.status_code not in _AGAIN:
                    break
        finally:
            if sent:
                self._metrics.spans_sent += len(spans)
            else:
                self._metrics.spans_dropped += len(spans)
        if not sent:
            self._complain(why)

    def _complain(self, why: str) -> None:
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAIN_SECONDS:
            self._complained_s = now_s
            report(
                "warning", "the collector of traces does not take them", why=why, dropped=self._metrics.spans_dropped
            )


@contextmanager
def traced(tracer: Tracer | None, mark: str, name: str, kind: Kind = Kind.INTERNAL) -> Iterator[Span | None]:
    """A step of what is traced here, or what follows later from that which has this `mark`; None where neither is."""
    if current() is not None:
        with step(name, kind) as span:
            yield span
        return
    later = None if tracer is None else tracer.later(mark, name, kind)
    if later is None:
        yield None
        return
    with within(later) as span:
        yield span


def headers_of(path: str) -> dict[str, str]:
    """Of a file with a `Name: value` a line. Raises Invalid, which tells no value."""
    if not path:
        return {}
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        raise Invalid(f"traces.headers_file {path} cannot be read as text.", "Write a Name: value a line.") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        header = _HEADER.fullmatch(line)
        if header is None:
            raise Invalid(f"Line {number} of traces.headers_file is no header.", "Write it as Name: value.")
        found[header[1].lower()] = header[2]
    return found
