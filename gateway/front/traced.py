"""How does a request come into a trace? By standing ahead of the conductor, on nodes that trace at all.

A remembered answer leaves without passing here, so that tracing costs a hit nothing: a request without a traceparent
that the loop answers by itself makes no Span. One whose trace goes on here is given to a request task, as a trace
would otherwise end ahead of the node that had the bytes.

A Span tells the shape of the address and never the address: names of packages are their owners', and stand in the
access log under the same id.
"""

from collections.abc import Collection

from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Handler, Request
from gateway.insight.tracing import Tracer
from storage.spans import Span, within

OWN = frozenset(("account", "api", "health", "hosts", "metrics", "peer", "problems", "ready", "scim", "sign-in"))
METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))


class Traced:
    """A Handler around a Handler."""

    def __init__(self, inner: Handler, tracer: Tracer, formats: Collection[str]) -> None:
        self._inner = inner
        self._tracer = tracer
        self._formats = frozenset(formats)
        self.moment = inner.moment
        self.holds = inner.holds
        self.standing = inner.standing
        self.stands = inner.stands
        self.in_use = inner.in_use

    def look(self, head: Head) -> Answer | None:
        """The loop's own answer, but to a request whose trace goes on here."""
        said = head.headers.get("traceparent", "")
        if said and self._tracer.follows(said, bool(head.key)):
            return None
        return self._inner.look(head)

    async def handle(self, request: Request) -> None:
        """Answer, within a Span where the request is traced."""
        head = request.head
        said, state = head.headers.get("traceparent", ""), head.headers.get("tracestate", "")
        span = self._tracer.begin("", said, state, trusted=bool(head.key))
        if span is None:
            await self._inner.handle(request)
            return
        request.trace = span.trace.id
        with within(span):
            try:
                await self._inner.handle(request)
            finally:
                self._describe(span, request)

    def _describe(self, span: Span, request: Request) -> None:
        method = request.head.method if request.head.method in METHODS else "_OTHER"
        route = route_of(request.head.segments, self._formats)
        span.name = f"{method} {route}"
        span.attributes |= {
            "http.request.method": method,
            "http.route": route,
            "url.scheme": request.head.scheme,
            "http.response.status_code": request.status,
            "http.response.body.size": request.size,
            "entrepot.outcome": request.outcome,
            "entrepot.principal.kind": kind_of(request.principal),
        }
        if request.status >= 500:
            span.failed = span.failed or f"status {request.status}"


def route_of(segments: tuple[str, ...] | list[str], formats: Collection[str]) -> str:
    """The shape of an address: what is ours of it, and placeholders for what others named."""
    parts = list(segments)
    if parts[:1] == ["t"]:
        return "/t/{token}" + route_of(parts[2:], formats)
    if parts[:1] == ["-"]:
        return f"/-/{parts[1]}/..." if parts[1:2] and parts[1] in OWN else "/-/..."
    if parts[:1] == ["v2"]:
        return "/v2/{workspace}/{repository}/..." if len(parts) > 2 else "/v2/"
    if len(parts) > 2 and parts[2] in formats:
        return f"/{{workspace}}/{{repository}}/{parts[2]}/..."
    return "/..."


def kind_of(principal: str) -> str:
    """What kind of principal an id of the log speaks of: `edge`, `tok`, ...; never which."""
    if not principal:
        return "anonymous"
    word = principal.partition(":")[0] if ":" in principal else principal.partition("_")[0]
    return word if word.isascii() and word.isalpha() and len(word) <= 8 and word != principal else "other"
