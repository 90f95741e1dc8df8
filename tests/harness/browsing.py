"""How does a test walk through the pages for people as a browser would? With its cookies, its forms, and its Origin."""

import re
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.harness.consoles import Console

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Seen:
    """An answer."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def location(self) -> str:
        return str(self.headers.get("Location", ""))

    @property
    def hidden(self) -> dict[str, str]:
        """The hidden fields of its forms, the first of a name."""
        found: dict[str, str] = {}
        for name, value in _FIELD.findall(self.text):
            found.setdefault(name, unescape(value))
        return found


class Browser:
    """One browser at a Console; `scheme` is what it speaks."""

    def __init__(self, console: Console, *, scheme: str = "http", peer: str = "192.0.2.7") -> None:
        self.console = console
        self.cookies: dict[str, str] = {}
        self.scheme = scheme
        self.peer = peer
        self.set_cookies: list[str] = []

    async def send(self, method: str, address: str, body: str | None = None, **headers: str) -> Seen:
        sent = {
            "User-Agent": FIREFOX, "X-Entrepot-Peer": self.peer, "X-Entrepot-Scheme": self.scheme,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }  # fmt: skip
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            sent |= {"Origin": f"{self.scheme}://localhost", "Sec-Fetch-Site": "same-origin"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        client = self.console.app.test_client(use_cookies=False)
        response = await client.open(address, method=method, headers=sent, data=body)
        for told in response.headers.getlist("Set-Cookie"):
            self.set_cookies.append(told)
            name, _, value = told.partition(";")[0].partition("=")
            self.cookies[name] = value
            if not value:
                del self.cookies[name]
        return Seen(response.status_code, response.headers, (await response.get_data()).decode())

    async def get(self, address: str) -> Seen:
        return await self.send("GET", address)

    async def fill(self, page: Seen, action: str, **fields: str) -> Seen:
        """Send a form of a page."""
        hidden = {name: value for name, value in page.hidden.items() if name not in ("id", "at")}
        return await self.send("POST", action, urlencode(hidden | fields))

    async def follow(self, seen: Seen) -> Seen:
        assert seen.status == 303, seen.text
        assert not urlsplit(seen.location).netloc
        return await self.get(seen.location)

    async def sign_in(self, name: str, password: str, code: str = "", next: str = "/-/account") -> Seen:
        page = await self.get(f"/-/sign-in?next={next}")
        return await self.fill(page, "/-/sign-in", name=name, password=password, code=code)


async def invited(console: Console, name: str, password: str) -> Browser:
    """A user that has set a password by a link, in a browser that is not signed in."""
    made = await console.call("node admin", "POST", "/users", {"name": name})
    assert made.status in (201, 409)
    link = await console.call("node admin", "POST", f"/users/{name}/password-link")
    assert link.status == 201
    browser = Browser(console)
    page = await browser.get(urlsplit(link.json["link"])._replace(scheme="", netloc="").geturl())
    assert page.status == 200, page.text
    done = await browser.fill(page, "/-/set-password", new=password, again=password)
    assert done.status == 303, done.text
    return browser
