"""How does a test get a real OpenID provider, and how does a person walk through it in a browser?

The provider is a certified one that runs under node; its pages ask for a name and for consent. The browser is an HTTP
client with cookies that follows redirects and fills in forms.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from bench.ports import free_port
from tests.harness.clients import lacking, program
from tests.harness.running import clean_environment

ROOT = Path(__file__).parents[2]
MODULE = ROOT / ".ci/node_modules/openid/node_modules/oidc-provider/lib/index.js"
CLIENT_ID = "entrepot"
STEPS_MAX = 12
_ACTION = re.compile(r'<form[^>]*action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class OpenIdProvider:
    """A running provider at `url`; `people` are the claims of each subject, and `client` is what it knows of
    its client besides."""

    def __init__(
        self, redirect_uris: list[str], people: Mapping[str, Mapping[str, Any]], secret: str, **client: Any
    ) -> None:
        node = program("node")
        if not MODULE.exists():
            lacking("the node module oidc-provider is not installed")
        port = free_port()
        known = {
            "client_id": CLIENT_ID,
            "client_secret": secret,
            "redirect_uris": redirect_uris,
            "response_types": ["code"],
            "grant_types": ["authorization_code"],
        } | client
        asked = json.dumps({"module": str(MODULE), "port": port, "client": known, "people": people})
        script = str(Path(__file__).with_suffix(".mjs"))
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [node, script, asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
        )
        assert self._process.stdout is not None
        line = b" "
        while line and b"ready" not in line:
            line = self._process.stdout.readline()
        assert line, "the provider did not start"

    def __enter__(self) -> "OpenIdProvider":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Walker:
    """A browser: `visited` are the addresses that it was at."""

    def __init__(self) -> None:
        self.http = httpx2.Client(follow_redirects=False, trust_env=False)
        self.visited: list[str] = []

    def __enter__(self) -> "Walker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()

    def go(self, address: str, login: str) -> httpx2.Response:
        """From there on, signing in at the provider as `login`, until a page that asks for nothing more."""
        answer = self.http.get(address)
        for _ in range(STEPS_MAX):
            self.visited.append(str(answer.url))
            if answer.is_redirect:
                assert answer.next_request is not None
                answer = self.http.get(str(answer.next_request.url))
            elif "/interaction/" in str(answer.url) or "op.logoutForm" in answer.text:
                action, fields = _form(answer.text)
                answer = self.http.post(action, data=fields | _typed(answer.text, login))
            else:
                return answer
        raise AssertionError(f"it never ends: {self.visited}")


def _typed(page: str, login: str) -> dict[str, str]:
    """What a person does with a page: signs in, says yes to signing out, or goes on."""
    if 'name="logout"' in page:
        return {"logout": "yes"}
    return {"login": login, "password": "x"} if "login" in page else {}


def _form(page: str) -> tuple[str, dict[str, str]]:
    action = _ACTION.search(page)
    assert action is not None, page
    return unescape(action[1]), {name: unescape(value) for name, value in _HIDDEN.findall(page)}
