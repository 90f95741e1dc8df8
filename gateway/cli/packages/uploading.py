"""How does a large file get to a node over a long or a shaky way? In parts at the same time, each of which goes on.

A resumable upload of the generic room that is cut into parts. One connection carries what its window allows for each
journey to the node and back, so several carry several times that. Where an upload stands is asked of the node; where to
ask is kept in a small file, so that the same command goes on after it was ended.
"""

import base64
import hashlib
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import httpx2
import msgspec

from gateway.cli.packages.lanes import Lanes
from gateway.cli.terminal.client import Client
from storage.errors import Absent, Conflict, Problem, TooMany, Unavailable

PARTS_BYTES_MIN = 32 << 20
"""Smaller files go in one request."""
PART_BYTES_MIN = 8 << 20
CHUNK_BYTES = 1 << 20
TRIES_MAX = 8
"""In a row, without a byte more at the node."""
WAIT_SECONDS_MAX = 15.0
TIMEOUT = httpx2.Timeout(60.0, connect=5.0, read=300.0)
"""The last answer may wait for a whole file to be compared and made durable."""

Advance = Callable[[int], None]


class Kept(msgspec.Struct, frozen=True):
    """An upload that was begun: its path at the node, and into how many parts it is cut."""

    path: str
    parts: int


def upload(
    node: Client, file: Path, target: str, advance: Advance, lanes: Lanes, conditions: Mapping[str, str]
) -> None:
    """Publish a file at `target`, a path below the generic room: /WORKSPACE/REPOSITORY/generic/PATH.

    `advance` is told how many bytes more are there. `conditions` are headers that say over what it may be published.
    Raises Problem; then the same call goes on later.
    """
    size, digest = file.stat().st_size, _digest_of(file)
    memory = memory_of(f"{node.url}{target}{''.join(conditions.values())}", size, digest)
    with lanes.lane():
        kept = _found(node, memory) or _begun(node, target, size, digest, lanes.count, memory, conditions)
    try:
        lanes.parts(lambda part: _send_part(node, file, kept, part, size, advance), range(kept.parts))
        told = {"Upload-Offset": str(size), "Upload-Complete": "?1", "Content-Type": "application/partial-upload"}
        with lanes.lane():
            _complete(node, kept, told, target, digest)
    except Problem as problem:
        if not isinstance(problem, Unavailable | TooMany):
            memory.unlink(missing_ok=True)  # it will not be better the next time
        raise
    memory.unlink(missing_ok=True)


# ---------------------------------------------------------------- where it stands


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return base64.b64encode(hashlib.file_digest(content, "sha256").digest()).decode()


def memory_of(address: str, size: int, digest: str) -> Path:
    """Where it is kept that this file is on its way to this address."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(f"{address}\0{size}\0{digest}".encode()).hexdigest()[:32]
    return home / "entrepot" / "uploads" / f"{name}.json"


def _found(node: Client, memory: Path) -> Kept | None:
    """The upload that was begun, if the node still has it."""
    try:
        kept = msgspec.json.decode(memory.read_bytes(), type=Kept)
        node.send("HEAD", kept.path)
    except (OSError, msgspec.DecodeError, Absent):
        return None
    return kept


def _begun(
    node: Client, target: str, size: int, digest: str, parts_max: int, memory: Path, conditions: Mapping[str, str]
) -> Kept:
    home, _, path = target.partition("/generic/")
    parts = max(2, min(parts_max, size // PART_BYTES_MIN))
    told = {
        "Upload-Complete": "?0",
        "Upload-Length": str(size),
        "Repr-Digest": f"sha-256=:{digest}:",
        "Entrepot-Upload-Parts": str(parts),
        "Content-Length": "0",
        **conditions,
    }
    answer = node.send("POST", f"{home}/generic/-/uploads/{path}", headers=told)
    kept = Kept(urllib.parse.urlsplit(answer.headers["location"]).path, parts)
    memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    memory.write_bytes(msgspec.json.encode(kept))
    return kept


# ---------------------------------------------------------------- one part


def _send_part(node: Client, file: Path, kept: Kept, part: int, size: int, advance: Advance) -> None:
    """Send a part from wherever it stands, again and again while it gets on."""
    length = -(-size // kept.parts)
    begin, end = min(part * length, size), min((part + 1) * length, size)
    path, told, tries, there = f"{kept.path}/{part}", 0, 0, -1
    while True:
        try:
            reached = int(node.send("HEAD", path).headers["upload-offset"])
            advance(reached - told)
            told, tries = reached, tries if reached <= there else 0
            there = max(there, reached)
            if begin + reached >= end:
                return
            _send_rest(node, file, path, begin + reached, end, reached)
        except (Unavailable, TooMany, Conflict):
            tries += 1
            if tries >= TRIES_MAX:
                raise
            time.sleep(min(0.2 * 2**tries, WAIT_SECONDS_MAX))


def _send_rest(node: Client, file: Path, path: str, at: int, end: int, offset: int) -> None:
    headers = {
        "Upload-Offset": str(offset),
        "Upload-Complete": "?0",
        "Content-Type": "application/partial-upload",
        "Content-Length": str(end - at),
    }
    with file.open("rb") as content:
        node.send("PATCH", path, content=_pieces(content, at, end), headers=headers, timeout=TIMEOUT)


def _pieces(content: BinaryIO, at: int, end: int) -> Iterator[bytes]:
    content.seek(at)
    while at < end and (data := content.read(min(CHUNK_BYTES, end - at))):
        at += len(data)
        yield data


def _complete(node: Client, kept: Kept, told: dict[str, str], target: str, digest: str) -> None:
    """The last word of an upload may be lost as well, or the answer to it: then the file is there, and it is not."""
    for tries in range(1, TRIES_MAX + 1):
        try:
            node.send("PATCH", kept.path, headers=told, timeout=TIMEOUT)
            return
        except Absent:
            tag = f'"{base64.b64decode(digest).hex()}"'
            if tries == 1 or node.send("HEAD", target).headers.get("etag") != tag:
                raise
            return
        except (Unavailable, TooMany):
            if tries == TRIES_MAX:
                raise
            time.sleep(min(0.2 * 2**tries, WAIT_SECONDS_MAX))
