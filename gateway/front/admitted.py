"""What is known of a request once it may go on?"""

from formats.kit.contract import Ask, Plan, Room
from gateway.access.rights.verdicts import Principal
from gateway.front.reading import Scope


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
