"""Quotas at running nodes of several workers: exact under parallel uploads through origin and edge, told in each
client's dialect, given back by what ends (O3, THREATS E5, F9)."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.hostile.speaking import Said
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served

pytestmark = pytest.mark.native

PARALLEL = 200
SIZE = 3_000
FIT = 61


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("quotas") / "pair", workers=2) as made:
        yield made


def bound(pair: Pair, place: str, size: int) -> None:
    code, told, words = pair.entrepot("quota", "set", place, str(size))
    assert code == 0, words
    assert told["quota_bytes"] == size


def usage(pair: Pair, place: str) -> tuple[int, int]:
    """Bytes that are visible, and that are on their way."""
    code, told, words = pair.entrepot("quota", "show", place)
    assert code == 0, words
    return told["bytes"], told["reserved_bytes"]


def put(pair: Pair, node: Served, name: str, body: bytes, *, chunked: bool = False, place: str = PRIVATE) -> Said:
    fields = f"Authorization: Bearer {pair.token}\r\nHost: registry.example\r\n"
    path = f"/{place}/generic/{name}"
    with node.speaker() as speaker:
        if chunked:
            pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1000], body[1000:]) if part)
            speaker.send(f"PUT {path} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode())
            speaker.send(pieces + b"0\r\n\r\n")
        else:
            speaker.send(f"PUT {path} HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return speaker.hear()


@pytest.mark.parametrize("chunked", [False, True])
def test_o3_exactly_as_many_of_200_parallel_uploads_get_in_as_fit(pair: Pair, chunked: bool) -> None:
    """Half of them through the edge. All are refused that do not fit, and none that does."""
    place = PUBLIC if chunked else PRIVATE
    bound(pair, place, FIT * SIZE + 10)

    def one(n: int) -> int:
        said = put(pair, (pair.origin, pair.edge)[n % 2], f"f{n}", os.urandom(SIZE), chunked=chunked, place=place)
        assert said.status in (201, 507), said.body
        if said.status == 507:
            assert b"may hold" in said.body
        return said.status

    with ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(one, range(PARALLEL)))
    assert statuses.count(201) == FIT
    assert usage(pair, place) == (FIT * SIZE, 0)
    metrics = pair.origin.ask("GET", "/-/metrics", pair.token).body.decode()
    workspace = place.partition("/")[0]
    assert f'entrepot_workspace_bytes{{workspace="{workspace}"}} {usage(pair, workspace)[0]}\n' in metrics
    name = f"f{statuses.index(201)}"
    assert pair.origin.ask("DELETE", f"/{place}/generic/{name}", pair.token).status == 204
    assert put(pair, pair.edge, "after", os.urandom(SIZE), place=place).status == 201
    assert put(pair, pair.edge, "after2", os.urandom(SIZE), place=place).status == 507
    bound(pair, place, 0)
    assert put(pair, pair.edge, "after2", os.urandom(SIZE), place=place).status == 201


def test_o3_what_does_not_fit_is_refused_before_it_is_read(pair: Pair) -> None:
    used, _ = usage(pair, PRIVATE)
    bound(pair, PRIVATE, used + 1_000)
    for node in (pair.origin, pair.edge):
        with node.speaker() as speaker:
            speaker.send(
                f"PUT /{PRIVATE}/generic/large HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {pair.token}\r\n"
                f"Content-Length: 5000000000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            said = speaker.hear()
        assert (said.status, said.interim) == (507, ()), node
        assert b"Delete what is not needed" in said.body
    bound(pair, PRIVATE, 0)


def test_o3_a_session_is_counted_while_it_lives(pair: Pair) -> None:
    """Resumable uploads: what was announced counts from the start, and is given back when one is cancelled."""
    used, _ = usage(pair, PRIVATE)
    bound(pair, PRIVATE, used + 10_000)
    head = {"Upload-Draft-Interop-Version": "8", "Upload-Complete": "?0", "Upload-Length": "8000"}
    began = send(pair, "POST", f"/{PRIVATE}/generic/resumed", head)
    assert began.status == 201, began.body
    assert usage(pair, PRIVATE) == (used, 8_000)
    assert put(pair, pair.origin, "beside", os.urandom(3_000)).status == 507
    assert put(pair, pair.origin, "small", os.urandom(1_000)).status == 201
    location = began.headers["location"].split("/", 3)[3]
    assert send(pair, "DELETE", f"/{location}", {"Upload-Draft-Interop-Version": "8"}).status == 204
    assert usage(pair, PRIVATE) == (used + 1_000, 0)
    assert put(pair, pair.origin, "beside", os.urandom(3_000)).status == 201
    bound(pair, PRIVATE, 0)


def test_o3_the_bound_of_a_workspace_binds_all_its_repositories(pair: Pair) -> None:
    workspace = PRIVATE.partition("/")[0]
    used, _ = usage(pair, workspace)
    bound(pair, workspace, used + 5_000)
    assert put(pair, pair.origin, "one", os.urandom(3_000)).status == 201
    assert put(pair, pair.origin, "two", os.urandom(3_000), place=PUBLIC).status == 507
    assert put(pair, pair.origin, "two", os.urandom(2_000), place=PUBLIC).status == 201
    said = put(pair, pair.origin, "one", os.urandom(3_000))  # the name is taken; a refusal for room would mislead
    assert said.status in (409, 507)
    bound(pair, workspace, 0)


def test_o3_clients_that_repeat_after_a_5xx_are_told_403(pair: Pair) -> None:
    used, _ = usage(pair, PRIVATE)
    bound(pair, PRIVATE, used + 100)
    began = send(pair, "POST", f"/v2/{PRIVATE}/image/blobs/uploads/", {})
    assert began.status == 202, began.body
    location = began.headers["location"]
    path = location if location.startswith("/") else "/" + location.split("/", 3)[3]
    said = send(pair, "PATCH", path, {"Content-Type": "application/octet-stream"}, os.urandom(2_000))
    assert said.status == 403
    assert json.loads(said.body)["errors"][0]["code"] == "DENIED"
    said = send(pair, "PUT", f"/{PRIVATE}/npm/thing", {"Content-Type": "application/json"}, b'{"name":"thing"}' * 500)
    assert said.status == 403, said.body
    assert "may hold" in json.loads(said.body)["error"]
    bound(pair, PRIVATE, 0)


def test_what_a_client_that_hangs_up_had_reserved_is_given_back(pair: Pair) -> None:
    used, _ = usage(pair, PRIVATE)
    bound(pair, PRIVATE, used + 10_000)
    with pair.origin.speaker() as speaker:
        speaker.send(
            f"PUT /{PRIVATE}/generic/hanging HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {pair.token}\r\n"
            f"Content-Length: 9000\r\n\r\nabc".encode()
        )
        end = time.monotonic() + 20
        while usage(pair, PRIVATE)[1] != 9_000:
            assert time.monotonic() < end
    end = time.monotonic() + 20
    while usage(pair, PRIVATE)[1]:
        assert time.monotonic() < end, "who hangs up gives the room back"
    bound(pair, PRIVATE, 0)


def send(pair: Pair, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Said:
    fields = {"Host": "registry.example", "Authorization": f"Bearer {pair.token}", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | headers).items())
    with pair.origin.speaker() as speaker:
        speaker.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return speaker.hear()
