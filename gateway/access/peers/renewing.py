"""How does an edge come to have a good certificate for ever? Renewed once two thirds of its life are over.

One worker renews; every worker looks whether there is another one, and makes its new connections under it.
"""

from collections.abc import Callable, Sequence

import trio

from gateway.access.peers import membership
from gateway.access.peers.membership import Membership
from gateway.insight.errorlog import report
from storage.errors import Problem

RENEW_DAYS = 120
LOOK_SECONDS = 3600.0
"""Another worker's renewal is seen this late; it came months before it was needed."""


async def stay_enrolled(member: Membership, parents: Callable[[], Sequence[str]], renews: bool) -> None:
    """Until cancelled (THREATS F6); hits go on whatever happens."""
    while True:
        left_s = member.left_s()
        if renews and left_s < RENEW_DAYS * 24 * 3600:
            try:
                await trio.to_thread.run_sync(membership.renew, member, parents())
            except Problem as problem:
                _complain(problem, left_s)
        try:
            member.reload()
        except OSError as error:
            report("error", "the certificate of this edge cannot be read", why=f"{type(error).__name__}: {error}")
        await trio.sleep(LOOK_SECONDS)


def _complain(problem: Problem, left_s: float) -> None:
    if left_s > 0:
        report(
            "error", "the certificate of this edge is not renewed", why=problem.message, days_left=int(left_s // 86400)
        )
        return
    report(
        "error",
        "the certificate of this edge is over: what is public is served, nothing else",
        why=problem.message,
        todo="Make a code at the origin with: entrepot edge invite. Remove the folder peers here, and enrol with it.",
    )
