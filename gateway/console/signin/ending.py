"""How do sessions end that an identity provider names? Those that began by it, in one entry for each thousand."""

from functools import partial

from gateway.access.signin import sessions
from gateway.console.calls.services import latest_ms_of
from gateway.console.signin.visits import Visit
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, AnyChange, Draft, Provider, PutToken

ENDED_MAX = 1_000


async def end_named(visit: Visit, ws: str, provider: Provider, named: list[str]) -> str:
    """End those of these ids that this provider of this Workspace has let in; the header that an edge waits by, "" =
    there was nothing to wait for."""
    serial, now_ms = "", latest_ms_of(visit.services)
    for at in range(0, len(named), ENDED_MAX):
        serial = await visit.commit(partial(_endings, ws, provider, named[at : at + ENDED_MAX], now_ms)) or serial
    return serial


def _endings(ws: str, provider: Provider, ids: list[str], now_ms: int, reading: Reading) -> Decided:
    """The sessions of these ids that began by this provider and are not over."""
    found = [token for id in ids if (token := reading.token_by_id(id)) is not None and token.sign_in is not None]
    changes: list[AnyChange] = [
        PutToken(sessions.ended(one, now_ms))
        for one in found
        if one.sign_in is not None
        and (one.sign_in.workspace, one.sign_in.provider) == (ws, provider.id)
        and sessions.is_living(reading, one, now_ms)
    ]
    draft = Draft(SYSTEM, "", provider.id, "session.end", tuple(changes)) if changes else None
    return Decided(draft, None, SYSTEM)
