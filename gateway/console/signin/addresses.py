"""At which addresses are the pages for people, and which of them may somebody be sent on to?"""

import re

from quart import Request

from gateway.console.calls import cookies

SIGN_IN, SIGN_OUT, ACCOUNT = "/-/sign-in", "/-/sign-out", "/-/account"
SET_PASSWORD, DEVICE, AUTHORIZE = "/-/set-password", "/-/device", "/-/authorize"
ONWARD_CHARS_MAX = 2_000
_ONWARD = re.compile(r"/-/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")


def onward(text: str) -> str:
    """Where to go on to: an address of this node's own pages, else the account's (C13: no open redirect)."""
    good = len(text) <= ONWARD_CHARS_MAX and _ONWARD.fullmatch(text) is not None and "//" not in text.partition("?")[0]
    return text if good else ACCOUNT


def base_of(asked: Request, url: str) -> str:
    """Scheme and host by which people reach this node: as configured, else as this request came."""
    if url:
        return url.rstrip("/")
    return f"{'https' if cookies.is_secure(asked, url) else 'http'}://{asked.host}"
