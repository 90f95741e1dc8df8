"""Is a body that is on its way cut when its package is quarantined or its reader revoked? At an origin and its edge.

THREATS F1: in-flight bodies of a quarantined artifact never arrive whole, by whatever way they are sent.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.hostile.speaking import Reset, Said, Speaker
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.waiting import until

pytestmark = pytest.mark.native

SIZE = 12 << 20
"""More than the buffers of both sides hold."""
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("recall") / "pair") as made:
        yield made


def call(pair: Pair, method: str, path: str, body: object = None, *, at: Served | None = None) -> Any:
    """The API, as its admin; at the edge it is relayed, and answered when the edge has followed."""
    data = b"" if body is None else json.dumps(body).encode()
    with (at or pair.edge).speaker() as speaker:
        fields = f"Authorization: Bearer {pair.token}\r\nContent-Type: application/json\r\n"
        head = f"{method} /-/api/v1{path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(data)}\r\n\r\n"
        speaker.send(head.encode() + data)
        said = speaker.hear()
    assert 200 <= said.status < 300, said
    return json.loads(said.body) if said.body else None


def publish(pair: Pair, repository: str, name: str, size: int = SIZE) -> str:
    """A file of its own; its path."""
    path = f"/{repository}/generic/{name}/1.0/data.bin"
    block = name.encode().ljust(1 << 10, b".")
    said = pair.edge.ask("PUT", path, pair.token, (block * (size // len(block) + 1))[:size])
    assert said.status == 201, said
    return path


def of(path: str) -> dict[str, str]:
    """A package of this room is a path."""
    return {"format": "generic", "package": path.split("/", 4)[4]}


class Download:
    """A client that has taken the first bytes of a body, and no more."""

    def __init__(self, node: Served, path: str, token: str = "", *, tls: bool = False, more: str = "") -> None:
        self.speaker: Speaker = node.speaker(tls=tls, patience_s=PATIENCE_S)
        self.speaker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        who = f"Authorization: Bearer {token}\r\n" if token else ""
        self.speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{who}{more}\r\n".encode())
        self.status, self.headers = self.speaker._head()

    def rest(self) -> int | None:
        """The length of the body where it comes whole; None where it was cut."""
        with self.speaker:
            try:
                return len(self.speaker._body(self.status, self.headers, head=False))
            except Reset:
                return None


def cut_at(node: Served) -> int:
    """How many bodies has it told its operator of that it cut?"""
    return sum(int(number) for number in re.findall(r"(\d+) bodies on their way were cut", node.log.read_text()))


def await_cut(node: Served, before: int, bodies: int = 1) -> None:
    end = time.monotonic() + PATIENCE_S
    while cut_at(node) < before + bodies:
        assert time.monotonic() < end
        time.sleep(0.02)


def settled(node: Served, path: str, token: str, status: int) -> Said:
    end = time.monotonic() + PATIENCE_S
    while (said := node.ask("GET", path, token)).status != status:
        assert time.monotonic() < end, said
    return said


def outcome_of(pair: Pair, path: str) -> str:
    """How the edge comes by a file."""
    return pair.edge.ask("GET", path, pair.token).headers.get("entrepot-outcome", "")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("role", ["origin", "edge", "edge that fills"])
def test_f1_a_body_of_a_quarantined_package_is_cut(pair: Pair, role: str, tls: bool) -> None:
    name = f"bad-{role.replace(' ', '-')}-{int(tls)}"
    bad, good = publish(pair, PRIVATE, name), publish(pair, PRIVATE, f"{name}-other")
    node = pair.origin if role == "origin" else pair.edge
    for path in (bad, good) if role == "edge" else ():
        until(lambda path=path: outcome_of(pair, path) == "HIT", path)  # type: ignore[misc]
    # whole, and a range; a neighbour that must not be harmed
    cut = [
        Download(node, bad, pair.token, tls=tls),
        Download(node, bad, pair.token, tls=tls, more="Range: bytes=9-\r\n"),
    ]
    spared = Download(node, good, pair.token, tls=tls)
    assert [one.status for one in (*cut, spared)] == [200, 206, 200]
    before = cut_at(node)
    call(pair, "POST", f"/repositories/{PRIVATE}/quarantine", of(bad) | {"reason": "theft"})
    assert settled(node, bad, pair.token, 403).body.count(b"quarantined: theft") == 1
    await_cut(node, before, len(cut))
    assert [one.rest() for one in cut] == [None, None]
    assert spared.rest() == SIZE


def test_f1_a_remembered_answer_ends_with_the_quarantine_and_comes_back_with_its_release(pair: Pair) -> None:
    path = publish(pair, PUBLIC, "held", 2000)
    at = f"/repositories/{PUBLIC}/quarantine"
    with pair.edge.speaker() as speaker:

        def ask(method: str = "GET", more: str = "") -> int:
            speaker.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode())
            return speaker.hear(head=method == "HEAD").status

        tag = f"If-None-Match: {pair.edge.ask('GET', path).headers['etag']}\r\n"
        assert [ask() for _ in range(3)] == [200] * 3
        assert [ask("HEAD"), ask(more=tag), ask(more="Range: bytes=1-9\r\n")] == [200, 304, 206]
        call(pair, "POST", at, of(path))
        assert [ask(), ask("HEAD"), ask(more=tag), ask(more="Range: bytes=1-9\r\n")] == [403] * 4
        listed = call(pair, "GET", at)["items"]
        assert [one["version"] for one in listed if one["package"] == of(path)["package"]] == [""]
        call(pair, "DELETE", f"{at}/generic/{of(path)['package']}")
        assert [ask(), ask("HEAD"), ask(more=tag), ask(more="Range: bytes=1-9\r\n")] == [200, 200, 304, 206]


@pytest.mark.parametrize("role", ["origin", "edge"])
def test_f1_a_download_under_a_revoked_token_is_cut_and_of_a_deleted_file_it_is_not(pair: Pair, role: str) -> None:
    node = pair.origin if role == "origin" else pair.edge
    path = publish(pair, PRIVATE, f"of-{role}")
    grants = [{"scope": PRIVATE}]
    made = call(pair, "POST", "/tokens", {"name": f"reader {role}", "grants": grants})
    settled(node, path, made["token"], 200)
    cut, spared = Download(node, path, made["token"]), Download(node, path, pair.token)
    before = cut_at(node)
    call(pair, "DELETE", f"/tokens/{made['id']}")
    settled(node, path, made["token"], 401)
    await_cut(node, before)
    assert cut.rest() is None
    said = pair.edge.ask("DELETE", path, pair.token)
    assert said.status == 204, said
    settled(node, path, pair.token, 404)
    assert spared.rest() == SIZE


def test_a_purge_has_an_edge_get_its_bytes_anew(pair: Pair) -> None:
    """Of one package, and of no other; at the origin nothing is lost."""
    here, beside = publish(pair, PUBLIC, "purged", 200_000), publish(pair, PUBLIC, "kept", 200_000)

    def outcome(path: str) -> str:
        return pair.edge.ask("GET", path).headers["entrepot-outcome"]

    for path in (here, beside):
        until(lambda path=path: outcome(path) == "HIT", path)  # type: ignore[misc]
    call(pair, "POST", f"/repositories/{PUBLIC}/purge", of(here))
    end = time.monotonic() + PATIENCE_S
    while outcome(here) == "HIT":
        assert time.monotonic() < end
    assert outcome(beside) == "HIT"
    assert pair.origin.ask("GET", here).status == 200
    while outcome(here) != "HIT":
        assert time.monotonic() < end
