"""How far is each webhook, and how did the last attempts go? Kept beside the store, in an LMDB environment of its own.

    states      webhook -> queue.State: written after every step, so a crash repeats at most what was under way
    deliveries  webhook, number (u64, big-endian) -> Delivery: the last LOG_MAX attempts of each

Any worker reads and writes it. It can be lost: then every webhook begins where it was made, and receivers know the
repeats by their ids. A value carries its checksum, as everywhere; one that is rotten is as good as none.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import lmdb
import msgspec

from gateway.webhooks.queue import State
from storage.errors import Damaged
from storage.index.gate import Gate
from storage.index.keys import seal, unseal

LOG_MAX = 500
MAP_BYTES = 4 << 30

Pairs = tuple[tuple[str, str], ...]


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """One attempt. `number` counts from 1 within its webhook. `cause`: event, redelivery, ping. `status` 0 = there was
    no answer; then `problem` says why. Heads hold no credential and no signature."""

    number: int
    message: str
    event: str
    journal: str
    serial: int
    attempt: int
    cause: str
    at_ms: int
    took_ms: int
    status: int
    problem: str
    sent: Pairs = ()
    sent_bytes: int = 0
    answered: Pairs = ()
    answered_bytes: int = 0

    @property
    def delivered(self) -> bool:
        return 200 <= self.status < 300


_DELIVERY = msgspec.msgpack.Decoder(Delivery)
_STATE = msgspec.msgpack.Decoder(State)
_encode = msgspec.msgpack.Encoder().encode


class Records:
    """Synchronous; writes wait for the disk, so they are for a thread. Opened once per process, after the fork."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(
            str(path), map_size=MAP_BYTES, max_dbs=2, max_readers=256, readahead=False, metasync=False
        )  # fmt: skip
        self._gate = Gate(self._env)
        with self._env.begin(write=True) as txn:
            self._states = self._env.open_db(b"states", txn=txn)
            self._deliveries = self._env.open_db(b"deliveries", txn=txn)

    def close(self) -> None:
        self._gate.close()
        self._env.close()

    def state(self, hook: str) -> State | None:
        with self._env.begin() as txn:
            value = txn.get(hook.encode(), db=self._states)
        try:
            return None if value is None else _STATE.decode(unseal(value, "states"))
        except (Damaged, msgspec.DecodeError):
            return None

    def write(self, states: Mapping[str, State], deliveries: Iterable[tuple[str, Delivery]] = ()) -> list[int]:
        """Keep states and add to the logs, all or nothing; the numbers that the deliveries got."""
        with self._gate.writing() as txn:
            for hook, state in states.items():
                txn.put(hook.encode(), seal(_encode(state)), db=self._states)
            return [self._add(txn, hook, delivery) for hook, delivery in deliveries]

    def _add(self, txn: lmdb.Transaction, hook: str, delivery: Delivery) -> int:
        prefix = hook.encode() + b"\0"
        with txn.cursor(db=self._deliveries) as cursor:
            going = cursor.set_range(hook.encode() + b"\1")
            last = cursor.prev() if going else cursor.last()
            number = 1
            if last and bytes(cursor.key()).startswith(prefix):
                number = int.from_bytes(bytes(cursor.key())[len(prefix) :]) + 1
            txn.put(
                prefix + number.to_bytes(8),
                seal(_encode(msgspec.structs.replace(delivery, number=number))),
                db=self._deliveries,
            )
            while cursor.set_range(prefix) and number - int.from_bytes(bytes(cursor.key())[len(prefix) :]) >= LOG_MAX:
                cursor.delete()
        return number

    def deliveries(self, hook: str, below: int = 0, limit: int = LOG_MAX) -> list[Delivery]:
        """The attempts before number `below` (0 = all), the latest first."""
        prefix, found = hook.encode() + b"\0", list[Delivery]()
        with self._env.begin() as txn, txn.cursor(db=self._deliveries) as cursor:
            going = cursor.set_range(prefix + below.to_bytes(8) if below else hook.encode() + b"\1")
            going = cursor.prev() if going else cursor.last()
            while going and bytes(cursor.key()).startswith(prefix) and len(found) < limit:
                with suppress(Damaged, msgspec.DecodeError):  # as good as none
                    found.append(_DELIVERY.decode(unseal(bytes(cursor.value()), "deliveries")))
                going = cursor.prev()
        return found

    def delivery(self, hook: str, number: int) -> Delivery | None:
        found = self.deliveries(hook, number + 1, 1)
        return found[0] if found and found[0].number == number else None

    def forget(self, living: frozenset[str]) -> int:
        """Drop what is kept of webhooks that are not there any more; how many."""
        with self._gate.writing() as txn:
            known = {bytes(key) for key, _ in txn.cursor(db=self._states)}
            with txn.cursor(db=self._deliveries) as cursor:
                going = cursor.first()
                while going:
                    hook = bytes(cursor.key()).partition(b"\0")[0]
                    known.add(hook)
                    going = cursor.set_range(hook + b"\1")
            gone = known - {one.encode() for one in living}
            for hook in gone:
                txn.delete(hook, db=self._states)
                with txn.cursor(db=self._deliveries) as cursor:
                    while cursor.set_range(hook + b"\0") and bytes(cursor.key()).startswith(hook + b"\0"):
                        cursor.delete()
        return len(gone)
