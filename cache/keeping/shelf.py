"""Where do the small things live that may be forgotten: documents, foreign knowledge, look-ups, negatives?

Three tables in the cache's LMDB environment, shared by the worker processes of a node:

    records        kind NUL key              xxh3-64 of the rest (8) | age number (8) | value
    records_age    age number (8)            the key above
    records_sum    "bytes", "next"           what all records weigh; the next age number

Numbers are big-endian. The environment is not synced, so after a crash a value may be torn: each carries a checksum,
and one that does not hold is forgotten. The oldest are dropped when all weigh more than `bytes_max`; a record written
again is young again. A read costs a few microseconds; everything here is synchronous and bounded.
"""

import hashlib
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lmdb
import xxhash

from storage.errors import Full
from storage.index.gate import Gate
from storage.index.tables import Txn

_NUMBER = struct.Struct(">Q")
_KEY_BYTES_MAX = 480
_OVERHEAD_BYTES = 64
_DROPS_MAX = 256


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

    def close(self) -> None:
        """Before its environment is closed: nothing is written any more."""
        self._gate.close()

    def __repr__(self) -> str:
        return f"<Shelf {self.bytes_used()} of {self._bytes_max} bytes>"

    def get(self, kind: str, key: bytes) -> bytes | None:
        """The value, or None where there is none that can be trusted."""
        name = _name(kind, key)
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
                row = reading.get(_name(kind, key))
                if row is None or len(row) < 16 or bytes(row[:8]) != xxhash.xxh3_64_digest(row[8:]):
                    return None
                value: memoryview = row[16:]
                return value

            yield get

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """Keep it, unless it is too large to be kept at all. Raises Full when the disk is."""
        if len(value) > self._value_bytes_max:
            self.drop(kind, key)
            return
        name = _name(kind, key)
        with self._writing() as writing:
            self._put(writing, name, value)

    def drop(self, kind: str, key: bytes) -> None:
        """Forget it. What was never there is forgotten too."""
        with self._writing() as writing:
            used = self._number(writing, b"bytes") - self._forget(writing, _name(kind, key))
            writing.put(b"bytes", _NUMBER.pack(max(0, used)), db=self._sum)

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
        with self._writing() as writing:
            row = writing.get(name, db=self._records)
            if row is not None and len(row) == 24:
                until = _NUMBER.unpack(row[16:])[0]
                if now < until <= now + int(600e9):
                    return False
            self._put(writing, name, _NUMBER.pack(now + int(min(seconds, 600) * 1e9)))
            return True

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


def _name(kind: str, key: bytes) -> bytes:
    """The row's key: LMDB bounds it, so a long one is replaced by its digest."""
    name = kind.encode() + b"\0" + key
    return name if len(name) <= _KEY_BYTES_MAX else kind.encode() + b"\0" + hashlib.sha256(key).digest()
