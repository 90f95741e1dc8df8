"""Where do the small things live that may be forgotten: documents, foreign knowledge, look-ups, negatives?

Three tables in the cache's LMDB environment, shared by the worker processes of a node:

    records        kind NUL key              xxh3-64 of the rest (8) | age number (8) | value
    records_age    age number (8)            the key above
    records_sum    "bytes", "next"           what all records weigh; the next age number

On a full disk what is to be written is held in the memory of its process for HELD_SECONDS, so that what was just asked
for can be answered; a process reads what it holds first. Numbers are big-endian. The environment is not synced, so
after a crash a value may be torn: each carries a checksum, and one that does not hold is forgotten. The oldest are
dropped when all weigh more than `bytes_max`; a record written again is young again. A read costs a few microseconds;
everything here is synchronous and bounded.
"""

import hashlib
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import lmdb
import xxhash

from storage.errors import Full
from storage.index.gate import Gate
from storage.index.tables import Txn

_NUMBER = struct.Struct(">Q")
_KEY_BYTES_MAX = 480
_OVERHEAD_BYTES = 64
_DROPS_MAX = 256
HELD_SECONDS = 20.0
HELD_BYTES_MAX = 32 << 20


class Shelf:
    """Records by (kind, key). `kind` is a short word without NUL; a value is bytes of at most `value_bytes_max`."""

    def __init__(self, env: lmdb.Environment, *, bytes_max: int = 4 << 30, value_bytes_max: int = 256 << 20) -> None:
        self._env = env
        self._gate = Gate(env)
        self._bytes_max = bytes_max
        self._value_bytes_max = min(value_bytes_max, bytes_max // 4)
        self._records = env.open_db(b"records")
        self._age = env.open_db(b"records_age")
        self._sum = env.open_db(b"records_sum")
        self._held = Held()

    def close(self) -> None:
        """Before its environment is closed: nothing is written any more."""
        self._gate.close()

    def __repr__(self) -> str:
        return f"<Shelf {self.bytes_used()} of {self._bytes_max} bytes>"

    def get(self, kind: str, key: bytes) -> bytes | None:
        """The value, or None where there is none that can be trusted."""
        name = _name(kind, key)
        if self._held and (held := self._held.get(name)) is not None:
            return held or None
        with self._env.begin(db=self._records, buffers=True) as reading:
            row = reading.get(name)
            if row is None:
                return None
            value = bytes(row[16:])
            sound = len(row) >= 16 and bytes(row[:8]) == xxhash.xxh3_64_digest(row[8:])
        if not sound:
            self.drop(kind, key)
            return None
        return value

    @contextmanager
    def reading(self) -> Iterator[Callable[[str, bytes], memoryview | None]]:
        """`get` for many records in one go. What it gives is not copied, and gone with the block."""
        with self._env.begin(db=self._records, buffers=True) as reading:

            def get(kind: str, key: bytes) -> memoryview | None:
                if self._held and (held := self._held.get(_name(kind, key))) is not None:
                    return memoryview(held) if held else None
                row = reading.get(_name(kind, key))
                if row is None or len(row) < 16 or bytes(row[:8]) != xxhash.xxh3_64_digest(row[8:]):
                    return None
                value: memoryview = row[16:]
                return value

            yield get

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """Keep it, unless it is too large to be kept at all. Raises Full when the disk is, and memory has no room."""
        if len(value) > self._value_bytes_max:
            self.drop(kind, key)
            return
        name = _name(kind, key)
        try:
            with self._writing() as writing:
                self._put(writing, name, value)
        except Full:
            if not value or not self._held.put(name, value):
                raise
        else:
            self._held.forget(name)

    def drop(self, kind: str, key: bytes) -> None:
        """Forget it. What was never there is forgotten too."""
        name = _name(kind, key)
        try:
            with self._writing() as writing:
                used = self._number(writing, b"bytes") - self._forget(writing, name)
                writing.put(b"bytes", _NUMBER.pack(max(0, used)), db=self._sum)
        except Full:
            if not self._held.put(name, b""):
                raise
        else:
            self._held.forget(name)

    def drop_kind(self, kind: str) -> int:
        """Forget all records of a kind, some at a time; how many."""
        prefix, dropped = kind.encode() + b"\0", 0
        while True:
            with self._writing() as writing:
                names = self._some(writing, prefix)
                freed = sum(self._forget(writing, name) for name in names)
                writing.put(b"bytes", _NUMBER.pack(max(0, self._number(writing, b"bytes") - freed)), db=self._sum)
            dropped += len(names)
            if len(names) < _DROPS_MAX:
                return dropped

    def _some(self, writing: Txn, prefix: bytes) -> list[bytes]:
        names: list[bytes] = []
        with writing.cursor(db=self._records) as cursor:
            going = cursor.set_range(prefix)
            while going and len(names) < _DROPS_MAX and bytes(cursor.key()).startswith(prefix):
                names.append(bytes(cursor.key()))
                going = cursor.next()
        return names

    def scan(
        self, kind: str, below: bytes = b"", *, after: bytes = b"", most: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """The records of a kind whose keys are short enough to be kept as they are, and begin so: (key, value), by key,
        at most `most` of them, from behind the key `after`."""
        whole = len(kind.encode()) + 1
        prefix = kind.encode() + b"\0" + below
        start = kind.encode() + b"\0" + after + b"\0" if after else b""
        found: list[tuple[bytes, bytes]] = []
        with self._env.begin(db=self._records) as reading, reading.cursor() as cursor:
            going = cursor.set_range(max(prefix, start))
            while going and cursor.key().startswith(prefix) and (most is None or len(found) < most):
                row = cursor.value()
                if row[:8] == xxhash.xxh3_64_digest(row[8:]):
                    found.append((cursor.key()[whole:], row[16:]))
                going = cursor.next()
        return found

    def claim(self, key: bytes, seconds: float) -> bool:
        """May this caller, alone on the node, do what `key` names? The claim ends with `release` or by itself.

        Monotonic time is one clock for all processes of a machine; a claim from before a restart looks far away and
        does not count.
        """
        name = _name("claim", key)
        now = time.monotonic_ns()
        with suppress(Full), self._writing() as writing:
            row = writing.get(name, db=self._records)
            if row is not None and len(row) == 24:
                until = _NUMBER.unpack(row[16:])[0]
                if now < until <= now + int(600e9):
                    return False
            self._put(writing, name, _NUMBER.pack(now + int(min(seconds, 600) * 1e9)))
        return True  # on a full disk nobody is kept from asking

    def release(self, key: bytes) -> None:
        self.drop("claim", key)

    def bytes_used(self) -> int:
        with self._env.begin(db=self._sum) as reading:
            row = reading.get(b"bytes")
            return int(_NUMBER.unpack(row)[0]) if row is not None else 0

    @contextmanager
    def _writing(self) -> Iterator[Txn]:
        """A write transaction whose foreign errors are Problems."""
        try:
            with self._gate.writing() as transaction:
                yield transaction
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise Full("There is no room left for the cache's records.", "Free disk space.") from error

    def _put(self, writing: Txn, name: bytes, value: bytes) -> None:
        used = self._number(writing, b"bytes") - self._forget(writing, name)
        number = self._number(writing, b"next")
        tail = _NUMBER.pack(number) + value
        writing.put(name, xxhash.xxh3_64_digest(tail) + tail, db=self._records)
        writing.put(_NUMBER.pack(number), name, db=self._age)
        writing.put(b"next", _NUMBER.pack(number + 1), db=self._sum)
        used += len(name) + len(tail) + _OVERHEAD_BYTES
        used -= self._drop_oldest(writing, used - self._bytes_max)
        writing.put(b"bytes", _NUMBER.pack(max(0, used)), db=self._sum)

    def _drop_oldest(self, writing: Txn, excess: int) -> int:
        """Bytes freed: at least `excess`, or as many as one write may be made to wait for."""
        freed = 0
        for _ in range(_DROPS_MAX):
            if freed >= excess:
                break
            with writing.cursor(db=self._age) as cursor:
                if not cursor.first():
                    break
                age, name = map(bytes, cursor.item())
            freed += self._forget(writing, name)
            writing.delete(age, db=self._age)
        return freed

    def _forget(self, writing: Txn, name: bytes) -> int:
        row = writing.get(name, db=self._records)
        if row is None:
            return 0
        writing.delete(name, db=self._records)
        writing.delete(row[8:16], db=self._age)
        return len(name) + len(row) - 8 + _OVERHEAD_BYTES

    def _number(self, writing: Txn, name: bytes) -> int:
        row = writing.get(name, db=self._sum)
        return int(_NUMBER.unpack(row)[0]) if row is not None else 0


class Held:
    """What a full disk did not take: values by name, for a while; b"" = forgotten. From any thread."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX, seconds: float = HELD_SECONDS) -> None:
        self._bytes_max = bytes_max
        self._seconds = seconds
        self._values: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._values)

    def get(self, name: bytes) -> bytes | None:
        """None where nothing is held under this name."""
        with self._lock:
            self._end()
            found = self._values.get(name)
        return found[1] if found is not None else None

    def put(self, name: bytes, value: bytes) -> bool:
        """False where it is too large. The oldest makes room."""
        weight = len(name) + len(value) + _OVERHEAD_BYTES
        if weight > self._bytes_max:
            return False
        with self._lock:
            self._drop(name)
            self._end()
            while self._bytes + weight > self._bytes_max:
                self._drop(next(iter(self._values)))
            self._values[name] = (time.monotonic() + self._seconds, value)
            self._bytes += weight
        return True

    def forget(self, name: bytes) -> None:
        if self._values:
            with self._lock:
                self._drop(name)

    def _end(self) -> None:
        now_s = time.monotonic()
        while self._values and next(iter(self._values.values()))[0] < now_s:
            self._drop(next(iter(self._values)))

    def _drop(self, name: bytes) -> None:
        if (found := self._values.pop(name, None)) is not None:
            self._bytes -= len(name) + len(found[1]) + _OVERHEAD_BYTES


def _name(kind: str, key: bytes) -> bytes:
    """The row's key: LMDB bounds it, so a long one is replaced by its digest."""
    name = kind.encode() + b"\0" + key
    return name if len(name) <= _KEY_BYTES_MAX else kind.encode() + b"\0" + hashlib.sha256(key).digest()
