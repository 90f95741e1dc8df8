"""What does a browser show of a session, and can another site have made it send that?

The cookie is host-only and out of reach of scripts. Over TLS its name begins with `__Host-`, which no other host, path
or plain connection can set (RFC 6265bis section 4.1.3.2; THREATS C13); the other name is for plain HTTP alone.
A cookie goes along whoever makes the browser ask. So whatever changes something must carry the session's form mark in
the field `Entrepot-Form`, or in a form, and must not come from another site.
"""

from urllib.parse import urlsplit

from quart import Request
from werkzeug.datastructures import Headers

from gateway.access.signin.sessions import is_form_mark
from storage.errors import Forbidden

SESSION, FORM = "entrepot", "entrepot-form"
SECURE_PREFIX = "__Host-"
FORM_FIELD = "Entrepot-Form"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = ("same-origin", "none")


def is_secure(asked: Request, url: str) -> bool:
    """Does the browser speak TLS? `url` is what the configuration says of how people reach this node, "" = nothing."""
    return (url or asked.headers.get("X-Entrepot-Scheme", "http")).startswith("https")


def cookie(asked: Request, name: str, *, secure: bool) -> str:
    """The one value of a cookie of ours; "" for none, and for several: one of them is somebody else's."""
    found = asked.cookies.getlist(f"{SECURE_PREFIX}{name}" if secure else name)
    return found[0] if len(found) == 1 else ""


def set_cookie(name: str, value: str, *, secure: bool) -> tuple[str, str]:
    """A header that sets a cookie until the browser is closed; with "" one that removes it."""
    text = f"{SECURE_PREFIX if secure else ''}{name}={value}; Path=/; HttpOnly; SameSite=Lax"
    return ("Set-Cookie", text + ("; Secure" if secure else "") + ("" if value else "; Max-Age=0"))


def check_same_site(asked: Request) -> None:
    """Raises Forbidden where the browser says that another site is behind this request."""
    headers: Headers = asked.headers
    site, origin = headers.get("Sec-Fetch-Site", "none"), headers.get("Origin", "")
    if site not in _OWN_SITE or (origin and urlsplit(origin).netloc.lower() != asked.host.lower()):
        raise forged()


def check_form(asked: Request, text: str, mark: str) -> None:
    """Raises Forbidden unless a page of ours has sent this, made for who holds the cookie `text`."""
    check_same_site(asked)
    if not text or not is_form_mark(text, mark):
        raise forged()


def forged() -> Forbidden:
    return Forbidden("This was not sent from a page of this node, or that is out of date.", "Load the page again.")
