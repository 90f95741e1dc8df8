"""What does a worker hold of a customer's limits, and what of it is put aside for answers that it remembers?

A Pocket holds what was lent. A Roll is what one remembered answer is charged to: some dozen downloads of just that many
bytes, taken out of the Pocket ahead, so that each of them costs the loop a subtraction. What a Roll holds is spoken
for, not spent: it goes back before anybody is refused, before more is borrowed, and before anything is given back.

Synchronous; one thread. Times are on the clock of time.monotonic.
"""

from collections.abc import Callable

import trio

from storage.nouns import Entitlement

ROLL_DOWNLOADS_MAX = 64
ROLL_SHARE = 8
"""A Roll takes at most this part of what is there."""
ROLLS_MAX = 64
"""Of one Pocket; when there are more, all go back and those that are in use are filled anew."""


class Roll:
    """Charges one answer, each time that it is sent; implements gateway.delivery's Toll. `draw` takes one download of
    so many bytes out of the Pocket, fills this Roll, and says whether that could be done."""

    __slots__ = ("_draw", "downloads_each", "paid", "size_each", "until_s")

    def __init__(self, draw: "Callable[[Roll, int], bool]") -> None:
        self._draw = draw
        self.paid = 0
        self.until_s = 0.0
        self.downloads_each = self.size_each = 0

    def pay(self, size: int) -> bool:
        """One more, which is not paid yet."""
        return self._draw(self, size)


class Pocket:
    """What a worker holds of one token: `downloads` and bytes (`size`) of the period `period_ms`, until `until_s`."""

    __slots__ = (
        "asked", "clients", "downloads", "downloads_low", "lock", "period_ms", "reset_ms", "rolls", "seen", "size",
        "size_low", "until_s", "used_s",
    )  # fmt: skip

    def __init__(self, reset_ms: int) -> None:
        self.reset_ms = reset_ms
        self.period_ms = 0
        self.until_s = 0.0
        self.downloads = 0
        self.size = 0
        self.clients: set[str] = set()
        self.rolls: set[Roll] = set()
        self.seen = 0
        self.used_s = 0.0
        self.downloads_low = self.size_low = 0  # below these more is borrowed ahead
        self.asked = False
        self.lock = trio.Lock()

    def put_in(self, period_ms: int, until_s: float, downloads: int, size: int) -> None:
        """What was lent goes to what is there, unless that is of a period that is over."""
        if period_ms != self.period_ms:
            self.empty()
            self.period_ms = period_ms
        self.until_s = until_s
        self.downloads += downloads
        self.size += size
        self.asked = False

    def empty(self) -> None:
        """What is here is good for nothing any more, what was put aside neither."""
        for roll in self.rolls:
            roll.paid = 0
        self.rolls.clear()
        self.clients.clear()
        self.downloads = self.size = 0

    def take(self, limits: Entitlement, client: str, size: int, now_s: float) -> bool:
        """Take one download out, if all of it is here."""
        self.used_s = now_s
        if now_s >= self.until_s:
            self.empty()
            return False
        if not self._suffices(limits, client, size):
            self.unroll()
            if not self._suffices(limits, client, size):
                return False
        if limits.downloads_max:
            self.downloads -= 1
        if limits.bytes_max:
            self.size -= size
        return True

    def _suffices(self, limits: Entitlement, client: str, size: int) -> bool:
        if limits.downloads_max and not self.downloads:
            return False
        if limits.bytes_max and self.size < size:
            return False
        return not limits.clients_max or client in self.clients

    @property
    def is_low(self) -> bool:
        """Is it time to borrow more, and was that not asked for yet?"""
        return (self.downloads < self.downloads_low or self.size < self.size_low) and not self.asked

    # ------------------------------------------------------------ what is put aside

    def fill(self, roll: Roll, limits: Entitlement, size: int) -> None:
        """Put more downloads of this size aside for one answer."""
        self._back(roll)
        ahead = ROLL_DOWNLOADS_MAX
        if limits.downloads_max:
            ahead = min(ahead, self.downloads // ROLL_SHARE)
        if limits.bytes_max and size:
            ahead = min(ahead, self.size // (ROLL_SHARE * size))
        if not ahead:
            return
        if len(self.rolls) >= ROLLS_MAX:
            self.unroll()
        roll.downloads_each = 1 if limits.downloads_max else 0
        roll.size_each = size if limits.bytes_max else 0
        self.downloads -= ahead * roll.downloads_each
        self.size -= ahead * roll.size_each
        roll.paid, roll.until_s = ahead, self.until_s
        self.rolls.add(roll)

    def unroll(self) -> None:
        """Take back all that was put aside."""
        for roll in list(self.rolls):
            self._back(roll)

    def _back(self, roll: Roll) -> None:
        if roll in self.rolls:
            self.rolls.remove(roll)
            self.downloads += roll.paid * roll.downloads_each
            self.size += roll.paid * roll.size_each
        roll.paid = 0

    def is_idle(self, since_s: float, now_s: float) -> bool:
        """Was nothing taken since then, nor of what was put aside since this was asked last?"""
        left = sum(roll.paid for roll in self.rolls)
        if left != self.seen:
            self.seen, self.used_s = left, now_s
        return self.used_s < since_s
