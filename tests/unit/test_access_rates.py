"""Is a limit kept, by all workers together, and by nobody else? The clock is the test's own."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.limits import rates
from gateway.access.limits.rates import Bucket, Rates, Table, network_of
from gateway.access.rights.verdicts import ANONYMOUS, Principal
from gateway.config import Limits
from storage.errors import TooMany

WINDOW_S = 60.0
ANN = Principal("tok_ann", "ann", "api", ())


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def made(folder: Path, clock: Clock, **limits: int) -> Rates:
    return Rates(Table(folder / "rates", WINDOW_S, clock), Limits(window_seconds=WINDOW_S, **limits))


def refused(rates: Rates, principal: Principal, peer: str = "192.0.2.1", workspace: str = "w") -> TooMany | None:
    try:
        rates.spend(principal, peer, workspace)
    except TooMany as problem:
        return problem
    return None


def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    one = made(tmp_path, Clock())
    assert [one.spend(ANN, "192.0.2.1", "w") for _ in range(5)] == [()] * 5
    assert not any((tmp_path / "rates").read_bytes())


def test_a_window_may_be_used_at_once_and_comes_back_evenly(tmp_path: Path) -> None:
    clock = Clock()
    one = made(tmp_path, clock, token_requests_max=6)
    told = [dict(one.spend(ANN, "", "w")) for _ in range(6)]
    assert [fields["RateLimit"] for fields in told] == [f'"token";r={5 - n};t={10 * (n + 1)}' for n in range(6)]
    assert told[0]["RateLimit-Policy"] == '"token";q=6;w=60'
    problem = refused(one, ANN)
    assert problem is not None
    assert (problem.status, problem.retry_after_s) == (429, 10)
    assert dict(problem.fields)["RateLimit"] == '"token";r=0;t=60'
    clock.now_s += 10
    assert refused(one, ANN) is None
    assert refused(one, ANN) is not None
    clock.now_s += 3600
    assert sum(refused(one, ANN) is None for _ in range(20)) == 6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 12))
def test_in_no_window_more_than_twice_the_limit_and_over_time_the_limit(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], most: int
) -> None:
    """What a full window and the trickle during it come to; and Retry-After tells the truth."""
    clock = Clock()
    one = made(tmp_path_factory.mktemp("rates"), clock, token_requests_max=most)
    taken: list[float] = []
    for pause in pauses:
        clock.now_s += pause
        problem = refused(one, ANN)
        if problem is None:
            taken.append(clock.now_s)
        else:
            assert problem.retry_after_s is not None
            clock.now_s += problem.retry_after_s
            assert refused(one, ANN) is None
            taken.append(clock.now_s)
    for start in taken:
        assert sum(start <= at < start + WINDOW_S for at in taken) <= 2 * most
    assert len(taken) <= most * (1 + (taken[-1] - taken[0]) / WINDOW_S) + 1


def test_workers_keep_one_limit_and_a_new_one_goes_on_with_it(tmp_path: Path) -> None:
    clock = Clock()
    workers = [made(tmp_path, clock, token_requests_max=10) for _ in range(4)]
    assert sum(refused(workers[n % 4], ANN) is None for n in range(40)) == 10
    assert refused(made(tmp_path, clock, token_requests_max=10), ANN) is not None


def test_each_principal_address_and_workspace_has_its_own(tmp_path: Path) -> None:
    one = made(tmp_path, Clock(), token_requests_max=3, address_requests_max=2, workspace_requests_max=100)
    assert sum(refused(one, ANN) is None for _ in range(9)) == 3
    assert sum(refused(one, ANN._replace(id="tok_bob")) is None for _ in range(9)) == 3
    assert sum(refused(one, ANN._replace(id="tok_own", requests_max=5)) is None for _ in range(9)) == 5
    assert sum(refused(one, ANONYMOUS) is None for _ in range(9)) == 2
    assert sum(refused(one, ANONYMOUS, "192.0.2.2") is None for _ in range(9)) == 2
    assert sum(refused(one, ANONYMOUS, f"2001:db8::{n}") is None for n in range(9)) == 2
    assert sum(refused(one, ANONYMOUS, "2001:db8:0:1::1") is None for _ in range(9)) == 2
    assert all(refused(one, ANN._replace(id="e", kind="edge")) is None for _ in range(999))


def test_what_one_limit_refuses_no_other_counts(tmp_path: Path) -> None:
    one = made(tmp_path, Clock(), token_requests_max=1, workspace_requests_max=3)
    assert sum(refused(one, ANN) is None for _ in range(9)) == 1
    assert sum(refused(one, ANN._replace(id=f"tok_{n}")) is None for n in range(9)) == 2


def test_a_clock_that_began_anew_locks_nobody_out(tmp_path: Path) -> None:
    clock = Clock()
    clock.now_s = 1e6
    before = made(tmp_path, clock, token_requests_max=2)
    assert sum(refused(before, ANN) is None for _ in range(5)) == 2
    clock.now_s = 5.0
    assert sum(refused(before, ANN) is None for _ in range(5)) == 2


def test_a9_a_flood_of_addresses_takes_no_more_room_and_forgets_who_used_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SLOTS", 8)
    table = Table(tmp_path / "rates", WINDOW_S, Clock())
    heavy = Bucket("address", "heavy", 10)
    for _ in range(10):
        table.take(heavy)
    for number in range(1000):
        table.take(Bucket("address", str(number), 10))
    assert table.take(heavy).wait_s > 0
    assert (tmp_path / "rates").stat().st_size == 8 * 16


def test_network_of() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::7") == network_of("2001:db8::8%eth0") == "2001:db8::/64"
    assert network_of("odd") == "odd"
