"""What would be left on the disk if the power went now? Told from a trace of system calls, and then made so.

Of every file under the folders that are looked at: bytes that no fdatasync followed are cut off, and files whose name
no fsync of the directory followed are removed. It does not reorder blocks, nor take back pages of the index.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.harness.clients import program

CALLS = ("fdatasync", "fsync", "pwrite64", "writev", "ftruncate", "link", "linkat", "unlink", "rename")
_STRACE = ["-f", "-qq", "-y", "-s", "0"]
_LINE = re.compile(r"^(\d+)\s+(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_FILE = re.compile(r"^\d+<([^>]*)>")
_WRITE = re.compile(r", (\d+), (\d+)\)\s+= (\d+)$")
_TRUNCATE = re.compile(r", (\d+)\)\s+= 0$")


def traced(log: Path, inject: str = "") -> list[str]:
    """How a command line begins that is traced into `log`; `inject` as strace takes it, "" for no fault."""
    command = [program("strace"), *_STRACE, "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    return command + (["-e", f"inject={inject}"] if inject else [])


def calls(trace: str) -> Iterator[tuple[str, str, str]]:
    """(thread, call, the rest of its line) for every call that came back, in the order of coming back."""
    pending: dict[str, str] = {}
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        thread, resumed, call, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            pending[thread] = rest.removesuffix("<unfinished ...>").rstrip()
        elif resumed:
            yield thread, resumed, pending.pop(thread, "") + rest.lstrip()
        else:
            yield thread, call, rest


class Disk:
    """How long each file is, how much of it is durable, and which names are."""

    def __init__(self, trace: str) -> None:
        self.written: dict[str, int] = {}
        self.synced: dict[str, int] = {}
        self.named: set[str] = set()
        for _, call, rest in calls(trace):
            file = _FILE.match(rest)
            if call in ("link", "linkat") and rest.endswith("= 0"):
                old, new = re.findall(r'"([^"]*)"', rest)
                self.written[new] = self.written.get(old, 0)
                self.synced[new] = self.synced.get(old, 0)
            elif call == "unlink" and rest.endswith("= 0"):
                self.named.discard(re.findall(r'"([^"]*)"', rest)[0])
            elif file is not None:
                self._note(call, file[1], rest)

    def _note(self, call: str, path: str, rest: str) -> None:
        if call == "pwrite64" and (found := _WRITE.search(rest)):
            self.written[path] = max(self.written.get(path, 0), int(found[2]) + int(found[3]))
        elif call == "ftruncate" and (found := _TRUNCATE.search(rest)):
            self.written[path] = int(found[1])
        elif call == "fdatasync" and rest.endswith("= 0"):
            self.synced[path] = self.written.get(path, 0)
        elif call == "fsync" and rest.endswith("= 0"):
            self.named |= {name for name in self.written if os.path.dirname(name) == path}

    def cut_power(self, *folders: Path) -> int:
        """Make the folders what they would be; returns how many files lost something."""
        lost = 0
        for path in [path for folder in folders for path in folder.iterdir()]:
            name = str(path)
            if name in self.written and name not in self.named:
                path.unlink()
                lost += 1
            elif path.stat().st_size > self.synced.get(name, 0):
                os.truncate(path, self.synced.get(name, 0))
                lost += 1
        return lost
