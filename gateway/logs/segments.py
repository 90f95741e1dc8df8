"""Which parts of the access logs have become segments, and what are those called?

A segment is named for when it was taken and for the bytes of the log it holds (worker, file, from, to), so the same
bytes never come twice, whatever breaks off in between. `taken.json` says how far each log file was taken; where a node
died between a segment and that, the segment's name says it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest

from gateway.logs.durable import write_durably
from gateway.logs.register import Identity

SUFFIX = ".parquet"
OWN = "origin"
STATE = "taken.json"
_NAME = re.compile(
    r"(\d{8}T\d{6})-(\d{1,4})-([0-9a-f]{16})-(\d{1,15})-(\d{1,15})((?:\.[A-Za-z0-9_-]{1,63}){0,2})\.parquet"
)
NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
GONE_MAX = 256
"""Of so many log files that are gone it is still known how far they were taken."""
FIRST_LINE_BYTES = 512
CHUNK_BYTES = 1 << 20


class Slice(NamedTuple):
    """Bytes of one log file that end with a line: which worker's, the file's own mark, from and to."""

    path: Path
    worker: int
    file: str
    start: int
    stop: int

    def name(self, at: str) -> str:
        """`at` is the time of taking, YYYYMMDDTHHMMSS."""
        return f"{at}-{self.worker}-{self.file}-{self.start}-{self.stop}{SUFFIX}"


def is_name(name: str) -> bool:
    """Is this what a segment is called?"""
    return _NAME.fullmatch(name) is not None


def spelt(node: str) -> str:
    """A node's name as it stands in the names of files, where a dot parts one name from the next."""
    return node.replace(".", "-")


def identity(node: str, name: str) -> Identity | None:
    """What a segment holds that `node` sent under this name; None where no segment is called so. What another node
    made before it passed it on stands behind the rest of its name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    maker = match[6].split(".")[1] if match[6] else spelt(node)
    return Identity(maker, match[3], int(match[4]), int(match[5]))


def fresh(folder: Path, taken: dict[str, int], bytes_max: int) -> Iterator[Slice]:
    """What the access logs in `folder` hold behind what was taken, the oldest files first, in slices of whole lines."""
    for path in sorted(folder.glob("access-*.jsonl*"), key=_age):
        try:
            with path.open("rb") as file:
                mark = _mark(file.read(FIRST_LINE_BYTES))
                size = os.fstat(file.fileno()).st_size
                if not mark:
                    continue
                start = taken.get(mark, 0)
                while start < size:
                    stop = _line_end(file.fileno(), start, min(size, start + bytes_max))
                    if stop == start:
                        break
                    yield Slice(path, _worker(path), mark, start, stop)
                    start = stop
        except FileNotFoundError:
            continue  # it was renamed meanwhile: the next look finds it


def waiting(folder: Path, taken: dict[str, int]) -> dict[int, int]:
    """How many bytes of each worker's log are not taken yet."""
    found: dict[int, int] = {}
    for one in fresh(folder, taken, 1 << 40):
        found[one.worker] = found.get(one.worker, 0) + one.stop - one.start
    return found


def copied(part: Slice, to: Path) -> bool:
    """Copy a slice, within the kernel; False where the file at that path is another one by now."""
    with part.path.open("rb") as source, to.open("wb") as target:
        if _mark(source.read(FIRST_LINE_BYTES)) != part.file:
            return False
        at = part.start
        while at < part.stop and (n := os.sendfile(target.fileno(), source.fileno(), at, part.stop - at)):
            at += n
    return at == part.stop


def read_taken(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """How far each file was taken, by its mark; `names` are segments that may be younger than the state."""
    try:
        taken = msgspec.json.decode((folder / STATE).read_bytes(), type=dict[str, int])
    except (FileNotFoundError, msgspec.MsgspecError):
        taken = {}
    for name in names:
        if (match := _NAME.fullmatch(name)) is not None:
            taken[match[3]] = max(taken.get(match[3], 0), int(match[5]))
    return taken


def write_taken(folder: Path, logs: Path, taken: dict[str, int]) -> dict[str, int]:
    """Keep it, with what is of the last GONE_MAX files that are gone; what was kept."""
    there = set()
    for path in logs.glob("access-*.jsonl*"):
        try:
            with path.open("rb") as file:
                there.add(_mark(file.read(FIRST_LINE_BYTES)))
        except FileNotFoundError:
            return taken
    gone = [mark for mark in taken if mark not in there]
    forgotten = set(gone[:-GONE_MAX])
    left = {mark: stop for mark, stop in taken.items() if mark not in forgotten}
    write_durably(folder / STATE, msgspec.json.encode(left))
    return left


def sizes(folder: Path) -> dict[str, int]:
    """How large the access logs are, by their marks."""
    found = {}
    for path in folder.glob("access-*.jsonl*"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            found[_mark(file.read(FIRST_LINE_BYTES))] = os.fstat(file.fileno()).st_size
    return found


def trimmed(folder: Path, bytes_max: int, before: str = "") -> list[str]:
    """Let segments go: those taken before `before` (YYYYMMDD), then the oldest until the rest has `bytes_max`. Which
    went."""
    found = sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: path.name)
    held = {path: path.stat().st_size for path in found}
    total, gone = sum(held.values()), list[str]()
    for path in found:
        if path.name[:8] >= before and total <= bytes_max:
            break
        path.unlink(missing_ok=True)
        total -= held[path]
        gone.append(path.name)
    return gone


def taken_s(name: str) -> float:
    """When the segment of this name was taken (s since 1970)."""
    return datetime.strptime(name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()


def _mark(head: bytes) -> str:
    """A file is known by its first line: when, who and what. "" before it has one."""
    line, end, _ = head.partition(b"\n")
    return xxh3_64_hexdigest(line) if end or len(head) == FIRST_LINE_BYTES else ""


def _worker(path: Path) -> int:
    digits = path.name.removeprefix("access-").partition(".")[0]
    return int(digits) if digits.isdigit() and len(digits) < 5 else 0


def _age(path: Path) -> tuple[str, int]:
    base, _, number = path.name.partition(".jsonl.")
    return base, -int(number or 0)


def _line_end(descriptor: int, start: int, stop: int) -> int:
    """The end of the last whole line before `stop`; a line that is longer than all that is skipped as it stands."""
    at = stop
    while at > start:
        begin = max(start, at - CHUNK_BYTES)
        found = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return start
