"""Does the bench count rightly? Statistics, what load generators print, /proc, TLS records, and the report."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clients import Refused, parse_wrk
from bench.distance import Link
from bench.load import RECORD_OVERHEAD, Broken, Records, in_turn, parse_head, put_requests
from bench.machine import TICKS, cpu_seconds, family, parse_stat
from bench.numbers import Spread, bytes_of, percentile, ratios, size_text, spread, welch
from bench.options import options
from bench.report import Result, Row, as_json, table, words
from bench.scenarios.delivery import cases
from bench.scenarios.peers import tarball, wheel
from bench.scenarios.timing import judged
from bench.servers import Filler

# ---------------------------------------------------------------- statistics


def test_ratios_are_taken_within_each_round() -> None:
    """A machine that slows down by ten in the second round leaves the ratio as it was."""
    assert ratios([100, 10], [50, 5]) == Spread(2.0, 2.0, 2.0)


def test_ratios_of_an_unmeasured_side_are_none() -> None:
    assert ratios([1.0], []) is None
    assert ratios([1.0], [0.0]) is None


def test_nothing_measured_is_no_zero() -> None:
    with pytest.raises(ValueError, match="nothing"):
        spread([])
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_is_one_of_the_values_with_enough_below_it(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


def test_percentile_of_a_hundred() -> None:
    assert [percentile(list(range(1, 101)), p) for p in (50, 99, 100)] == [50, 99, 100]


@pytest.mark.parametrize(("text", "size"), [("64K", 65536), ("1g", 1 << 30), ("700", 700)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


def test_sizes_are_shown() -> None:
    assert [size_text(size) for size in (1 << 10, 65536, 1 << 30, 1500)] == ["1 KB", "64 KB", "1 GB", "1500 B"]


# ---------------------------------------------------------------- what programs print

WRK = """Running 3s test @ http://127.0.0.1:1/x
  1 threads and 64 connections
  Latency Distribution
     50%  560.00us
     99%    1.25ms
  90000 requests in 3.00s, 100.00MB read
Requests/sec:  30000.00
"""


def test_wrk_is_read() -> None:
    assert parse_wrk(WRK) == (90000, 3.0, 1.25)


@pytest.mark.parametrize(
    "trouble", ["  Socket errors: connect 0, read 4, write 0, timeout 0", "  Non-2xx or 3xx responses: 12"]
)
def test_wrk_with_errors_is_void(trouble: str) -> None:
    with pytest.raises(Refused, match=r"read 4|12"):
        parse_wrk(WRK + trouble + "\n")


def test_stat_line_with_a_hostile_name() -> None:
    """A process name may hold spaces and brackets."""
    line = "42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 100 50 25 25 20 0 1 0 5 0 0"
    assert parse_stat(line) == (7, 200 / TICKS)


def test_family_holds_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert {os.getpid(), child.pid} <= set(family(os.getpid()))
        assert child.pid not in family(child.pid + 1_000_000)
    finally:
        child.communicate(b"\n")
    assert cpu_seconds(os.getpid()) > 0


# ---------------------------------------------------------------- the load client


def test_head_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 12\r\n\r\n"
    assert parse_head(head + b"body") == (b"200", len(head), 12)
    assert parse_head(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")[2] == 0


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_head_without_an_end_is_refused(data: bytes) -> None:
    with pytest.raises(Broken):
        parse_head(data)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=8), st.lists(st.integers(1, 900), min_size=1))
def test_records_count_content_in_any_slicing(contents: list[int], cuts: list[int]) -> None:
    sizes = [content + RECORD_OVERHEAD for content in contents]
    stream = b"".join(b"\x17\x03\x03" + size.to_bytes(2) + bytes(size) for size in sizes)
    records, at, total, turn = Records(), 0, 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        total += records.content(memoryview(stream)[at : at + step])
        at, turn = at + step, turn + 1
    assert total == sum(contents)
    assert records.between


def test_publishes_have_new_names_and_new_bytes() -> None:
    endless = put_requests(urlsplit("http://127.0.0.1:1/w/r/generic"), [], 64)
    first, second = next(endless), next(endless)
    assert first.split(b" ")[1] != second.split(b" ")[1]
    assert first.rpartition(b"\r\n\r\n")[2] != second.rpartition(b"\r\n\r\n")[2]
    assert len(first.rpartition(b"\r\n\r\n")[2]) == 64


def test_filler_is_the_same_for_the_same_name() -> None:
    size = (1 << 20) + 17
    assert Filler("a", size).read() == Filler("a", size).read()
    assert Filler("a", size).read() != Filler("b", size).read()
    assert len(Filler("a", size).read() or b"") == size


def test_packages_for_peers_have_about_their_size() -> None:
    for pack in (wheel(1 << 20), tarball(1 << 20), wheel(1 << 10), tarball(1 << 10)):
        wanted = 1 << 20 if len(pack.content) > 4096 else 1 << 10
        assert 0.5 * wanted < len(pack.content) < 1.05 * wanted


# ---------------------------------------------------------------- options and the report


def test_quick_shrinks_what_was_not_given() -> None:
    told = options(Path("."), ["delivery", "--quick", "--rounds", "2"])
    assert (told.rounds, told.seconds, told.quick) == (2, 1.0, True)


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in cases("1 GB", 1 << 30)]
    assert len(set(names)) == len(names)


def found() -> Result:
    rows = [
        Row("1 KB c64", "req/s", [130.0, 120.0], [100.0, 100.0], [8.0, 8.0], [10.0, 10.0], goal=">= 1.0"),
        Row("void", "req/s", note="void: 404"),
    ]
    return Result("delivery", "nginx", {"date": "today"}, rows, ["a note"])


def test_table_shows_ratio_and_range() -> None:
    lines = table(found()).splitlines()
    assert "1.25 [1.20-1.30]" in lines[2]
    assert "void: 404" in lines[3]
    assert len({len(line) for line in lines}) == 1


def test_words_hold_conditions_and_notes() -> None:
    assert "date: today" in words(found())
    assert "- a note" in words(found())


def test_json_keeps_every_round() -> None:
    told = json.loads(as_json(found()))
    assert told["rows"][0]["ours"] == [130.0, 120.0]
    assert told["rows"][0]["ratio"] == {"median": 1.25, "low": 1.2, "high": 1.3}
    assert told["rows"][1]["ratio"] is None


def test_figures_without_a_comparison_have_their_own_table() -> None:
    text = table(Result("publish", rows=[Row("small", "publishes/s", [10.0, 30.0, 20.0], goal=">= 2,000")]))
    assert "20.0" in text
    assert "10.00-30.00" in text


# ---------------------------------------------------------------- images


def test_each_connection_asks_for_all_and_begins_with_another() -> None:
    asked = [in_turn([b"a", b"b", b"c"], number) for number in range(4)]
    assert [[one() for _ in range(4)] for one in asked] == [
        [b"a", b"b", b"c", b"a"],
        [b"b", b"c", b"a", b"b"],
        [b"c", b"a", b"b", b"c"],
        [b"a", b"b", b"c", b"a"],
    ]


def test_a_link_carries_no_more_than_its_rate_for_all_together() -> None:
    link = Link(1e6)
    first = link.passed_s(500_000)
    assert [round(link.passed_s(500_000) - first, 6) for _ in range(3)] == [0.5, 1.0, 1.5]
    wide = Link(float("inf"))
    assert wide.passed_s(1 << 40) <= time.monotonic()


def test_b9_a_difference_of_means_is_told_from_chance() -> None:
    """The verdict of `bench timing`: noise alone is no oracle, a tenth of its breadth in every round is one."""
    dice = random.Random(7)

    def drawn(more: float) -> tuple[list[float], list[float]]:
        return [dice.gauss(100 + more, 10) for _ in range(5_000)], [dice.gauss(100, 10) for _ in range(5_000)]

    t, p = welch([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0])
    assert (round(t, 3), round(p, 3)) == (-1.095, 0.273)
    assert judged("x", [drawn(0.0) for _ in range(3)]).note.startswith("no oracle")
    assert judged("x", [drawn(1.0) for _ in range(3)]).note.startswith("LEAKS")
    assert judged("x", [drawn(1.0), drawn(0.0), drawn(-1.0)]).note.startswith("no oracle"), "not to one side"
