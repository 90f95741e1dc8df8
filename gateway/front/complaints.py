"""How do our own answers and refusals become bytes where no room speaks for us?"""

import time
from urllib.parse import quote

import msgspec

from cache.foreign.files import DETAIL
from cache.foreign.knowledge import WORDS_MAX
from formats.kit.contract import Amend, Finds, Reply
from gateway.delivery.messages.answers import Answer
from gateway.front.routes import Place
from storage.errors import Problem, Unauthenticated, UpstreamFailed


def now_ms() -> int:
    """The wall clock in milliseconds: for stamps and expiry, never for measuring."""
    return time.time_ns() // 1_000_000


def complain(problem: Problem) -> Reply:
    """A Problem at an address that belongs to no format, as problem+json (RFC 9457)."""
    reply = Reply(problem.status, msgspec.json.encode(problem.document()), "application/problem+json")
    return with_signals(reply, problem)


def with_signals(reply: Reply, problem: Problem) -> Reply:
    """The headers that every dialect shares: when to come back, how to identify oneself, and what an upstream did, for
    an edge to say in its own client's dialect."""
    names = {name.lower() for name, _ in reply.headers}
    extra: list[tuple[str, str]] = []
    if problem.retry_after_s is not None and "retry-after" not in names:
        extra.append(("Retry-After", str(problem.retry_after_s)))
    if isinstance(problem, Unauthenticated) and "www-authenticate" not in names:
        extra.append(("WWW-Authenticate", 'Basic realm="Entrepot"'))
    extra.extend(problem.fields)
    if isinstance(problem, UpstreamFailed):
        extra.append((DETAIL, quote(problem.text()[:WORDS_MAX], safe=" ,;:'()/")))
    return msgspec.structs.replace(reply, headers=(*reply.headers, *extra)) if extra else reply


def headers_of(reply: Reply) -> list[tuple[str, str]]:
    """A Reply's headers with its Content-Type, ready to send."""
    headers = list(reply.headers)
    if reply.body or reply.status not in (204, 304):
        headers.append(("Content-Type", reply.media))
    headers.append(("X-Content-Type-Options", "nosniff"))
    return headers


def answer_of(reply: Reply, place: Place) -> Answer:
    """A Reply sent from the delivery loop: never memoised, since it depends on more than labels."""
    return Answer(
        status=reply.status,
        media=reply.media,
        etag="",
        modified_s=0,
        size=len(reply.body),
        body=reply.body,
        extents=(),
        lease=None,
        headers=(*reply.headers, ("X-Content-Type-Options", "nosniff")),
        outcome="LOCAL",
        depends=(),
        until_s=0.0,
        repository=f"{place.workspace}/{place.repository}",
        private=True,
    )


def finds_of(body: bytes, plan: Amend) -> Finds:
    """What decide gets for a small body."""
    return Finds(body=body, context=plan.context)
