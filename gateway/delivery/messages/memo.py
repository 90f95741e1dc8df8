"""Which answers can be sent again as they are, for exactly the same head bytes?

The key is the whole head as sent, so it holds the request line, the credential and every condition: two requests share
an answer only if no byte tells them apart. Two generations bound it: when the young one is full or old, it becomes the
old one, and what was in the old one and not asked for is forgotten. An entry that is asked for in both is in use, and
that is told once a generation: so eviction learns of hits which the hot path itself never counts.
"""

from collections.abc import Callable

from gateway.delivery.messages.answers import Answer, Extents, Wire, plan
from gateway.delivery.messages.heads import Head, Refused
from gateway.insight.metrics import Metrics, Tally
from gateway.insight.requestlog import family, fragment

HEAD_BYTES_MAX = 4 << 10
BYTES_MAX = 32 << 20
ENTRY_BYTES = 700
JOINED_BYTES_MAX = 32 << 10
CLIENTS_MAX = 128
CHARGED = (200, 206)
"""Of answers that are charged, those that are: a 304 or a refusal costs nothing."""


class Entry:
    """An answer for one exact head. `out` is all that is sent in one piece, behind the status line and Date last
    `stamped`; a `body` too large to be copied for each client follows it.

    `line` is its part of the access log, `tally` its counter, `size` the bytes of its body. It holds at `moment`, and
    until `until_s` on the monotonic clock. `at_once` = one send is all there is to it. Where it is charged each time
    (`toll`), `until_s` is past, so that whoever does not know of tolls does not send it, and `paid_until_s` counts.
    """

    __slots__ = (
        "answer", "at_once", "body", "close", "extents", "is_one_file", "lease", "line", "moment", "out",
        "paid_until_s", "size", "stamped", "status", "tally", "toll", "until_s", "warm_until_s", "weight",
    )  # fmt: skip

    def __init__(self, answer: Answer, wire: Wire, moment: int, line: bytes, tally: Tally) -> None:
        self.answer = answer
        self.status = wire.status
        joined = len(wire.body) <= JOINED_BYTES_MAX
        self.stamped = b""
        self.out = wire.rest + wire.body if joined else wire.rest
        self.body = b"" if joined else wire.body
        self.extents: Extents = wire.extents
        self.lease = wire.lease
        self.close = wire.close
        self.size = wire.size
        self.moment = moment
        self.until_s = self.paid_until_s = answer.until_s
        self.toll = answer.toll if wire.status in CHARGED else None
        if self.toll is not None:
            self.until_s = 0.0
        self.line = line
        self.tally = tally
        self.weight = 0
        self.at_once = not (wire.extents or wire.close or self.body)
        self.is_one_file = len(wire.extents) == 1 and not (wire.close or self.body)
        self.warm_until_s = 0.0

    def may_go(self, moment: int, now_s: float) -> bool:
        """May it be sent once more? Then that is charged."""
        if self.moment != moment:
            return False
        toll = self.toll
        if toll is None:
            return self.until_s > now_s
        if self.paid_until_s <= now_s:
            return False
        if toll.paid and now_s < toll.until_s:
            toll.paid -= 1
            return True
        return toll.pay(self.size)

    def begin(self, preamble: bytes) -> bytes:
        """`out` behind another status line and Date; done once a second, not once an answer."""
        self.out = preamble + self.out[len(self.stamped) :]
        self.stamped = preamble
        return self.out

    def hold(self, body: bytes) -> None:
        """Keep the small body itself instead of the extents it was read from."""
        self.out += body
        self.extents, self.lease = (), None
        self.at_once, self.is_one_file = not self.close, False


class Memo:
    """Entries by exact head bytes, at most `entries_max` and BYTES_MAX. `young` is what the hot path looks into."""

    alone = False
    """Do its heads tell one client, so that answers which hang on the address may be kept in it?"""

    def __init__(
        self, entries_max: int, bytes_max: int = BYTES_MAX, *, in_use: Callable[[Answer], None] | None = None
    ) -> None:
        self.young: dict[bytes, Entry] = {}
        self._old: dict[bytes, Entry] = {}
        self._entries_max = max(entries_max // 2, 1)
        self._bytes_max = bytes_max // 2
        self._bytes = 0
        self._in_use = in_use

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def find(self, head: bytes) -> Entry | None:
        """The entry, made young again."""
        entry = self.young.get(head)
        if entry is None and (entry := self._old.pop(head, None)) is not None:
            self.keep(head, entry)
            if self._in_use is not None and entry.answer.forgettable:
                self._in_use(entry.answer)
        return entry

    def keep(self, head: bytes, entry: Entry) -> None:
        """Remember, unless head and answer are too large to be worth it."""
        if len(head) > HEAD_BYTES_MAX:
            return
        entry.weight = len(head) + len(entry.out) + len(entry.body) + len(entry.line) + ENTRY_BYTES
        self._bytes += entry.weight
        self.young[head] = entry
        if len(self.young) > self._entries_max or self._bytes > self._bytes_max:
            self.age()

    def drop(self, head: bytes) -> None:
        """Forget one."""
        entry = self.young.pop(head, None)
        if entry is not None:
            self._bytes -= entry.weight
        self._old.pop(head, None)

    def age(self) -> None:
        """Let go of what was not asked for since the last time; nothing else keeps an evicted pack open."""
        self._old, self.young, self._bytes = self.young, {}, 0

    def clear(self) -> None:
        """Forget everything."""
        self.age()
        self._old = {}


class Alone(Memo):
    """For connections whose heads tell one client: those of one address, or of listed proxies. Once retired, it keeps
    nothing more, and who holds it gets another one."""

    alone = True

    def keep(self, head: bytes, entry: Entry) -> None:
        if self.alone:
            super().keep(head, entry)

    def retire(self) -> None:
        """Its room is given to somebody else."""
        self.alone = False
        self.clear()


class Forgetful(Memo):
    """Keeps nothing: two connections may send the same head and be two principals."""

    alone = True

    def keep(self, head: bytes, entry: Entry) -> None:
        """Not here."""


class Memos:
    """Which Memo does a connection look into? One for each scheme, since heads do not tell it; none for peers, whom
    their certificates tell apart; one of their own for listed proxies, whose heads tell the client.

    What hangs on the client's address as well (network rules, a token's networks) is never kept where others look. A
    connection that asks for such a thing goes over to the Memo of its address, with all that it asks from then on, so
    that whoever asks for nothing of the kind pays nothing. CLIENTS_MAX addresses have one, the latest.
    """

    def __init__(self, entries_max: int, in_use: Callable[[Answer], None]) -> None:
        self._entries_max, self._in_use = entries_max, in_use
        self.of = {scheme: Memo(entries_max, in_use=in_use) for scheme in ("http", "https")}
        self.of["peers"] = Forgetful(0)
        self._proxied = {scheme: Alone(entries_max, in_use=in_use) for scheme in ("http", "https")}
        self._clients: dict[tuple[str, str], Alone] = {}

    def at_first(self, kind: str, peer: str, proxied: bool) -> Memo:
        """That of a new connection: `kind` as its listener has it."""
        if proxied:
            return self._proxied[kind]
        return self._clients.get((kind, peer), self.of[kind])

    def of_client(self, scheme: str, peer: str) -> Memo:
        """That of an address."""
        known = self._clients.pop((scheme, peer), None)
        if known is None:
            if len(self._clients) >= CLIENTS_MAX:
                self._clients.pop(next(iter(self._clients))).retire()
            known = Alone(self._entries_max, BYTES_MAX // CLIENTS_MAX, in_use=self._in_use)
        self._clients[(scheme, peer)] = known
        return known

    def keep(self, memo: Memo, scheme: str, peer: str, head: bytes, entry: Entry) -> Memo:
        """Remember what a connection that looks into `memo` was told; the Memo that it looks into from now on."""
        if entry.answer.by_address and not memo.alone:
            memo = self.of_client(scheme, peer)
        memo.keep(head, entry)
        return memo

    def age(self) -> None:
        for memo in self._all():
            memo.age()

    def clear(self) -> None:
        for memo in self._all():
            memo.clear()

    def _all(self) -> list[Memo]:
        return [*self.of.values(), *self._proxied.values(), *self._clients.values()]


def entry_of(answer: Answer, head: Head, keep: bool, moment: int, metrics: Metrics, who: bytes = b"") -> Entry:
    """What `answer` is for this head, with its line of the log (`who` ahead, where a connection does not tell it) and
    its counter."""
    wire = plan(answer, head, keep)
    line = who + fragment(
        head.method, head.target, wire.status, wire.size, outcome=answer.outcome, principal=answer.principal,
        repository=answer.repository, about=answer.about, client=family(head.headers.get("user-agent", "")),
    )  # fmt: skip
    return Entry(answer, wire, moment, line, metrics.tally((head.method, str(wire.status), answer.outcome)))


def refusal(refused: Refused, metrics: Metrics, who: bytes = b"") -> Entry:
    """The answer to a head that is not accepted. Nothing of it is repeated, neither here nor in the log."""
    body = f"{refused.reason}\n".encode()
    later = b"Retry-After: 1\r\n" if refused.status == 503 else b""
    rest = b"Content-Type: text/plain; charset=utf-8\r\n%bConnection: close\r\nContent-Length: %d\r\n\r\n"
    rest %= (later, len(body))
    wire = Wire(refused.status, rest, body, (), len(body), True)
    line = who + fragment("-", b"-", refused.status, len(body))
    return Entry(Answer(), wire, 0, line, metrics.tally(("-", str(refused.status), "REFUSED")))
