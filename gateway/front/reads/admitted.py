"""What is known of a request once it may go on?"""

from formats.kit.contract import Ask, Listed, Manifest, Plan, Room, Serve, Show
from gateway.access.peers import edges
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import Principal
from gateway.front.leave import Leave
from gateway.front.reads.needs import Need, Scope
from gateway.front.reads.streaming import Feed
from gateway.front.routes import Place
from storage.index.catalog import Reading


class Admitted:
    """A request that may go on: who asks, where, and what holds the decision true."""

    __slots__ = ("ask", "permit", "plan", "principal", "right", "room", "scope")

    def __init__(
        self,
        ask: Ask,
        room: Room,
        principal: Principal,
        scope: Scope,
        right: str,
        plan: Plan,
        permit: Permit | None = None,
    ) -> None:
        self.permit = permit
        self.ask = ask
        self.room = room
        self.principal = principal
        self.scope = scope
        self.right = right
        self.plan = plan

    def check(self, reading: Reading) -> None:
        """What a read waited for may have moved a tag, or made the file that of another version. Raises Forbidden."""
        if self.permit is not None and not self.permit.clearance.whole:
            self.permit.read(self.plan, reading.view(self.ask.workspace, self.ask.repository, self.room.name))


class Looked:
    """What a look at a request came to, where it gave no answer: it may go on, and needs this first. Good for as long
    as nothing has moved, which the request task asks that begins in the next turn of the loop.

    `taken`: such a task has begun. `joined`: what is needed was on its way already when it was looked at. `feed`: how
    the first of those tasks gets it, and whoever asks with the same head as long as it is open.
    """

    __slots__ = ("admitted", "feed", "joined", "moment", "need", "place", "taken")

    def __init__(self, place: Place, admitted: Admitted, need: Need, moment: int) -> None:
        self.feed: Feed | None = None
        self.place = place
        self.admitted = admitted
        self.need = need
        self.moment = moment
        self.taken = self.joined = False

    def holds(self, moment: int, now_s: float) -> bool:
        """Is it still true? `moment` as the delivery loop has it, `now_s` monotonic."""
        return self.moment == moment and self.admitted.scope.until_s > now_s


def leave_of(admitted: Admitted) -> Leave | None:
    """What the answer of a request task is given under. Which version a file is of, its own bytes tell later."""
    plan = admitted.plan
    if not isinstance(plan, Serve | Show | Manifest | Listed):
        return None
    package = plan.package if isinstance(plan, Serve) else ""
    return Leave(admitted.scope.subject(admitted.room.name if package else "", package))


def logged_as(principal: Principal) -> str:
    """Who it is to the client log: an id; an edge by its name, whatever it shows, as it asks for others."""
    return f"edge:{principal.name}" if principal.kind == edges.KIND else principal.id


def about_of(admitted: Admitted, version: str = "") -> tuple[str, ...]:
    """Format, package, version, file and tag, for the client log; the version is known once the file is."""
    plan = admitted.plan
    package, file, tag = getattr(plan, "package", ""), getattr(plan, "file", ""), getattr(plan, "tag", "")
    return (admitted.ask.format, package, version, file, tag)
