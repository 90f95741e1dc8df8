"""Are lines counted once, whatever was merged, rolled up, shipped twice or let go? And what is known of pulls?

THREATS D4 (a hostile question), F11.
"""

import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Logs
from gateway.logs.child import run
from gateway.logs.keeping import Keeping, Receiving
from gateway.logs.merging import MERGED, SMALL_MAX, Merging, due, listed
from gateway.logs.questions import Questions
from gateway.logs.register import Identity, Mark, Pull, Register, joined
from gateway.logs.rollups import DAY_MS, HOUR_MS
from gateway.logs.tasks import Filter
from storage.errors import Invalid
from tests.harness.believing import Everything
from tests.unit.test_client_log import line

NOON_MS = 1_795_003_200_000 - 1_795_003_200_000 % DAY_MS + 12 * HOUR_MS
"""Of the day in the middle of what is written."""
LINES = [
    (offset, package, country, status, method)
    for offset, (package, country, status, method) in zip(
        (-40, -36.001, -30, -12.5, -12, -11.999, -1, -0.5, 0, 0.25, 1, 11.999, 12, 13, 20, 35.9),
        itertools.cycle(
            [("p1", "a", 200, "GET"), ("p2", "b", 304, "GET"), ("p1", "b", 404, "HEAD"), ("p3", "a", 200, "GET")]
        ),
        strict=False,
    )
]


class Origin:
    """The client log of an origin, whose clock is set."""

    def __init__(self, root: Path, **limits: Any) -> None:
        (root / "log").mkdir(parents=True)
        self.root, self.now_s, self.files = root, time.time() + 400, 0
        self.limits = Logs(**limits)
        self.register = Register(root / "segments")
        self.keeping = Keeping(root, "origin", self.limits, None, self.register)
        self.keeping.folders.make("origin")
        self.kept = self.keeping.folders.kept
        self.believes = Everything()
        self.merging = Merging(self.keeping.folders, self.limits, self.register, self.believes, now=lambda: self.now_s)
        self.questions = Questions(root, self.limits)

    def take(self, *lines: bytes) -> None:
        """One segment."""
        self.files += 1
        (self.root / "log" / f"access-{self.files}.jsonl").write_bytes(b"".join(lines))
        assert self.keeping.take() == 1

    async def count(self, *by: str, since_ms: int = 0, until_ms: int = 10**14, **more: Any) -> list[dict[str, Any]]:
        wanted = Filter(since_ms=since_ms, until_ms=until_ms, **more)
        return (await self.questions.count(wanted, lambda node: True, by, 1000, by_bytes=False)).items

    def merged(self) -> list[Path]:
        return sorted(self.kept.rglob(f"*{MERGED}"))


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    made = Origin(tmp_path)
    yield made
    made.register.close()


def told(offset: float, package: str, status: int, method: str) -> bytes:
    raw = line(at_s=NOON_MS / 1000 + offset * 3600, about=("pypi", package, "1.0", f"{package}-1.0.whl"))
    return raw.replace(b'"status":200', b'"status":%d' % status).replace(b'"GET"', b'"%b"' % method.encode())


def fill(origin: Origin, lines: list[Any] = LINES) -> None:
    """In four segments."""
    for at in range(0, len(lines), 4):
        origin.take(
            *(told(offset, package, status, method) for offset, package, _, status, method in lines[at : at + 4])
        )


def expected(by: tuple[str, ...], since_ms: int, until_ms: int, package: str, status: int) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for offset, name, _, code, _ in LINES:
        at_ms = NOON_MS + round(offset * HOUR_MS)
        if since_ms <= at_ms < until_ms and package in ("", name) and status in (0, code):
            at = datetime.fromtimestamp(at_ms / 1000, UTC)
            values = {
                "package": f"pypi:{name}", "day": f"{at:%Y-%m-%d}", "hour": f"{at:%Y-%m-%dT%H:00Z}",
                "status": str(code), "client": "pip", "principal": "tok_a", "version": f"pypi:{name}@1.0",
                "outcome": "HIT", "repository": "acme/main",
            }  # fmt: skip
            found[tuple(values[one] for one in by)] += 1
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Origin]]:
    """The same lines: fresh; merged; merged with fresh ones beside."""
    made = [Origin(tmp_path_factory.mktemp(name)) for name in ("fresh", "merged", "mixed")]
    fresh, merged, mixed = made
    fill(fresh)
    fill(merged)
    merged.now_s += 3 * 86400
    merged.merging.round()
    fill(mixed, LINES[:8])
    mixed.now_s += 3 * 86400
    mixed.merging.round()
    fill(mixed, LINES[8:])
    assert [len(one.merged()) for one in made] == [0, 1, 1]
    yield made
    for one in made:
        one.register.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["package", "day", "hour", "status", "client", "principal", "version", "outcome"]),
             min_size=1, max_size=3, unique=True).map(tuple),
    st.integers(-60 * 4, 60 * 4).map(lambda quarters: NOON_MS + quarters * HOUR_MS // 4),
    st.integers(0, 120 * 4).map(lambda quarters: quarters * HOUR_MS // 4),
    st.sampled_from(["", "", "p1"]), st.sampled_from([0, 0, 200]),
)  # fmt: skip
def test_o24_what_is_counted_does_not_depend_on_what_was_merged(
    full: list[Origin], by: tuple[str, ...], since_ms: int, length_ms: int, package: str, status: int
) -> None:
    wanted = expected(by, since_ms, since_ms + length_ms, package, status)
    for origin in full:
        filter = Filter(since_ms, since_ms + length_ms, package=package, status=status)
        task = origin.questions.plan(filter, lambda node: True, by, 1000, by_bytes=False)
        with duckdb.connect(":memory:") as engine:
            found = run(engine, task).items
        assert {tuple(one[name] for name in by): one["requests"] for one in found} == dict(wanted)


async def test_merging_that_breaks_off_anywhere_counts_each_line_once(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(SMALL_MAX):
        origin.take(told(n, "p1", 200, "GET"))
    (folder,) = (path for path in origin.kept.iterdir() if path.is_dir())
    with monkeypatch.context() as broken:
        broken.setattr("gateway.logs.jobs.COMMAND", ("false",))
        with pytest.raises(subprocess.SubprocessError):
            origin.merging.round()
    assert await origin.count("client") == [{"client": "pip", "requests": SMALL_MAX, "bytes": 100 * SMALL_MAX}]
    origin.now_s = time.time()
    origin.merging.round()
    assert len(origin.merged()) == 1
    assert len(list(folder.glob("*.parquet"))) == SMALL_MAX, "they stay while a question may read them"
    assert (await origin.count("client"))[0]["requests"] == SMALL_MAX
    (origin.kept / "origin" / "x.merged.gone").mkdir()
    origin.now_s += 400
    origin.merging.round()
    assert [path.name for path in folder.iterdir()] == [origin.merged()[0].name]
    assert (await origin.count("package"))[0]["requests"] == SMALL_MAX
    assert (await origin.count("principal"))[0]["requests"] == SMALL_MAX
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=0) == {
        "1.0": Pull(SMALL_MAX, NOON_MS + 7 * HOUR_MS)
    }


async def test_o24_a_segment_that_comes_again_after_it_was_merged_is_not_counted_again(tmp_path: Path) -> None:
    edge, origin = Origin(tmp_path / "edge"), Origin(tmp_path / "origin")
    receiving = Receiving(tmp_path / "origin", register=origin.register)
    edge.take(told(0, "p1", 200, "GET"))
    (made,) = edge.kept.rglob("*.parquet")
    body = made.read_bytes()
    assert receiving.keep("tokyo", made.name, body)
    origin.now_s += 3 * 86400
    for _ in range(3):
        origin.merging.round()
        origin.now_s += 400
        assert not receiving.keep("tokyo", made.name, body)
        assert not receiving.keep("shield", made.name.replace(".parquet", ".tokyo.parquet"), body)
    assert len(origin.merged()) == 1
    assert not list(origin.kept.rglob("2*.parquet"))
    assert (await origin.count("node"))[0]["requests"] == 1
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=0)["1.0"].downloads == 1
    edge.register.close()
    origin.register.close()


def test_o20_pulls_are_counted_once_and_the_last_is_a_maximum(origin: Origin) -> None:
    origin.take(
        told(1, "p1", 200, "GET"), told(2, "p1", 304, "GET"), told(3, "p1", 200, "HEAD"), told(4, "p1", 404, "GET"),
        told(9, "p1", 200, "GET").replace(b"-1.0.whl", b"-1.0.whl.metadata"),
        told(9, "p1", 200, "GET").replace(b"tok_a", b"edge:a"),
        told(0, "p1", 200, "GET").replace(b'"file"', b'"tag":"latest","file"'), told(9, "p1", 200, "PUT"),
    )  # fmt: skip
    origin.merging.count()
    origin.merging.count()
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=0) == {"1.0": Pull(2, NOON_MS + 3 * HOUR_MS)}
    assert origin.register.tags("acme", "main", "pypi", "p1", since_ms=0) == {"latest": Pull(1, NOON_MS)}
    origin.take(told(-5, "p1", 200, "GET"), told(-5, "p", 200, "GET"))
    origin.merging.round()
    origin.register.close()
    origin.register = Register(origin.root / "segments")
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=0) == {"1.0": Pull(3, NOON_MS + 3 * HOUR_MS)}
    assert origin.register.package("acme", "main", "pypi", "p", since_ms=0) == {"1.0": Pull(1, NOON_MS - 5 * HOUR_MS)}
    assert origin.register.package("acme", "main", "pypi", "p" * 300, since_ms=0) == {}


def test_o20_pulls_of_a_repository_are_not_those_of_one_that_had_its_name_before(origin: Origin) -> None:
    origin.take(told(1, "p1", 200, "GET"), told(2, "p1", 200, "GET"), told(2, "p2", 200, "GET"))
    origin.merging.count()
    anew = origin.believes.born_ms = NOON_MS + 3 * HOUR_MS
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=anew) == {}
    origin.take(told(2, "p2", 200, "GET"))  # a late segment
    origin.merging.count()
    assert origin.register.package("acme", "main", "pypi", "p2", since_ms=anew) == {}
    origin.take(told(4, "p1", 200, "GET"))
    origin.merging.count()
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=anew) == {
        "1.0": Pull(1, NOON_MS + 4 * HOUR_MS)
    }, "counted anew"


def test_f5_an_edge_is_believed_nothing_of_what_it_may_not_see(origin: Origin, tmp_path: Path) -> None:
    edge = Origin(tmp_path / "edge")
    edge.take(told(1, "p1", 200, "GET"))
    [segment] = listed(edge.kept / "origin").fresh
    receiving = Receiving(origin.root, register=origin.register, now=lambda: origin.now_s)
    for node, forbidden in (("tokyo", {"acme", "tok_a"}), ("osaka", {"tok_a"}), ("paris", set[str]())):
        origin.believes.forbidden[node] = forbidden
        assert receiving.keep(node, segment.name, segment.read_bytes())
        origin.merging.count()
        counted = origin.register.package("acme", "main", "pypi", "p1", since_ms=0)
        assert sum(one.downloads for one in counted.values()) == {"tokyo": 0, "osaka": 1, "paris": 2}[node]
        uses = origin.register.uses(["tok_a"])
        assert {id: one.node for id, one in uses.items()} == ({"tok_a": "paris"} if node == "paris" else {})
    edge.register.close()


def test_o20_a_mark_holds_when_all_that_it_speaks_of_is_counted(tmp_path: Path) -> None:
    register = Register(tmp_path)

    def take(node: str, file: str, start: int, stop: int) -> bool:
        fresh = tmp_path / "fresh"
        fresh.write_bytes(b"")
        return register.take(Identity(node, file, start, stop), tmp_path / f"{node}{file}{start}", fresh)

    register.mark("tokyo", Mark(1000, {"a": 20, "b": 5}))
    assert register.come() == {}
    assert take("tokyo", "a", 10, 20)
    assert take("osaka", "a", 0, 20)
    assert take("tokyo", "b", 0, 9)
    assert register.come() == {}, "a hole"
    register.mark("tokyo", Mark(2000, {"a": 20, "b": 30}, (("b", 9, 30),), 1500))
    assert take("tokyo", "a", 0, 10)
    assert not take("tokyo", "a", 5, 15)
    assert register.come() == {"tokyo": 1000}
    register.settle({"tokyo": 1000})
    assert register.known(["tokyo", "osaka"]) == {"tokyo": (1000, 1500), "osaka": (0, 0)}
    assert register.come() == {"tokyo": 2000}, "what was let go is not waited for, and told as lost"
    register.settle(register.come())
    assert register.come() == {}
    register.mark("tokyo", Mark(3000, {"a": 99}))
    register.mark("tokyo", Mark(4000 + 3600 * 1000, {"a": 20}))
    assert register.come() == {"tokyo": 4000 + 3600 * 1000}, "one that never comes true does not stop the others"
    register.close()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted).map(tuple)))
def test_joined_intervals_hold_the_same_bytes(intervals: list[tuple[int, int]]) -> None:
    found = joined(intervals)
    assert {n for start, stop in found for n in range(start, stop)} == {
        n for start, stop in intervals for n in range(start, stop)
    }
    assert all(left[1] < right[0] for left, right in itertools.pairwise(found))


def test_what_is_due() -> None:
    small, large = 1 << 20, 60 << 20
    seven = [(f"{n}", small, False) for n in range(7)]
    assert due(seven, closed=False) == []
    assert len(due([*seven, ("8", small, True)], closed=False)) == 8
    assert len(due(seven, closed=True)) == 7
    assert due([("a", large, True), ("b", large, True), ("c", small, True)], closed=True) == []
    assert due([("a", large, True), ("b", small, False)], closed=True) == ["b"]
    assert due([(f"{n}", large, False) for n in range(8)], closed=False) == ["0", "1"]


async def test_rows_go_before_their_sums(tmp_path: Path) -> None:
    origin = Origin(tmp_path, keep_days=3, keep_rollups_days=10)
    fill(origin)
    origin.now_s += 2 * 86400
    origin.merging.round()
    by_day = await origin.count("day", "package")
    origin.now_s += 3 * 86400
    origin.merging.round()
    assert not list(origin.merged()[0].glob("rows.parquet"))
    assert await origin.count("day", "package") == by_day
    assert await origin.count("principal") == []
    assert await origin.questions.find(Filter(0, 10**14), lambda node: True, 10) == []
    assert (await origin.count("package", until_ms=NOON_MS + HOUR_MS + HOUR_MS // 2, since_ms=NOON_MS + HOUR_MS))[0][
        "requests"
    ] == 1, "to the hour"
    origin.now_s += 7 * 86400
    origin.merging.round()
    assert origin.merged() == []
    assert origin.register.package("acme", "main", "pypi", "p1", since_ms=0)["1.0"].downloads > 0
    origin.register.close()


async def test_room_is_bounded_rows_first(tmp_path: Path) -> None:
    origin = Origin(tmp_path, keep_bytes_max=1)
    origin.take(told(0, "p1", 200, "GET"))
    origin.now_s += 3 * 86400
    origin.merging.round()
    assert list(listed(origin.kept / "origin").fresh) == []
    assert origin.merged() == []
    origin.register.close()


@pytest.mark.parametrize("merged", [False, True])
async def test_an_export_goes_on_behind_its_cursor(origin: Origin, merged: bool) -> None:
    fill(origin)
    origin.take(told(1, "p9", 200, "GET") * 3)
    found: list[dict[str, Any]] = []
    after, pieces = "", 0
    wanted = Filter(NOON_MS - 60 * HOUR_MS, NOON_MS + 60 * HOUR_MS, client="pip")
    while True:
        piece = await origin.questions.export(wanted, lambda node: True, after, 4, parquet=False)
        found += [json.loads(one) for one in piece.body.splitlines()]
        assert piece.rows <= 4
        pieces += 1
        if not piece.next:
            break
        after = piece.next
        if merged and pieces == 2:
            origin.now_s += 3 * 86400
            origin.merging.round()
    times = [one["time_ms"] for one in found]
    assert times == sorted(NOON_MS + round(offset * HOUR_MS) for offset in [one[0] for one in LINES] + [1] * 3)
    piece = await origin.questions.export(wanted, lambda node: True, "", 100, parquet=True)
    assert (piece.body[:4], piece.rows) == (b"PAR1", 1)
    with pytest.raises(Invalid):
        await origin.questions.export(wanted, lambda node: True, "1'", 100, parquet=True)


HOSTILE = ("' or 1=1 --", "'; copy lines to '/tmp/x' --", "$$", "\\", "read_csv('/etc/passwd')", 'a"b', "%", "\x1b[0m")


async def test_d4_what_a_question_gives_is_never_part_of_a_statement(origin: Origin) -> None:
    origin.take(told(0, "p1", 200, "GET"))
    for text in HOSTILE:
        for name in ("workspace", "repository", "format", "package", "version", "country", "client"):
            assert await origin.count("package", **{name: text}) == []
        assert await origin.count("package", principals=("tok_none", text)) == []
        assert await origin.questions.find(Filter(0, 10**14, package=text), lambda node: True, 10) == []
        piece = await origin.questions.export(
            Filter(NOON_MS, NOON_MS + 9, package=text), lambda node: True, "", 10, parquet=False
        )
        assert piece.rows == 0


STATEMENTS = (
    "select * from read_text('/etc/passwd')", "select * from glob('/etc/*')", "copy (select 1) to '/tmp/escaped'",
    "install httpfs", "load httpfs", "attach '/tmp/escaped.db'", "set threads = 9", "set enable_external_access = true",
    "select * from read_csv('http://127.0.0.1/')", "select getenv('HOME')", "export database '/tmp/escaped'",
    "select * from read_text('/proc/self/environ')", "create secret (type s3)", "set allowed_directories = ['/']",
    "select * from range(100000000000) a, range(100000) b order by 1 desc limit 1 offset 10000000000",
)  # fmt: skip
DEEDS = """
import os, sys
from gateway.logs.child import opened
from gateway.logs.tasks import Job, Tally
engine = opened(Job(Tally(sys.argv[1], ()), 64 << 20, 2.0, os.getppid(), 2))
for statement in sys.argv[2:]:
    try:
        engine.execute(statement).fetchall()
        print("done", statement)
    except Exception as error:
        print("refused")
import socket
for deed in (
    lambda: open("/etc/passwd"), os.fork, socket.socket, lambda: os.listdir("/etc"), lambda: os.listdir("/proc/1"),
    lambda: open("/tmp/escaped", "w"), lambda: os.posix_spawn("/bin/true", ["true"], {}), lambda: bytearray(16 << 30),
):
    try:
        deed()
        print("done")
    except (OSError, MemoryError):
        print("refused")
open(sys.argv[1] + "/mine", "w").close()
print("end")
"""


def test_d4_a_hostile_statement_meets_the_walls(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEEDS, str(tmp_path), *STATEMENTS[:-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split("\n") == ["refused"] * (len(STATEMENTS) - 1 + 8) + ["end", ""], done.stdout + done.stderr
    endless = [sys.executable, "-c", DEEDS, str(tmp_path), STATEMENTS[-1]]
    assert "done" not in subprocess.run(endless, capture_output=True, text=True, check=False, timeout=60).stdout
