"""How does an identity provider get its token? An owner makes one that keeps users and teams, and does nothing else."""

from gateway.access import tokens
from gateway.access.names import display
from gateway.access.rights.grants import PROVISION
from gateway.access.rights.verdicts import Principal
from gateway.access.signin import sessions
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import judge_passing_on
from gateway.console.calls.permissions import WORKSPACE_OWN
from gateway.console.people import replies as people_replies
from gateway.console.shapes import shown
from gateway.console.shapes.schemas import NewScimToken
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Grant, PutToken, Token

ROUTES = Routes("/-/api/v1")
KIND = "scim"


@ROUTES.add(
    "POST",
    "/workspaces/<workspace>/scim/tokens",
    WORKSPACE_OWN,
    takes=NewScimToken,
    gives=people_replies.MintedToken,
    status=201,
)
async def create_token(call: Call) -> Reply:
    """Who keeps the teams decides who is in them, so whoever makes one must have all that there is to have."""
    body, ws, now_ms = await call.body(NewScimToken), call.at["workspace"], call.services.now_ms()
    name = display(body.name, "A token")
    text, parts = tokens.mint()
    grant = Grant(ws, read=False, actions=(PROVISION,))

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        expires_ms = now_ms + body.expires_s * 1000 if body.expires_s else 0
        if principal.expires_ms and principal.kind != sessions.KIND:
            expires_ms = min(expires_ms or principal.expires_ms, principal.expires_ms)
        made = Token(parts.id, name, parts.sha256, (grant,), KIND, now_ms, expires_ms, verify_key=parts.verify_key)
        return Decided(Draft(SYSTEM, "", principal.id, "scim.token.create", (PutToken(made),)), made)

    return await call.conclude(
        SYSTEM, decide, lambda made: Reply(201, {"id": made.id, "token": text} | shown.token(made, now_ms))
    )
