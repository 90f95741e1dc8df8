"""Does an edge fetch only what it lacks: the new chunks of a next version, the range that is asked for (B7, C1, F5)?"""

import json
import time
from collections.abc import Iterator

import pytest

from storage.digest import sha256
from tests.harness.commandline import run
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.running import clean_environment
from tests.harness.versions import edited, layer, model, wheel

pytestmark = pytest.mark.native

SEEDS = [*range(30)]
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("pieces") / "pair") as made:
        yield made


def publish(pair: Pair, name: str, data: bytes, repository: str = PUBLIC) -> str:
    path = f"/{repository}/generic/{name}/1.0/data.bin"
    assert pair.edge.ask("PUT", path, pair.token, data).status == 201
    return path


def recipe(node: Served, path: str, data: bytes, token: str) -> int:
    return node.ask("GET", f"/-/peer/recipe{path}?piece-sha256={sha256(data).hex()}", token).status


def is_cut(node: Served, path: str, data: bytes, token: str) -> None:
    """Wait until the node knows of which chunks a file consists."""
    end = time.monotonic() + PATIENCE_S
    while recipe(node, path, data, token) != 200:
        assert time.monotonic() < end, "it is not cut"
        time.sleep(0.05)


def sent(node: Served, path: str) -> tuple[int, int]:
    """Bytes of a file that a node has sent, as it is and in pieces."""
    whole = pieces = 0
    for line in node.logged().splitlines():
        told = json.loads(line)
        target = told.get("target", "")
        if told.get("method") == "GET" and target.startswith(path):
            whole += told["bytes"]
        elif target.startswith(f"/-/peer/pieces{path}"):
            pieces += told["bytes"]
    return whole, pieces


def typed(pair: Pair, *words: str) -> str:
    """What a command says of the origin."""
    environment = clean_environment() | {"ENTREPOT_URL": pair.origin.url, "ENTREPOT_TOKEN": pair.token}
    done = run(words, environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


VERSIONS = {
    "model": (model(size=17 << 20), edited(model(size=17 << 20), 5 << 20, 1 << 20), (1 << 20) + 600_000),
    "wheel": (wheel(SEEDS), wheel([99, *SEEDS[1:]]), 600_000),
    "layer": (layer(SEEDS), layer([99, *SEEDS[1:]], mtime=1_700_000_000), 1_500_000),
}


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_next_version_costs_what_is_new(pair: Pair, kind: str) -> None:
    old, new, most = VERSIONS[kind]
    first = publish(pair, f"{kind}-1", old)
    assert pair.origin.ask("GET", first).body == old  # remembered by now, perhaps from before it was cut
    is_cut(pair.origin, first, old, pair.token)
    second = publish(pair, f"{kind}-2", new)
    assert pair.edge.ask("GET", first).body == old
    is_cut(pair.edge, first, old, pair.token)
    is_cut(pair.origin, second, new, pair.token)
    said = pair.edge.ask("GET", second)
    assert said.body == new
    assert pair.edge.ask("GET", second).body == new
    whole, pieces = sent(pair.origin, second)
    assert whole == 0
    assert 0 < pieces < most
    assert pair.origin.ask("GET", second).body == new  # composed by now, and the same
    told = json.loads(pair.origin.ask("GET", f"/-/api/v1/repositories/{PUBLIC}/storage", pair.token).body)
    assert told["saved_bytes"] > 0.5 * len(new)
    assert told["complete"] is True
    shown = f"/-/api/v1/repositories/{PUBLIC}/packages/{kind}-2/1.0/data.bin?format=generic"
    (file,) = json.loads(pair.origin.ask("GET", shown, pair.token).body)["files"]
    assert file["stored"]["saved_bytes"] > 0.5 * len(new)
    assert "cut" in file["stored"]["why"]
    assert file["stored"]["chunks"] > 10
    package = (PUBLIC, f"{kind}-2/1.0/data.bin", "--format", "generic")
    (cells,) = (line.split("\t") for line in typed(pair, "ls", *package, "--stored").splitlines())
    assert cells[3:5] == [file["stored"]["why"], str(file["stored"]["chunks"])]
    assert cells[6].endswith("%)")
    assert "█" in (drawn := typed(pair, "ls", *package, "--plot"))
    assert "░" in drawn
    shown = typed(pair, "repo", "show", PUBLIC)
    assert f"chunks, {file['stored']['why']}, of which was there: " in shown
    assert "░" in typed(pair, "repo", "show", PUBLIC, "--plot")


def test_pieces_are_for_peers_that_may_read_the_file(pair: Pair) -> None:
    """C1, F5: no key, no digest opens what the path does not."""
    data = model(5, 17 << 20)
    path = publish(pair, "secret", data, PRIVATE)
    is_cut(pair.origin, path, data, pair.token)
    named = f"piece-sha256={sha256(data).hex()}"
    ranges = f"/-/peer/pieces{path}?{named}&piece-ranges=0-10,100-20"
    said = pair.origin.ask("GET", ranges, pair.token)
    assert said.body == data[:16] + data[256 : 256 + 32]
    assert pair.origin.ask("GET", ranges).status == 404
    assert pair.origin.ask("GET", ranges, "ent_nobody").status == 401
    elsewhere = f"/-/peer/pieces/{PUBLIC}/generic/model-1/1.0/data.bin?{named}&piece-ranges=0-10"
    assert pair.origin.ask("GET", elsewhere, pair.token).status == 404
    for bad in ("0-0", "x", f"{len(data):x}-1", "0-fffffff", ""):
        assert pair.origin.ask("GET", f"/-/peer/pieces{path}?{named}&piece-ranges={bad}", pair.token).status == 400
    for bad in ("-1", "x", str(len(data)), "9" * 30):
        assert pair.origin.ask("GET", f"/-/peer/recipe{path}?{named}&piece-at={bad}", pair.token).status == 400
    assert pair.origin.ask("POST", f"/-/peer/recipe{path}?{named}", pair.token).status == 404
    assert pair.origin.ask("GET", "/-/peer/recipe", pair.token).status == 404


def part(node: Served, path: str, start: int, stop: int) -> tuple[int, bytes]:
    with node.speaker() as speaker:
        speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={start}-{stop - 1}\r\n\r\n".encode())
        said = speaker.hear()
    return said.status, said.body


def test_a_range_of_a_large_cold_file_fetches_only_that(pair: Pair) -> None:
    data = model(8, 40 << 20)
    path = publish(pair, "large", data)
    for start, stop in ((30 << 20, 31 << 20), (0, 1000), (len(data) - 5, len(data))):
        assert part(pair.edge, path, start, stop) == (206, data[start:stop])
    asked = (1 << 20) + 1005
    assert sent(pair.origin, path) == (asked, 0)
    assert part(pair.edge, path, 0, 25 << 20) == (206, data[: 25 << 20])  # more than half of it is wanted by now
    assert pair.edge.ask("GET", path).body == data
    assert sent(pair.origin, path) == (asked + len(data), 0)
