"""What is lost of the client log is told, refused segments hold up nobody, nothing counts twice. THREATS F12."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cache.asking.parents import Parents
from gateway.config import Logs
from gateway.insight import requestlog
from gateway.insight.requestlog import RequestLog, fragment, peer_tag, stamp
from gateway.logs import durable, segments, shipping
from gateway.logs.keeping import Keeping, Receiving
from gateway.logs.merging import Merging
from gateway.logs.questions import Questions
from gateway.logs.register import Register
from gateway.logs.shipping import Way
from gateway.logs.tasks import Filter
from storage.errors import Invalid
from tests.harness.believing import Everything

NOW_S = time.time()
DAY_MS = 24 * 3600 * 1000
WANTED = Filter(since_ms=int(NOW_S * 1000) - DAY_MS, until_ms=int(NOW_S * 1000) + DAY_MS)


def add(log: RequestLog, count: int, *, at_s: float = NOW_S) -> None:
    what = fragment("GET", b"/acme/main/generic/x", 200, 1, repository="acme/main", principal="tok_a")
    log.pending += (stamp(at_s), peer_tag("192.0.2.1", "http"), what) * count
    log.flush()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def gaps(path: Path) -> list[tuple[int | None, str, str]]:
    return [(one["lost"], one["lost_since"], one["time"]) for one in lines(path) if one.get("outcome") == "LOST"]


def spelt(at_s: float) -> str:
    return stamp(at_s)[9:-1].decode()


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---------------------------------------------------------------- at the log itself


def test_what_the_queue_had_no_room_for_is_told_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "access-0.jsonl"
    log = RequestLog(path)
    monkeypatch.setattr(requestlog, "BATCHES_MAX", 0)
    add(log, 3, at_s=NOW_S)
    add(log, 4, at_s=NOW_S + 5)
    monkeypatch.undo()
    log.flush()  # nothing is pending: what was lost is told all the same
    add(log, 2, at_s=NOW_S + 9)
    log.close()
    assert log.dropped == 7
    assert gaps(path) == [(7, spelt(NOW_S), spelt(NOW_S + 5))]
    assert len(lines(path)) == 3


def test_a_full_disk_costs_what_it_did_not_take_and_no_line_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access-0.jsonl"
    log = RequestLog(path)
    add(log, 1)
    eventually(lambda: path.exists() and path.stat().st_size > 0)
    write, left = os.write, 250

    def full(descriptor: int, data: bytes) -> int:
        """Room for some bytes, which end in the middle of a line."""
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "no space left")
        taken = write(descriptor, data[:left])
        left -= taken
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(requestlog.os, "write", full)
        add(log, 5)
        eventually(lambda: log.dropped > 0)
    assert not path.read_bytes().endswith(b"\n")
    add(log, 2, at_s=NOW_S + 1)
    log.close()
    whole = [line for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    found = [json.loads(line) for line in whole]
    served = [one for one in found if "method" in one]
    [lost] = [one["lost"] for one in found if one.get("outcome") == "LOST"]
    assert lost == log.dropped > 0
    assert len(served) + lost == 1 + 5 + 2, "every line is there or told as lost"
    assert len(path.read_bytes().splitlines()) == len(whole) + 1, "the torn one stands alone"


def test_after_a_kill_the_next_process_tells_that_lines_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "access-0.jsonl"
    script = (
        "import os, sys, time\n"
        "from gateway.insight.requestlog import RequestLog\n"
        "from pathlib import Path\n"
        "log = RequestLog(Path(sys.argv[1]))\n"
        'log.pending += [b\'{"time":"2026-11-27T10:00:00.000+00:00"\', b\',"peer":"p"\', b\'}\\n\']\n'
        "log.flush()\n"
        "while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]): time.sleep(0.01)\n"
        "print('there', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    with path.open("ab") as file:
        file.write(b'{"time":"2026-11-27T10:00')  # the middle of a write
    for _ in range(2):  # the second start is after an orderly end
        log = RequestLog(path)
        add(log, 1)
        log.close()
    [torn] = [line for line in path.read_bytes().splitlines() if not line.endswith(b"}")]
    assert torn == b'{"time":"2026-11-27T10:00'
    found = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert [one["lost_since"] for one in found if one.get("outcome") == "LOST"] == ["2026-11-27T10:00:00.000+00:00"]
    assert [one["lost"] for one in found if one.get("outcome") == "LOST"] == [None]


# ---------------------------------------------------------------- at the origin


class Origin:
    def __init__(self, root: Path) -> None:
        (root / "log").mkdir(parents=True)
        self.root = root
        self.register = Register(root / "segments")
        self.limits = Logs()
        self.keeping = Keeping(root, "origin", self.limits, None, self.register)
        self.keeping.folders.make("origin")
        self.merging = Merging(
            self.keeping.folders, self.limits, self.register, Everything(), now=lambda: NOW_S + 3 * 86400
        )
        self.receiving = Receiving(root, register=self.register)
        self.questions = Questions(root, self.limits)

    async def asked(self, **more: Any) -> Any:
        filter = Filter(**({"since_ms": WANTED.since_ms, "until_ms": WANTED.until_ms} | more))
        return await self.questions.count(filter, lambda node: True, ("repository",), 10, by_bytes=False)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    made = Origin(tmp_path / "origin")
    yield made
    made.register.close()


def write_with_gap(root: Path) -> None:
    log = RequestLog(root / "log" / "access-0.jsonl")
    add(log, 2)
    log._lose([stamp(NOW_S + 1), b"", b""] * 40)
    add(log, 3, at_s=NOW_S + 2)
    log.close()


async def test_f12_questions_and_exports_tell_of_gaps_before_and_after_merging(origin: Origin) -> None:
    write_with_gap(origin.root)
    assert origin.keeping.take() == 1
    at_ms = round((NOW_S + 1) * 1000)
    for _ in range(2):
        counted = await origin.asked(workspace="acme")
        assert counted.items == [{"repository": "acme/main", "requests": 5, "bytes": 5}]
        missing = counted.missing
        assert (missing.gaps, missing.lines) == (1, 40)
        assert abs(missing.since_ms - at_ms) <= 1
        assert abs(missing.until_ms - at_ms) <= 1
        assert (await origin.asked(since_ms=WANTED.since_ms - DAY_MS, until_ms=WANTED.since_ms)).missing.gaps == 0
        narrow = Filter(WANTED.since_ms, WANTED.until_ms, workspace="acme", package="none of these")
        [gap] = await origin.questions.find(narrow, lambda node: True, 10)
        assert (gap["outcome"], gap["lost"], gap["method"], gap["status"]) == ("LOST", 40, "", 0)
        piece = await origin.questions.export(
            Filter(WANTED.since_ms, WANTED.until_ms, workspace="acme"), lambda node: True, "", 100, parquet=False
        )
        told = [json.loads(line) for line in piece.body.splitlines()]
        assert [one["lost"] for one in told] == [None, None, 40, None, None, None], "where it was, by time"
        origin.merging.round()
    assert origin.register.known(["origin"])["origin"].lost_ms > 0, "whoever rests on counts is told"


async def test_one_segment_that_cannot_be_read_costs_no_other(origin: Origin) -> None:
    edge = Origin(origin.root.parent / "edge")
    log = RequestLog(edge.root / "log" / "access-0.jsonl")
    add(log, 3)
    log.close()
    assert edge.keeping.take() == 1
    [good] = (edge.keeping.folders.kept / "origin").glob("*.parquet")
    body = good.read_bytes()
    hostile = (b"PAR1" + bytes(40) + b"PAR1", body[:100] + bytes(len(body) - 200) + body[-100:])
    for number, bad in enumerate(hostile):
        assert origin.receiving.keep(f"mallory{number}", good.name, bad)
    assert origin.receiving.keep("tokyo", good.name, body)
    origin.merging.round()
    [one] = (await origin.asked()).items
    assert one["requests"] == 3
    assert shipping.told(origin.keeping.folders)["unreadable"] == len(hostile)
    assert origin.register.known(["mallory0"])["mallory0"].lost_ms > 0
    edge.register.close()


# ---------------------------------------------------------------- on the way


class Parent:
    """A parent that refuses what it is told to, behind the seam that posts."""

    def __init__(self, origin: Origin, refuses: Callable[[str], int]) -> None:
        self.origin, self.refuses = origin, refuses

    async def post(self, client: object, parent: str, what: str, body: bytes) -> int:
        if status := self.refuses(what):
            return status
        kind, _, name = what.partition("/")
        try:
            if kind == "segment":
                self.origin.receiving.keep("tokyo", name, body)
            else:
                self.origin.receiving.mark(name or "tokyo", body)
        except Invalid:
            return 400
        return 204


def edge_of(root: Path, parent: Parent, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    (root / "log").mkdir(parents=True)
    keeping = Keeping(root, "tokyo", Logs(), Way(Parents(["http://127.0.0.1:9"])), None)
    keeping.folders.make("origin")
    monkeypatch.setattr(keeping._shipping, "_post", parent.post)
    return keeping


def some(root: Path, keeping: Keeping, number: int) -> None:
    log = RequestLog(root / "log" / f"access-{number}.jsonl")
    add(log, number, at_s=NOW_S + number)
    log.close()
    assert keeping.take() == 1


async def test_f12_a_refused_segment_is_set_aside_told_and_comes_later(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Parent(origin, lambda what: 400 if "segment/" in what and "-1-" in what[:30] else 0)
    root = tmp_path / "tokyo"
    edge = edge_of(root, parent, monkeypatch)
    for number in (1, 2, 3):
        some(root, edge, number)
    await edge._shipping.send()  # type: ignore[union-attr]
    assert [path.name[16] for path in edge.folders.refused.iterdir()] == ["1"], "those behind it went on"
    assert shipping.told(edge.folders)["waiting"] == shipping.told(edge.folders)["refused"] == 1
    assert sum(one["requests"] for one in (await origin.asked()).items) == 5
    edge.take()
    await edge._shipping.send()  # type: ignore[union-attr]
    origin.merging.round()
    known = origin.register.known(["tokyo"])["tokyo"]
    assert known.lost_ms > 0, "told as lost"
    assert known.until_ms > 0, "and the rest is not waited for because of it"
    parent.refuses = lambda what: 0
    again = edge_of(tmp_path / "again", parent, monkeypatch)  # a new start tries them again
    for path in edge.folders.refused.iterdir():
        path.replace(again.folders.refused / path.name)
    await again._shipping.send()  # type: ignore[union-attr]
    assert sum(one["requests"] for one in (await origin.asked()).items) == 6, "once"
    assert shipping.told(again.folders)["waiting"] == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_where_nothing_is_taken_everything_waits(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    parent = Parent(origin, lambda what: status)
    root = tmp_path / "tokyo"
    edge = edge_of(root, parent, monkeypatch)
    for number in (1, 2):
        some(root, edge, number)
    await edge._shipping.send()  # type: ignore[union-attr]
    assert shipping.told(edge.folders) | {"waiting_bytes": 0} == {
        "waiting": 2, "waiting_bytes": 0, "refused": 0, "unreadable": 0
    }  # fmt: skip


def test_what_is_let_go_leaves_a_gap_that_is_told(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = edge_of(tmp_path / "tokyo", Parent(origin, lambda what: 500), monkeypatch)
    some(tmp_path / "tokyo", edge, 1)
    edge._limits = Logs(waiting_bytes_max=1)
    edge.trim()
    [gap] = gaps(tmp_path / "tokyo" / "log" / "access-lost.jsonl")
    assert gap[0] is None
    assert not list(edge.folders.out.glob("*.parquet"))
    assert edge.take() == 1, "which is a segment of its own, and goes to the origin as others do"


def test_a_loss_that_a_full_disk_does_not_take_is_told_when_it_does(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tokyo"
    edge = edge_of(root, Parent(origin, lambda what: 500), monkeypatch)
    some(root, edge, 1)
    [gone] = edge.folders.out.glob("*.parquet")
    gone.unlink()

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write_durably", full)
        with pytest.raises(OSError, match="no space"):
            edge._lose([gone.name])
    edge._losses.tell()
    [(file, start, _)] = edge._losses.told().intervals[""]
    assert (file, start) == (segments.identity("tokyo", gone.name).file, 0)  # type: ignore[union-attr]


def test_a_name_is_on_the_disk_before_anything_rests_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of what reaches the disk: bytes, name, folder; then the register says that the segment is there."""
    told: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(durable.os, "fsync", lambda fd: (told.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    register = Register(tmp_path / "o" / "segments")
    receiving = Receiving(tmp_path / "o", register=register)
    name = "20261127T100000-0-00112233445566aa-0-100.parquet"
    assert receiving.keep("tokyo", name, b"PAR1" + bytes(20) + b"PAR1")
    folders = [one.rpartition("/segments/")[2] for one in told]
    assert folders[-1] == "kept/tokyo"
    assert folders[0].startswith("work/")
    assert "kept" in folders, "the folder of a new node, too"
    register.close()


async def test_f6_why_a_parent_takes_nothing_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is ahead can be set by whoever knows of it."""
    said, told = (
        list[str](),
        [b'{"detail": "From the future.", "remedy": "Set the clock."}', b"<html>", b"[1]", b"\xff"],
    )
    keeping = Keeping(tmp_path, "tokyo", Logs(), Way(Parents(["http://127.0.0.1:9"])), None)
    way = keeping._shipping
    assert way is not None
    monkeypatch.setattr(way, "_complain", lambda what, why: said.append(why))
    answers = iter(told)
    transport = httpx2.MockTransport(lambda request: httpx2.Response(400, content=next(answers)))
    async with httpx2.AsyncClient(transport=transport) as client:
        for _ in told:
            await way._round(partial(way._post, client, "http://127.0.0.1:9"), [], {"gate": b"mark"})
    assert said == ["From the future. Set the clock.", "400", "400", "400"]
