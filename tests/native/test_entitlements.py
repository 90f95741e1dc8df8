"""Do a customer's limits hold exactly, whichever edge it asks, and however many ask at once? Real processes."""

import http.client
import os
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access.limits.tolls import IDLE_SECONDS
from tests.harness.pairs import Pair, Served
from tests.harness.running import get

pytestmark = pytest.mark.native

CLIENTS, TRIES, EDGES = 200, 4, 4
FILE = "/demo/main/generic/tool.bin"
CONTENT = b"0123456789" * 1_000


class Places:
    """An origin, its four edges, and one file of 10 KB."""

    def __init__(self, folder: Path) -> None:
        self.pair = Pair(folder)
        self.edges = [self.pair.edge]
        parent = ["--parent", self.pair.origin.url, "--parent-token-file", str(folder / "edge" / "up-edge.token")]
        for number in range(1, EDGES):
            home = folder / f"more-{number}"
            home.mkdir()
            self.edges.append(Served("edge", home / "edge", folder / "limits.toml", parent))
        for edge in self.edges:
            edge.wait(self.pair.token)
        assert self.pair.origin.ask("PUT", FILE, self.pair.token, CONTENT).status == 201
        self.ids: dict[str, str] = {}

    def entitle(self, *options: str) -> str:
        """The text of a new customer's token, once every edge knows it."""
        code, made, errors = self.pair.entrepot("entitlement", "create", "demo", "customer", *options)
        assert code == 0, errors
        token: str = made["token"]
        self.ids[token] = made["id"]
        for edge in self.edges:
            end = time.monotonic() + 30
            while edge.ask("HEAD", FILE, token).status != 200:
                assert time.monotonic() < end
                time.sleep(0.02)
        return token

    def used(self, token: str) -> Any:
        code, told, errors = self.pair.entrepot("entitlement", "show", "demo", self.ids[token])
        assert code == 0, errors
        return told["used"]

    def stop(self) -> None:
        for edge in self.edges[1:]:
            edge.stop()
        self.pair.stop()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    made = Places(tmp_path_factory.mktemp("entitled"))
    yield made
    made.stop()


def fetched(url: str, token: str, tries: int, source: str = "", headers: dict[str, str] | None = None) -> list[int]:
    """The statuses of so many GETs on one connection."""
    host = urllib.parse.urlsplit(url)
    at = (source, 0) if source else None
    link = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60, source_address=at)
    statuses = []
    try:
        for _ in range(tries):
            link.request("GET", FILE, headers={"Authorization": f"Bearer {token}"} | (headers or {}))
            answer = link.getresponse()
            body = answer.read()
            assert answer.status not in (200, 206) or CONTENT.startswith(body)
            statuses.append(answer.status)
    finally:
        link.close()
    return statuses


def posted(node: Served, address: str, token: str, body: bytes) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return get(f"{node.url}/-/api/v1{address}", headers, "POST", body).status


def all_at_once(places: Places, token: str) -> list[int]:
    statuses: list[int] = []
    gate = threading.Barrier(CLIENTS)

    def client(number: int) -> None:
        gate.wait()
        statuses.extend(fetched(places.edges[number % EDGES].url, token, TRIES))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def rest_of(places: Places, token: str) -> int:
    """How many more downloads there are to be had, once what lay idle was given back: all being lent, an edge may still
    hold some of it."""
    found = asked = refused = 0
    end = time.monotonic() + 60
    while time.monotonic() < end and refused < 3 * EDGES:
        got = fetched(places.edges[asked % EDGES].url, token, 1)[0]
        asked += 1
        found += got == 200
        refused = refused + 1 if got != 200 and places.used(token)["downloads"] == LIMIT else 0
        time.sleep(IDLE_SECONDS / EDGES)
    return found


LIMIT = 500


def test_200_clients_at_four_edges_get_the_limit_and_not_one_more(places: Places) -> None:
    token = places.entitle("--downloads", str(LIMIT))
    statuses = all_at_once(places, token)
    assert set(statuses) <= {200, 403}
    got = statuses.count(200)
    assert got <= LIMIT
    assert got + rest_of(places, token) == LIMIT, "what was not used by one edge is for the others"
    assert set(all_at_once(places, token)) == {403}


def test_bandwidth_is_never_passed(places: Places) -> None:
    files = 333
    token = places.entitle("--bytes", str(files * len(CONTENT) + 5_000))
    statuses = all_at_once(places, token)
    assert set(statuses) <= {200, 403}
    assert statuses.count(200) <= files
    half, end = {"Range": "bytes=0-4999"}, time.monotonic() + 30  # what edges hold and do not use comes back by and by
    while 206 not in [fetched(edge.url, token, 1, headers=half)[0] for edge in places.edges]:
        assert time.monotonic() < end, "a range costs what it sends"
        time.sleep(2.5)


def test_an_edge_that_is_killed_takes_no_download_twice(places: Places) -> None:
    token = places.entitle("--downloads", str(LIMIT))
    got = sum(fetched(edge.url, token, 3).count(200) for edge in places.edges)
    victim = places.edges.pop()
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.process.wait(10)
    got += sum(fetched(edge.url, token, LIMIT).count(200) for edge in places.edges)
    assert got <= LIMIT
    assert got >= LIMIT - 64, "what the dead edge held is all that is lost"
    folder = victim.data.parent.parent
    parent = ["--parent", places.pair.origin.url, "--parent-token-file", str(folder / "edge" / "up-edge.token")]
    again = Served("edge", victim.data, folder / "limits.toml", parent)
    again.wait(places.pair.token)
    places.edges.append(again)
    assert fetched(again.url, token, 2) == [403, 403]


def test_unique_clients_are_counted_over_all_edges(places: Places) -> None:
    token = places.entitle("--clients", "3")
    statuses = {
        number: fetched(places.edges[number % EDGES].url, token, 2, f"127.0.0.{10 + number}") for number in range(8)
    }
    assert sorted(statuses.values()) == [[200, 200]] * 3 + [[403, 403]] * 5
    known = next(number for number, told in statuses.items() if told == [200, 200])
    assert [fetched(edge.url, token, 1, f"127.0.0.{10 + known}") for edge in places.edges] == [[200]] * EDGES


def test_what_costs_nothing_and_what_begins_anew(places: Places) -> None:
    token = places.entitle("--downloads", "2")
    edge = places.edges[0]
    assert [edge.ask("HEAD", FILE, token).status for _ in range(5)] == [200] * 5
    etag = edge.ask("HEAD", FILE, places.pair.token).headers["etag"]
    assert fetched(edge.url, token, 5, headers={"If-None-Match": etag}) == [304] * 5
    assert fetched(edge.url, token, 3) == [200, 200, 403]
    assert places.pair.entrepot("entitlement", "edit", "demo", places.ids[token], "--reset")[0] == 0
    end = time.monotonic() + 30
    while fetched(edge.url, token, 1) != [200]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_terms_are_accepted_first_and_networks_are_kept(places: Places) -> None:
    code, made, errors = places.pair.entrepot("entitlement", "create", "demo", "careful", "--eula", "2026-1")
    assert code == 0, errors
    origin = places.pair.origin
    refused = origin.ask("GET", FILE, made["token"])
    assert (refused.status, b'POST {"revision": "2026-1"}' in refused.body) == (403, True), "a customer is told what"
    assert posted(origin, "/eula", made["token"], b'{"revision": "2026-1"}') == 200
    assert origin.ask("GET", FILE, made["token"]).status == 200
    for node in (origin, places.pair.edge):  # the origin counts, and is asked by every edge
        code, told, errors = places.pair.entrepot("entitlement", "show", "demo", made["id"], node=node)
        assert code == 0, errors
        assert (told["used"]["downloads"], told["eula"]) == (0, {"revision": "2026-1", "accepted": True})
    networks = ("--network", "127.0.0.64/26")
    code, made, errors = places.pair.entrepot("entitlement", "create", "demo", "inside", *networks)
    assert code == 0, errors
    assert fetched(origin.url, made["token"], 2, "127.0.0.70") == [200, 200]
    assert fetched(origin.url, made["token"], 2, "127.0.0.10") == [401, 401]


def test_a_customer_changes_nothing_and_sees_nothing_else(places: Places) -> None:
    token = places.entitle("--format", "generic", "--package", "tool*")
    origin = places.pair.origin
    assert origin.ask("PUT", FILE + "2", token, b"x").status == 403
    assert origin.ask("GET", "/demo/main/generic/other.bin", token).status == 403
    assert posted(origin, "/tokens", token, b'{"name": "n", "grants": [{"scope": "demo"}]}') == 403
    assert fetched(origin.url, token, 2) == [200, 200]
