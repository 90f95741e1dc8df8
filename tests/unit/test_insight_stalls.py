"""Is a step that keeps the loop waiting counted, by its length, and forgotten in time?"""

import time
from pathlib import Path

import pytest
import trio

from gateway.insight import stalls
from gateway.insight.metrics import Metrics
from gateway.insight.stalls import STEPS_S, WINDOW_S, Stalls


def noted(*seconds: float) -> Stalls:
    """What is counted of steps of these lengths, on a clock that only they move."""
    made = Stalls()
    for one in seconds:
        made._note(one)
    return made


async def test_a_step_without_an_await_is_seen() -> None:
    counting = Stalls()
    trio.lowlevel.add_instrument(counting)
    try:
        await trio.lowlevel.checkpoint()
        time.sleep(0.03)
        await trio.lowlevel.checkpoint()
        await trio.sleep(0.03)
    finally:
        trio.lowlevel.remove_instrument(counting)
    assert sum(counting.counts) >= 1
    assert counting.longest_s() >= 0.03


async def test_the_step_that_puts_it_in_is_not_counted() -> None:
    counting = Stalls()
    trio.lowlevel.add_instrument(counting)
    time.sleep(0.02)
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(counting)
    assert sum(counting.counts) == 0


async def test_waiting_is_no_step() -> None:
    counting = Stalls()
    trio.lowlevel.add_instrument(counting)
    before = counting.longest_s()
    await trio.sleep(0.05)
    trio.lowlevel.remove_instrument(counting)
    assert counting.longest_s() < 0.05 or before


def test_steps_are_counted_by_length() -> None:
    counting = noted(0.006, 0.02, 0.04, 0.051, 5.0)
    assert counting.counts == [1, 1, 1, 1, 0, 0, 1]
    assert len(counting.counts) == len(STEPS_S) + 1
    assert counting.longest_s() == 5.0


def test_the_longest_step_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, now = noted(0.2), time.monotonic()
    monkeypatch.setattr(stalls, "monotonic", lambda: now + WINDOW_S + 1)
    assert counting.longest_s() == 0.2, "it was in the window before"
    monkeypatch.setattr(stalls, "monotonic", lambda: now + 2 * WINDOW_S + 3)
    assert counting.longest_s() == 0.0
    assert sum(counting.counts) == 1, "the counts stay"


def test_it_is_among_the_metrics(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    metrics.stalls._note(0.07)
    text = metrics.render()
    assert 'entrepot_loop_steps_total{worker="0",upto="0.1"} 1\n' in text
    assert 'entrepot_loop_longest_step_seconds{worker="0"} 0.07\n' in text
