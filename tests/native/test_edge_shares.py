"""Does a repository's most hold at a real edge, far below an eighth of a pack, and stay what is others' where it is?

The bound: its most after each look, which comes 2 s later at the latest; in between what came since. What is pinned or
still on its way is not counted.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bench.hostile.watching import exchange
from gateway.cli.terminal.sizes import size_of
from storage.blobs.packs import BODY, records
from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.harness.running import ENTREPOT, clean_environment
from tests.harness.waiting import until

CACHE_BYTES = 64 << 20
MOST = 5
MOST_BYTES = CACHE_BYTES * MOST // 100
SMALL = 40_000
LARGE = 2_500_000
BUSY, QUIET = PRIVATE, PUBLIC


def data_of(place: str, n: int) -> bytes:
    size = LARGE if n % 50 == 49 and place == BUSY else SMALL
    return hashlib.shake_128(f"{place} {n}".encode()).digest(size)


def path_of(place: str, n: int) -> str:
    return f"/{place}/generic/files/{n}.bin"


def used(pair: Pair, names: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Which of these the edge's cache has, and in which pack."""
    found: dict[bytes, int] = {}
    for path in sorted((pair.edge.data / "cache" / "packs").glob("*.pack")):
        with suppress(FileNotFoundError):
            read = records(path)
            found |= {one.sha256: int(path.stem, 16) for one in (read[1] if read else []) if one.kind == BODY}
    sums = {name: hashlib.sha256(data_of(*name)).digest() for name in names}
    return {name: found[sha256] for name, sha256 in sums.items() if sha256 in found}


def bytes_of(names: Iterable[tuple[str, int]]) -> int:
    return sum(len(data_of(*name)) for name in names)


def publish(pair: Pair, names: Iterable[tuple[str, int]]) -> None:
    """Through the edge."""
    with pair.edge.speaker() as speaker:
        for name in names:
            said = exchange(speaker, "PUT", path_of(*name), pair.token, data_of(*name))
            assert said.status == 201, said.body


def read(pair: Pair, names: Iterable[tuple[str, int]]) -> None:
    for name in names:  # a connection each: whichever worker takes it
        said = pair.edge.ask("GET", path_of(*name), pair.token)
        assert said.status == 200
        assert said.body == data_of(*name)


def configure(folder: Path, *shares: str) -> None:
    """What the edge reads at its next start."""
    config = folder / "limits.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("shares")]
    config.write_text("\n".join([*lines, f"shares = {list(shares)!r}"]) + "\n")


def is_told(pair: Pair, bytes: int) -> None:
    """By either process of the edge: in `status`, drawn and for programs, and in the metrics."""
    wanted = {"place": BUSY, "bytes": bytes, "guaranteed_bytes": 0, "most_bytes": MOST_BYTES}

    def told() -> bool:
        return bool(pair.entrepot("status", node=pair.edge)[1]["cache_shares"] == [wanted])

    until(told, "the process that evicts has counted")
    assert [told() for _ in range(4)] == [True] * 4
    workspace, repository = BUSY.split("/")
    for name in ("bytes", "guaranteed_bytes", "most_bytes"):
        line = f'entrepot_cache_share_{name}{{workspace="{workspace}",repository="{repository}"}} {wanted[name]}\n'
        assert line in pair.edge.ask("GET", "/-/metrics", pair.token).body.decode()
    environment = clean_environment() | {"ENTREPOT_URL": pair.edge.url, "ENTREPOT_TOKEN": pair.token}
    drawn = subprocess.run([*ENTREPOT, "status"], capture_output=True, text=True, env=environment, timeout=60).stdout
    (row,) = (line for line in drawn.splitlines() if line.startswith(f"{BUSY} █"))
    assert row.endswith(f"{size_of(bytes)}, at most {size_of(MOST_BYTES)}")


def test_a_most_holds_at_an_edge_and_what_is_others_stays_where_it_is(tmp_path: Path) -> None:
    cache = {"disk_bytes_max": CACHE_BYTES, "shares": [f"{BUSY}=-{MOST}"]}
    busy = [(BUSY, n) for n in range(150)]
    quiet = [(QUIET, n) for n in range(30)]
    with Pair(tmp_path, workers=2, cache=cache) as pair:
        publish(pair, [*busy, *quiet])

        def holds(names: list[tuple[str, int]]) -> None:
            until(lambda: bytes_of(used(pair, names)) <= MOST_BYTES, "its most holds")
            assert bytes_of(used(pair, names)) >= MOST_BYTES // 2, "and it has it"

        for n in range(0, 120, 10):
            read(pair, [*busy[n : n + 10], *quiet[n // 10 * 2 : n // 10 * 2 + 2]])
        holds(busy)
        is_told(pair, bytes_of(used(pair, busy)))
        lying = used(pair, quiet)
        assert set(lying) == set(quiet[:24]), "nobody else gives anything for it"
        assert not set(lying.values()) & set(used(pair, busy).values()), "they lie apart"

        pair.edge.stop()
        pair.start_edge()
        read(pair, busy[120:])
        holds(busy)
        assert used(pair, quiet) == lying, "nothing of it was written on"

        pair.edge.stop()
        configure(tmp_path, f"{QUIET}=10-")
        pair.start_edge()
        read(pair, busy)
        assert bytes_of(used(pair, busy)) > 2 * MOST_BYTES, "it has no most any more"

        pair.edge.stop()
        configure(tmp_path, f"{BUSY}=-{MOST}")
        pair.start_edge()
        read(pair, quiet)
        until(lambda: bytes_of(used(pair, busy)) <= MOST_BYTES, "one that comes later holds too")
        assert set(used(pair, quiet)) == set(quiet)
        assert "Traceback" not in pair.words()
