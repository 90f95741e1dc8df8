"""Does a wall clock that is set back make no token younger? THREATS E10."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.access.clock import Clock

HOUR_NS = 3600 * 10**9
STEPS = st.lists(st.tuples(st.integers(0, 2 * HOUR_NS), st.integers(-9 * HOUR_NS, 9 * HOUR_NS)), max_size=20)


class Times:
    def __init__(self) -> None:
        self.wall_ns = self.monotonic_ns = 100 * HOUR_NS


@given(STEPS)
def test_e10_it_never_goes_back_and_never_lags_behind_what_has_passed(steps: list[tuple[int, int]]) -> None:
    times = Times()
    clock = Clock(lambda: times.wall_ns, lambda: times.monotonic_ns)
    before_ms = clock.latest_ms()
    for passed_ns, jump_ns in steps:
        times.monotonic_ns += passed_ns
        times.wall_ns += passed_ns + jump_ns
        now_ms = clock.latest_ms()
        assert now_ms >= before_ms + passed_ns // 10**6
        assert now_ms >= clock.now_ms() == times.wall_ns // 10**6
        before_ms = now_ms


def test_e10_an_edge_that_is_behind_goes_by_its_origin() -> None:
    times = Times()
    clock = Clock(lambda: times.wall_ns, lambda: times.monotonic_ns)
    own_ms = clock.latest_ms()
    clock.origin_ms = lambda: own_ms + 7_200_000
    assert clock.latest_ms() == own_ms + 7_200_000
    assert clock.now_ms() == own_ms
    clock.origin_ms = lambda: own_ms - 7_200_000
    assert clock.latest_ms() == own_ms
    times.wall_ns += HOUR_NS
    assert clock.latest_ms() == own_ms + 3_600_000
    times.wall_ns -= HOUR_NS
    assert clock.latest_ms() == own_ms, "a clock that was ahead for a while costs nothing where the origin is heard"
