"""Does a node that is told to end say so before it refuses anybody?"""

import signal
import time
from pathlib import Path

import pytest

from tests.harness.pairs import PUBLIC, Pair
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
