"""Which browser set out to an identity provider, and is this the one that is back?

Nothing is kept here while somebody is away: what the flow rests on travels with his browser, sealed with a secret that
only that has, in a cookie that no script and no other site can read. From that secret comes whatever the protocol wants
to be told and told again, so who has the address alone can do nothing with it, and a flow that was begun in another
browser is no flow (C13).
"""

import base64
import hmac
import secrets

import msgspec

from storage.errors import Forbidden

STATE_S_MAX = 600
STATE_CHARS_MAX = 3_500
RANDOM_BYTES = 18


class Going(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A flow on its way: at which provider (its id) of which Workspace, and where to go on to afterwards."""

    workspace: str
    provider: str
    next: str
    began_ms: int
    random: str


def set_out(workspace: str, provider: str, next: str, now_ms: int) -> Going:
    """A new flow."""
    return Going(workspace, provider, next, now_ms, text(secrets.token_bytes(RANDOM_BYTES)))


def sealed(going: Going, cookie: str) -> str:
    """The flow as text, good in the browser that has this cookie alone."""
    said = text(msgspec.json.encode(going))
    return f"{said}.{seal(said, cookie)}"


def returned(state: str, cookie: str, now_ms: int) -> Going:
    """The flow that this browser is back from. Raises Forbidden."""
    said, dot, told = state.partition(".")
    good = len(state) <= STATE_CHARS_MAX and bool(dot) and bool(cookie)
    if good and hmac.compare_digest(seal(said, cookie).encode(), told.encode("utf-8", "surrogateescape")):
        try:
            going = msgspec.json.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), type=Going)
        except (ValueError, msgspec.DecodeError):  # sealed for one's own cookie by oneself
            raise not_begun() from None
        if 0 <= now_ms - going.began_ms <= STATE_S_MAX * 1000:
            return going
    raise not_begun()


def not_begun() -> Forbidden:
    return Forbidden("This sign-in was not begun in this browser, or too long ago.", "Begin again.")


def derived(what: str, going: Going, cookie: str) -> str:
    """A secret of this flow and this browser for one purpose: 43 characters."""
    return text(hmac.digest(cookie.encode(), f"entrepot sign-in {what} {going.random}".encode(), "sha256"))


def seal(said: str, cookie: str) -> str:
    return text(
        hmac.digest(cookie.encode(), b"entrepot sign-in state " + said.encode("utf-8", "surrogateescape"), "sha256")
    )


def text(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
