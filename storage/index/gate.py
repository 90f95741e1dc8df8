"""May this thread still begin a write in an LMDB environment that its process is about to close?

Closing waits for a write transaction of another thread to be let go by that thread. One that was left behind by a
cancelled request may keep it alive in a traceback for ever, and then the closing never ends. So whoever owns the
environment first closes the gates of those that write into it from threads: each waits for the write that is under
way and lets no other begin.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import lmdb

from storage.errors import Unavailable
from storage.index.tables import Txn


class Gate:
    """Write transactions of one environment, by any thread. Thread-safe; a thread may not nest them, nor may LMDB's."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def writing(self) -> Iterator[Txn]:
        """A transaction that commits with the block. Raises Unavailable once the gate is closed."""
        with self._lock:
            if self._closed:
                raise Unavailable("The server is stopping.", "Try again.", retry_after_s=1)
            with self._env.begin(write=True) as txn:
                yield txn

    def close(self) -> None:
        """Returns when the last write has ended."""
        with self._lock:
            self._closed = True
