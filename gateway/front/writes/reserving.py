"""How much room is kept for a body that is about to come?

What is announced is reserved before anything is read. A form and a document carry more than their file, so of those the
least is reserved that their file can be. A body of unknown length reserves as it comes. What is left to the commit is
exact: it counts the files themselves.
"""

from collections.abc import Callable
from contextlib import ExitStack

from storage.blobs.sessions import Session
from storage.index.catalog import Reading
from storage.quotas import Quotas, Reservation, held, limits, over

FRAMING_BYTES = 64 << 10
"""The most that a form usually carries beside its file."""

ENCODED_SHARE = 0.7
"""The least of a document that is its file, in base64."""

FORETOLD_BYTES_MIN = 1 << 20
"""From here on it pays to say no before the body was sent over two links."""

Refuse = Callable[[tuple[str, ...], int, int, int], None]
"""Of a place: its quota, what is used of it, and the size of what had no room, in bytes."""

Sink = Callable[[memoryview | bytes], None]


def least_of(kind: str, announced: int) -> int:
    """The least that a file can be whose body of this kind (Accept.body) is as long as was announced; -1 = unknown."""
    if kind == "multipart":
        return max(announced - FRAMING_BYTES, 0)
    if kind == "spool":
        return int(max(announced, 0) * ENCODED_SHARE)
    return max(announced, 0)


def reserved(
    stack: ExitStack, quotas: Quotas, workspace: str, repository: str, kind: str, announced: int
) -> Reservation | None:
    """Room for a body, until `stack` is left; None where there is no quota. Raises OverQuota."""
    reservation = quotas.reserve(workspace, repository, least_of(kind, announced))
    if reservation is not None:
        stack.callback(reservation.release)
    return reservation


def growing(sink: Sink, reservation: Reservation | None, kind: str, received: int = 0) -> Sink:
    """`sink`, reserving ahead of what comes behind `received` bytes. What it is given may raise OverQuota."""
    if reservation is None:
        return sink
    total = received

    def reserving(data: memoryview | bytes) -> None:
        nonlocal total
        total += len(data)
        reservation.reach(least_of(kind, total))
        sink(data)

    return reserving


def foretell(reading: Reading, workspace: str, repository: str, kind: str, announced: int, refuse: Refuse) -> None:
    """At an edge: a large body that would not fit by what is known here is not sent to the origin to be refused there.
    `refuse` is told, so that the origin comes to hear of it. Raises OverQuota."""
    size = least_of(kind, announced)
    if size >= FORETOLD_BYTES_MIN:
        for place, limit in limits(reading, workspace, repository):
            used = held(reading, place)
            if limit and used + size > limit:
                refuse(place, limit, used, size)
                raise over(place, limit, used, 0, size)


def of_new_session(quotas: Quotas, session: Session) -> None:
    """Room for what a session announced, as long as it lives. Raises OverQuota."""
    quotas.reserve(session.workspace, session.repository, max(session.length, 0), session.id)
