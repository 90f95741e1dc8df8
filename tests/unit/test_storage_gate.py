"""Does a process that closes its environment wait for who writes in it, and end whatever was left behind?"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from storage.errors import Unavailable
from storage.index.gate import Gate

PATIENCE_S = 20.0


@pytest.fixture
def env(tmp_path: Path) -> Iterator[lmdb.Environment]:
    opened = lmdb.open(str(tmp_path / "env"), max_dbs=1)
    yield opened
    opened.close()


def started(step: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    return thread


def test_closing_waits_for_the_write_that_is_under_way(env: lmdb.Environment) -> None:
    gate = Gate(env)
    inside, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with gate.writing() as txn:
            inside.set()
            go_on.wait(PATIENCE_S)
            txn.put(b"key", b"whole")

    def close() -> None:
        gate.close()
        closed.set()

    writer = started(write)
    assert inside.wait(PATIENCE_S)
    closer = started(close)
    assert not closed.wait(0.05)
    go_on.set()
    closer.join(PATIENCE_S)
    writer.join(PATIENCE_S)
    assert closed.is_set()
    with env.begin() as txn:
        assert txn.get(b"key") == b"whole"


def test_nobody_begins_to_write_behind_a_closed_gate(env: lmdb.Environment) -> None:
    gate = Gate(env)
    gate.close()
    kept: list[BaseException] = []  # a traceback that is kept keeps what its frames hold

    def write() -> None:
        try:
            with gate.writing() as txn:
                txn.put(b"key", b"late")
        except Unavailable as problem:
            kept.append(problem)

    started(write).join(PATIENCE_S)
    assert kept
    done = started(env.close)
    done.join(PATIENCE_S)
    assert not done.is_alive(), "the environment waits for a transaction that nobody ends"
