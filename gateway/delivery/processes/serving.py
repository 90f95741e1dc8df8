"""How does a worker's delivery loop run, and end without breaking what it is sending?

The loop and its request tasks live in a shielded nursery: a cancellation from outside becomes a drain, which is bounded
by `drain_seconds_max`, so that answers on their way are finished before the process goes.
"""

import os
import socket
from collections.abc import Sequence

import trio

from gateway.config import Delivery
from gateway.delivery.connections.listening import Listener
from gateway.delivery.connections.proxies import DIRECT, Proxies
from gateway.delivery.loop.reactor import HOT_TURNS, Reactor
from gateway.delivery.requests.request import Handler
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog


def hot_turns(workers: int) -> int:
    """How often a loop may look again before it sleeps: never, where more of them than cores want to."""
    return HOT_TURNS if workers <= len(os.sched_getaffinity(0)) else 0


async def serve(
    handler: Handler,
    listeners: Sequence[Listener | socket.socket],
    config: Delivery,
    *,
    log: RequestLog,
    metrics: Metrics,
    workers: int = 1,
    proxies: Proxies = DIRECT,
    task_status: trio.TaskStatus[Reactor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until the Reactor given at the start was told to drain and has."""
    async with trio.open_nursery() as nursery:
        hot = hot_turns(workers)
        reactor: Reactor = await nursery.start(_run, handler, listeners, config, log, metrics, hot, proxies)
        task_status.started(reactor)
        try:
            await reactor.ended.wait()
        finally:
            reactor.drain()


async def _run(
    handler: Handler,
    listeners: Sequence[Listener | socket.socket],
    config: Delivery,
    log: RequestLog,
    metrics: Metrics,
    hot: int,
    proxies: Proxies,
    task_status: trio.TaskStatus[Reactor],
) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            reactor = Reactor(
                handler, config, log=log, metrics=metrics, nursery=nursery, hot_turns=hot, proxies=proxies
            )
            for listener in listeners:
                reactor.listen(listener)
            nursery.start_soon(reactor.watch)
            task_status.started(reactor)
            await reactor.run()
            nursery.cancel_scope.cancel()
    log.flush()
    metrics.publish()
