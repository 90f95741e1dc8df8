"""Where does an operator read of our own bugs? On standard error, one line of JSON each, without request data.

A client never sees a traceback; a secret never reaches this log, since neither headers nor targets are written.
"""

import sys
import traceback

import msgspec


def report_bug(bug: BaseException, where: str) -> None:
    """Write an unexpected exception with its place in the code."""
    frames = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(bug.__traceback__)[-12:]
    ]
    line = {"level": "error", "where": where, "type": type(bug).__name__, "frames": frames}
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()


def report(level: str, message: str, **facts: str | int | float) -> None:
    """Write an operator's line."""
    sys.stderr.write(msgspec.json.encode({"level": level, "message": message, **facts}).decode() + "\n")
    sys.stderr.flush()
