"""How does a blob of an image get to a node over a shaky way? A small one whole, a large one in an upload that goes on.

The uploads of the OCI distribution specification 1.1. Where one stands is asked of the node; its address is kept in a
small file, so that the same command goes on after it was ended.
"""

import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.cli.packages.extents import Extent
from gateway.cli.packages.uploading import TIMEOUT, TRIES_MAX, WAIT_SECONDS_MAX, Advance, memory_of
from gateway.cli.terminal.client import Client
from storage.errors import Absent, Conflict, Problem, TooMany, Unavailable

WHOLE_BYTES_MAX = 8 << 20
"""Larger ones go in an upload that can go on."""


def is_there(node: Client, address: str) -> bool:
    """Has the node a blob, or a manifest, at this address?"""
    try:
        node.send("HEAD", address)
    except Absent:
        return False
    return True


def again[Result](do: Callable[[], Result]) -> Result:
    """Do it once more where a connection broke, or the node had no room at that moment."""
    for tries in range(1, TRIES_MAX):
        try:
            return do()
        except (Unavailable, TooMany):
            time.sleep(min(0.2 * 2**tries, WAIT_SECONDS_MAX))
    return do()


def send_blob(node: Client, image: str, digest: str, extent: Extent, advance: Advance) -> None:
    """Bring a blob to `image`, /v2/WORKSPACE/REPOSITORY/NAME. `advance` is told how many bytes more are on their way.
    Raises Problem; then the same call goes on later."""
    sending = _Sending(node, image, digest, extent, advance)
    if extent.size <= WHOLE_BYTES_MAX:
        again(sending.whole)
    else:
        sending.resumed()


class _Sending:
    def __init__(self, node: Client, image: str, digest: str, extent: Extent, advance: Advance) -> None:
        self._node, self._image, self._digest, self._extent = node, image, digest, extent
        self._advance = advance
        self._told = 0
        self._memory: Path = memory_of(node.url + image, extent.size, digest)

    def _at(self, reached: int) -> None:
        self._advance(reached - self._told)
        self._told = reached

    def _pieces(self, begin: int) -> Iterator[bytes]:
        self._at(begin)
        for piece in self._extent.pieces(begin):
            yield piece
            self._at(self._told + len(piece))

    def whole(self) -> None:
        headers = {"Content-Length": str(self._extent.size), "Content-Type": "application/octet-stream"}
        address = f"{self._image}/blobs/uploads/?digest={self._digest}"
        self._node.send("POST", address, content=self._pieces(0), headers=headers, timeout=TIMEOUT)

    def resumed(self) -> None:
        """Send it from wherever it stands, again and again while it gets on."""
        tries, there = 0, -1
        while True:
            try:
                address, reached = self._standing()
                tries, there = (0 if reached > there else tries), max(there, reached)
                self._send_rest(address, reached)
                self._memory.unlink(missing_ok=True)
                return
            except Absent:
                self._memory.unlink(missing_ok=True)
                if is_there(self._node, f"{self._image}/blobs/{self._digest}"):
                    return  # the answer to its end was lost
                tries += 1
                if tries >= TRIES_MAX:
                    raise
            except (Unavailable, TooMany, Conflict):
                tries += 1
                if tries >= TRIES_MAX:
                    raise
                time.sleep(min(0.2 * 2**tries, WAIT_SECONDS_MAX))
            except Problem:
                self._memory.unlink(missing_ok=True)  # it will not be better the next time
                raise

    def _standing(self) -> tuple[str, int]:
        """The upload that was begun and how many bytes it has; a new one, if there is none."""
        try:
            address = self._memory.read_text()
            answer = self._node.send("GET", address)
        except (OSError, ValueError, Absent):
            return self._begun(), 0
        last = answer.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
        if not last.isdigit() or not 0 < int(last) < self._extent.size:
            return self._begun(), 0  # 0-0 is said of nothing and of one byte
        return address, int(last) + 1

    def _begun(self) -> str:
        answer = self._node.send("POST", f"{self._image}/blobs/uploads/", headers={"Content-Length": "0"})
        address = _path_of(answer.headers["location"])
        self._memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._memory.write_text(address)
        return address

    def _send_rest(self, address: str, reached: int) -> None:
        size = self._extent.size
        if reached < size:
            headers = {
                "Content-Range": f"{reached}-{size - 1}",
                "Content-Length": str(size - reached),
                "Content-Type": "application/octet-stream",
            }
            answer = self._node.send("PATCH", address, content=self._pieces(reached), headers=headers, timeout=TIMEOUT)
            address = _path_of(answer.headers["location"])
        self._at(size)
        end = f"{address}{'&' if '?' in address else '?'}digest={self._digest}"
        self._node.send("PUT", end, headers={"Content-Length": "0"}, timeout=TIMEOUT)


def _path_of(location: str) -> str:
    """An address that the node named, at this node whatever host it says."""
    parts = urllib.parse.urlsplit(location)
    return parts.path + (f"?{parts.query}" if parts.query else "")
