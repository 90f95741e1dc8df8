"""Do paths, ranges, slow clients and floods leave a running node as it was? THREATS A5, A6, A8, A9, A10.

Small limits are configured, so that what takes ten seconds by default takes one here. No time is asserted: only what
comes in the end.
"""

import itertools
import os
import random
import select
from collections.abc import Iterator

import pytest

from bench.hostile.speaking import Ended, Reset, Said, Speaker
from bench.hostile.watching import exchange, processes
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.waiting import until

pytestmark = pytest.mark.native

PATHS = int(os.environ.get("ENTREPOT_PATHS", "3000"))
CANARY = b"canary that lies beside the data"
SIZES = (0, 1, 1_000, 16_385, 3_000_001)
CONNECTIONS = 60
LIMITS: dict[str, dict[str, float]] = {
    "delivery": {
        "head_seconds_max": 1.0,
        "idle_seconds_max": 2.0,
        "body_idle_seconds_max": 1.0,
        "body_rate_min_bytes_s": 4_096,
        "connections_max": CONNECTIONS,
    }
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("front")
    (folder / "canary").write_bytes(CANARY)
    (folder / "pair").mkdir()
    (folder / "pair" / "canary").write_bytes(CANARY)
    with Pair(folder / "pair", **LIMITS) as made:
        for size in SIZES:
            assert made.origin.ask("PUT", f"/{PUBLIC}/generic/ranged/{size}", made.token, body_of(size)).status == 201
        yield made
        assert '"level":"error"' not in made.words()
        assert "Traceback" not in made.words()


def body_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# ---------------------------------------------------------------- A6

DOTS = ("..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..;", "...",
        "%u002e%u002e", ".")  # fmt: skip
SLASHES = ("/", "%2f", "%2F", "%5c", "\\", "//", "%252f", "%c0%af", "/./", "%2f%2f", ";/")
FRONTS = (
    "/", "//", f"/{PUBLIC}/generic/", f"/{PUBLIC}/pypi/simple/", f"/{PUBLIC}/pypi/files/", f"/{PUBLIC}/npm/",
    f"/{PRIVATE}/generic/", "/-/", "/-/api/v1/", "/-/peer/", "/t/x/", f"/{PUBLIC}/npm/@a%2f",
    f"/{PUBLIC}/generic/-/uploads/", "/%2f%2f", "http://a/",
)  # fmt: skip
ENDS = (
    "canary", "etc/passwd", "origin/store.json", "edge/follower.lock", "journal", "a.css", "x;.js", "%00.txt",
    "%ff", "?a=..",
    "#x", "", "generic/ranged/1", "health", "a%0d%0aSet-Cookie:a=b", "%2e", "-", "con", "a" * 300, "%e2%80%ae",
    "%f0%9f%92%a9",
)  # fmt: skip


def corpus(count: int) -> list[str]:
    """Paths that try to leave, each once, the same ones each time."""
    dice, found = random.Random("a6"), dict[str, None]()
    for front, dot, slash, end in itertools.product(FRONTS, DOTS, SLASHES, ENDS):
        found[front + (dot + slash) * dice.randint(1, 6) + end] = None
    picked = list(found)
    dice.shuffle(picked)
    return picked[:count]


def verdict(speaker: Speaker | None, node: Served, path: str) -> tuple[str, Speaker | None]:
    """The status and body of one GET, on a kept connection where there is one."""
    speaker = speaker or node.speaker()
    speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
    said = speaker.hear()
    assert said.status < 500, (path, said)
    assert CANARY not in said.body, path
    assert b"root:" not in said.body, path
    assert b"store" not in said.body or said.status >= 400, path
    if said.headers.get("connection") == "close":
        speaker.close()
        return str(said.status), None
    return str(said.status), speaker


def test_a6_no_path_leads_out_and_both_nodes_judge_it_alike(pair: Pair) -> None:
    """CI takes the first 3,000 of an order that is the same each time; ENTREPOT_PATHS=10000 takes 10,000 of them."""
    origin: Speaker | None = None
    edge: Speaker | None = None
    seen = set()
    for path in corpus(PATHS):
        at_origin, origin = verdict(origin, pair.origin, path)
        at_edge, edge = verdict(edge, pair.edge, path)
        assert at_origin == at_edge, path
        seen.add(at_origin)
    for kept in (origin, edge):
        if kept is not None:
            kept.close()
    assert {"400", "404", "401"} <= seen, "the corpus reaches further than the parser"


def test_a6_the_corpus_is_large() -> None:
    assert len(corpus(10_000)) == 10_000


# ---------------------------------------------------------------- A10


def ranges(size: int) -> Iterator[str]:
    """Range headers that are and are not there."""
    dice = random.Random(size)
    edges = sorted({0, 1, 2, max(size - 2, 0), max(size - 1, 0), size, size + 1, size // 2, 1 << 31, 1 << 63, 10**40})
    for start in edges:
        yield f"bytes={start}-"
        yield f"bytes=-{start}"
        yield f"bytes={start}-{start}"
        yield f"bytes={start}-{start + dice.randrange(70_000)}"
        yield f"bytes={dice.randrange(size + 2)}-{start}"
    yield from (
        "bytes=0-0,-1", "bytes=0-0,2-2,4-4", "bytes=" + ",".join(f"{n}-{n}" for n in range(1_000)), "bytes=5-2",
        "bytes=-", "bytes=", "bytes", "bytes=a-b", "bytes=0x0-1", "bytes=--1", "bytes=1--1", "bytes= 0 - 1",
        "bytes=0-1x", "lines=0-1", "bytes=+0-1", "",
        "bytes=0-1;bytes=2-3", "BYTES=0-0", "bytes:0-0", "bytes=00000000000000000000000000-000000001",
    )  # fmt: skip


def sliced(wanted: str, size: int) -> tuple[int, int] | None:
    """Written a second time on purpose: the slice that a range means, None where all of it is sent."""
    unit, equals, spec = wanted.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit != "bytes" or not equals or not dash or not all(part == "" or part.isdecimal() for part in (first, last)):
        return None
    if first == last == "":
        return None
    if first == "":
        return (max(size - int(last), 0), size) if int(last) and size else (-1, -1)
    if last and int(last) < int(first):
        return None
    return (int(first), min(int(last) + 1, size) if last else size) if int(first) < size else (-1, -1)


def judge_range(said: Said, wanted: str, body: bytes) -> None:
    part = sliced(wanted, len(body))
    if said.status == 416:
        assert part == (-1, -1), wanted
        assert said.headers["content-range"] == f"bytes */{len(body)}"
        assert said.headers["cache-control"] == "no-store"
    elif said.status == 206:
        assert part is not None, wanted
        assert said.body == body[slice(*part)], wanted
        assert said.headers["content-range"] == f"bytes {part[0]}-{part[1] - 1}/{len(body)}"
    else:
        assert said.status == 200, (wanted, said.status)
        assert part is None or part == (0, len(body)) or not body, wanted
        assert said.body == body, wanted


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("door", ["edge", "origin"])
def test_a10_a_range_is_the_slice_on_every_path(pair: Pair, door: str, tls: bool) -> None:
    """At the edge the first ranges come before its own copy is there, so that they are answered while it is filled."""
    node: Served = getattr(pair, door)
    for size in SIZES:
        body, path = body_of(size), f"/{PUBLIC}/generic/ranged/{size}"
        until(lambda path=path: node.ask("HEAD", path).status != 404, "the edge has heard of it")  # type: ignore[misc]
        with node.speaker(tls=tls) as speaker:
            for wanted in ranges(size):
                speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nRange: {wanted}\r\n\r\n".encode())
                judge_range(speaker.hear(), wanted, body)


def test_a10_a_condition_decides_whether_the_range_counts(pair: Pair) -> None:
    path, body = f"/{PUBLIC}/generic/ranged/1000", body_of(1_000)
    for node in (pair.origin, pair.edge):
        etag = node.ask("GET", path).headers["etag"]
        for condition, status in (
            (etag, 206), ('"other"', 200), (f"W/{etag}", 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200), ("rubbish", 200),
            ("*", 200),
        ):  # fmt: skip
            with node.speaker() as speaker:
                told = f"Range: bytes=1-3\r\nIf-Range: {condition}"
                speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{told}\r\n\r\n".encode())
                said = speaker.hear()
            assert (said.status, said.body) == (status, body[1:4] if status == 206 else body), condition


# ---------------------------------------------------------------- A8, A9


def ended(speaker: Speaker, pieces: Iterator[bytes], until_s: float = 0.15) -> str:
    """Dribble on until the server has had enough: its answer's status, or the state of the connection."""
    speaker.socket.settimeout(until_s)
    for piece in pieces:
        speaker.send(piece)
        try:
            return str(speaker.hear().status)
        except TimeoutError:
            continue
        except Ended:
            return "closed"
        except Reset:
            return "reset"
    return "still open"


SLOW = 200
UPLOAD = f"PUT /t/TOKEN/{PRIVATE}/generic/slow HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("door", ["origin", "edge"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("name", "first", "then", "comes"),
    [
        ("nothing at all", "", b"", ("closed",)),
        ("a head that dribbles", "GET / HTTP/1.1\r\nX: ", b"a", ("408",)),
        ("a head that stops", "GET / HTTP/1.1\r\nX: ", b"", ("408",)),
        ("fields without end", "GET / HTTP/1.1\r\n", b"X: y\r\n", ("408", "431")),
        ("a body that stops", UPLOAD + "Content-Length: 500000\r\n\r\nabc", b"", ("408", "503")),
        ("a body that dribbles", UPLOAD + "Content-Length: 500000\r\n\r\n", b"a", ("408", "503")),
        ("chunks that dribble", UPLOAD + "Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", ("408", "503")),
    ],
)
def test_a8_a_slow_client_is_ended(
    pair: Pair, door: str, tls: bool, name: str, first: str, then: bytes, comes: tuple[str, ...]
) -> None:
    node: Served = getattr(pair, door)
    with node.speaker(tls=tls) as speaker:
        speaker.send(first.replace("TOKEN", pair.token).encode())
        assert ended(speaker, itertools.repeat(then, SLOW)) in comes, name
    assert node.ask("GET", f"/{PUBLIC}/generic/ranged/1").status == 200


def cut_off(speaker: Speaker) -> bool:
    """Read a byte now and then until the server has had enough. What the kernel holds already could be read for hours
    after that, so its word of a reset is looked for."""
    poll = select.poll()
    poll.register(speaker.socket, 0)
    for _ in range(240):
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(250)):
            return True
        speaker.socket.recv(1)
    return False


def test_a8_who_reads_too_slowly_is_cut_and_who_is_idle_is_let_go(pair: Pair) -> None:
    node = pair.origin
    with node.speaker() as idle, node.speaker() as slow:
        slow.send(f"GET /{PUBLIC}/generic/ranged/{SIZES[-1]} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 30)
        assert exchange(idle, "GET", f"/{PUBLIC}/generic/ranged/1").status == 200
        assert idle.state() == "closed"
        assert cut_off(slow)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_a9_a_flood_of_connections_is_shed_and_leaves_nothing(pair: Pair, door: str) -> None:
    """Those who are in are served, those over the limit are told so or closed, and afterwards all is as before."""
    node: Served = getattr(pair, door)
    path = f"/{PUBLIC}/generic/ranged/1000"
    before = processes(node.process.pid)["worker"]
    with node.speaker() as friend:
        assert exchange(friend, "GET", path).status == 200
        crowd = [node.speaker() for _ in range(8 * CONNECTIONS)]
        assert exchange(friend, "GET", path).body == body_of(1_000), "who was there before is served"
        told: dict[str, int] = {}
        for one in crowd:
            one.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        for one in crowd:
            try:
                outcome = str(one.hear().status)
            except (Ended, Reset):
                outcome = "ended"
            told[outcome] = told.get(outcome, 0) + 1
            one.close()
        assert told.keys() <= {"200", "503", "408", "ended"}, told
        assert told["200"] < CONNECTIONS + 10, told
    until(lambda: node.ask("GET", path).status == 200, "the flood is over")
    after = processes(node.process.pid)["worker"]
    assert after.keys() == before.keys(), "no worker ended"
    assert sum(after.values()) - sum(before.values()) < 32 << 20
