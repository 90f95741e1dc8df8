"""How do segments come from an edge to its parent? At least once, and none holds up those behind it.

One that the parent refuses while it takes others, or a mark, is set aside: kept in `out/refused` within the bound of
all that waits, told as lost for as long as it has not come, and tried again each hour and at each start. Where nothing
is taken, it is the way that is wrong, and all waits for that.
"""

import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

import httpx2
import msgspec
import trio

from cache.asking.connecting import trust
from cache.asking.parents import Parents
from gateway.insight.errorlog import report
from gateway.logs import durable, segments
from gateway.logs.jobs import Folders
from gateway.logs.losses import Losses
from gateway.logs.register import Mark
from gateway.logs.segments import NODE, OWN

SEND_SECONDS_MAX = 60.0
CONNECT_SECONDS_MAX = 5.0
AGAIN_SECONDS = 3600.0
REFUSALS_MAX = 3
"""So many refusals, and nothing that was taken, end a round."""
REFUSAL_BYTES_MAX = 4 << 10
TAKEN = 204
LATER = (401, 403, 408, 429)
"""Refusals that are about the way or the time, and about no segment."""


class Way(msgspec.Struct, frozen=True):
    """An edge's way to its parents."""

    parents: Parents
    token: str = ""
    tls: ssl.SSLContext | None = None
    tls_name: str = ""


Post = Callable[[str, bytes], Awaitable[int]]


class Shipping:
    """Sends what is in `folders.out` and the marks. `lose` hears of names that will not come for now."""

    def __init__(
        self, folders: Folders, way: Way, losses: Losses, lose: Callable[[list[str]], None],
        complain: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._folders = folders
        self._way = way
        self._losses = losses
        self._lose = lose
        self._complain = complain
        self._sent: dict[str, bytes] = {}
        self._again_s = -inf
        self._why = ""
        """What the last refusal said of itself."""

    async def send(self) -> None:
        """Send all that there is, as far as it is taken."""
        if time.monotonic() - self._again_s >= AGAIN_SECONDS:
            self._again_s = time.monotonic()
            await trio.to_thread.run_sync(self._try_again)
        found = await trio.to_thread.run_sync(listed, self._folders.out)
        marks = await trio.to_thread.run_sync(self._marks)
        if not found and not marks:
            return
        way, parent = self._way, self._way.parents.order()[0]
        verify = (way.tls or trust()) if parent.startswith("https:") else False
        timeout = httpx2.Timeout(SEND_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)
        try:
            async with httpx2.AsyncClient(trust_env=False, verify=verify, timeout=timeout) as client:
                await self._round(partial(self._post, client, parent), found, marks)
        except httpx2.HTTPError as error:
            self._complain("segments of the client log wait for a parent", type(error).__name__)

    async def _post(self, client: httpx2.AsyncClient, parent: str, what: str, body: bytes) -> int:
        """The status that it was answered with."""
        headers = {"Content-Type": "application/vnd.apache.parquet"}
        headers |= {"Authorization": f"Bearer {self._way.token}"} if self._way.token else {}
        extensions = {"sni_hostname": self._way.tls_name} if self._way.tls_name else {}
        answer = await client.post(f"{parent}/-/peer/{what}", content=body, headers=headers, extensions=extensions)
        self._why = words_of(answer.content) if answer.status_code >= 400 else ""
        return answer.status_code

    async def _round(self, post: Post, found: list[Path], marks: dict[str, bytes]) -> None:
        refused: list[Path] = []
        any_taken = False
        for path in found:
            status = await post(f"segment/{path.name}", await trio.to_thread.run_sync(path.read_bytes))
            if status == TAKEN:
                any_taken = True
                await trio.to_thread.run_sync(path.unlink)
            elif not 400 <= status < 500 or status in LATER:
                self._complain("the parent does not take segments of the client log", self._why or str(status))
                return
            else:
                refused.append(path)
                if len(refused) >= REFUSALS_MAX and not any_taken:
                    break
        for node, mark in marks.items():
            status = await post("segment-mark" if node == OWN else f"segment-mark/{node}", mark)
            if status == TAKEN:
                any_taken = True
                self._sent[node] = mark
            else:
                self._complain("the parent does not take marks of the client log", self._why or str(status))
        if any_taken and refused:
            await trio.to_thread.run_sync(self._set_aside, refused)
        elif refused:
            self._complain("the parent does not take segments of the client log", "it takes none")

    def _set_aside(self, refused: list[Path]) -> None:
        names = [path.name for path in refused]
        self._lose(names)
        for path in refused:
            path.replace(self._folders.refused / path.name)
        report("warning", "segments of the client log were refused and are set aside", count=len(names), first=names[0])

    def _try_again(self) -> None:
        for path in listed(self._folders.refused):
            path.replace(self._folders.out / path.name)

    def _marks(self) -> dict[str, bytes]:
        """Of this node and those behind it, as far as they were not sent yet."""
        paths = [one for one in self._folders.marks.iterdir() if NODE.fullmatch(one.name) and one.suffix != durable.NEW]
        found = {path.name: self._whole(path.name, path.read_bytes()) for path in paths}
        return {node: mark for node, mark in found.items() if self._sent.get(node) != mark}

    def _whole(self, node: str, raw: bytes) -> bytes:
        """With what this node lost of what one behind it had given to it."""
        if node == OWN:
            return raw
        mark = msgspec.msgpack.decode(raw, type=Mark)
        return msgspec.msgpack.encode(self._losses.added(node, mark))


def words_of(refusal: bytes) -> str:
    """What a refusal tells, with what to do about it; "" where it is none of ours."""
    try:
        said = msgspec.json.decode(refusal[:REFUSAL_BYTES_MAX], type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f"{said.detail} {said.remedy}".strip()


class _Refusal(msgspec.Struct, frozen=True):
    detail: str
    remedy: str = ""


def listed(folder: Path) -> list[Path]:
    """The segments in a folder, the oldest first."""
    return sorted(path for path in folder.iterdir() if segments.is_name(path.name))


def told(folders: Folders) -> dict[str, int]:
    """How many segments wait here for the origin, and their bytes; those of them that were refused; and those of other
    nodes that cannot be read."""
    found = {"waiting": 0, "waiting_bytes": 0, "refused": 0, "unreadable": 0}
    if not folders.unreadable.is_dir():
        return found  # nothing was ever taken here
    for folder in (folders.out, folders.refused):
        for path in listed(folder):
            found["waiting"] += 1
            found["refused"] += folder == folders.refused
            with suppress(FileNotFoundError):  # it was just taken
                found["waiting_bytes"] += path.stat().st_size
    found["unreadable"] = sum(1 for _ in folders.unreadable.iterdir())
    return found
