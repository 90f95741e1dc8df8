"""Does a real node shed what it cannot take, keep an upstream's limits, and send clients on by the file it was given?

As README says it under "Under load" and "Host names". THREATS A9, C11, O8.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from bench.hostile.speaking import Said, Speaker
from bench.hostile.watching import exchange
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.upstreams import Item, upstream
from tests.harness.waiting import until
from tests.native.test_recall import call, publish

pytestmark = pytest.mark.native

RUNNING = 6
REST_SECONDS = 40
FORMATS = {
    "pypi": ("/simple/six/", "pypi/simple/six/"),
    "npm": ("/npm/left-pad", "npm/left-pad"),
    "maven": ("/m2/a/b/1/b-1.jar", "maven/a/b/1/b-1.jar"),
}


# ---------------------------------------------------------------- A9


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("busy") / "pair", delivery={"requests_running_max": RUNNING}) as made:
        yield made
        assert "Traceback" not in made.words()


def answered(ask: Callable[[], Said], status: int) -> Said:
    """The answer, once it has this status."""
    found: list[Said] = []

    def is_so() -> bool:
        found.append(ask())
        return found[-1].status == status

    until(is_so, f"{status} is answered")
    return found[-1]


def begun(stack: ExitStack, node: Served, token: str, number: int) -> Speaker:
    """An upload that waits for its second byte."""
    speaker = stack.enter_context(node.speaker())
    head = f"PUT /{PRIVATE}/generic/slow/{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    speaker.send(f"{head}Content-Length: 2\r\n\r\na".encode())
    return speaker


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_a9_requests_over_the_bound_come_back_later_and_what_is_remembered_is_served(busy: Pair, door: str) -> None:
    """And whoever looks after the node is answered meanwhile: health, readiness, status, metrics."""
    node: Served = getattr(busy, door)
    path = publish(busy, PUBLIC, f"hot-{door}", 1000)
    until(lambda: node.ask("GET", path).status == 200, "it is here")
    with ExitStack() as stack:
        uploads = [begun(stack, node, busy.token, number) for number in range(RUNNING)]

        def one_more() -> Said:
            return node.ask("PUT", f"/{PRIVATE}/generic/more", busy.token, b"x")

        said = answered(one_more, 503)
        assert int(said.headers["retry-after"]) >= 1
        assert said.headers["connection"] == "close"
        assert node.ask("GET", path).status == 200, "from memory"
        for own in ("/-/health", "/-/ready", "/-/api/v1/status", "/-/metrics"):
            assert node.ask("GET", own, busy.token).status == 200, own
        assert 'status="503"' in node.ask("GET", "/-/metrics", busy.token).body.decode()
        for one in uploads:
            one.send(b"b")
        ends = [one.hear().status for one in uploads]
        assert {200, 201} & set(ends), "who was in goes on"
        assert set(ends) <= {200, 201, 503}, "at the origin the edge's own stream has taken a place"
    until(lambda: one_more().status in (200, 201), "there is room again")


# ---------------------------------------------------------------- O8


@pytest.mark.parametrize("format", FORMATS)
def test_o8_an_upstream_that_wants_to_be_left_alone_is_and_clients_hear_for_how_long(busy: Pair, format: str) -> None:
    there, here = FORMATS[format]
    with upstream() as server:
        base = server.url + there[: there.index("/", 1) + 1]
        code, _, errors = busy.entrepot("upstream", "add", PUBLIC, format, base, "--private-network")
        assert code == 0, errors
        server.items[there] = Item(status=429, headers={"Retry-After": str(REST_SECONDS)})

        def got(node: Served) -> Said:
            return node.ask("GET", f"/{PUBLIC}/{here}")

        first = answered(lambda: got(busy.edge), 503)
        for said in (first, got(busy.edge), got(busy.origin), got(busy.origin)):
            assert said.status == 503, said
            assert 0 < int(said.headers["retry-after"]) <= REST_SECONDS + 1
        assert server.count(there) == 1
        code, _, errors = busy.entrepot("upstream", "remove", PUBLIC, format)
        assert code == 0, errors


# ---------------------------------------------------------------- C11

NAME = "pkgs.example"
BY_NETWORK, BY_BOTH, BY_COUNTRY, BY_CONTINENT, ELSEWHERE = (f"127.0.{n}.1" for n in (1, 2, 3, 4, 5))


def geo_file(folder: Path) -> Path:
    writer = MMDBWriter(4, "Test-Country")
    europe = {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}}
    writer.insert_network(IPSet(["127.0.2.0/24", "127.0.3.0/24"]), europe)
    writer.insert_network(IPSet(["127.0.4.0/24"]), {"country": {"iso_code": "CA"}, "continent": {"code": "NA"}})
    folder.mkdir(parents=True, exist_ok=True)
    writer.to_db_file(str(folder / "geo.mmdb"))
    return folder / "geo.mmdb"


def sent_to(node: Served, source: str, path: str) -> str:
    """Where a client at this address is sent by the global name, "" where it is answered at once."""
    host, port = node.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30, (source, 0)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    lines = said.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert lines[0].split()[1] == ("307" if "location" in fields else "200"), lines
    return fields.get("location", "")


def test_c11_a_global_name_goes_by_networks_then_by_the_file_then_by_the_default(tmp_path: Path) -> None:
    regions = {
        "geo": str(geo_file(tmp_path / "geo")),
        "networks": [["127.0.1.0/24", "here"], ["127.0.2.0/24", "here"]],
        "places": [["DE", "there"], ["NA", "there"]],
        "default": "here",
    }
    with Pair(tmp_path / "pair", regions=regions) as pair:
        path = publish(pair, PUBLIC, "far", 1000)
        ends = {"here": pair.origin.url, "there": pair.edge.url}
        for region, url in ends.items():
            code, _, errors = pair.entrepot("host", "add", f"{region}.example", "--region", region, "--at", url)
            assert code == 0, errors
        code, _, errors = pair.entrepot("host", "add", NAME, "--redirect")
        assert code == 0, errors
        wanted = {
            BY_NETWORK: "here",
            BY_BOTH: "here",
            BY_COUNTRY: "there",
            BY_CONTINENT: "there",
            ELSEWHERE: "here",
        }

        def found() -> bool:
            return {at: sent_to(pair.origin, at, path) for at in wanted} == {
                at: ends[region] + path for at, region in wanted.items()
            }

        until(found, "both are found to be well")
        with pair.edge.speaker() as speaker:
            assert exchange(speaker, "GET", path).status == 200
        pair.edge.stop()
        until(lambda: sent_to(pair.origin, BY_COUNTRY, path) == ends["here"] + path, "who is gone is passed over")
        told = json.loads(pair.origin.ask("GET", "/-/hosts", pair.token).body)
        assert sorted(told["regions"]) == ["here", "there"]
        assert call(pair, "GET", "/hosts", at=pair.origin)["items"]
