"""How does a worker's delivery loop run, and end without breaking what it is sending?"""

import socket
from collections.abc import Sequence

import trio

from gateway.config import Delivery
from gateway.delivery.reactor import Reactor
from gateway.delivery.requests import Handler
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog


async def serve(
    handler: Handler,
    listeners: Sequence[socket.socket],
    config: Delivery,
    *,
    log: RequestLog,
    metrics: Metrics,
    task_status: trio.TaskStatus[Reactor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until the Reactor given at the start was told to drain and has."""
    async with trio.open_nursery() as nursery:
        reactor = Reactor(handler, config, log=log, metrics=metrics, nursery=nursery)
        for listener in listeners:
            reactor.listen(listener)
        task_status.started(reactor)
        await reactor.run()
        nursery.cancel_scope.cancel()
