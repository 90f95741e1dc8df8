"""How does a person at a terminal get a token, and give it back? `login`, `logout`, `whoami`.

With a browser on this machine: it comes back to a port of the loopback that only this command listens at, with a code
that is worth nothing without the verifier that never left this process (RFC 8252, RFC 7636). Without one: a code is
shown, to be typed in a browser anywhere, and the node is asked until somebody has answered (RFC 8628). Either way the
token goes into the profile, a file of mode 0600, and is never printed.
"""

import base64
import getpass
import hashlib
import platform
import re
import secrets
import time
import webbrowser
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from gateway.cli.terminal import profiles
from gateway.cli.terminal.client import Client, named, reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, address, seconds
from storage.errors import Problem, Unauthenticated, Unavailable

CLIENT = "entrepot-cli"
CALLBACK = "/callback"
WAIT_S_MAX = 300.0
_BACK = b"<!doctype html><title>Entrepot</title><p>You can close this page and go back to your terminal."
_NOT_A_SLUG = re.compile(r"[^a-z0-9._-]+")


def login(
    *,
    scope: tuple[str, ...] = (),
    expires: str = "90d",
    name: str = "",
    device: bool = False,
    url: AtUrl = "",
    profile: AsProfile = "",
    json: AsJson = False,
) -> None:
    """Get a token of your own for this terminal, and keep it in a profile.

    Parameters
    ----------
    scope
        What it may do of what you may: WORKSPACE[/REPOSITORY]:read|write|admin, several times. Without it, all of it.
    expires
        How long it is good for: 12h, 90d.
    name
        What it is called in your account's list of tokens.
    device
        Show a code to be typed in a browser anywhere, instead of opening one here.
    """
    out = Output(json)
    at = address(url) if url else _node(profile)
    lifetime_s, called = seconds(expires), name or f"{getpass.getuser()}@{platform.node()}"[:100]
    if lifetime_s < 1:
        raise Usage("A token that a login gets has an end.", "Write --expires as 12h or 90d.")
    asked = {"name": called, "scope": " ".join(scope), "lifetime_s": lifetime_s}
    with Client(at, "") as node:
        made = _by_code(node, asked, out) if device else _by_browser(node, asked, out)
    kept = profile or _profile_for(at)
    known = profiles.load()
    profiles.save(profiles.Profiles(kept, known.profiles | {kept: profiles.Profile(at, made["token"])}))
    told = {"profile": kept, "url": at, "id": made["id"], "expires_ms": made["expires_ms"]}
    out.fact(told, f"You are logged in at {at}. The profile {kept} has the token, and is in use.")


def logout(*, url: AtUrl = "", profile: AsProfile = "", json: AsJson = False) -> None:
    """Revoke the profile's token, at once and everywhere, and forget it."""
    known = profiles.load()
    kept = profile or profiles.chosen() or known.current
    if kept not in known.profiles or (url and address(url) != known.profiles[kept].url):
        raise Usage("There is no profile to log out of.", "List them with: entrepot profile list.")
    one = known.profiles[kept]
    if one.token:
        with Client(one.url, one.token) as node, suppress(Unauthenticated):  # one that is no good is out
            node.delete(f"/tokens/{node.get('/whoami')['id']}")
    profiles.save(profiles.Profiles(known.current, known.profiles | {kept: profiles.Profile(one.url)}))
    Output(json).fact({"profile": kept}, f"The profile {kept} is logged out.")


def whoami(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show as whom you speak to a node."""
    with reach(url, profile) as node:
        found = node.get("/whoami")
    who = f"{found['user']}, by the token " if found.get("user") else ""
    Output(json).fact(found, f"{who}{found['name']} ({found['id']})")


# ---------------------------------------------------------------- the two ways


def _by_browser(node: Client, asked: dict[str, Any], out: Output) -> Any:
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with _Waiting(state) as waiting:
        there = urlencode(
            {
                "response_type": "code",
                "client_id": CLIENT,
                "redirect_uri": waiting.uri,
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
                "name": asked["name"],
                "scope": asked["scope"],
                "lifetime": str(asked["lifetime_s"]),
            }
        )
        page = f"{node.url}/-/authorize?{there}"
        opened = webbrowser.open(page)
        out.note(f"{'Your browser opens' if opened else 'Open'} {page}")
        if not opened:
            out.note("On a machine without a browser: entrepot login --device.")
        code = waiting.code()
    return node.post("/login/token", {"code": code, "code_verifier": verifier, "redirect_uri": waiting.uri})


class _Waiting:
    """A port of the loopback until the browser comes back."""

    def __init__(self, state: str) -> None:
        waiting = self
        self._told: dict[str, str] | None = None

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                brought = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
                good = parts.path == CALLBACK and secrets.compare_digest(brought.get("state", ""), state)
                self.send_response(200 if good else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                if good:
                    self.wfile.write(_BACK)
                    waiting._told = brought

            def log_message(self, format: str, *arguments: Any) -> None:
                """The code stands in the address."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.timeout = 1.0
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}{CALLBACK}"

    def __enter__(self) -> "_Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def code(self) -> str:
        """The code that the browser brings. Raises Problem where the person says no, Unavailable where nobody comes."""
        until_s = time.monotonic() + WAIT_S_MAX
        while self._told is None:
            if time.monotonic() > until_s:
                raise Unavailable("Nobody has answered in the browser.", "Try again, or: entrepot login --device.")
            self._server.handle_request()
        if "code" not in self._told:
            raise Unauthenticated("The login was refused in the browser.")
        return self._told["code"]


def _by_code(node: Client, asked: dict[str, Any], out: Output) -> Any:
    codes = node.post("/login/device", asked)
    out.err.print(f"Open {codes['verification_uri']} and type {codes['user_code']}", markup=False)
    wait_s, until_s = codes["interval"], time.monotonic() + codes["expires_in"]
    while time.monotonic() < until_s:
        time.sleep(wait_s)
        try:
            return node.post("/login/token", {"device_code": codes["device_code"]})
        except Problem as problem:
            if problem.code == "slow_down":
                wait_s += 5
            elif problem.code != "authorization_pending":
                raise
    raise Unavailable("Nobody has answered in time.", "Start the login again.")


def _node(profile: str) -> str:
    """The node to log in at: that of the profile, if there is one, as for any other command."""
    known = profiles.load()
    if profile and profile not in known.profiles:
        return named("", "")[0]
    return named("", profile)[0]


def _profile_for(url: str) -> str:
    """The profile in use, where it is of this node; else one that is called after it."""
    known = profiles.load()
    current = known.profiles.get(profiles.chosen() or known.current)
    if current is not None and current.url == url:
        return profiles.chosen() or known.current
    return _NOT_A_SLUG.sub("-", urlsplit(url).netloc.lower()).strip("-._")[:60] or "node"
