"""How is a question to another node or registry told in a trace? As a Span up to the head of the answer.

Nodes of this network are told which trace it is (W3C Trace Context), so that they go on with it; a foreign registry is
told nothing.
"""

from collections.abc import Callable, Mapping
from typing import Concatenate, Protocol

from cache.asking.addresses import Place
from storage.spans import Kind, carried, step


class Asker(Protocol):
    """Who asks; `ours`: does it ask nodes of this network alone?"""

    ours: bool


class Answered(Protocol):
    """An answer whose head is here."""

    @property
    def status(self) -> int: ...


def told[A: Asker, B: Answered, **P](
    send: Callable[Concatenate[A, Place, Mapping[str, str], P], B],
) -> Callable[Concatenate[A, Place, Mapping[str, str], P], B]:
    """`send`, as a step of what is traced."""

    def sent(asker: A, where: Place, headers: Mapping[str, str], /, *args: P.args, **kwargs: P.kwargs) -> B:
        with step("ask parent" if asker.ours else "ask upstream", Kind.CLIENT) as span:
            if span is None:
                return send(asker, where, headers, *args, **kwargs)
            span.attributes["server.address"] = where.authority
            body = send(asker, where, {**headers, **carried()} if asker.ours else headers, *args, **kwargs)
            span.attributes["http.response.status_code"] = body.status
            return body

    return sent
