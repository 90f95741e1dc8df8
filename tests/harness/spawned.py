"""What do the worker processes of a test of the supervisor do?"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from gateway.delivery.processes.workers import hear_signals, supervise


def until_told(folder: str, number: int) -> None:
    """Notes its birth, and its orderly end at SIGTERM. A file `die-N` makes it end with the status in there."""
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    signal.signal(signal.SIGHUP, lambda *_: (Path(folder) / f"hung-up-{number}").write_text("x"))
    early = Path(folder) / "early"
    while early.exists():  # a worker that is not yet ready for the signal
        time.sleep(0.01)
    hear_signals()
    born = Path(folder) / f"born-{number}"
    born.write_text(born.read_text() + "x" if born.exists() else "x")
    mine = Path(folder) / f"pid-{number}"
    mine.with_suffix(".new").write_text(str(os.getpid()))
    mine.with_suffix(".new").rename(mine)  # whoever sees it sees it whole
    order = Path(folder) / f"die-{number}"
    while not told:
        if order.exists() and (status := order.read_text()):
            order.unlink()
            sys.exit(int(status))
        time.sleep(0.01)
    (Path(folder) / f"drained-{number}").write_text("x")


if __name__ == "__main__":
    lock = os.open(Path(sys.argv[1]) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sys.exit(supervise(until_told, (sys.argv[1],), 2, (lock,)))
