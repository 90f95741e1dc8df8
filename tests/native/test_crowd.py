"""Many who ask for one cold file with the very same head: one fetch, each gets it, and each is judged (B9, C1)."""

import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hostile.speaking import Speaker
from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.native.test_recall import SIZE as LARGE
from tests.native.test_recall import Download, await_cut, call, cut_at, of, publish

pytestmark = pytest.mark.native

CLIENTS = 60
SIZE = 3_000_000


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.stop()


def crowd(pair: Pair, path: str, token: str = "", many: int = CLIENTS) -> list[tuple[int, bytes]]:
    """All connect, then all ask, then all read."""
    who = f"Authorization: Bearer {token}\r\n" if token else ""
    with contextlib.ExitStack() as stack:
        speakers: list[Speaker] = [stack.enter_context(pair.edge.speaker()) for _ in range(many)]
        for speaker in speakers:
            speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{who}\r\n".encode())
        said = [speaker.hear() for speaker in speakers]
    return [(one.status, one.body) for one in said]


def fetches(pair: Pair, path: str) -> int:
    """Of the file by the edge, as the origin tells them."""
    lines = [json.loads(line) for line in pair.origin.logged().splitlines() if path in line]
    return sum(one["method"] == "GET" and one["status"] in (200, 206) for one in lines)


def test_a_crowd_that_sends_one_head_is_answered_from_one_fetch_and_judged_each_time(pair: Pair) -> None:
    public, private = publish(pair, PUBLIC, "seen", SIZE), publish(pair, PRIVATE, "hidden", SIZE)
    for path, token in ((public, ""), (private, pair.token)):
        whole = pair.origin.ask("GET", path, token).body
        before = fetches(pair, path)
        assert crowd(pair, path, token) == [(200, whole)] * CLIENTS
        assert fetches(pair, path) - before == 1
        assert crowd(pair, path, token, 5) == [(200, whole)] * 5
        assert fetches(pair, path) - before == 1, "what is here by now is sent from here"
    assert {status for status, _ in crowd(pair, private)} == {401}
    other = publish(pair, PRIVATE, "held", SIZE)
    call(pair, "POST", f"/repositories/{PRIVATE}/quarantine", of(other) | {"reason": "looked at"})
    assert {status for status, _ in crowd(pair, other, pair.token)} == {403}, "a decision of before does not count"


def waiting(pair: Pair, stack: contextlib.ExitStack, path: str, many: int) -> list[Speaker]:
    """So many who have asked while the origin stands still."""
    os.killpg(pair.origin.process.pid, signal.SIGSTOP)
    speakers = [stack.enter_context(pair.edge.speaker()) for _ in range(many)]
    for speaker in speakers:
        speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {pair.token}\r\n\r\n".encode())
    time.sleep(0.5)
    return speakers


def test_f8_who_leaves_a_crowd_that_waits_harms_nobody_and_who_is_slow_is_cut_when_its_leave_is_gone(
    pair: Pair,
) -> None:
    path = publish(pair, PRIVATE, "awaited", LARGE)
    whole = pair.origin.ask("GET", path, pair.token).body
    before = fetches(pair, path)
    with contextlib.ExitStack() as stack:
        speakers = waiting(pair, stack, path, 12)
        for speaker in speakers[:10:3]:
            speaker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            speaker.socket.close()  # a reset
        slow = [Download.__new__(Download) for _ in range(2)]
        for one, speaker in zip(slow, speakers[10:], strict=True):
            one.speaker = speaker
            speaker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        os.killpg(pair.origin.process.pid, signal.SIGCONT)
        heard = [speaker.hear() for number, speaker in enumerate(speakers[:10]) if number % 3]
        assert [(one.status, one.body == whole) for one in heard] == [(200, True)] * 6
        assert fetches(pair, path) - before == 1
        for one in slow:
            one.status, one.headers = one.speaker._head()
        cut = cut_at(pair.edge)
        call(pair, "POST", f"/repositories/{PRIVATE}/quarantine", of(path) | {"reason": "looked at"})
        await_cut(pair.edge, cut, 2)
        assert [one.rest() for one in slow] == [None, None]


def test_b7_a_crowd_whose_parent_dies_is_told_so_each(pair: Pair) -> None:
    path = publish(pair, PRIVATE, "never", SIZE)
    with contextlib.ExitStack() as stack:
        speakers = waiting(pair, stack, path, 8)
        os.killpg(pair.origin.process.pid, signal.SIGKILL)
        heard = [speaker.hear() for speaker in speakers]
    assert {one.status for one in heard} <= {502, 503, 504}, heard
