"""Does a node that is told to end say so before it refuses anybody?"""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.hostile.speaking import Ended, Reset
from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.harness.running import get
from tests.native.test_recall import PATIENCE_S, publish

pytestmark = pytest.mark.native


def test_readiness_goes_first_then_the_doors(tmp_path: Path) -> None:
    with Pair(tmp_path / "pair", delivery={"notice_seconds": 3.0}) as pair:
        path = publish(pair, PUBLIC, "last", 1000)
        assert get(f"{pair.edge.url}/-/ready").status == 200
        pair.edge.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE_S
        served = 0
        while True:
            assert time.monotonic() < end
            try:
                ready, got = get(f"{pair.edge.url}/-/ready"), get(pair.edge.url + path)
            except OSError:
                break
            if ready.status == 503:
                assert got.status == 200, "a client that nobody has sent elsewhere yet"
                served += 1
        assert served
        assert pair.edge.process.wait(PATIENCE_S) == 0


def test_what_is_under_way_is_finished_before_a_node_ends(tmp_path: Path) -> None:
    """An upload at the origin and one through an edge; meanwhile nobody new is let in."""
    half = b"x" * 100_000
    with Pair(tmp_path / "pair") as pair, ExitStack() as stack:
        for name, node in (("edge", pair.edge), ("origin", pair.origin)):
            speaker = stack.enter_context(node.speaker())
            head = f"PUT /{PRIVATE}/generic/{name} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {pair.token}\r\n"
            speaker.send(f"{head}Expect: 100-continue\r\nContent-Length: {2 * len(half)}\r\n\r\n".encode())
            assert speaker.socket.recv(4096).startswith(b"HTTP/1.1 100"), "it is under way"
            speaker.send(half)
            node.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + PATIENCE_S
            while True:
                assert time.monotonic() < end
                try:
                    node.ask("GET", "/-/health")
                except (OSError, Ended, Reset):
                    break
            speaker.send(half)
            said = speaker.hear()
            assert said.status in (201, 503) if name == "edge" else said.status == 201, said
            assert node.process.wait(PATIENCE_S) == 0
            if name == "edge":  # it may have no time to hear of its own write; the origin has it
                assert pair.origin.ask("GET", f"/{PRIVATE}/generic/edge", pair.token).body == 2 * half
        assert "Traceback" not in pair.words()
