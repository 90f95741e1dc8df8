"""How is the store swept and scrubbed on demand, and how far is that?

Both go on by themselves at their hours; this asks for one now, and tells of any. A sweep is the origin's, an edge hands
the call on. A scrub is that of the node which is asked.
"""

import trio

from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import NODE_ADMIN
from gateway.console.calls.services import Work
from gateway.console.nodes import replies
from gateway.console.shapes.schemas import AskForSweep
from storage.errors import Unavailable

ROUTES = Routes("/-/api/v1")


@ROUTES.add("GET", "/sweep", NODE_ADMIN, gives=replies.Chore)
async def show_sweep(call: Call) -> Reply:
    return Reply(200, _told(_work(call, "sweep")))


@ROUTES.add("POST", "/sweep", NODE_ADMIN, takes=AskForSweep, gives=replies.Chore, status=(200, 202))
async def ask_for_sweep(call: Call) -> Reply:
    """202 and what is told of it; with `dry_run` 200 and what it would do."""
    body = await call.body(AskForSweep)
    work = _work(call, "sweep")
    if body.dry_run:
        return Reply(200, {"would": await trio.to_thread.run_sync(work.look)})
    work.ask()
    return Reply(202, _told(work))


@ROUTES.add("GET", "/scrub", NODE_ADMIN, gives=replies.Chore)
async def show_scrub(call: Call) -> Reply:
    return Reply(200, _told(_work(call, "scrub")))


@ROUTES.add("POST", "/scrub", NODE_ADMIN, gives=replies.Chore, status=202)
async def ask_for_scrub(call: Call) -> Reply:
    work = _work(call, "scrub")
    work.ask()
    return Reply(202, _told(work))


def _work(call: Call, name: str) -> Work:
    work = call.services.work.get(name)
    if work is None:
        raise Unavailable(f"This node does not {name}.", "Ask the origin.")
    return work


def _told(work: Work) -> dict[str, object]:
    return dict(work.told())
