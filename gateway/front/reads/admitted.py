"""What is known of a request once it may go on?"""

from formats.kit.contract import Ask, Plan, Room
from gateway.access.rights.verdicts import Principal
from gateway.front.reads.reading import Need, Scope


class Admitted:
    """A request that may go on: who asks, where, and what holds the decision true."""

    __slots__ = ("ask", "plan", "principal", "right", "room", "scope")

    def __init__(self, ask: Ask, room: Room, principal: Principal, scope: Scope, right: str, plan: Plan) -> None:
        self.ask = ask
        self.room = room
        self.principal = principal
        self.scope = scope
        self.right = right
        self.plan = plan


class Looked:
    """What a look at a request came to, where it gave no answer: it may go on, and needs this first. Good for as long
    as nothing has moved, which the request task asks that begins in the next turn of the loop.

    `taken`: such a task has begun. `joined`: what is needed was on its way already when it was looked at.
    """

    __slots__ = ("admitted", "joined", "moment", "need", "taken")

    def __init__(self, admitted: Admitted, need: Need, moment: int) -> None:
        self.admitted = admitted
        self.need = need
        self.moment = moment
        self.taken = self.joined = False

    def holds(self, moment: int, now_s: float) -> bool:
        """Is it still true? `moment` as the delivery loop has it, `now_s` monotonic."""
        return self.moment == moment and self.admitted.scope.until_s > now_s
