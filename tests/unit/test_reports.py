"""What does an origin keep of what edges say of themselves, and what does it not believe? THREATS F5."""

from pathlib import Path

import msgspec
import pytest

from gateway.front.peers.reporting import HandedOn, Kept, Reporting
from gateway.insight.edges import Heard, lines
from gateway.insight.reports import Missing, Report, Reports, closed_by
from storage.errors import Invalid, Unavailable
from tests.harness.waiting import comes

HOLE = Missing("mine", 7, "two", "repository.change", "KeyError at fold.py:1", ("mine",))


def said(holes: tuple[Missing, ...] = (), lag_ms: int = 0) -> Report:
    return Report("1.0", lag_ms, 2, 30, holes)


async def test_the_last_word_stands_with_the_time_of_the_origin(tmp_path: Path) -> None:
    reports = Reports(tmp_path, lambda: 1234)
    kept = Kept(reports)
    assert reports.of("tokyo") is None
    await kept.hear("tokyo", msgspec.json.encode(said((HOLE,), 5)))
    assert reports.of("tokyo") == msgspec.structs.replace(said((HOLE,), 5), heard_ms=1234)
    claimed = msgspec.structs.replace(said(), heard_ms=99_999_999)
    await kept.hear("tokyo", msgspec.json.encode(claimed))
    assert Reports(tmp_path, lambda: 0).of("tokyo") == msgspec.structs.replace(said(), heard_ms=1234)


async def test_an_entry_that_is_missing_anew_is_told_in_the_log_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept(Reports(tmp_path, lambda: 1))
    for _ in range(3):
        await kept.hear("tokyo", msgspec.json.encode(said((HOLE,))))
    told = capsys.readouterr().err.splitlines()
    assert [msgspec.json.decode(one)["edge"] for one in told] == ["tokyo"]
    assert msgspec.json.decode(told[0])["closes"] == "mine"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"version":"1"}',
        msgspec.json.encode(said(lag_ms=-1)),
        msgspec.json.encode(msgspec.structs.replace(said(), version="x" * 2_000)),
        msgspec.json.encode(said((HOLE,) * 1_001)),
        msgspec.json.encode(said((msgspec.structs.replace(HOLE, closes=("w",) * 101),))),
        b'{"holes":' + b"[" * 20_000,
    ],
    ids=["nothing", "noise", "list", "part", "negative", "long", "many", "closes", "deep"],
)
async def test_f5_what_is_no_report_is_refused_and_nothing_is_kept(tmp_path: Path, body: bytes) -> None:
    reports = Reports(tmp_path, lambda: 1)
    with pytest.raises(Invalid):
        await Kept(reports).hear("tokyo", body)
    assert reports.of("tokyo") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\0", "x" * 64])
async def test_f5_a_name_that_is_no_edges_leads_to_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        await Kept(Reports(tmp_path / "origin", lambda: 1)).hear(name, msgspec.json.encode(said()))
    assert list(tmp_path.rglob("*")) == []


async def test_a_disk_that_takes_nothing_loses_a_report_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    reports = Reports(tmp_path, lambda: 1)
    await Kept(reports).hear("tokyo", msgspec.json.encode(said()))
    assert reports.of("tokyo") is None


def test_metrics_tell_what_each_edge_said_and_how_long_ago() -> None:
    report = msgspec.structs.replace(said((HOLE, HOLE), 1500), heard_ms=10_000)
    told = "".join(lines([Heard("tokyo", "asia", report)], 13_000))
    labels = '{edge="tokyo",region="asia"}'
    for name, value in (
        ("silent_seconds", 3.0), ("lag_seconds", 1.5), ("waiting_bytes", 30), ("holes", 2), ("closed_workspaces", 1)
    ):  # fmt: skip
        assert f"entrepot_edge_{name}{labels} {value}\n" in told
    assert closed_by(said((msgspec.structs.replace(HOLE, closes=("*",)),))) == {"*"}


class Way(HandedOn):
    """A parent that is away at first."""

    def __init__(self) -> None:
        self.told: list[Report] = []
        self.away = True

    async def say(self, said: bytes, of: str = "") -> None:
        if self.away:
            self.away = False
            raise Unavailable("It is away.")
        self.told.append(msgspec.json.decode(said, type=Report))


async def test_an_edge_says_it_again_and_at_once_when_an_entry_is_missing(
    autojump_clock: object, nursery: object
) -> None:
    now, way = [said()], Way()
    nursery.start_soon(Reporting(way, lambda: now[0]).run)  # type: ignore[attr-defined]
    await comes(lambda: way.told)
    now[0] = said((HOLE,))
    await comes(lambda: len(way.told) == 2)
    assert way.told[1].holes == (HOLE,)
