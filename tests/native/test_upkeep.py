"""Sweep and scrub at running nodes of several workers, by the command line (THREATS E8, E11; O2)."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.pairs import PRIVATE, Pair, Served

pytestmark = pytest.mark.native

COUNT = 120
SIZES = (1_200, 300_000, 1_500_000)


def data_of(n: int) -> bytes:
    seed = hashlib.sha256(b"%d" % n).digest()
    return seed * (SIZES[n % len(SIZES)] // 32)


def path_of(n: int) -> str:
    return f"/{PRIVATE}/generic/files/{n}.bin"


def packed(node: Served, shelf: str = "packs") -> int:
    """Bytes of the packs of a node."""
    return sum(path.stat().st_size for path in (node.data / shelf).glob("*.pack"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    limits = {"upkeep": {"sweep_grace_seconds": 0}}
    with Pair(tmp_path_factory.mktemp("upkeep") / "pair", workers=2, **limits) as made:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: put(made, n), range(COUNT)))
        yield made


def put(pair: Pair, n: int) -> None:
    """Through the edge, which has heard of it when this returns."""
    said = pair.edge.ask("PUT", path_of(n), pair.token, data_of(n))
    assert said.status == 201, said.body


def test_o2_a_sweep_gives_room_back_while_clients_read_and_publish(pair: Pair) -> None:
    """Every read through origin and edge is right all the while, and every publish succeeds."""
    for n in range(0, COUNT, 2):
        assert pair.origin.ask("DELETE", path_of(n), pair.token).status == 204
    for n in range(0, COUNT, 4):  # and some come back
        put(pair, n)
    before = packed(pair.origin)
    code, would, _ = pair.entrepot("sweep", "--dry-run")
    assert code == 0
    assert would["forgotten"] == COUNT // 4

    def load(worker: int) -> int:
        count = 0
        for n in range(COUNT):
            if n % 4 != 2:
                node = (pair.origin, pair.edge)[(n + worker) % 2]
                said = node.ask("GET", path_of(n), pair.token)
                assert (said.status, said.body) == (200, data_of(n)), n
                count += 1
            if n % 10 == worker:
                put(pair, COUNT + 12 * worker + n // 10)
        return count

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(load, worker) for worker in range(5)]
        code, told, words = pair.entrepot("sweep")
        assert code == 0, words
        assert all(one.result() for one in reading)
    assert told["problem"] == ""
    assert told["progress"]["forgotten"] == COUNT // 4
    assert told["progress"]["reclaimed_bytes"] > 0
    code, told, _ = pair.entrepot("sweep", node=pair.edge)  # asked at an edge, done at the origin
    assert code == 0
    assert told["runs"] >= 2
    assert packed(pair.origin) < before + 60 * 1_500_000 - would["reclaimed_bytes"]
    for n in range(2, COUNT, 4):
        assert pair.origin.ask("GET", path_of(n), pair.token).status == 404
    metrics = pair.origin.ask("GET", "/-/metrics", pair.token).body.decode()
    assert "entrepot_sweep_reclaimed_bytes_total" in metrics
    assert "Traceback" not in pair.words()


def test_e8_an_edge_repairs_what_rotted_from_its_origin(pair: Pair) -> None:
    n = 5
    assert pair.edge.ask("GET", path_of(n), pair.token).body == data_of(n)
    code, told, _ = pair.entrepot("scrub", node=pair.edge)
    assert (code, told["progress"]["forgotten"]) == (0, 0)
    rot(pair.edge.data / "cache" / "packs", data_of(n))
    code, told, _ = pair.entrepot("scrub", node=pair.edge)
    assert (code, told["progress"]["forgotten"]) == (0, 1)
    until_known(lambda: pair.edge.ask("GET", path_of(n), pair.token).body == data_of(n))


def test_e8_an_origin_tells_what_rotted_and_a_publish_repairs_it(pair: Pair) -> None:
    n = 1
    code, told, _ = pair.entrepot("scrub")
    assert (code, told["progress"]["damaged"]) == (0, [])
    rot(pair.origin.data / "packs", data_of(n))
    code, told, _ = pair.entrepot("scrub")
    assert code == 1
    assert "demo/main/generic" in told["progress"]["damaged"][0]
    until_known(lambda: pair.origin.ask("GET", path_of(n), pair.token).status == 500)
    said = pair.origin.ask("PUT", f"/{PRIVATE}/generic/files/again.bin", pair.token, data_of(n))
    assert said.status == 201
    code, told, _ = pair.entrepot("scrub")
    assert (code, told["progress"]["damaged"]) == (0, [])
    assert pair.origin.ask("GET", f"/{PRIVATE}/generic/files/again.bin", pair.token).body == data_of(n)


def until_known(is_so: Callable[[], bool]) -> None:
    """Each worker looks once a second for what another has found."""
    end = time.monotonic() + 30
    while not all(is_so() for _ in range(20)):  # 20 connections meet each of two workers
        assert time.monotonic() < end


def rot(folder: Path, data: bytes) -> None:
    for path in sorted(folder.glob("*.pack")):
        at = path.read_bytes().find(data)
        if at >= 0:
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, b"rot", at + len(data) // 2)
            os.close(fd)
            return
    raise AssertionError("not found in any pack")
