"""Of which traced request is this work a part, and how long did it take?

The current Span travels by a context variable, which trio hands on to tasks and to threads: whatever a traced request
starts is a part of its trace, and whatever nobody traces costs one look at that variable. Nothing here sends anything
or knows who collects (gateway/insight/tracing.py). No attribute holds a path or a secret, or a name but that of the
host which was asked: they are counts, kinds and outcomes.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import IntEnum
from functools import wraps
from typing import Protocol

SPANS_A_TRACE_MAX = 256
"""Of one request at one node; what is beyond is not recorded."""
STATE_CHARACTERS_MAX = 512
STATE_MEMBERS_MAX = 32

Attribute = str | int | bool
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MARK = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})")
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class Kind(IntEnum):
    """OTLP's Span.SpanKind."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Sink(Protocol):
    """Who takes ended Spans, from any thread, without waiting."""

    def take(self, span: "Span") -> None: ...


class Trace:
    """What the Spans of one request at one node share. `id` is 32 hex digits, `state` a tracestate (see `state_of`)."""

    __slots__ = ("id", "left", "sink", "state")

    def __init__(self, id: str, sink: Sink, state: str = "") -> None:
        self.id = id
        self.sink = sink
        self.state = state
        self.left = SPANS_A_TRACE_MAX


class Span:
    """One step. `id` and `parent` are 16 hex digits, "" for no parent; times are of the wall clock, in ns."""

    __slots__ = ("attributes", "end_ns", "failed", "id", "kind", "name", "parent", "start_ns", "trace")

    def __init__(self, trace: Trace, name: str, kind: Kind, parent: str) -> None:
        self.trace = trace
        self.name = name
        self.kind = kind
        self.parent = parent
        self.id = secrets.token_hex(8)
        self.start_ns = time.time_ns()
        self.end_ns = 0
        self.attributes: dict[str, Attribute] = {}
        self.failed = ""


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current() -> Span | None:
    """What goes on here, where it is traced."""
    return _current.get()


@contextlib.contextmanager
def within(span: Span) -> Iterator[Span]:
    """What runs in the block is a part of `span`, which ends with it; an exception is told by its type alone."""
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        span.failed = span.failed or type(error).__name__
        raise
    finally:
        _current.reset(token)
        span.end_ns = max(span.start_ns, time.time_ns())
        span.trace.sink.take(span)


@contextlib.contextmanager
def step(name: str, kind: Kind = Kind.INTERNAL) -> Iterator[Span | None]:
    """A part of the current Span; None where nothing is traced, or too much of this request was already."""
    whole = _current.get()
    if whole is None or whole.trace.left <= 0:
        yield None
        return
    whole.trace.left -= 1
    with within(Span(whole.trace, name, kind, whole.id)) as span:
        yield span


def stepped[**P, R](name: str, kind: Kind = Kind.INTERNAL) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The decorated function (not a coroutine) is a step of what is traced."""

    def made(work: Callable[P, R]) -> Callable[P, R]:
        @wraps(work)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            with step(name, kind):
                return work(*args, **kwargs)

        return told

    return made


def note(name: str, value: Attribute) -> None:
    """An attribute of the current Span, where there is one."""
    if (span := _current.get()) is not None:
        span.attributes[name] = value


# ---------------------------------------------------------------- over to another task, node or time

_lent: dict[str, Span] = {}


@contextlib.contextmanager
def lent() -> Iterator[str]:
    """A name, good within the block, by which a task that was not started here goes on with the current Span; "" for
    none. It is for this process alone."""
    span = _current.get()
    if span is None:
        yield ""
        return
    _lent[span.id] = span
    try:
        yield span.id
    finally:
        del _lent[span.id]


@contextlib.contextmanager
def borrowed(name: str) -> Iterator[None]:
    """What runs in the block is a part of the Span that was `lent` by this name, which does not end with it."""
    token = _current.set(_lent.get(name))
    try:
        yield
    finally:
        _current.reset(token)


def mark() -> str:
    """By which what is done now is found in its trace, and gone on with later: the ids of trace and Span in hex, with a
    - between; "" where nothing is traced. It is of our own making, never a client's words."""
    span = _current.get()
    return "" if span is None else f"{span.trace.id}-{span.id}"


def marked(mark: str) -> tuple[str, str] | None:
    """(trace id, span id) of a `mark`; None for what is none."""
    found = _MARK.fullmatch(mark)
    return None if found is None else (found[1], found[2])


def carried() -> dict[str, str]:
    """The headers by which another node of this network goes on with the trace (W3C Trace Context); {} without one."""
    span = _current.get()
    if span is None:
        return {}
    told = {"traceparent": f"00-{span.trace.id}-{span.id}-01"}
    return told | {"tracestate": span.trace.state} if span.trace.state else told


def parsed(traceparent: str) -> tuple[str, str, bool] | None:
    """(trace id, span id, sampled) by W3C Trace Context, of this version or a later one; None where it is none."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is None or found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0"):
        return None
    if found[1] == "00" and found[5]:
        return None
    return found[2], found[3], bool(int(found[4], 16) & 1)


def state_of(tracestate: str) -> str:
    """The tracestate as it is told on, by W3C Trace Context 3.3.1: its members as they stand, without what is between
    them. "" where there is none, and where any of it is not what it must be: then the whole is as good as none."""
    members = [one.strip(" \t") for one in tracestate.split(",", STATE_MEMBERS_MAX * 2)]
    members = [one for one in members if one]
    told = ",".join(members)
    if len(members) > STATE_MEMBERS_MAX or len(told) > STATE_CHARACTERS_MAX:
        return ""
    if not all(_MEMBER.fullmatch(one) for one in members):
        return ""
    return told if len({one.partition("=")[0] for one in members}) == len(members) else ""
