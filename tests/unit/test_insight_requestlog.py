"""Does the access log say what happened, never a secret, and never hold up the loop?"""

import json
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.requests.request import Request
from gateway.insight import requestlog
from gateway.insight.requestlog import RequestLog, fragment, peer_tag, redacted, stamp
from tests.harness.loops import started


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_answer_is_one_line(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    loop = await started(nursery, tmp_path, log_path=path)

    async def told(request: Request) -> None:
        request.outcome, request.principal, request.repository = "FILL", "ci", "w/r"
        await request.reply(200, (), b"four")

    loop.fake.tasks["/told"] = told
    client = await loop.client()
    await client.get("/small")
    await client.get("/small", method="HEAD")
    await client.get("/large", "Range: bytes=0-9")
    await client.get("/told?token=hunter2")
    await client.get("/../x")
    loop.log.close()
    written = lines(path)
    assert all(str(line.pop("time")).endswith("+00:00") for line in written)
    assert all((line.pop("peer"), line.pop("scheme")) == ("127.0.0.1", "http") for line in written)
    seconds = written[3].pop("seconds")
    assert isinstance(seconds, float)
    assert written == [
        {"method": "GET", "target": "/small", "status": 200, "bytes": 5, "outcome": "HIT", "repository": "w/r"},
        {"method": "HEAD", "target": "/small", "status": 200, "bytes": 0, "outcome": "HIT", "repository": "w/r"},
        {"method": "GET", "target": "/large", "status": 206, "bytes": 10},
        {"method": "GET", "target": "/told?token=-", "status": 200, "bytes": 4, "outcome": "FILL", "principal": "ci",
         "repository": "w/r"},
        {"method": "-", "target": "-", "status": 400, "bytes": written[4]["bytes"]},
    ]  # fmt: skip


SECRET = "hunter2"


@pytest.mark.parametrize(
    "target",
    [
        "/t/hunter2/w/r/pypi/simple/", "/t/hunter2", "/T/hunter2/x", "/%74/hunter2/x", "/t/hun%74er2/x",
        "http://a/t/hunter2/w", "http://a/%74/hunter2/w", "/x?token=hunter2", "/x?a=1&access_token=hunter2&b=2",
        "/x?TOKEN=hunter2", "/x?to%6ben=hunter2", "/x?api_key=hunter2", "/x?api-key=hunter2", "/x?password=hunter2",
        "/x?X-Amz-Signature=hunter2", "/x?sig=hunter2", "/x?code=hunter2", "/x?auth=hunter2", "/x?key=hunter2",
        "/x?session=hunter2", "/x?client_secret=hunter2", "/x?jwt=hunter2", "/x?apikey=hunter2",
    ],
)  # fmt: skip
def test_c11_no_credential_reaches_the_log(target: str) -> None:
    text = redacted(target.encode())
    assert SECRET not in text
    assert "hun" not in text


def test_c11_our_own_tokens_are_hidden_wherever_they_stand() -> None:
    assert "abc" not in redacted(b"/w/r/generic/ent_abcdefghijkl/x?y=ent_abcabc")


def test_what_is_no_secret_stays() -> None:
    for target in ("/w/r/pypi/simple/x/", "/x?q=a&page=2", "/tt/x", "/w/t/x", "/x?monkey=1&authored=2"[:7]):
        assert redacted(target.encode()) == target


@given(st.binary(max_size=80), st.text(max_size=20), st.text(max_size=20))
def test_f12_nothing_a_client_sends_can_end_a_line_or_a_string(target: bytes, outcome: str, peer: str) -> None:
    data = stamp(0.0) + peer_tag(peer, "http") + fragment("GET", target, 200, 1, outcome=outcome, principal=outcome)
    assert data.count(b"\n") == 1
    assert not any(byte < 0x20 for byte in data[:-1])
    assert data.isascii()
    line = json.loads(data)
    assert line["peer"] == peer
    assert line.get("principal", "") == outcome


def test_a_long_target_is_cut() -> None:
    assert len(redacted(b"/" + b"x" * 100_000)) <= requestlog.TARGET_CHARACTERS_MAX


def note(log: RequestLog, count: int) -> None:
    log.pending += (stamp(0.0), peer_tag("p", "http"), fragment("GET", b"/x", 200, 1)) * count
    log.flush()


def test_files_are_rotated_and_only_so_many_kept(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for _ in range(8):  # each time as a new process: it goes on where the last one stopped
        log = RequestLog(path, file_bytes_max=1_000, files_max=3)
        note(log, 6)
        log.close()
    names = sorted(file.name for file in tmp_path.iterdir() if file.name != "access.closed")
    assert names == ["access.log", "access.log.1", "access.log.2"]
    assert all(len(lines(tmp_path / name)) == 6 for name in names)


def test_a_disk_that_fails_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = RequestLog(tmp_path / "file" / "access.log")
    note(log, 5)
    log.close()
    assert log.dropped == 5


def test_a_disk_that_does_not_keep_up_never_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestlog.threading.Thread, "start", lambda self: None)
    log = RequestLog(tmp_path / "access.log")
    for _ in range(requestlog.BATCHES_MAX + 10):
        note(log, 2)
    assert log.dropped == 20


def test_no_path_no_file(tmp_path: Path) -> None:
    log = RequestLog(None)
    note(log, 5)
    log.close()
    assert log.pending == []
    assert log.dropped == 0


def test_a_new_node_has_no_directory_for_it_yet(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log" / "access-0.jsonl")
    log.pending += [b"{", b"}", b"\n"]
    log.close()
    assert log.dropped == 0
    assert (tmp_path / "log" / "access-0.jsonl").read_bytes() == b"{}\n"
