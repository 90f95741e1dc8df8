"""Which bodies that are on their way must not arrive? Those whose leave stands no more; their connections are cut.

Asked beside the hot path, ten times a second at most, and only when something has changed that a leave may rest on. A
client sees a reset before the end of the body, never one that looks whole (THREATS F1).
"""

import logging
from collections.abc import Callable, Mapping

from gateway.delivery.connections.connection import Connection
from gateway.delivery.requests.request import Handler

log = logging.getLogger("entrepot.delivery")


class Recall:
    """A duty of the loop. `abort` gives a connection up."""

    def __init__(
        self, connections: Mapping[int, Connection], handler: Handler, abort: Callable[[Connection], None]
    ) -> None:
        self._connections = connections
        self._handler = handler
        self._abort = abort
        self._standing: object = None

    def look(self) -> None:
        """Cut what must not go on."""
        standing = self._handler.standing()
        if standing == self._standing:
            return
        self._standing = standing
        judged: dict[int, bool] = {}
        cut = 0
        for c in list(self._connections.values()):
            for leave in (c.lease, c.leave):
                if leave is not None and not self._stands(leave, judged):
                    cut += 1
                    self._abort(c)
                    break
        if cut:
            log.warning("%d bodies on their way were cut: what they were sent under is gone", cut)

    def _stands(self, leave: object, judged: dict[int, bool]) -> bool:
        """All who get one remembered answer share its leave."""
        known = judged.get(id(leave))
        if known is None:
            known = judged[id(leave)] = self._handler.stands(leave)
        return known
