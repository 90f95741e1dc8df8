"""How does an edge ask its parents? As one client that goes on with the next one when a parent fails or falls silent.

A question is asked at the first healthy parent; where the connection fails, or the parent says that it cannot, the next
is asked. A body that breaks off marks its parent, so that the fetch goes on by a range at another. Addresses are
written with the preferred parent's; whichever is asked stands in for it.

While the origin is lost a client is not kept waiting for what cannot come: connections from before are not used,
parents have a short time to take a new one, and who took none is not tried again for a moment.
"""

import logging
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial

import trio

from cache.asking.addresses import Place, place
from cache.asking.bodies import Body, judge
from cache.asking.connecting import Connection
from cache.asking.kept import not_kept, only_kept
from cache.asking.parents import Parents
from cache.asking.prompt import Part, asked, request_of
from cache.asking.upstream import Remote
from storage.errors import NotKept, Problem, Unavailable, UpstreamFailed
from storage.spans import Kind, carried, step

HERE = "/-/peer/here"
log = logging.getLogger("entrepot.cache")
LOST_CONNECT_SECONDS = 1.5
"""Longer than the first repeat of a packet that was lost."""
UNREACHED_SECONDS = 2.0
_CANNOT = frozenset((502, 503, 504))


class Unreached(UpstreamFailed):
    """No parent can be asked for what is not here. Their addresses are nothing for clients."""

    status, code = Unavailable.status, Unavailable.code

    def __init__(
        self,
        message: str = "This edge does not hold what was asked for, and cannot reach its origin.",
        remedy: str = "Try again in a moment.",
        *,
        retry_after_s: int | None = 2,
    ) -> None:
        super().__init__(message, remedy, retry_after_s=retry_after_s)


class ParentRemote(Remote):
    """A Remote for all parents of an edge. `token` is that of an edge without a certificate, `lost`: is the origin
    silent that was heard once?"""

    ours = True

    def __init__(
        self,
        parents: Parents,
        token: str,
        *,
        tls: ssl.SSLContext | None = None,
        tls_name: str = "",
        connect_seconds_max: float = 5.0,
        silence_seconds_max: float = 20.0,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(
            tls=tls,
            tls_name=tls_name,
            connect_seconds_max=connect_seconds_max,
            silence_seconds_max=silence_seconds_max,
        )
        self._parents = parents
        self._lost = lost
        self._patience_s = connect_seconds_max
        self._unreached: dict[str, float] = {}
        """Parents that took no connection while the origin was lost: until when nobody else tries, monotonic."""
        parents.on_silence(self.silent)
        self._token = token
        self._lock = threading.Lock()
        self._bodies: weakref.WeakKeyDictionary[Body, str] = weakref.WeakKeyDictionary()
        self._asked: dict[Connection, str] = {}
        """Those on which an answer is waited for."""
        self._urls = {place(url).authority: url for url in parents.urls}
        self._lost_s = 0.0
        """Since when the origin is lost, as far as anybody asked; 0 = it is not. Monotonic."""

    def silent(self, parent: str) -> None:
        """This parent is not heard any more: what is on its way from it goes on elsewhere. From any thread."""
        with self._lock:
            broken = [one for of in (self._bodies, self._asked) for one, source in of.items() if source == parent]
        for one in broken:
            one.abort()

    def open_to(self, parent: str, age_s: float) -> bool:
        """Is there a connection to this parent that has nothing to do, and had for no longer than `age_s`?"""
        return self._pool.spare(self._key(place(parent)), age_s)

    def greet(self, parent: str) -> None:
        """Ask this parent whether it is there, so that there is such a connection: an idle one as it is, or a new one.
        Blocking. Raises UpstreamFailed."""
        body = self._send(place(f"{parent}{HERE}"), self._dressed({}), True)
        body.close()
        if body.status != 204:
            raise UpstreamFailed(
                f"{body.place.authority} answered {body.status} when it was asked whether it is there."
            )

    async def at_once(self, url: str, headers: Mapping[str, str], offset: int, length: int) -> Body | None:
        """So many bytes from `offset` on of what the preferred parent has, asked for on the loop. None where that does
        not go (see cache.prompt), or has to be said in the ordinary way: then `open_stream`."""
        parent = self._parents.order()[0]
        where = place(parent + url.removeprefix(self._parents.urls[0]))
        connection = None if self._parents.resting(parent) else self._pool.take(self._key(where), self._kept_since_s())
        if connection is None:
            return None
        with step("ask parent", Kind.CLIENT) as span:
            part = await self._part(parent, where, connection, self._dressed(headers) | carried(), offset, length)
            if span is not None:
                span.attributes["server.address"] = where.authority
                span.attributes["http.response.status_code"] = 0 if part is None else part.status
        if part is None:
            return None
        try:
            body = Body(
                where, connection, part, partial(self._pool.give, self._key(where), connection), early=part.early
            )
            judge(body, offset, ranged=True)
        except Problem:
            connection.close()
            return None
        return self._answered(body, parent)

    async def _part(
        self, parent: str, where: Place, connection: Connection, headers: dict[str, str], offset: int, length: int
    ) -> Part | None:
        told = {"accept-encoding": "identity", "range": f"bytes={offset}-{offset + length - 1}"}
        request = request_of(where, headers | told, self._agent)
        if request is None:
            connection.close()
            return None
        with self._lock:
            self._asked[connection] = parent
        try:
            return await asked(connection, request, self._silence_s)
        except trio.TooSlowError:
            self._parents.failed(parent)
            return None
        finally:
            with self._lock:
                self._asked.pop(connection, None)

    def _dressed(self, headers: Mapping[str, str]) -> dict[str, str]:
        """With this edge's own credential."""
        dressed = {name.lower(): value for name, value in headers.items() if name.lower() != "authorization"}
        if self._token:
            dressed["authorization"] = f"Bearer {self._token}"
        return dressed

    @staticmethod
    def _key(where: Place) -> tuple[object, ...]:
        return (*where.origin, True)

    def _answered(self, body: Body, parent: str) -> Body:
        self._parents.worked(parent)
        body.broken = partial(self._broken, parent)
        with self._lock:
            self._bodies[body] = parent
        return body

    def _ask(self, url: str, headers: dict[str, str], private_network: bool, method: str = "GET") -> Body:
        target = url.removeprefix(self._parents.urls[0])
        dressed = self._dressed(headers)
        order = self._parents.order()
        for parent in order:
            try:
                body = super()._ask(parent + target, dressed, private_network, method)
            except UpstreamFailed as problem:
                self._parents.failed(parent)
                if parent == order[-1]:
                    log.info("no parent is reached: %s", problem.message)
                    raise Unreached from problem
                continue
            if body.status in _CANNOT and parent != order[-1]:
                body.close()
                continue
            if body.status == NotKept.status and only_kept(dressed):
                self._parents.worked(parent)
                body.close()
                raise not_kept("What was asked for")
            return self._answered(body, parent)
        raise AssertionError("there is at least one parent")

    def _connect(self, where: Place, private_network: bool) -> Connection:
        if not self._lost():
            self._connect_s = self._patience_s
            return super()._connect(where, private_network)
        self._connect_s = min(LOST_CONNECT_SECONDS, self._patience_s)
        if time.monotonic() < self._unreached.get(where.authority, 0.0):
            raise UpstreamFailed(f"{where.authority} could not be connected to a moment ago.")
        try:
            return super()._connect(where, private_network)
        except UpstreamFailed:
            self._unreached[where.authority] = time.monotonic() + UNREACHED_SECONDS
            raise

    def _kept_since_s(self) -> float:
        if not self._lost():
            self._lost_s = 0.0
        elif not self._lost_s:
            self._lost_s = time.monotonic()
        return self._lost_s

    def _exchange(
        self,
        where: Place,
        headers: Mapping[str, str],
        connection: Connection,
        key: tuple[object, ...],
        method: str,
        content: bytes | None = None,
    ) -> Body:
        with self._lock:
            self._asked[connection] = self._urls.get(where.authority, "")
        try:
            return super()._exchange(where, headers, connection, key, method, content)
        finally:
            with self._lock:
                self._asked.pop(connection, None)

    def _broken(self, parent: str) -> bool:
        self._parents.failed(parent)
        return self._parents.others(parent)

    def _follow(self, here: Place, headers: dict[str, str], private_network: bool, method: str) -> Body:
        """A parent's answer is its own: it sends nobody anywhere else."""
        return self._send(here, headers, private_network, method)
