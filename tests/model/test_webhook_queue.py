"""Does a webhook's queue lose nothing, whatever fails and whenever it dies? Against a plain account of what must hold.

The machine looks, sends, ends attempts, lets time pass, and crashes: then the queue is what was last written, and
everything that was under way is unknown. At the end the receiver answers, and all that was ever wanted has been
delivered, or was given up after as many attempts as the rules have (D14).
"""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.webhooks.queue import AWAY_FAILURES, WINDOW, Ended, Queue, Rules, State, Waiting

RULES = Rules(attempts_max=4, retry_seconds_min=1.0, retry_seconds_max=8.0, disable_seconds=1e9, parallel_max=3)


def copy(state: State) -> State:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now_ms = 1_000
        self.head = 0
        self.delivered: set[str] = set()
        self.given_up: set[str] = set()
        self.tries: dict[str, int] = {}
        self.kept = State(1, 0, 0)
        self.queue = Queue(copy(self.kept), RULES)
        self.sent: list[str] = []

    def wanted(self, serial: int) -> bool:
        return serial % 3 != 0

    @rule(entries=st.integers(1, 40))
    def write(self, entries: int) -> None:
        self.head += entries

    @rule()
    def look(self) -> None:
        at, found = self.queue.state.at, list[Waiting]()
        while at < self.head and len(found) < self.queue.room():
            at += 1
            if self.wanted(at):
                found.append(Waiting(False, at, f"msg_{at}"))
        self.queue.looked(at, 0, found)
        self.keep()

    def keep(self) -> None:
        self.kept = copy(self.queue.state)

    @rule()
    def send(self) -> None:
        for one in self.queue.due(self.now_ms):
            assert one.message not in self.sent, "nothing is under way twice"
            self.sent.append(one.message)
        assert len(self.sent) <= RULES.parallel_max

    @precondition(lambda self: self.sent)
    @rule(good=st.booleans(), data=st.data(), spread=st.floats(0, 1))
    def end(self, good: bool, data: st.DataObject, spread: float) -> None:
        message = data.draw(st.sampled_from(self.sent))
        self.sent.remove(message)
        if good:
            self.delivered.add(message)
        else:
            self.tries[message] = self.tries.get(message, 0) + 1
        if self.queue.ended(message, Ended(good), self.now_ms, lambda: spread):
            assert self.tries[message] >= RULES.attempts_max
            self.given_up.add(message)
        self.keep()

    @rule(ms=st.integers(1, 20_000))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def crash(self) -> None:
        self.queue = Queue(copy(self.kept), RULES)
        self.sent = []

    @invariant()
    def nothing_is_lost(self) -> None:
        waiting = {one.message for one in self.queue.state.waiting}
        for serial in range(1, self.queue.state.at + 1):
            if self.wanted(serial):
                assert f"msg_{serial}" in waiting | self.delivered | self.given_up
        settled, _ = self.queue.settled()
        assert settled <= self.queue.state.at
        assert all(one.serial > settled for one in self.queue.state.waiting)
        assert len(waiting) == len(self.queue.state.waiting) <= WINDOW

    @invariant()
    def it_wakes_for_whatever_is_due(self) -> None:
        wake_ms = self.queue.wake_ms(self.now_ms)
        idle = [one for one in self.queue.state.waiting if one.message not in self.sent]
        assert (wake_ms is None) == (not idle)
        if wake_ms is not None and not self.sent:
            assert Queue(copy(self.queue.state), RULES).due(wake_ms), "what is waited for is due then"

    def teardown(self) -> None:
        """The receiver is well again, and everything comes out."""
        if not hasattr(self, "queue"):
            return
        self.crash()
        for _ in range(10_000):
            self.look()
            wake_ms = self.queue.wake_ms(self.now_ms)
            if wake_ms is None:
                break
            self.now_ms = max(self.now_ms, wake_ms)
            for one in self.queue.due(self.now_ms):
                self.delivered.add(one.message)
                self.queue.ended(one.message, Ended(True), self.now_ms, lambda: 0.0)
            self.keep()
        assert self.queue.settled()[0] == self.head
        assert {f"msg_{one}" for one in range(1, self.head + 1) if self.wanted(one)} <= self.delivered | self.given_up


TestQueue = Machine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def failing(queue: Queue, now_ms: int, times: int) -> int:
    for _ in range(times):
        wake_ms = queue.wake_ms(now_ms)
        assert wake_ms is not None
        now_ms = wake_ms
        for one in queue.due(now_ms):
            queue.ended(one.message, Ended(False), now_ms, lambda: 1.0)
    return now_ms


def test_a_receiver_that_is_away_is_asked_ever_later_with_one_event() -> None:
    queue = Queue(State(1, 0, 0), RULES)
    queue.looked(10, 0, [Waiting(False, number, f"msg_{number}") for number in range(1, 11)])
    now_ms = failing(queue, 1_000, 1)
    assert queue.is_away
    assert queue.state.failures == AWAY_FAILURES
    assert queue.due(now_ms) == [], "it rests first"
    now_ms = queue.state.paused_ms
    (only,) = queue.due(now_ms)
    assert queue.due(now_ms) == [], "one at a time"
    before_ms = queue.state.paused_ms
    queue.ended(only.message, Ended(False), now_ms, lambda: 1.0)
    assert queue.state.paused_ms - now_ms > 1_000 >= before_ms - now_ms
    assert sum(one.attempts for one in queue.state.waiting) == queue.state.refused == 4
    (only,) = queue.due(queue.state.paused_ms)
    queue.ended(only.message, Ended(True), now_ms, lambda: 1.0)
    assert len(queue.due(queue.state.paused_ms + 100_000)) == RULES.parallel_max, "a success ends that"


def test_it_is_hopeless_after_nothing_but_failures_for_long() -> None:
    queue = Queue(State(1, 0, 0), RULES._replace(disable_seconds=60.0, attempts_max=100))
    queue.looked(1, 0, [Waiting(False, 1, "msg_1")])
    now_ms = failing(queue, 1_000, 5)
    assert not queue.is_hopeless(now_ms)
    now_ms = failing(queue, now_ms, 12)
    assert now_ms > 61_000
    assert queue.is_hopeless(now_ms)
    queue.rest()
    assert not queue.is_hopeless(now_ms + 10**9)
    assert [one.attempts for one in queue.state.waiting] == [0], "and nothing was lost"


def test_a_receiver_that_asks_for_time_gets_it_within_bounds() -> None:
    queue = Queue(State(1, 0, 0), RULES)
    queue.looked(2, 0, [Waiting(False, 1, "msg_1"), Waiting(False, 2, "msg_2")])
    one, _ = queue.due(0)
    queue.ended(one.message, Ended(False, wait_s=5.0), 0, lambda: 0.0)
    assert queue.state.paused_ms == 5_000
    queue.ended("msg_2", Ended(False, wait_s=10.0**6), 0, lambda: 0.0)
    assert queue.state.paused_ms == RULES.retry_seconds_max * 1000
