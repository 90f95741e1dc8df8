"""How many events a second does an origin tell a receiver, and does a slow receiver beside it hold that up?

The journal is filled first, so that the queue is long, and the webhook is told to begin behind it: the time is from
that to the last event at the receiver. The receiver is a plain loop on the client's core that answers 204.
"""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import trio

from bench.machine import SERVER_CORE
from bench.options import Options
from bench.ports import free_port
from bench.report import Result, Row
from bench.servers import LoneOrigin, ask

REPOSITORY = "bench/files"
WORKSPACE = REPOSITORY.partition("/")[0]
HOOKS = f"/workspaces/{WORKSPACE}/webhooks"
EVENTS, EVENTS_QUICK = 10_000, 300
SLOW_SECONDS = 10.0
"""Within what a receiver may take."""
FILLERS = 8
WAIT_SECONDS_MAX = 150.0


class Receiver:
    """Counts what it is sent. `/slow` answers after SLOW_SECONDS, all else at once."""

    def __init__(self) -> None:
        self.port = free_port()
        self.counts: dict[str, int] = {}
        self._stop: trio.CancelScope | None = None
        self._ready = threading.Event()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Answers on a connection for as long as it comes."""
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    data += await _more(stream)
                head, _, data = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                while len(data) < length:
                    data += await _more(stream)
                data = data[length:]
                path = head.split(b" ")[1].decode()
                if path == "/slow":
                    await trio.sleep(SLOW_SECONDS)
                self.counts[path] = self.counts.get(path, 0) + 1
                await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # who sent it has had enough
        finally:
            await trio.aclose_forcefully(stream)

    async def _run(self) -> None:
        with trio.CancelScope() as self._stop:
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1", backlog=256)
            self._ready.set()
            await trio.serve_listeners(self._serve, listeners)

    @contextmanager
    def running(self) -> Iterator[None]:
        token: list[trio.lowlevel.TrioToken] = []

        async def main() -> None:
            token.append(trio.lowlevel.current_trio_token())
            await self._run()

        thread = threading.Thread(target=trio.run, args=(main,))
        thread.start()
        self._ready.wait(10)
        try:
            yield
        finally:
            assert self._stop is not None
            token[0].run_sync_soon(self._stop.cancel)
            thread.join()

    def wait(self, path: str, count: int) -> float:
        """Until so many have come there; when that was. Raises TimeoutError."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while self.counts.get(path, 0) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.counts} of {count}")
            time.sleep(0.005)
        return time.perf_counter()


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(65536))
    if not data:
        raise trio.BrokenResourceError("it was ended")
    return data


def run(told: Options) -> Result:
    result = Result("webhooks")
    count = EVENTS_QUICK if told.quick else EVENTS
    origin, receiver = LoneOrigin(told.home / "node", REPOSITORY), Receiver()
    rows = {
        name: Row(name, "events/s") for name in (
            "one webhook", "one, a slow receiver beside it", "four webhooks, all together",
        )
    }  # fmt: skip
    late = Row("from a publish to its receiver, nothing waiting", "ms")
    with receiver.running(), origin.start(core=SERVER_CORE):
        fill(origin, count)
        head = int(call(origin, "GET", "/status")["serials"][WORKSPACE])
        for _ in range(told.rounds):
            rows["one webhook"].ours.append(rate(origin, receiver, ["/one"], head - count, count))
            create(origin, receiver, "/slow", head - count)
            rows["one, a slow receiver beside it"].ours.append(rate(origin, receiver, ["/one"], head - count, count))
            drop(origin, "/slow")
            paths = ["/a", "/b", "/c", "/d"]
            rows["four webhooks, all together"].ours.append(rate(origin, receiver, paths, head - count, count))
        create(origin, receiver, "/late", -1)
        for number in range(20 if told.quick else 100):
            begun_s = time.perf_counter()
            put(origin, http.client.HTTPConnection("127.0.0.1", origin.port), f"late/{number}")
            late.ours.append((receiver.wait("/late", number + 1) - begun_s) * 1000)
    result.rows += [*rows.values(), late]
    result.notes += [
        f"{count:,} publishes wait in the journal, one event each; the origin's worker has a core to itself",
        "the receiver is on the other core and answers at once, over plain HTTP, on connections that it keeps",
        f"the slow receiver takes {SLOW_SECONDS:.0f} s for each event",
    ]
    return result


def fill(origin: LoneOrigin, count: int) -> None:
    def some(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", origin.port)
        for number in range(first, count, FILLERS):
            put(origin, connection, f"f/{number}")

    with ThreadPoolExecutor(FILLERS) as pool:
        list(pool.map(some, range(FILLERS)))


def put(origin: LoneOrigin, connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("PUT", f"/{REPOSITORY}/generic/{path}", b"x", dict(origin.bearer))
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 300, answer.status


def rate(origin: LoneOrigin, receiver: Receiver, paths: list[str], after: int, count: int) -> float:
    """Events a second, over all of these receivers together."""
    receiver.counts = {}
    for path in paths:
        create(origin, receiver, path, -1)
    begun_s = time.perf_counter()
    for path in paths:
        call(origin, "POST", f"{HOOKS}/{path[1:]}/replay", {"serial": after})
    ended_s = max([receiver.wait(path, count) for path in paths])
    for path in paths:
        drop(origin, path)
    return count * len(paths) / (ended_s - begun_s)


def create(origin: LoneOrigin, receiver: Receiver, path: str, after: int) -> None:
    body = {
        "name": path[1:], "url": f"http://127.0.0.1:{receiver.port}{path}", "events": ["package.published"],
        "private_network": True,
    }  # fmt: skip
    call(origin, "POST", HOOKS, body)
    if after >= 0:
        call(origin, "POST", f"{HOOKS}/{path[1:]}/replay", {"serial": after})


def drop(origin: LoneOrigin, path: str) -> None:
    call(origin, "DELETE", f"{HOOKS}/{path[1:]}")


def call(origin: LoneOrigin, method: str, path: str, body: object = None) -> Any:
    """One call of the API."""
    sent = None if body is None else json.dumps(body).encode()
    headers = origin.bearer | {"Content-Type": "application/json"}
    status, _, told = ask(method, f"{origin.url}/-/api/v1{path}", headers, sent)
    assert status < 300, (method, path, status, told)
    return json.loads(told) if told else None
