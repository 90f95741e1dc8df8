"""How do segments come to be, and to the origin? One worker of each node takes, sends and lets go, beside all else.

An edge sends each segment to its parent until that says it has it, and a parent keeps a name once: at least once on
the wire, once in what is counted. Nothing here is on the way of a request.
"""

import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx2
import msgspec
import trio

from cache.parents import Parents
from gateway.config import Logs as Limits
from gateway.insight.errorlog import report
from gateway.logs import segments
from gateway.logs.child import Job
from gateway.logs.columns import Build
from gateway.logs.segments import NODE, OWN, SUFFIX, Slice
from storage.errors import Invalid

LOOK_SECONDS = 2.0
BUILD_SECONDS_MAX = 60.0
SEND_SECONDS_MAX = 60.0
SEGMENT_BYTES_MAX = 64 << 20
MAGIC = b"PAR1"
COMMAND = (sys.executable, "-P", "-m", "gateway.logs.child")


class Folders:
    """Where segments are: `out` is what waits for a parent, `kept` what an origin has, by node."""

    def __init__(self, root: Path) -> None:
        self.logs = root / "log"
        self.own = root / "segments"
        self.out = self.own / "out"
        self.kept = self.own / "kept"
        self.work = self.own / "work"

    def make(self) -> None:
        for folder in (self.out, self.kept / OWN, self.work):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


class Way(msgspec.Struct, frozen=True):
    """An edge's way to its parents."""

    parents: Parents
    token: str = ""
    tls: ssl.SSLContext | None = None
    tls_name: str = ""


class Keeping:
    """The segments of one node, called `node` in its lines. `way` None = an origin, which keeps them."""

    def __init__(self, root: Path, node: str, limits: Limits, way: Way | None) -> None:
        self.folders = Folders(root)
        self._node = node
        self._limits = limits
        self._way = way
        self._complained = False

    async def run(self) -> None:
        """Until cancelled."""
        await trio.to_thread.run_sync(self.folders.make)
        taken_s = time.monotonic()
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                waiting = await trio.to_thread.run_sync(self._waiting)
                due = time.monotonic() - taken_s >= self._limits.take_every_seconds
                if waiting >= self._limits.take_bytes or (waiting and due):
                    taken_s = time.monotonic()
                    await trio.to_thread.run_sync(self.take)
                await self._send()
                await trio.to_thread.run_sync(self.trim)
            except (OSError, subprocess.SubprocessError) as error:
                self._complain("segments of the client log wait", type(error).__name__)
            else:
                self._complained = False

    def take(self) -> int:
        """Make segments of all that is new; how many. Blocks."""
        folders, made = self.folders, 0
        target = folders.out if self._way is not None else folders.kept / OWN
        taken = self._taken()
        for part in segments.fresh(folders.logs, taken, self._limits.take_bytes):
            if self._build(part, target):
                made += 1
                taken[part.file] = part.stop
                taken = segments.write_taken(folders.own, folders.logs, taken)
        return made

    def trim(self) -> None:
        """Let go what is too old or too much."""
        if self._way is not None:
            if gone := segments.trimmed(self.folders.out, self._limits.waiting_bytes_max):
                report("warning", "segments of the client log were let go before the origin had them", count=gone)
            return
        oldest = datetime.now(UTC) - timedelta(days=self._limits.keep_days)
        segments.trimmed(self.folders.kept, self._limits.keep_bytes_max, f"{oldest:%Y%m%d}")

    def _taken(self) -> dict[str, int]:
        names = [path.name for folder in (self.folders.out, self.folders.kept / OWN) for path in folder.iterdir()]
        return segments.read_taken(self.folders.own, names)

    def _waiting(self) -> int:
        return segments.waiting_bytes(self.folders.logs, self._taken())

    def _build(self, part: Slice, target: Path) -> bool:
        work = self.folders.work / f"{part.file}.jsonl"
        if not segments.copied(part, work):
            return False
        path = target / part.name(f"{datetime.now(UTC):%Y%m%dT%H%M%S}")
        scratch = self.folders.work / path.name
        task = Build(str(self.folders.own), str(work), str(scratch), self._node, self._limits.countries)
        job = Job(task, self._limits.memory_bytes_max, BUILD_SECONDS_MAX)
        subprocess.run(
            COMMAND, input=msgspec.msgpack.encode(job), capture_output=True, check=True, timeout=2 * BUILD_SECONDS_MAX
        )
        scratch.replace(path)
        return True

    # ------------------------------------------------------------ sending, and what others send

    async def _send(self) -> None:
        if self._way is None:
            return
        found = await trio.to_thread.run_sync(partial(_listed, self.folders.out))
        if not found:
            return
        way, parent = self._way, self._way.parents.order()[0]
        verify = way.tls if way.tls is not None and parent.startswith("https:") else parent.startswith("https:")
        headers = {"Content-Type": "application/vnd.apache.parquet"}
        headers |= {"Authorization": f"Bearer {way.token}"} if way.token else {}
        extensions = {"sni_hostname": way.tls_name} if way.tls_name else {}
        timeout = httpx2.Timeout(SEND_SECONDS_MAX, connect=5.0)
        try:
            async with httpx2.AsyncClient(trust_env=False, verify=verify, timeout=timeout) as client:
                for path in found:
                    body = await trio.to_thread.run_sync(path.read_bytes)
                    url = f"{parent}/-/peer/segment/{path.name}"
                    answer = await client.post(url, content=body, headers=headers, extensions=extensions)
                    if answer.status_code != 204:
                        self._complain("the parent does not take segments of the client log", str(answer.status_code))
                        return
                    await trio.to_thread.run_sync(path.unlink)
        except httpx2.HTTPError as error:
            self._complain("segments of the client log wait for a parent", type(error).__name__)

    def _complain(self, message: str, why: str) -> None:
        if not self._complained:
            self._complained = True
            report("warning", message, why=why)


class Receiving:
    """What edges send to this node: kept once, at an origin; a shield sends it on with its own."""

    def __init__(self, root: Path, *, origin: bool, now: Callable[[], float] = time.time) -> None:
        self._folders = Folders(root)
        self._origin = origin
        self._now = now

    def keep(self, node: str, name: str, body: bytes) -> bool:
        """Keep a segment of a node; False where it is here already. Raises Invalid. Blocks."""
        if not segments.is_name(name) or NODE.fullmatch(node) is None or node == OWN:
            raise Invalid("A segment is not called this.")
        if len(body) < 12 or body[:4] != MAGIC or body[-4:] != MAGIC:
            raise Invalid("This is no segment.")
        ahead = f"{datetime.fromtimestamp(self._now(), UTC) + timedelta(days=1):%Y%m%d}"
        if name[:8] > ahead:
            raise Invalid("This segment is from the future.", "Set the clock of the edge.")
        self._folders.make()
        if self._origin:
            folder, file = self._folders.kept / node, name
        else:
            folder, file = self._folders.out, f"{name.removesuffix(SUFFIX)}.{node.replace('.', '-')}{SUFFIX}"
        folder.mkdir(exist_ok=True, mode=0o700)
        if (folder / file).exists():
            return False
        fresh = self._folders.work / f"{node}-{file}.new"
        fresh.write_bytes(body)
        fresh.replace(folder / file)
        return True


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if segments.is_name(path.name))
