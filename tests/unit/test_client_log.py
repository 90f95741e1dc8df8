"""Do lines of the access log come to be columns once, reach the origin once, and answer questions? THREATS C11, F12."""

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import netaddr
import pytest
import trio
from mmdb_writer import MMDBWriter

from gateway.config import Logs
from gateway.insight.gaps import Gap
from gateway.insight.requestlog import FAMILIES, family, fragment, peer_tag, stamp
from gateway.logs import segments
from gateway.logs.jobs import carry_out
from gateway.logs.keeping import Keeping, Receiving
from gateway.logs.merging import Merging
from gateway.logs.questions import Questions
from gateway.logs.register import Register
from gateway.logs.rollups import BY
from gateway.logs.tasks import Build, Counted, Filter, Used
from storage.errors import Invalid, Unavailable
from tests.harness.believing import Everything

NOW_S = time.time()


def line(number: int = 0, *, at_s: float = NOW_S, peer: str = "192.0.2.1", **more: Any) -> bytes:
    """A line as the loop writes it."""
    told = {
        "outcome": "HIT",
        "principal": "tok_a",
        "repository": "acme/main",
        "about": ("pypi", f"p{number}", "", f"p{number}-1.0.whl"),
        "client": "pip",
    }
    told |= more
    path = f"/acme/main/pypi/files/{number}".encode()
    return stamp(at_s) + peer_tag(peer, "http") + fragment("GET", path, 200, 100 + number, **told)


def wanted(**more: Any) -> Filter:
    return Filter(**({"since_ms": int(NOW_S - 3600) * 1000, "until_ms": int(NOW_S + 3600) * 1000} | more))


class Node:
    """The client log of one node."""

    def __init__(self, root: Path, **limits: Any) -> None:
        (root / "log").mkdir(parents=True)
        self.root, self.log = root, root / "log" / "access-0.jsonl"
        self.limits = Logs(**limits)
        self.register = Register(root / "segments")
        self.keeping = Keeping(root, "origin", self.limits, None, self.register)
        self.keeping.folders.make("origin")
        self.merging = Merging(self.keeping.folders, self.limits, self.register, Everything())
        self.questions = Questions(root, self.limits)

    def write(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    async def count(self, *by: str, **more: Any) -> list[dict[str, Any]]:
        return (await self.asked(*by, **more)).items

    async def asked(self, *by: str, **more: Any) -> Counted:
        return await self.questions.count(wanted(**more), lambda node: True, by, 100, by_bytes=False)

    async def total(self) -> int:
        return sum(one["requests"] for one in await self.count("workspace"))

    def rotate(self) -> None:
        self.log.rename(self.log.with_name("access-0.jsonl.1"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.register.close()


async def test_each_line_is_taken_once(node: Node) -> None:
    assert node.keeping.take() == 0
    node.write(b"".join(line(n % 3) for n in range(30)) + b'{"time":"torn')
    assert node.keeping.take() == 1
    assert node.keeping.take() == 0
    assert await node.total() == 30
    node.log.write_bytes(node.log.read_bytes().removesuffix(b'{"time":"torn'))
    node.write(line(1))
    node.rotate()
    node.write(line(2, peer="192.0.2.2"))
    assert node.keeping.take() == 2
    assert await node.total() == 32
    # the state was not written before the node died: the segments' names tell
    (node.keeping.folders.own / segments.STATE).unlink()
    assert node.keeping.take() == 0


async def test_a_build_that_broke_off_leaves_nothing_that_counts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.write(line() * 5)
    with monkeypatch.context() as broken:
        broken.setattr("gateway.logs.jobs.COMMAND", ("false",))
        with pytest.raises(Exception, match="status 1"):
            node.keeping.take()
    assert await node.total() == 0
    assert node.keeping.take() == 1
    assert await node.total() == 5


async def test_what_is_asked(node: Node) -> None:
    node.write(line(1) * 3 + line(2) + line(3, client="npm", principal="tok_b", repository="other/main"))
    node.write(line(4, principal="edge:tokyo") + line(5, outcome="RELAYED") + line(6, repository="", about=()))
    node.write(line(7, at_s=NOW_S - 7200) + b"not a line\n" + b'{"time":5}\n')
    node.keeping.take()
    assert await node.count("package", workspace="acme") == [
        {"package": "pypi:p1", "requests": 3, "bytes": 303},
        {"package": "pypi:p2", "requests": 1, "bytes": 102},
    ]
    assert [one["client"] for one in await node.count("client")] == ["pip", "npm"]
    assert await node.count("principal", principals=("tok_b",), client="npm", status=200, format="pypi") == [
        {"principal": "tok_b", "requests": 1, "bytes": 103}
    ]
    assert await node.count("principal", principals=("tok_b", "tok_a", "tok_none")) == await node.count("principal")
    found = await node.questions.find(wanted(principals=("tok_none", "tok_b")), lambda name: True, 9)
    assert [one["client"] for one in found] == ["npm"]
    day = f"{datetime.fromtimestamp(NOW_S, UTC):%Y-%m-%d}"
    assert (await node.count("repository", "day", workspace="acme"))[0] == {
        "repository": "acme/main", "day": day, "requests": 4, "bytes": 405,
    }  # fmt: skip
    for by in BY:
        assert await node.count(by)
    found = await node.questions.find(wanted(workspace="acme", package="p1"), lambda name: True, 2)
    assert [one["file"] for one in found] == ["p1-1.0.whl"] * 2
    assert abs(found[0]["time_ms"] - NOW_S * 1000) < 2
    assert await node.count("package", package="x' or 1=1 --") == []


async def test_countries_come_from_the_file_as_long_as_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "countries.mmdb"
    writer = MMDBWriter()
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(path))
    node = Node(tmp_path / "node", countries=str(path))
    node.write(line(peer="203.0.113.9") + line(peer="192.0.2.1"))
    assert node.keeping.take() == 1
    path.unlink()
    node.write(line(peer="203.0.113.9"))
    assert node.keeping.take() == 1
    found = {row["country"]: row["requests"] for row in await node.count("country")}
    assert found == {"DE": 1, "": 2}
    node.register.close()


async def test_a_question_that_takes_too_much_is_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.write(line())
    node.keeping.take()
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", ("false",))
    with pytest.raises(Unavailable):
        await node.count("package")


def test_a_segment_is_kept_once_and_only_as_what_it_is(tmp_path: Path) -> None:
    name, body = "20261127T100000-0-00112233445566aa-0-100.parquet", b"PAR1" + bytes(20) + b"PAR1"
    register = Register(tmp_path / "o" / "segments")
    origin, shield = Receiving(tmp_path / "o", register=register), Receiving(tmp_path / "s", register=None)
    assert shield.keep("tokyo", name, body)
    assert not shield.keep("tokyo", name, body)
    (passed,) = (tmp_path / "s/segments/out").glob("*.parquet")
    assert origin.keep("shield", passed.name, body)
    assert (tmp_path / "o/segments/kept/shield" / passed.name).read_bytes() == body
    assert not origin.keep("shield", passed.name, body)
    assert not origin.keep("tokyo", name, body), "the same bytes by another way"
    (tmp_path / "o/segments/kept/shield" / passed.name).unlink()
    assert not origin.keep("shield", passed.name, body), "it was merged meanwhile"
    assert not origin.keep("tokyo", name.replace("-0-100.", "-50-200."), body), "a part of it was counted"
    assert origin.keep("tokyo", name.replace("-0-100.", "-100-200."), body)
    assert origin.keep("osaka", name, body), "of another node"
    for node, bad, data in (
        ("tokyo", "../x.parquet", body), ("tokyo", "x.parquet", body), ("../x", name, body), ("origin", name, body),
        ("tokyo", name.replace("-100", "-200"), b"x"), ("tokyo", "2999" + name[4:], body), (".", name, body),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            origin.keep(node, bad, data)
    assert not list((tmp_path / "o/segments/work").iterdir())
    register.close()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    for day in range(1, 10):
        (tmp_path / f"2026110{day}T000000-0-00112233445566aa-0-{day}.parquet").write_bytes(bytes(100))
    assert len(segments.trimmed(tmp_path, 10_000, "20261104")) == 3
    assert len(segments.trimmed(tmp_path, 250)) == 4
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == ["20261108", "20261109"]


@pytest.mark.parametrize(
    ("user_agent", "told"),
    [("pip/25.1 {}", "pip"), ("npm/11", "npm"), ("curl/8.14", "curl"), ("", ""), ("ent_secret pip/1", "other"),
     ("Apache-Maven/3.9 (Java)", "apache-maven"), ("python-requests/2", "python-requests"), ("\x1b[31m", "other")],
)  # fmt: skip
def test_c11_of_a_user_agent_only_the_family_is_told(user_agent: str, told: str) -> None:
    assert family(user_agent) == told
    assert told in ("", "other", *FAMILIES)


def test_c11_f12_what_stands_in_names_is_hidden_and_quoted() -> None:
    token = "ent_" + "A1" * 19
    data = line(about=("pypi", token, f'a"\n{token}', f"{token}.whl"), repository=f"acme/{token}")
    assert token.encode() not in data
    assert data.count(b"\n") == 1
    assert json.loads(data)["version"] == 'a"\nent_-'


# ---------------------------------------------------------------- the last use of tokens


def test_the_last_use_of_a_token_is_the_latest_that_any_segment_tells(tmp_path: Path) -> None:
    register = Register(tmp_path)
    early, late = Used("tok_a", 5, "192.0.2.1", "origin"), Used("tok_a", 9, "2001:db8::1", "tokyo")
    assert register.uses(["tok_a"]) == {}
    for seen in ([early], [late], [early, Used("tok_b", 1, "", "origin")]):
        register.use(seen)
    assert register.uses(["tok_a", "tok_b", "tok_c"]) == {"tok_a": late, "tok_b": Used("tok_b", 1, "", "origin")}
    register.close()
    again = Register(tmp_path)
    assert again.uses(["tok_a"]) == {"tok_a": late}
    again.close()


def test_a_task_is_of_low_priority_from_its_first_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only once it has loaded the engine, which takes a tenth of a second of the core that delivery runs on."""
    told = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", (sys.executable, "-c", told))
    task = Build("/", "", "", "", "")
    assert carry_out(task, int, memory_bytes_max=1, seconds_max=20.0) == 19
    assert carry_out(task, int, memory_bytes_max=1, seconds_max=20.0, nice=5) == 5


async def test_a_task_ends_with_whoever_waits_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node that is told to end does not wait for a segment: its lines are still in the log."""
    began = tmp_path / "began"
    os.mkfifo(began)
    lasts = f"import os, time; open({str(began)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", (sys.executable, "-c", lasts))
    job = partial(carry_out, Build("/", "", "", "", ""), int, memory_bytes_max=1, seconds_max=300.0)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, job)
            number = int(await trio.to_thread.run_sync(began.read_text))
            nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_what_an_edge_fetched_for_its_clients_is_shown_when_it_is_asked_for_and_counted_never(node: Node) -> None:
    """A download at an edge that had to fetch is two requests, and one of a client. A line that tells of lost ones is
    there once, whoever is asked about."""
    now = f"{datetime.fromtimestamp(NOW_S, UTC).isoformat(timespec='milliseconds')}"
    node.write(line(1) + line(1, principal="edge:tokyo") + Gap(3, now, now).line())
    node.keeping.take()

    async def shown(**more: Any) -> list[str]:
        found = await node.questions.find(wanted(**more), lambda name: True, 9)
        piece = await node.questions.export(wanted(**more), lambda name: True, "", 9, parquet=False)
        exported = [json.loads(one) for one in piece.body.splitlines()]
        assert sorted(one["principal"] for one in exported) == sorted(one["principal"] for one in found)
        return sorted(one["principal"] for one in found)

    assert await shown() == ["", "tok_a"]
    assert await shown(workspace="acme") == ["", "tok_a"]
    assert await shown(edges=True) == ["", "edge:tokyo", "tok_a"]
    assert await shown(edges=True, principals=("edge:tokyo",)) == ["", "edge:tokyo"]
    assert await node.count("principal", edges=True) == [{"principal": "tok_a", "requests": 1, "bytes": 101}]
    for by in BY:
        assert sum(one["requests"] for one in await node.count(by)) == 1, by
    node.merging.round()
    for by in BY:
        assert sum(one["requests"] for one in await node.count(by)) == 1, by
