"""What is told with every answer of one loop, and what is noted of it?

The hot path of the reactor does by itself what `counted` does; whatever changes here changes there.
"""

from time import monotonic

from gateway.delivery.connections.connection import Connection
from gateway.delivery.messages import memo
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.clock import Clock
from gateway.delivery.messages.heads import Head, Refused
from gateway.delivery.messages.memo import Entry
from gateway.insight.metrics import Key, Metrics
from gateway.insight.requestlog import LINES_A_BATCH, RequestLog


class Notes:
    """Time, access log and counters of one loop."""

    def __init__(self, log: RequestLog, metrics: Metrics) -> None:
        self.log = log
        self.metrics = metrics
        self.clock = Clock()

    def turn(self, now_s: float) -> None:
        """A turn of the loop begins."""
        self.clock.tick(now_s)
        if len(self.log.pending) > LINES_A_BATCH * 3:
            self.log.flush()

    def preamble(self, status: int) -> bytes:
        """Status line and Date."""
        self.clock.tick(monotonic())
        return self.clock.preamble(status)

    def counted(self, c: Connection, entry: Entry) -> bytes:
        """Note that this answer goes out (a line of the log is three references, joined elsewhere); its first bytes."""
        self.log.pending += (self.clock.stamp, c.tag, entry.line)
        entry.tally.requests += 1
        entry.tally.bytes += entry.size
        preamble = self.clock.preambles.get(entry.status) or self.preamble(entry.status)
        return entry.out if entry.stamped is preamble else entry.begin(preamble)

    def entry_of(self, c: Connection, answer: Answer, head: Head, keep: bool, moment: int) -> Entry:
        """What an answer is for this head. What a listed proxy asks for itself is not remembered for others."""
        entry = memo.entry_of(answer, head, keep, moment, self.metrics, c.who(head.peer, head.scheme))
        if c.proxied and head.peer == c.peer:
            entry.until_s = entry.paid_until_s = 0.0
        return entry

    def refusal(self, c: Connection, refused: Refused) -> Entry:
        """The answer to a head that is not accepted."""
        return memo.refusal(refused, self.metrics, c.who(c.peer, c.scheme))

    def record(self, c: Connection, line: bytes, key: Key, size: int, seconds: float) -> None:
        """One answer of a request task."""
        self.clock.tick(monotonic())
        self.log.pending += (self.clock.stamp, c.tag, line)
        self.metrics.count(key, size)
        self.metrics.time(seconds)

    def publish(self, connections: int, running: int) -> None:
        """Let the other workers see the counters."""
        metrics = self.metrics
        metrics.connections, metrics.running, metrics.log_dropped = connections, running, self.log.dropped
        metrics.publish()
