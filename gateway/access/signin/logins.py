"""How does a program on somebody's machine get a token of that person? By asking, and by the person's yes in a browser.

Two ways, and one record for both. A program that can open a browser and listen on the loopback gets a code by way of
the browser (RFC 8252, with PKCE, RFC 7636): the code is worth nothing without the verifier that never left the program.
Any other one shows a short code to its user and asks every few seconds (RFC 8628). Steps are pure: a Login and a
moment in, what it has become and what is told out.
"""

import base64
import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

import msgspec

from storage.errors import Invalid, Problem
from storage.nouns import Grant

DEVICE_SECONDS_MAX = 900
CODE_SECONDS_MAX = 60
INTERVAL_S = 5
USER_CHARS = 8
USER_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""As RFC 8628 section 6.1 proposes: no vowels, nothing that is mistaken for something else. 34 bits, good for 15
minutes, and for who is signed in alone, at a few tries."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK = ("127.0.0.1",)


class Login(msgspec.Struct, frozen=True, array_like=True):
    """What a program has asked for. `grants` narrow what the token may do of what its person may, none = all of it.

    `session` is that of the person who said yes. `user_code` is the device's way, `challenge` and `redirect_uri` are
    the browser's.
    """

    name: str
    grants: tuple[Grant, ...]
    lifetime_s: int
    ends_ms: int
    user_code: str = ""
    challenge: str = ""
    redirect_uri: str = ""
    interval_s: int = INTERVAL_S
    asked_ms: int = 0
    session: str = ""
    denied: bool = False


class LoginPending(Problem):
    """RFC 8628 section 3.5."""

    status, code = 400, "authorization_pending"


class SlowDown(Problem):
    """RFC 8628 section 3.5: from now on five seconds more between two questions."""

    status, code = 400, "slow_down"


class AccessDenied(Problem):
    """RFC 8628 section 3.5: the person said no."""

    status, code = 400, "access_denied"


class ExpiredCode(Problem):
    """RFC 8628 section 3.5, and for a code of the browser's way RFC 6749 section 5.2 (invalid_grant)."""

    status, code = 400, "expired_token"


def new_code() -> tuple[str, bytes]:
    """A code that only the program has, and the hash under which its Login is kept."""
    code = secrets.token_urlsafe(32)
    return code, code_hash(code)


def code_hash(code: str) -> bytes:
    """256 random bits need no slow hash."""
    return hashlib.sha256(code.encode("utf-8", "surrogateescape")).digest()


def new_user_code() -> str:
    return "".join(secrets.choice(USER_ALPHABET) for _ in range(USER_CHARS))


def shown_user_code(code: str) -> str:
    """As people read and type it: BCDF-GHJK."""
    return f"{code[:4]}-{code[4:]}"


def read_user_code(text: str) -> str:
    """What was typed, as it is kept; "" for what is none."""
    plain = "".join(char for char in text.upper() if char.isalnum())
    return plain if len(plain) == USER_CHARS and set(plain) <= set(USER_ALPHABET) else ""


def check_redirect(uri: str) -> str:
    """`uri`, if it is a port of the loopback interface, and nothing else (RFC 8252 section 7.3). Raises Invalid."""
    try:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition(":")[0]
        good = (
            parts.scheme == "http" and host in _LOOPBACK and parts.port is not None and parts.port > 0
            and not (parts.query or parts.fragment) and uri.isascii() and uri.isprintable() and len(uri) < 200
            and parts.netloc == f"{host}:{parts.port}" and not set(uri) & set("\\ <>\"';,")
        )  # fmt: skip
    except ValueError:
        good = False
    if not good:
        raise Invalid("The program that asks listens at no address of this machine.", "It is http://127.0.0.1:PORT/.")
    return uri


def check_challenge(challenge: str, method: str) -> str:
    """Raises Invalid for anything but S256."""
    if method != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise Invalid("The program asks without PKCE.", "code_challenge_method must be S256 (RFC 7636).")
    return challenge


def proves(challenge: str, verifier: str) -> bool:
    """Is this the verifier of that challenge (RFC 7636 section 4.6)?"""
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)


# ---------------------------------------------------------------- steps: (what it has become, what is told)

Told = Login | Problem


def answered(login: Login | None, session: str, yes: bool, now_ms: int) -> tuple[Login | None, Told]:
    """A signed-in person says yes or no, once."""
    if login is None or login.ends_ms <= now_ms or login.session or login.denied:
        return login, Invalid("This code is not waited for (any more).", "Start the login again.")
    after = msgspec.structs.replace(login, session=session if yes else "", denied=not yes)
    return after, after


def polled(login: Login | None, now_ms: int) -> tuple[Login | None, Told]:
    """The program asks with its device code. What it gets it gets once."""
    if login is None or not login.user_code or login.ends_ms <= now_ms:
        return None, ExpiredCode("This login has run out of time.", "Start it again.")
    if login.denied:
        return None, AccessDenied("The login was refused in the browser.")
    if login.session:
        return None, login
    if now_ms - login.asked_ms < login.interval_s * 1000:
        slower = msgspec.structs.replace(login, asked_ms=now_ms, interval_s=login.interval_s + INTERVAL_S)
        return slower, SlowDown("This is asked too often.", f"Wait {slower.interval_s} seconds in between.")
    asked = msgspec.structs.replace(login, asked_ms=now_ms)
    return asked, LoginPending("Nobody has answered in the browser yet.", f"Ask again in {login.interval_s} seconds.")


def redeemed(login: Login | None, verifier: str, redirect_uri: str, now_ms: int) -> tuple[Login | None, Told]:
    """The program shows the code that came through the browser. Whoever shows it first ends it, right or wrong."""
    good = login is not None and login.ends_ms > now_ms and bool(login.challenge) and bool(login.session)
    if login is None or not good or login.redirect_uri != redirect_uri or not proves(login.challenge, verifier):
        return None, ExpiredCode("This code is no good (any more).", "Start the login again.")
    return None, login
