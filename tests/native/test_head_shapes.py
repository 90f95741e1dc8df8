"""Is every shape of head answered as declared, in the declared state of the socket, on every path of a running node?

The paths: an answer from memory, a first look, a request task, an upload, the management application; at an origin, at
an edge, through the edge's relay, and over TLS. Behind each request another one is sent in the same breath: where the
connection is declared closed nobody may ever see it, at no node; where it is kept it is answered in its turn, once.
THREATS A1-A4, A6, A7, A11.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.hostile.speaking import Reset
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.shapes import BODIES, OWN, SHAPES, Shape, head
from tests.harness.waiting import until

pytestmark = pytest.mark.native

HOT = f"/{PUBLIC}/generic/shapes/hot.txt"
TRUNCATED = (
    Shape("truncated length", head("Content-Length: 50"), b"hello", OWN, "reset"),
    Shape("truncated chunk", head("Transfer-Encoding: chunked"), b"ff\r\nhello", OWN, "reset"),
    Shape("truncated between chunks", head("Transfer-Encoding: chunked"), b"5\r\nhello\r\n", OWN, "reset"),
)


@dataclass(frozen=True)
class Path:
    """A way through a node. `{n}` in the target is another one for each request; `reads` = it reads whole bodies."""

    name: str
    node: str
    method: str
    target: str
    own: tuple[int, ...] = (200,)
    reads: bool = False
    tls: bool = False
    times: int = 1


def paths() -> Iterator[Path]:
    for node in ("origin", "edge"):
        for tls in (False, True):
            where = f"{node} tls" if tls else node
            yield Path(f"{where} hot", node, "GET", HOT, tls=tls, times=2)
            yield Path(f"{where} first look", node, "GET", HOT + "?n={n}", tls=tls)
            yield Path(f"{where} task", node, "GET", f"/{PUBLIC}/generic/shapes/?limit=7&after=a{{n}}", tls=tls)
            yield Path(f"{where} upload", node, "PUT", f"/t/TOKEN/{PRIVATE}/generic/up/{{n}}", (201,), True, tls)
            yield Path(f"{where} manage", node, "GET", "/-/health", (200,), True, tls)
        yield Path(f"{node} manage, changing", node, "DELETE", "/-/api/v1/tokens/{n}", (401,), True)


PATHS = tuple(paths())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("shapes") / "pair") as made:
        for name in ("hot.txt", "other.txt"):
            assert made.origin.ask("PUT", f"/{PUBLIC}/generic/shapes/{name}", made.token, b"hot").status == 201
        wait_for(made.edge, HOT)
        yield made
        assert '"level":"error"' not in made.words()
        assert "Traceback" not in made.words()


def wait_for(node: Served, path: str) -> None:
    until(lambda: node.ask("GET", path).status == 200, path)


class Numbers:
    """Each request has a number of its own, so that the logs tell which of them anybody saw."""

    def __init__(self, first: int) -> None:
        self._next = first

    def next(self) -> int:
        self._next += 1
        return self._next


def exchanged(pair: Pair, path: Path, shape: Shape, number: int) -> str:
    """Send a shape and the request behind it; what is wrong with what came back, "" for nothing."""
    node: Served = getattr(pair, path.node)
    target = path.target.replace("{n}", str(number)).replace("TOKEN", pair.token)
    state = (shape.state_reading or shape.state) if path.reads else shape.state
    behind = f"GET /{PUBLIC}/generic/behind/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    text = shape.head.replace("{line}", f"{path.method} {target}").encode("latin-1")
    with node.speaker(tls=path.tls) as speaker:
        if shape.state == "reset":
            speaker.send(text + shape.body)
            speaker.half_close()
            return told(speaker.state(), ("reset", "closed") if path.tls else ("reset",))
        speaker.send(text + shape.body + behind)
        try:
            said = speaker.hear()
        except Reset:
            return "reset before the answer"
        expected = path.own if shape.status == OWN else (shape.status,)
        if said.status not in expected:
            return f"answered {said.status} {said.body[:100]!r} instead of {expected}"
        closes = said.headers.get("connection", "keep-alive").lower() == "close"
        if closes != (state == "closed"):
            return f"says connection {said.headers.get('connection')}, declared {state}"
        if state == "closed":
            return told(speaker.state(), ("closed",))
        follow = speaker.hear()
        return "" if follow.status == 404 else f"the one behind was answered {follow.status}"


def told(state: str, declared: tuple[str, ...]) -> str:
    return "" if state in declared else f"is {state}, declared {declared}"


def shapes_of(path: Path) -> tuple[Shape, ...]:
    return (*SHAPES, *BODIES, *TRUNCATED) if path.method == "PUT" else SHAPES


def seen_in(log: str, what: str) -> set[int]:
    return {int(one) for one in re.findall(rf"{what}(\d+)", log)}


def test_the_table_is_large_enough() -> None:
    assert len(SHAPES) >= 45
    assert len({shape.name for shape in (*SHAPES, *BODIES)}) == len(SHAPES) + len(BODIES)
    assert len(PATHS) >= 20


@pytest.mark.parametrize("path", PATHS, ids=[path.name.replace(" ", "-") for path in PATHS])
def test_a1_every_shape_on_every_path(pair: Pair, path: Path) -> None:
    numbers, wrong = Numbers(1_000_000 * (PATHS.index(path) + 1)), []
    silent: dict[int, str] = {}
    answered: dict[int, str] = {}
    for shape in shapes_of(path):
        for _ in range(path.times):
            number = numbers.next()
            complaint = exchanged(pair, path, shape, number)
            if complaint:
                wrong.append(f"{shape.name}: {complaint}")
            state = (shape.state_reading or shape.state) if path.reads else shape.state
            (answered if state == "kept" else silent)[number] = shape.name
    logs = {node: getattr(pair, node).logged() for node in ("origin", "edge")}
    for node, log in logs.items():
        behind = seen_in(log, "generic/behind/")
        wrong += [f"{silent[one]}: the request behind it was seen at the {node}" for one in behind & silent.keys()]
        if node != path.node:
            wrong += [f"{answered[one]}: the one behind went on to the {node}" for one in behind & answered.keys()]
        assert "smuggled-within" not in log
    for number, name in answered.items():
        count = logs[path.node].count(f'generic/behind/{number}"')
        if count != 1:
            wrong.append(f"{name}: the request behind it was logged {count} times")
    assert not wrong, "\n".join(wrong)


def test_a1_what_the_edge_refuses_never_reaches_the_origin(pair: Pair) -> None:
    """The relay hands on what was understood, and nothing of what was not."""
    numbers, refused = Numbers(900_000_000), []
    path = Path("relay", "edge", "PUT", f"/t/TOKEN/{PRIVATE}/generic/relayed/{{n}}", (201,), True)
    for shape in SHAPES:
        number = numbers.next()
        exchanged(pair, path, shape, number)
        if shape.status != OWN:
            refused.append((number, shape.name))
    seen = seen_in(pair.origin.logged(), "generic/relayed/")
    assert seen, "what is good went through"
    assert [name for number, name in refused if number in seen] == []


@pytest.mark.parametrize("node", ["origin", "edge"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a4_a_body_is_asked_for_only_by_who_wants_it(pair: Pair, node: str, tls: bool) -> None:
    """100 comes before the body of an upload that is allowed; one that is refused gets its answer and the end."""
    served: Served = getattr(pair, node)
    tail = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with served.speaker(tls=tls) as speaker:
        speaker.send(f"PUT /t/{pair.token}/{PRIVATE}/generic/expect/{node}{tls} HTTP/1.1\r\n{tail}".encode())
        if node == "origin":
            assert speaker._until(b"\r\n\r\n", 100) == b"HTTP/1.1 100 Continue"
        speaker.send(b"hello")
        assert speaker.hear().status == 201
    with served.speaker(tls=tls) as speaker:
        speaker.send(f"PUT /{PRIVATE}/generic/expect/refused HTTP/1.1\r\n{tail}".encode())
        said = speaker.hear()
        assert (said.status, said.interim) == (401, ())
        assert said.headers["connection"] == "close"
        assert "www-authenticate" in said.headers
        assert speaker.state() == "closed"


@pytest.mark.parametrize("node", ["origin", "edge"])
def test_a4_the_rest_of_a_refused_body_is_drained_where_small(pair: Pair, node: str) -> None:
    served: Served = getattr(pair, node)
    for size, kept in ((5, True), (60_000, True), (70_000, False)):
        with served.speaker() as speaker:
            line = f"PUT /{PRIVATE}/generic/nobody HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            speaker.send(line.encode() + b"x" * size + f"GET {HOT} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert speaker.hear().status == 401
            if kept:
                assert speaker.hear().status == 200
            else:
                assert speaker.state() == "closed"
