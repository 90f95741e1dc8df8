"""What does a request cost, and who pays? Everybody in requests, a customer also in downloads and bytes."""

from collections.abc import Awaitable, Callable

from formats.kit.contract import Serve
from gateway.access.limits.rates import Fields, Rates
from gateway.access.limits.tolls import Tolls
from gateway.access.rights.verdicts import ANONYMOUS, Principal
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front.reads.admitted import Admitted, about_of, logged_as
from storage.errors import Problem, TooMany, Unavailable


class Charging:
    """The rates of this node, and, where entitlements with limits are known, their tolls."""

    def __init__(self, rates: Rates, tolls: Tolls | None) -> None:
        self._rates = rates
        self._tolls = tolls

    def spend(self, principal: Principal, peer: str, workspace: str) -> Fields:
        """Count a request; the fields that tell what is left. Raises TooMany."""
        return self._rates.spend(principal, peer, workspace)

    def chargeable(self, admitted: Admitted, head: Head, answer: Answer) -> bool:
        """A customer's download is charged each time that it is sent, also where it is remembered. False where nothing
        is here to charge it to."""
        principal, tolls = admitted.principal, self._tolls
        if not (principal.must_pay and isinstance(admitted.plan, Serve) and head.method == "GET"):
            return True
        if answer.status != 200:  # sent elsewhere, where it is charged
            return True
        limits = principal.entitlement
        assert limits is not None
        assert tolls is not None
        if not tolls.holds(principal.id, limits):
            return False
        answer.toll = tolls.spending(principal.id, limits, head.peer)
        answer.by_address = answer.by_address or bool(limits.clients_max)
        return True

    def counted(self, admitted: Admitted, head: Head, answer: Answer) -> Answer:
        """What is limited is counted each time, so that its answer is not remembered. Raises TooMany."""
        answer.principal, answer.about = logged_as(admitted.principal), about_of(admitted, answer.version)
        answer.by_address = answer.by_address or admitted.scope.by_address
        fields = self._rates.spend(admitted.principal, head.peer, admitted.ask.workspace)
        if fields:
            answer.headers = (*answer.headers, *fields)
            answer.until_s = 0.0
        return answer

    def as_counted(self, head: Head, problem: Problem) -> Problem:
        """A refusal counts against the address that it goes to: whoever guesses tokens or names is slowed."""
        if isinstance(problem, TooMany):
            return problem
        try:
            self._rates.spend(ANONYMOUS, head.peer)
        except TooMany as limited:
            return limited
        return problem

    def charge(self, request: Request, admitted: Admitted) -> None:
        """A customer pays for a file."""
        if isinstance(admitted.plan, Serve) and admitted.principal.must_pay and request.head.method == "GET":
            request.toll = self._toll(admitted.principal, request.head.peer)

    def _toll(self, principal: Principal, peer: str) -> Callable[[int, int | None], Awaitable[None]]:
        limits, tolls = principal.entitlement, self._tolls
        assert limits is not None
        assert tolls is not None

        async def charge(status: int, size: int | None) -> None:
            if status not in (200, 206):
                return
            if size is None and limits.bytes_max:
                raise Unavailable("It is not known yet how large this is.", "Try again.", retry_after_s=1)
            await tolls.take(principal.id, limits, peer, size or 0)

        return charge
