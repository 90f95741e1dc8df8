"""Does the client of foreign registries end every wait, follow only what it may, and believe only whole answers?"""

import gzip
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cache.asking.addresses import allowed_privately, inside_only, next_place, place, public
from cache.asking.upstream import Remote
from storage.errors import Absent, Invalid, Unavailable, UpstreamFailed
from tests.harness.certificates import certificate
from tests.harness.upstreams import Item, Upstream, noise, upstream


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def remote() -> Iterator[Remote]:
    client = Remote(connect_seconds_max=2, silence_seconds_max=2)
    yield client
    client.close()


def read(remote: Remote, url: str, offset: int = 0, headers: dict[str, str] | None = None) -> bytes:
    source = remote.open_stream(url, headers, offset=offset, private_network=True)
    found, buffer = bytearray(), memoryview(bytearray(100_000))
    try:
        while count := source.readinto(buffer):
            found += buffer[:count]
    finally:
        source.close()
    return bytes(found)


# ---------------------------------------------------------------- plain ways


@pytest.mark.parametrize("chunked", [False, True])
def test_a_stream_is_read_whole_and_its_connection_is_used_again(
    server: Upstream, remote: Remote, chunked: bool
) -> None:
    body = noise(300_000)
    server.items["/f"] = Item(body, chunked=chunked)
    assert read(remote, f"{server.url}/f") == body
    assert read(remote, f"{server.url}/f") == body
    assert server.connections == 1


def test_the_first_bytes_are_given_without_waiting_for_more(server: Upstream, remote: Remote) -> None:
    body = noise(300_000)
    item = server.items["/f"] = Item(body, pause_at=10)
    with closing(remote.open_stream(f"{server.url}/f", private_network=True)) as source:
        found, buffer = bytearray(), memoryview(bytearray(256 << 10))
        while len(found) < 10:
            found += buffer[: source.readinto(buffer)]
        assert found == body[:10]
        assert not source.ready(0.001)
        item.gate.set()
        assert source.ready(5)
        while count := source.readinto(buffer):
            found += buffer[:count]
        assert source.ready(0)
    assert found == body


def test_a_connection_that_was_received_from_directly_is_as_patient_as_before(server: Upstream) -> None:
    server.items["/f"], server.items["/s"] = Item(noise(300_000)), Item(silent=True)
    with closing(Remote(connect_seconds_max=1, silence_seconds_max=0.2)) as impatient:
        assert read(impatient, f"{server.url}/f") == noise(300_000)
        with pytest.raises(UpstreamFailed, match="silent"):
            read(impatient, f"{server.url}/s")
    assert server.connections == 1


def test_a_range_begins_where_it_was_asked(server: Upstream, remote: Remote) -> None:
    body = noise(100_000)
    server.items["/f"] = Item(body)
    source = remote.open_stream(f"{server.url}/f", offset=70_000, private_network=True)
    assert (source.offset, source.length) == (70_000, 30_000)
    source.close()
    server.items["/f"].ranges = False
    source = remote.open_stream(f"{server.url}/f", offset=70_000, private_network=True)
    assert (source.offset, source.length) == (0, 100_000)
    source.close()


def test_a_document_is_undone_and_bounded(server: Upstream, remote: Remote) -> None:
    plain = b"simple " * 10_000
    server.items["/d"] = Item(gzip.compress(plain), headers={"Content-Encoding": "gzip", "ETag": '"1"'})
    fetched = remote.fetch_document(f"{server.url}/d", private_network=True)
    assert (fetched.status, fetched.body, fetched.headers["etag"]) == (200, plain, '"1"')
    with pytest.raises(UpstreamFailed, match="more than 1000 bytes"):
        remote.fetch_document(f"{server.url}/d", bytes_max=1000, private_network=True)


def test_d5_a_gzip_bomb_is_not_undone(server: Upstream, remote: Remote) -> None:
    server.items["/d"] = Item(gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(UpstreamFailed, match="more than"):
        remote.fetch_document(f"{server.url}/d", bytes_max=1_000_000, private_network=True)


def test_a_connection_that_was_closed_between_requests_is_replaced(server: Upstream, remote: Remote) -> None:
    server.items["/f"] = Item(b"once", headers={"Connection": "keep-alive"})
    assert read(remote, f"{server.url}/f") == b"once"
    for connection in list(server._open):
        connection.shutdown(socket.SHUT_RDWR)
    assert read(remote, f"{server.url}/f") == b"once"


# ---------------------------------------------------------------- D1, B5: answers that cannot be trusted


@pytest.mark.parametrize(
    "item",
    [
        Item(noise(100_000), cut_at=99_999),
        Item(noise(100_000), cut_at=0),
        Item(noise(100_000), chunked=True, cut_at=60_000),
        Item(noise(1000), length_lie=1, cut_at=1000),
        Item(noise(1000), headers={"Content-Encoding": "gzip"}),
        Item(noise(1000), headers={"Content-Length": "999"}),
        Item(noise(1000), headers={"Transfer-Encoding": "chunked"}),
        Item(noise(1000), headers={"Transfer-Encoding": "gzip, chunked"}),
        Item(noise(10), status=500),
        Item(noise(10), status=403),
        Item(noise(10), status=206),
        Item(raw=b"HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        Item(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        Item(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx"),
        Item(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Item(raw=b"SSH-2.0-Nope\r\n"),
        Item(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5"),
    ],
)
def test_d1_an_answer_that_is_not_whole_is_a_failure(server: Upstream, remote: Remote, item: Item) -> None:
    item.body = item.body or b"x"
    server.items["/f"] = item
    with pytest.raises(UpstreamFailed):
        read(remote, f"{server.url}/f")


def test_b5_what_an_error_means(server: Upstream, remote: Remote) -> None:
    server.items["/gone"] = Item(b"", status=410)
    server.items["/busy"] = Item(b"", status=429, headers={"Retry-After": "7"})
    for path in ("/never", "/gone"):
        with pytest.raises(Absent):
            read(remote, server.url + path)
    with pytest.raises(Unavailable) as busy:
        read(remote, f"{server.url}/busy")
    assert busy.value.retry_after_s == 7
    assert remote.fetch_document(f"{server.url}/never", private_network=True).status == 404


def test_another_range_than_the_one_asked_for_is_refused(server: Upstream, remote: Remote) -> None:
    server.items["/f"] = Item(b"x" * 10, status=206, headers={"Content-Range": "bytes 3-12/100"}, ranges=False)
    with pytest.raises(UpstreamFailed, match="another range"):
        read(remote, f"{server.url}/f", offset=4)


@pytest.mark.parametrize("item", [Item(silent=True), Item(noise(200_000), pause_at=100_000)])
def test_f8_silence_is_a_failure(server: Upstream, item: Item) -> None:
    server.items["/f"] = item
    impatient = Remote(connect_seconds_max=1, silence_seconds_max=0.2)
    with pytest.raises(UpstreamFailed, match="silent"):
        read(impatient, f"{server.url}/f")


def test_nobody_there_is_a_failure(remote: Remote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UpstreamFailed, match="cannot be connected"):
        read(remote, f"http://127.0.0.1:{port}/f")


# ---------------------------------------------------------------- D2: where a pull may go

REFUSED = [
    "127.0.0.1",
    "127.255.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a00:1::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("text", REFUSED)
def test_d2_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_d2_a_public_address_is_allowed(text: str) -> None:
    assert public(ipaddress.ip_address(text))
    assert allowed_privately(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "::"])
def test_d2_the_private_network_has_no_metadata_services(text: str) -> None:
    assert not allowed_privately(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd12::1", "100.64.0.1"])
def test_the_private_network_is_allowed_where_it_is_meant(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert allowed_privately(address)
    assert not public(address)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.org/",
        "http:///path",
        "http://user:secret@example.org/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org\\@127.0.0.1/",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://[::1/",
        "http://exämple.org/",
        "//example.org/",
    ],
)
def test_d2_an_address_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        place(url)
    assert "secret" not in refused.value.text()


@pytest.mark.parametrize(
    "host", ["localhost", "0x7f000001", "2130706433", "017700000001", "127.1", "[::1]", "localhost."]
)
def test_d2_a_loopback_host_in_any_spelling_gets_no_connection(server: Upstream, remote: Remote, host: str) -> None:
    with pytest.raises(UpstreamFailed):
        remote.open_stream(f"http://{host}:{server.port}/f")
    assert server.connections == 0


class Names:
    """A network of names: what they resolve to in turn, and every connection ends at one loopback server."""

    def __init__(self, server: Upstream, table: dict[str, list[list[str]]]) -> None:
        self._server = server
        self._table = table
        self.dialled: list[str] = []

    def resolve(self, host: str, port: int) -> list[str]:
        turns = self._table[host]
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def dial(self, address: str, port: int, seconds: float) -> socket.socket:
        self.dialled.append(address)
        return socket.create_connection(("127.0.0.1", self._server.port), seconds)

    def remote(self) -> Remote:
        return Remote(silence_seconds_max=2, resolve=self.resolve, dial=self.dial)


GOOD = "93.184.216.34"


def test_a_body_over_tls_is_whole_and_its_connection_is_used_again(tmp_path: Path) -> None:
    name, chain, key = certificate(tmp_path, "a.test")
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(chain, key)
    trusting = ssl.create_default_context(cafile=str(chain))
    with upstream(inside) as server:
        server.items["/f"] = Item(noise(600_000), pause_at=100_000)
        names = Names(server, {name: [[GOOD]]})
        with closing(Remote(silence_seconds_max=2, tls=trusting, resolve=names.resolve, dial=names.dial)) as remote:
            for _ in range(2):
                with closing(remote.open_stream(f"https://{name}/f")) as source:
                    found, buffer = bytearray(), memoryview(bytearray(256 << 10))
                    while len(found) < 100_000:
                        found += buffer[: source.readinto(buffer)]
                    server.items["/f"].gate.set()
                    while count := source.readinto(buffer):
                        found += buffer[:count]
                assert found == noise(600_000)
        assert server.connections == 1


def test_d2_a_name_is_resolved_once_and_the_judged_address_is_used(server: Upstream) -> None:
    server.items["/f"] = Item(b"bytes")
    names = Names(server, {"rebinds.test": [[GOOD], ["127.0.0.1"]]})
    with closing(names.remote()) as remote, closing(remote.open_stream("http://rebinds.test/f")) as source:
        assert source.status == 200
    assert names.dialled == [GOOD]


def test_d2_one_private_address_refuses_the_name(server: Upstream) -> None:
    names = Names(server, {"both.test": [[GOOD, "10.0.0.1"]]})
    with pytest.raises(UpstreamFailed, match="not on the public Internet"):
        names.remote().open_stream("http://both.test/f")
    assert names.dialled == []


@pytest.mark.parametrize("target", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_d2_each_hop_is_judged(server: Upstream, target: str) -> None:
    server.items["/f"] = Item(b"x", status=302, headers={"Location": "http://inside.test/secret"})
    server.items["/secret"] = Item(b"treasure")
    names = Names(server, {"outside.test": [[GOOD]], "inside.test": [[target]]})
    with pytest.raises(UpstreamFailed, match="not on the public Internet"):
        names.remote().open_stream("http://outside.test/f")
    assert names.dialled == [GOOD]
    assert server.count("/secret") == 0


def test_d2_a_private_upstream_may_not_lead_to_metadata_services(server: Upstream, remote: Remote) -> None:
    server.items["/f"] = Item(b"x", status=307, headers={"Location": "http://169.254.169.254/latest/"})
    with pytest.raises(UpstreamFailed):
        remote.open_stream(f"{server.url}/f", private_network=True)


def test_d2_credentials_stay_with_their_origin(server: Upstream) -> None:
    server.items["/a"] = Item(b"x", status=302, headers={"Location": "/b"})
    server.items["/b"] = Item(b"x", status=302, headers={"Location": "http://other.test/c"})
    server.items["/c"] = Item(b"bytes")
    names = Names(server, {"one.test": [[GOOD]], "other.test": [["93.184.216.35"]]})
    headers = {"Authorization": "Bearer canary", "Cookie": "canary", "X-Key": "canary", "Accept": "*/*"}
    with closing(names.remote()) as remote:
        assert remote.fetch_document("http://one.test/a", headers).body == b"bytes"
    seen = {one.path: one.headers for one in server.asked}
    assert seen["/b"]["authorization"] == "Bearer canary"
    assert "canary" not in str(seen["/c"])
    assert seen["/c"]["accept"] == "*/*"
    assert seen["/c"]["host"] == "other.test"


def test_d2_redirects_end(server: Upstream, remote: Remote) -> None:
    server.items["/f"] = Item(b"x", status=301, headers={"Location": "/f"})
    with pytest.raises(UpstreamFailed, match="more than 5 times"):
        remote.open_stream(f"{server.url}/f", private_network=True)
    assert server.count("/f") == 6


def test_d2_where_a_redirect_may_not_lead() -> None:
    here = place("https://example.org/a/b")
    assert next_place(here, "../c?d=1").url == "https://example.org/c?d=1"
    assert next_place(here, "//other.test/x").url == "https://other.test/x"
    for location in ("http://example.org/", "file:///etc/passwd", "https://other.test:22/", "https://u:p@other.test/"):
        with pytest.raises(UpstreamFailed):
            next_place(here, location)


@pytest.mark.parametrize(
    ("url", "found", "inside"),
    [
        ("https://a.test/simple/", ["8.8.8.8"], ""),
        ("https://a.test:8443/simple/", ["10.0.0.1"], "a.test:8443"),
        ("https://a.test/", ["8.8.8.8", "10.0.0.1"], "a.test"),
        ("http://127.0.0.1:9/", ["127.0.0.1"], "127.0.0.1:9"),
        ("https://a.test/", ["169.254.169.254"], ""),
        ("https://a.test/", [], ""),
        ("nonsense", ["10.0.0.1"], ""),
    ],
)
def test_who_is_inside_only_is_told_when_an_upstream_is_added(url: str, found: list[str], inside: str) -> None:
    assert inside_only(url, lambda host, port: found) == inside


def test_a_name_that_cannot_be_resolved_now_is_not_inside() -> None:
    def fails(host: str, port: int) -> list[str]:
        raise OSError("no resolver")

    assert inside_only("https://a.test/", fails) == ""
