"""Does a bucket let through what its rate allows, by a virtual clock, and does a client that joins end the waiting?"""

from hypothesis import given
from hypothesis import strategies as st

from cache.asking.pacing import BURST_SECONDS, Bucket, Paced


class Clock:
    """Seconds that pass by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Endless:
    """A source that always has more."""

    status, headers, offset, length = 200, dict[str, str](), 0, -1

    def readinto(self, buffer: memoryview) -> int:
        return len(buffer)

    def ready(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        return

    def abort(self) -> None:
        return


@given(st.integers(1_000, 10_000_000), st.lists(st.integers(1, 1_000_000), min_size=1, max_size=50))
def test_a_bucket_lets_no_more_through_than_its_rate(rate: int, pieces: list[int]) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock)
    for piece in pieces:
        clock.sleep(bucket.take(piece))
    taken_s = clock.now - 1000.0
    assert sum(pieces) <= rate * (taken_s + BURST_SECONDS) * 1.001 + 1
    assert taken_s <= sum(pieces) / rate + 0.001


def read_for(seconds: float, paced: Paced, clock: Clock, buffer: memoryview, bytes_max: int = 1 << 40) -> int:
    count, end_s = 0, clock.now + seconds
    while clock.now < end_s and count < bytes_max:
        count += paced.readinto(buffer)
    return count


def test_a_paced_source_gives_its_rate_until_a_client_joins() -> None:
    clock, waiting = Clock(), [False]
    source = Paced(Endless(), [Bucket(1_000_000, clock)], lambda: waiting[0], sleep=clock.sleep, now_s=clock)
    buffer = memoryview(bytearray(256 << 10))
    assert 9_500_000 < read_for(10, source, clock, buffer) < 10_500_000
    waiting[0] = True
    before_s = clock.now
    assert read_for(10, source, clock, buffer, 50_000_000) >= 50_000_000
    assert clock.now == before_s, "nothing is waited for any more"


def test_two_sources_share_a_bucket_and_the_slower_of_two_buckets_rules() -> None:
    clock = Clock()
    shared, own = Bucket(1_000_000, clock), Bucket(100_000, clock)
    sources = [
        Paced(Endless(), [shared, own], lambda: False, sleep=clock.sleep, now_s=clock),
        Paced(Endless(), [shared], lambda: False, sleep=clock.sleep, now_s=clock),
    ]
    buffer = memoryview(bytearray(16 << 10))
    counts, end_s = [0, 0], clock.now + 20
    while clock.now < end_s:
        counts[0] += sources[0].readinto(buffer)
        counts[1] += sources[1].readinto(buffer)
    assert counts[0] < 2_200_000
    assert sum(counts) < 20_500_000


def test_a_fetch_that_would_not_end_in_time_is_let_go() -> None:
    clock = Clock()
    source = Paced(Endless(), [Bucket(1_000, clock)], lambda: False, clock.now + 60, sleep=clock.sleep, now_s=clock)
    buffer = memoryview(bytearray(16 << 10))
    assert read_for(200, source, clock, buffer, 50_000_000) >= 50_000_000
    assert clock.now < 1000 + 61
