"""Who is it that came back with a cookie? A session: a Token of kind `session`, begun for a person who signed in.

A session is journaled as a Token of its Account, without grants of its own. So every worker and every edge judges it
from its own index, it can do what its Account can at that moment and nothing once that is closed (THREATS C6), and
ending it is one entry. Its text differs from that of other tokens in form and length: it is good in the cookie of the
management pages alone, and a package tool or an API client that shows it as a credential is refused.

    ens_ + 32 random bytes in base64url (43 characters)

It ends `idle_s` after it was last renewed and at `ends_ms` in any case. The origin renews it with what its person does,
once in a quarter of the idle time at most, since each time is an entry. Where an identity provider said who it is, it
ends also when that has said that it does, and when that is removed, disabled, or believed by other means than when it
began.

Against forged requests (C13) a page carries `forged_by` of the session's own text, which no other site can read.
"""

import base64
import hashlib
import hmac
import secrets
import string
from typing import NamedTuple

import msgspec

from gateway.access.rights.verdicts import Knows, Principal, acting, believed, living, principal_of
from gateway.access.tokens import hash_of
from gateway.config import SignIn as Limits
from storage.errors import Unauthenticated
from storage.nouns import Account, Provider, SignIn, Token

PREFIX = "ens_"
RANDOM_BYTES = 32
TEXT_CHARS = len(PREFIX) + 43
ID_PREFIX = "ses_"
ID_CHARS = 16
KIND = "session"
KEPT_MS = 24 * 3600 * 1000
"""So long after its end a session is still told in lists; then the index forgets it."""
RENEWED_SHARE = 4
AGENT_CHARS_MAX = 60
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = b"entrepot form 1"


class Voucher(NamedTuple):
    """The Provider that says who somebody is, and the Workspace that it speaks for. It says so until `until_ms`, 0 =
    for as long as we like."""

    workspace: str
    provider: Provider
    until_ms: int = 0


def mint() -> tuple[str, str]:
    """The text of a new session, to be kept in a cookie alone, and its id."""
    text = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(RANDOM_BYTES)).decode().rstrip("=")
    return text, ID_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(ID_CHARS))


def begun(
    reading: Knows,
    account: str,
    method: str,
    agent: str,
    limits: Limits,
    now_ms: int,
    voucher: Voucher | None = None,
    minted: tuple[str, str] | None = None,
) -> tuple[str, Token]:
    """A session of the Account, whose person has shown by `method` who it is: its text and the Token to store.

    `agent` is what the person sees it by in a list ("Firefox on Linux"); `voucher` is who else says who it is, and
    `minted` what `mint` gave for it. Raises Unauthenticated for a closed account, and where the voucher does not count
    (any more).
    """
    living_account(reading, account)
    text, id = minted or mint()
    ends_ms = now_ms + limits.session_seconds_max * 1000
    if voucher is not None and voucher.until_ms:
        ends_ms = min(ends_ms, voucher.until_ms)
    if ends_ms <= now_ms:
        raise Unauthenticated("What your identity provider says of you is over.", "Sign in again.")
    sign_in = SignIn(method, now_ms, ends_ms, limits.session_idle_seconds, ends_ms + KEPT_MS, agent[:AGENT_CHARS_MAX])
    if voucher is not None:
        by = voucher.provider
        sign_in = msgspec.structs.replace(sign_in, provider=by.id, workspace=voucher.workspace, trust=by.trust)
        if not vouched_for(reading, sign_in):
            raise Unauthenticated("This identity provider is not believed (any more).", "Sign in again.")
    token = Token(
        id,
        f"{method}, {agent[:AGENT_CHARS_MAX]}" if agent else method,
        hash_of(text),
        (),
        KIND,
        now_ms,
        min(now_ms + limits.session_idle_seconds * 1000, ends_ms),
        owner=account,
        sign_in=sign_in,
    )
    return text, token


def is_session(text: str) -> bool:
    return text.startswith(PREFIX)


def session_of(reading: Knows, text: str, now_ms: int) -> Token:
    """The living session whose text this is. Raises Unauthenticated."""
    token = reading.token(hash_of(text)) if len(text) == TEXT_CHARS and is_session(text) else None
    if token is None or token.sign_in is None or not hmac.compare_digest(token.sha256, hash_of(text)):
        raise Unauthenticated("You are not signed in.", "Sign in first.")
    try:
        living(token, now_ms)
    except Unauthenticated:
        raise Unauthenticated("You are not signed in any more.", "Sign in again.") from None
    living_account(reading, token.owner)
    if not vouched_for(reading, token.sign_in):
        raise Unauthenticated("Your identity provider does not vouch for this sign-in any more.", "Sign in again.")
    acting(reading, principal_of(token))
    return token


def holder(reading: Knows, text: str, now_ms: int) -> Principal:
    """The principal behind a session. Raises Unauthenticated."""
    return principal_of(session_of(reading, text, now_ms))


def living_account(reading: Knows, id: str) -> Account:
    """The Account, if it may act. Raises Unauthenticated."""
    account = reading.account(id)
    if account is None or account.closed_ms:
        raise Unauthenticated("This account is closed.", "Ask an administrator of the node.")
    return account


def renewed(token: Token, now_ms: int) -> Token | None:
    """The session with its idle time begun anew; None where that is not due yet."""
    sign_in = token.sign_in
    if sign_in is None:
        return None
    idle_ms = sign_in.idle_s * 1000
    expires_ms = min(now_ms + idle_ms, sign_in.ends_ms)
    if expires_ms - token.expires_ms < idle_ms // RENEWED_SHARE:
        return None
    return msgspec.structs.replace(token, expires_ms=expires_ms)


def ended(token: Token, now_ms: int) -> Token:
    """The session, over."""
    return msgspec.structs.replace(token, revoked_ms=token.revoked_ms or now_ms)


def vouched_for(reading: Knows, sign_in: SignIn) -> bool:
    """Is the Provider believed that said who this is, if one did, as it was then? An edge that may not see its
    Workspace knows no Provider of it, and lets nobody in by one (C6)."""
    if not sign_in.provider:
        return True
    return believed(reading.provider(sign_in.workspace, sign_in.provider), sign_in.trust)


def is_living(reading: Knows, token: Token, now_ms: int) -> bool:
    """Is this session not over?"""
    in_time = not token.revoked_ms and now_ms < token.expires_ms
    return in_time and (token.sign_in is None or vouched_for(reading, token.sign_in))


def form_mark(text: str) -> str:
    """What a form that is sent with this cookie must carry. It says nothing about the cookie."""
    return hmac.new(text.encode(), _FORM, hashlib.sha256).hexdigest()


def is_form_mark(text: str, mark: str) -> bool:
    return hmac.compare_digest(form_mark(text).encode(), mark.encode("utf-8", "surrogateescape"))
