"""Is what was deleted gone under every address that it had? (THREATS F14)

Each shape of a request is answered twice before, so that both nodes remember its answer, and asked again after.
"""

import base64
import time
from collections.abc import Iterator

import pytest

from storage.digest import sha256
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served

pytestmark = pytest.mark.native

DATA = bytes(range(256)) * 2_000
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("ghosts") / "pair") as made:
        yield made


def shapes(path: str, token: str, etag: str) -> dict[str, tuple[str, str, str, int]]:
    """By name: method, target, headers, and the status while it is there."""
    basic = "Authorization: Basic " + base64.b64encode(f"token:{token}".encode()).decode() + "\r\n"
    bearer = f"Authorization: Bearer {token}\r\n"
    return {
        "bearer": ("GET", path, bearer, 200),
        "basic": ("GET", path, basic, 200),
        "token in the path": ("GET", f"/t/{token}{path}", "", 200),
        "head": ("HEAD", path, bearer, 200),
        "range": ("GET", path, bearer + "Range: bytes=5-9\r\n", 206),
        "range of what did not change": ("GET", path, bearer + f"Range: bytes=5-9\r\nIf-Range: {etag}\r\n", 206),
        "known already": ("GET", path, bearer + f"If-None-Match: {etag}\r\n", 304),
        "escaped": ("GET", path.replace("data", "%64ata"), bearer, 200),
        "compressed": ("GET", path, bearer + "Accept-Encoding: zstd, gzip\r\n", 200),
    }


def asked(node: Served, method: str, target: str, more: str) -> int:
    with node.speaker() as speaker:
        speaker.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode())
        return speaker.hear(head=method == "HEAD").status


@pytest.mark.parametrize("repository", [PUBLIC, PRIVATE])
def test_f14_what_is_deleted_is_gone_under_every_address(pair: Pair, repository: str) -> None:
    path = f"/{repository}/generic/ghost/1.0/data.bin"
    assert pair.edge.ask("PUT", path, pair.token, DATA).status == 201
    kept = path.replace("ghost", "kept")
    assert pair.edge.ask("PUT", kept, pair.token, DATA).status == 201, "the same bytes stay, under another name"
    etag = f'"{sha256(DATA).hex()}"'
    ways = shapes(path, pair.token, etag)
    answered: dict[tuple[str, str], int] = {}
    for node, door in ((pair.origin, "origin"), (pair.edge, "edge")):
        for name, (method, target, more, good) in ways.items():
            for _ in range(2):
                answered[door, name] = asked(node, method, target, more)
            assert answered[door, name] == good, (door, name)
    assert pair.edge.ask("DELETE", path, pair.token).status in (200, 204)
    for node, door in ((pair.origin, "origin"), (pair.edge, "edge")):
        for name, (method, target, more, _) in ways.items():
            end_s = time.monotonic() + PATIENCE_S
            while (status := asked(node, method, target, more)) not in (404, 410):
                assert time.monotonic() < end_s, f"{door} answers {status} for a deleted file, asked as: {name}"
                time.sleep(0.02)
        assert node.ask("GET", kept, pair.token).body == DATA
