"""Is a registry that wants a pass asked rightly: at a realm that may be asked, and no more often than needed? (D2)"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cache.asking.addresses import place
from cache.asking.bodies import Spent
from cache.asking.challenges import Passes, challenge_of, may_show, pass_of
from cache.asking.upstream import Remote
from storage.errors import Absent, UpstreamFailed

HUB = place("https://registry.hub.example/v2/lib/app/manifests/1")


def challenge(realm: str, where: str = HUB.url) -> Any:
    told = f'Bearer realm="{realm}",service="s",scope="repository:a:pull"'
    return challenge_of(place(where), {"www-authenticate": told})


def test_a_challenge_is_an_address() -> None:
    found = challenge("https://auth.hub.example/token?x=1")
    assert found.url == "https://auth.hub.example/token?x=1&service=s&scope=repository%3Aa%3Apull"
    assert challenge("https://auth.hub.example/token").url.startswith("https://auth.hub.example/token?service=s")


@pytest.mark.parametrize(
    "realm", ["http://auth.hub.example/token", "file:///etc/passwd", "ftp://x/", "", "https://a:b@x/", "no address"]
)
def test_d2_a_realm_that_may_not_be_asked_is_none(realm: str) -> None:
    assert challenge(realm) is None


@pytest.mark.parametrize("told", ["", "Basic realm=x", "Bearer", "Bearer realm=unquoted", 'Bearer service="x"'])
def test_what_is_no_challenge_is_none(told: str) -> None:
    assert challenge_of(HUB, {"www-authenticate": told}) is None


@pytest.mark.parametrize(
    ("realm", "may"),
    [
        ("https://registry.hub.example/token", True),
        ("https://auth.hub.example/token", True),
        ("https://hub.example/token", True),
        ("https://hub.example.evil.example/token", False),
        ("https://evilhub.example/token", False),
        ("https://elsewhere.test/token", False),
    ],
)
def test_d2_a_credential_stays_on_the_registrys_own_site(realm: str, may: bool) -> None:
    assert may_show(HUB, place(realm)) is may
    assert not may_show(place("http://10.0.0.1/v2/"), place("http://11.0.0.1/token"))


def test_a_pass_is_known_for_its_image_and_its_time() -> None:
    now_s = [1000.0]
    passes = Passes(clock=lambda: now_s[0])
    passes.keep(HUB, "mine", "text", 60)
    beside = place("https://registry.hub.example/v2/lib/app/blobs/sha256:0")
    assert passes.for_(beside, "mine") == "text"
    assert passes.for_(place("https://registry.hub.example/v2/lib/other/blobs/sha256:0"), "mine") == ""
    assert passes.for_(beside, "another's") == ""
    now_s[0] += 51
    assert passes.for_(beside, "mine") == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token":1}', b'{"token":"a b"}', b"[" * 10_000, b"\xff"])
def test_a_realm_that_gives_nonsense_gives_no_pass(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        pass_of(body, "realm")


# ---------------------------------------------------------------- over the wire


class Registry(ThreadingHTTPServer):
    """Wants the pass `good` for everything but its own realm; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer = (200, {}, b"manifest")
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        shown = self.headers.get("authorization", "")
        self.server.asked.append((self.command, self.path, shown))
        if self.path.startswith("/token"):
            self.send(200, {}, json.dumps({"access_token": "good", "expires_in": 300}).encode())
        elif shown != "Bearer good":
            self.send(401, {"WWW-Authenticate": f'Bearer realm="{self.server.url}/token",scope="x"'}, b"no")
        else:
            self.send(*self.server.answer)

    do_HEAD = do_GET

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote() -> Iterator[Remote]:
    client = Remote(connect_seconds_max=2, silence_seconds_max=2)
    yield client
    client.close()


def read(remote: Remote, url: str) -> bytes:
    source = remote.open_stream(url, {"authorization": "Basic mine"}, private_network=True)
    buffer = memoryview(bytearray(1000))
    data = bytes(buffer[: source.readinto(buffer)])
    source.close()
    return data


def test_the_401_is_met_once_for_an_image(registry: Registry, remote: Remote) -> None:
    for path in ("manifests/1", "blobs/a", "manifests/1"):
        assert read(remote, f"{registry.url}/v2/app/{path}") == b"manifest"
    kinds = [(path.partition("?")[0], shown) for _, path, shown in registry.asked]
    assert kinds == [
        ("/v2/app/manifests/1", "Basic mine"),
        ("/token", "Basic mine"),
        ("/v2/app/manifests/1", "Bearer good"),
        ("/v2/app/blobs/a", "Bearer good"),
        ("/v2/app/manifests/1", "Bearer good"),
    ]


def test_a_look_has_headers_and_leaves_the_connection_in_order(registry: Registry, remote: Remote) -> None:
    registry.answer = (200, {"Docker-Content-Digest": "sha256:0"}, b"manifest")
    headers = remote.look(f"{registry.url}/v2/app/manifests/1", private_network=True)
    assert headers["docker-content-digest"] == "sha256:0"
    assert read(remote, f"{registry.url}/v2/app/manifests/1") == b"manifest"
    registry.answer = (405, {}, b"")
    assert remote.look(f"{registry.url}/v2/app/manifests/1", private_network=True) == {}
    registry.answer = (404, {}, b"")
    with pytest.raises(Absent):
        remote.look(f"{registry.url}/v2/app/manifests/1", private_network=True)


def test_o8_a_used_up_budget_is_told_from_a_busy_registry(registry: Registry, remote: Remote) -> None:
    registry.answer = (429, {"Retry-After": "77"}, b"")
    with pytest.raises(Spent) as refused:
        read(remote, f"{registry.url}/v2/app/manifests/1")
    assert refused.value.retry_after_s == 77
