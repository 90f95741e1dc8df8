"""Which customers have come to an end of what they may have?

What a limit allows is lent by the origin to whichever edge asks, and the ledger that lends keeps what it had to refuse,
durably, once for each period: so it is told once, wherever a customer was refused, and also when this process dies in
between. That a token's time is over is found by looking through customers' tokens, some at a time.
"""

from collections.abc import Iterator, Sequence

from gateway.access.limits.tolls import Ledger, Reached
from gateway.noticing.noticing import Found, is_new
from storage.index.catalog import Catalog, Reading
from storage.notices import EXPIRED, LIMIT_REACHED, Notice
from storage.nouns import Token

TOKENS_A_LOOK, LOOK_MS = 2_000, 10_000
"""So many are looked through, so often."""
OLD_MS = 30 * 24 * 3600 * 1000
"""What was over so long ago is no news."""
DATE = "date"


class CustomerWatch:
    """One worker's of an origin."""

    def __init__(self, catalog: Catalog, ledger: Ledger) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._reached: list[Reached] = []
        self._at = ("", "")
        self._looked_ms = 0

    def look(self, now_ms: int) -> list[Found]:
        self._reached = self._ledger.reached()
        with self._catalog.read() as reading:
            found = [one for each in self._reached for one in _limited(reading, each)]
            return found + self._expired(reading, now_ms)

    def told(self, found: Sequence[Found]) -> None:
        self._ledger.told(self._reached)

    def _expired(self, reading: Reading, now_ms: int) -> list[Found]:
        """Among the next few, where they go on behind the last ones."""
        found, left = list[Found](), TOKENS_A_LOOK
        if now_ms - self._looked_ms < LOOK_MS:
            return found
        self._looked_ms = now_ms
        names = sorted(one.name for one in reading.workspaces() if one.name >= self._at[0])
        for name in names:
            for token in reading.entitlements(name, self._at[1] if name == self._at[0] else ""):
                self._at = (name, token.id)
                left -= 1
                if now_ms - OLD_MS < token.expires_ms <= now_ms and not token.revoked_ms:
                    one = Found(name, "", _notice(EXPIRED, token, DATE, token.expires_ms))
                    if is_new(reading, one):
                        found.append(one)
                if not left:
                    return found
        self._at = ("", "")
        return found


def _limited(reading: Reading, reached: Reached) -> Iterator[Found]:
    token = reading.token_by_id(reached.token_id)
    if token is None or token.entitlement is None:
        return
    most = {
        "downloads": token.entitlement.downloads_max,
        "bytes": token.entitlement.bytes_max,
        "clients": token.entitlement.clients_max,
    }[reached.limit]
    for workspace in sorted({one.scope.partition("/")[0] for one in token.grants if not one.deny}):
        notice = _notice(LIMIT_REACHED, token, reached.limit, reached.period_ms, most, reached.used)
        yield Found(workspace, "", notice)


def _notice(kind: str, token: Token, of: str, period_ms: int, limit: int = 0, used: int = 0) -> Notice:
    metadata = token.entitlement.metadata if token.entitlement is not None else {}
    cause = f"{token.id}/{of}"
    return Notice(kind, cause, period_ms, limit, used, 0, token.id, token.name, of, metadata)
