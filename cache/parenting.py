"""How does an edge ask its parents? As one client that goes on with the next one when a parent fails or falls silent.

A question is asked at the first healthy parent; where the connection fails, or the parent says that it cannot, the next
is asked. A body that breaks off marks its parent, so that the fetch goes on by a range at another. Addresses are
written with the preferred parent's; whichever is asked stands in for it.
"""

import contextlib
import ssl
import threading
import weakref
from functools import partial

from cache.addresses import Place
from cache.kept import not_kept, only_kept
from cache.parents import Parents
from cache.upstream import Body, Remote
from storage.errors import NotKept, UpstreamFailed

_CANNOT = frozenset((502, 503, 504))


class ParentRemote(Remote):
    """A Remote for all parents of an edge. `token` is that of an edge without a certificate."""

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
    ) -> None:
        super().__init__(
            tls=tls,
            tls_name=tls_name,
            connect_seconds_max=connect_seconds_max,
            silence_seconds_max=silence_seconds_max,
        )
        self._parents = parents
        parents.on_silence(self.silent)
        self._token = token
        self._lock = threading.Lock()
        self._bodies: weakref.WeakKeyDictionary[Body, str] = weakref.WeakKeyDictionary()

    def silent(self, parent: str) -> None:
        """This parent is not heard any more: what is on its way from it goes on elsewhere. From any thread."""
        with self._lock:
            broken = [body for body, source in self._bodies.items() if source == parent]
        for body in broken:
            with contextlib.suppress(OSError):
                body.abort()

    def _ask(self, url: str, headers: dict[str, str], private_network: bool, method: str = "GET") -> Body:
        target = url.removeprefix(self._parents.urls[0])
        dressed = {name: value for name, value in headers.items() if name != "authorization"}
        if self._token:
            dressed["authorization"] = f"Bearer {self._token}"
        order = self._parents.order()
        for parent in order:
            try:
                body = super()._ask(parent + target, dressed, private_network, method)
            except UpstreamFailed:
                self._parents.failed(parent)
                if parent == order[-1]:
                    raise
                continue
            if body.status in _CANNOT and parent != order[-1]:
                body.close()
                continue
            self._parents.worked(parent)
            if body.status == NotKept.status and only_kept(dressed):
                body.close()
                raise not_kept("What was asked for")
            body.broken = partial(self._broken, parent)
            with self._lock:
                self._bodies[body] = parent
            return body
        raise AssertionError("there is at least one parent")

    def _broken(self, parent: str) -> bool:
        self._parents.failed(parent)
        return self._parents.others(parent)

    def _follow(self, here: Place, headers: dict[str, str], private_network: bool, method: str) -> Body:
        """A parent's answer is its own: it sends nobody anywhere else."""
        return self._send(here, headers, private_network, method)
