"""Do the queues of eviction keep their promises, whatever comes in whatever order?"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cache.keeping.eviction import HITS_MAX, SHORT_SHARE, Drop, Queues
from storage.blobs.shelf import PackInfo

BYTES_MAX = 1000
GHOSTS_MAX = 4


class Plain:
    """The same policy, told in lists and without a thought for speed."""

    def __init__(self) -> None:
        self.short: list[int] = []
        self.long: list[int] = []
        self.hits: dict[bytes, int] = {}
        self.ghosts: list[bytes] = []

    def next(self, packs: dict[int, tuple[int, list[tuple[bytes, int]]]]) -> Drop | None:
        while self.short or self.long:
            over = sum(packs[pack][0] for pack in self.short) > BYTES_MAX * SHORT_SHARE
            if self.short and (over or not self.long):
                pack = self.short.pop(0)
                inside = packs[pack][1]
                if self.hits.pop(inside[0][0], 0):
                    self.long.append(pack)
                    continue
                self.ghosts = [one for one in self.ghosts if one != inside[0][0]] + [inside[0][0]]
                self.ghosts = self.ghosts[-GHOSTS_MAX:]
                return Drop(pack)
            pack = self.long.pop(0)
            inside = packs[pack][1]
            hot = [one for one in inside if self.hits.get(one[0], 0) > 0]
            for sha256, _ in hot:
                self.hits[sha256] -= 1
            if sum(size for _, size in hot) * 2 >= max(1, sum(size for _, size in inside)):
                self.long.append(pack)
                continue
            return Drop(pack, tuple(sha256 for sha256, _ in hot))
        return None


class QueuesMachine(RuleBasedStateMachine):
    """The queues beside the plain ones, over a cache of packs."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues(BYTES_MAX, ghosts_max=GHOSTS_MAX)
        self.plain = Plain()
        self.packs: dict[int, tuple[int, list[tuple[bytes, int]]]] = {}
        self.last = 0

    def members(self, pack: int) -> list[tuple[bytes, int]]:
        return self.packs[pack][1]

    def meet(self) -> None:
        infos = [PackInfo(pack, size, size, 0, True) for pack, (size, _) in self.packs.items()]
        self.queues.meet([*infos, PackInfo(1_000_000, 10, 10, 0, False)], self.members)

    @rule(name=st.integers(0, 12), size=st.integers(1, 120))
    def a_large_object_comes(self, name: int, size: int) -> None:
        self.last += 1
        blob = b"large %d" % name
        self.packs[self.last] = (size, [(blob, size)])
        if blob in self.plain.ghosts:
            self.plain.ghosts.remove(blob)
            self.plain.long.append(self.last)
        else:
            self.plain.short.append(self.last)
        self.meet()

    @rule(sizes=st.lists(st.integers(0, 20), min_size=2, max_size=5))
    def small_objects_come(self, sizes: list[int]) -> None:
        self.last += 1
        inside = [(b"small %d.%d" % (self.last, number), size) for number, size in enumerate(sizes)]
        self.packs[self.last] = (sum(sizes), inside)
        self.plain.long.append(self.last)
        self.meet()

    @precondition(lambda self: self.packs)
    @rule(data=st.data(), times=st.integers(1, 5))
    def something_is_read(self, data: st.DataObject, times: int) -> None:
        pack = data.draw(st.sampled_from(sorted(self.packs)))
        sha256, _ = data.draw(st.sampled_from(self.packs[pack][1]))
        self.queues.hit(sha256, times)
        self.plain.hits[sha256] = min(HITS_MAX, self.plain.hits.get(sha256, 0) + times)

    @precondition(lambda self: self.packs)
    @rule(data=st.data())
    def a_pack_is_lost(self, data: st.DataObject) -> None:
        pack = data.draw(st.sampled_from(sorted(self.packs)))
        del self.packs[pack]
        for queue in (self.plain.short, self.plain.long):
            if pack in queue:
                queue.remove(pack)
        self.meet()

    @rule()
    def room_is_made(self) -> None:
        drop = self.queues.next(self.members)
        assert drop == self.plain.next(self.packs)
        if drop is None:
            assert not self.packs
        else:
            inside = [sha256 for sha256, _ in self.packs.pop(drop.pack)[1]]
            assert set(drop.move) < set(inside) or not drop.move

    @invariant()
    def each_pack_stands_in_one_queue(self) -> None:
        assert list(self.queues._short) == self.plain.short
        assert list(self.queues._long) == self.plain.long
        assert sorted([*self.plain.short, *self.plain.long]) == sorted(self.packs)
        assert self.queues._short_bytes == sum(self.packs[pack][0] for pack in self.plain.short)
        assert list(self.queues._ghosts) == self.plain.ghosts


QueuesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueues = QueuesMachine.TestCase


def test_a_scan_drives_nothing_out_that_is_asked_for() -> None:
    queues, packs = Queues(1000), dict[int, list[tuple[bytes, int]]]()

    def come(number: int) -> None:
        packs[number] = [(b"%d" % number, 50)]
        queues.meet([PackInfo(pack, 50, 50, 0, True) for pack in sorted(packs)], packs.__getitem__)
        while len(packs) * 50 > 1000:
            drop = queues.next(packs.__getitem__)
            assert drop is not None
            del packs[drop.pack]

    for number in range(10):
        come(number)
    for round_ in range(200):
        for number in range(10):
            queues.hit(b"%d" % number)
        come(100 + round_)
    assert set(range(10)) <= set(packs)
