"""Is a step known to be a part of what asked for it, and is nothing believed that is no trace context?"""

import string

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from storage.spans import (
    Kind,
    Span,
    Trace,
    borrowed,
    current,
    lent,
    mark,
    marked,
    note,
    state_of,
    step,
    stepped,
    within,
)


class Kept:
    """A Sink that keeps."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def take(self, span: Span) -> None:
        self.spans.append(span)


def root(kept: Kept) -> Span:
    return Span(Trace("ab" * 16, kept), "all", Kind.SERVER, "")


# ---------------------------------------------------------------- tracestate (W3C Trace Context 3.3.1)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("vendor=value", "vendor=value"),
        ("a=1,b=2", "a=1,b=2"),
        (" a=1 ,\t b=2\t", "a=1,b=2"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("1tenant@sys=x/y:z;t", "1tenant@sys=x/y:z;t"),
        ("ot=th:8;rv:6e6d1a75832a2f", "ot=th:8;rv:6e6d1a75832a2f"),
        ("a=with space in it", "a=with space in it"),
        ("", ""),
        ("a", ""),
        ("a=", ""),
        ("=1", ""),
        ("A=1", ""),
        ("1a=1", ""),
        ("a=1,a=2", ""),
        ("a=1=2", ""),
        ("a=\u00e9", ""),
        ("a=1\n", ""),
        ("a=b\x00", ""),
        ("a@=1", ""),
        ("t@System=1", ""),
        (f"{'k' * 256}=1", f"{'k' * 256}=1"),
        (f"{'k' * 257}=1", ""),
        (f"a={'v' * 256}", f"a={'v' * 256}"),
        (f"a={'v' * 257}", ""),
        (f"t@{'s' * 14}=1", f"t@{'s' * 14}=1"),
        (f"t@{'s' * 15}=1", ""),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        (f"a={'v' * 255},b={'v' * 252}", f"a={'v' * 255},b={'v' * 252}"),
        (f"a={'v' * 255},b={'v' * 253}", ""),
        ("," * 5_000 + "a=1", ""),
    ],
)
def test_a_tracestate_is_told_on_where_it_is_one(said: str, told: str) -> None:
    assert state_of(said) == told


@given(st.text(alphabet=string.printable + "\u00e9\x00", max_size=700))
def test_whatever_is_told_on_is_bounded_and_told_on_the_same_again(said: str) -> None:
    told = state_of(said)
    assert len(told) <= 512
    assert told.isascii()
    assert not set(told) & set("\r\n\t\x00")
    assert state_of(told) == told


# ---------------------------------------------------------------- steps


def test_a_decorated_function_is_a_step_and_nothing_where_nobody_traces() -> None:
    @stepped("work")
    def work(number: int) -> int:
        note("number", number)
        return number * 2

    assert work(2) == 4
    kept = Kept()
    with within(root(kept)) as whole:
        assert work(3) == 6
    [inner, outer] = kept.spans
    assert (inner.name, inner.parent, inner.attributes) == ("work", whole.id, {"number": 3})
    assert outer is whole


def test_a_mark_is_of_the_step_that_makes_it_and_a_stranger_cannot_write_one() -> None:
    assert mark() == ""
    with within(root(Kept())) as whole, step("commit") as span:
        assert span is not None
        assert marked(mark()) == (whole.trace.id, span.id)
    for bad in ("", "x", f"{'a' * 32}-{'b' * 15}", f"{'A' * 32}-{'b' * 16}", f"{'a' * 32}-{'b' * 16}\n"):
        assert marked(bad) is None


async def test_another_task_goes_on_with_a_span_as_long_as_it_is_lent() -> None:
    kept = Kept()
    names: list[str] = []

    async def elsewhere(name: str, task_status: trio.TaskStatus[None]) -> None:
        with borrowed(name), step("call"):
            assert current() is not None
        assert current() is None
        task_status.started()

    async with trio.open_nursery() as nursery:

        async def start(name: str) -> None:
            await nursery.start(elsewhere, name)

        with within(root(kept)) as whole, lent() as name:
            names.append(name)
        with lent() as none, borrowed(none):
            assert none == ""
            assert current() is None
        with borrowed(names[0]):
            assert current() is None, "it was lent for the length of the block"
        with within(root(kept)) as whole, lent() as name, borrowed(""):
            await start(name)
    call = next(one for one in kept.spans if one.name == "call")
    assert call.parent == whole.id
