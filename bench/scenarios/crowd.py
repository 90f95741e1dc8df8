"""What do ten thousand idle or hostile connections do to a good client, and to the memory?

One worker on one core. The same small file is asked for at the same offered load (1) over 64 connections, (2) over
ten thousand, each of which is idle most of the time, (3) over 64 beside ten thousand slow ones: heads that dribble,
uploads that dribble, downloads that nobody reads (THREATS A8, A9). The slow ones must be gone in 30 s.
"""

import resource
import socket
import time
from collections import deque
from urllib.parse import SplitResult, urlsplit

from bench.clients import Refused
from bench.machine import SERVER_CORE, Skipped, family, memory_bytes
from bench.numbers import percentile
from bench.offered import Asker, connect
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Filler, LoneOrigin, Running, put

CROWD = 10_000
GOOD = 64
RATE = 1_000.0
GONE_SECONDS_MAX = 60.0
VISITS_MAX = 40
SETTLE_SECONDS = 3.0
LARGE_BYTES = 64 << 20
REPOSITORY = "bench/files"
SMALL = f"/{REPOSITORY}/generic/small"
LARGE = f"/{REPOSITORY}/generic/large"
SPARE_DESCRIPTORS = 500
_OVER = (7, 8)  # TCP_CLOSE, TCP_CLOSE_WAIT


class Slow:
    """`count` slow clients, a third of each kind. `visit` gives each of the living a byte more about once a second."""

    def __init__(self, url: SplitResult, count: int, token: str) -> None:
        secret = f"Host: {url.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._openings = (
            f"GET {SMALL} HTTP/1.1\r\n{secret}X-Slow: ",
            f"PUT /{REPOSITORY}/generic/slow/NUMBER HTTP/1.1\r\n{secret}Content-Length: 100000\r\n\r\n",
            f"GET {LARGE} HTTP/1.1\r\n{secret}\r\n",
        )
        self._alive: deque[tuple[int, socket.socket]] = deque()
        for number in range(count):
            self._alive.append((number % 3, self._open(url, self._openings[number % 3].replace("NUMBER", str(number)))))
        self._count = count
        self._visited = self._began = time.perf_counter()
        self.gone_seconds = 0.0

    @staticmethod
    def _open(url: SplitResult, opening: str) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        sock.connect((url.hostname, url.port))
        sock.sendall(opening.encode())
        sock.setblocking(False)
        return sock

    @property
    def alive(self) -> int:
        return len(self._alive)

    def visit(self) -> None:
        """As many as are due by the clock, the rest later, so that nothing comes in bursts."""
        now = time.perf_counter()
        due = min(int((now - self._visited) * self._count), VISITS_MAX, len(self._alive))
        if not due:
            return
        self._visited = now
        for _ in range(due):
            kind, sock = self._alive.popleft()
            if _lives(kind, sock):
                self._alive.append((kind, sock))
        if not self._alive:
            self.gone_seconds = time.perf_counter() - self._began


def _lives(kind: int, sock: socket.socket) -> bool:
    """False, and closed, where the server has ended it. A download nobody reads is judged by the socket's state."""
    try:
        if kind == 2:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] not in _OVER:
                return True
        else:
            sock.send(b"x")
            if sock.recv(4096):
                return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    sock.close()
    return False


def worker_of(node: Running) -> int:
    """The process that serves: the one with the most memory."""
    return max(family(node.pid), key=lambda pid: memory_bytes(pid)[0])


def connected(url: SplitResult, count: int, request: bytes) -> list[socket.socket]:
    """Connections that have each been answered once."""
    made = []
    for _ in range(count):
        sock = connect(url)
        sock.sendall(request)
        sock.recv(64 << 10)
        made.append(sock)
    return made


def timed(connections: list[socket.socket], request: bytes, told: Options, slow: Slow | None = None) -> list[float]:
    asker = Asker(connections, request)
    try:
        asker.run(RATE, 1.0)
        return asker.run(RATE, told.seconds, slow.visit if slow else lambda: None)
    finally:
        asker.close()


def rows_of(name: str, took_ms: list[float], beside: list[float], goal: str = "") -> list[Row]:
    ratio = percentile(took_ms, 99) / percentile(beside, 99)
    return [
        Row(f"{name}, p50", "ms", [percentile(took_ms, 50)]),
        Row(
            f"{name}, p99", "ms", [percentile(took_ms, 99)], goal=goal, note=f"{ratio:.2f} of the p99 over {GOOD} alone"
        ),
    ]


def wait_until_gone(slow: Slow) -> None:
    while slow.alive and time.perf_counter() - slow._began < GONE_SECONDS_MAX:
        slow.visit()
        time.sleep(0.001)


def run(told: Options) -> Result:
    crowd = 200 if told.quick else CROWD
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < crowd + SPARE_DESCRIPTORS:
        raise Skipped(f"a process may have {most} descriptors here, {crowd + SPARE_DESCRIPTORS} are needed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    origin = LoneOrigin(told.home / "crowd", REPOSITORY)
    result = Result("crowd", notes=[f"{RATE:,.0f} requests a second offered, timed from the moment each was due"])
    with origin.start(core=SERVER_CORE) as node:
        put(origin.url + SMALL, b"x" * 1024, origin.bearer)
        put(origin.url + LARGE, Filler("large", LARGE_BYTES), origin.bearer)
        url = urlsplit(origin.url)
        request = f"GET {SMALL} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {origin.token}\r\n\r\n".encode()
        good = connected(url, GOOD, request)
        alone = timed(good, request, told)
        worker = worker_of(node)
        before = memory_bytes(worker)[1]
        many = connected(url, crowd, request)
        each = (memory_bytes(worker)[1] - before) / crowd
        spread_out = timed(many, request, told)
        for sock in many:
            sock.close()
        time.sleep(SETTLE_SECONDS)
        try:
            slow = Slow(url, crowd, origin.token)
        except OSError as error:
            raise Refused(f"slow clients were turned away: {error}; the node says: {node.tail()}") from error
        beside = timed(good, request, told, slow)
        held = memory_bytes(worker)[1] - before
        wait_until_gone(slow)
        after = timed(good, request, told)
        for sock in good:
            sock.close()
    result.rows = [
        *rows_of(f"{GOOD} connections", alone, alone),
        *rows_of(f"{crowd:,} connections", spread_out, alone, "<= 3x"),
        Row("an idle connection", "KB anonymous", [each / 1e3], goal="<= 20"),
        *rows_of(f"{GOOD} connections beside {crowd:,} slow ones", beside, alone, "< 2x"),
        Row("a slow connection", "KB anonymous", [held / crowd / 1e3], goal="<= 20"),
        Row("slow ones left", "connections", [float(slow.alive)], goal="0"),
        Row("the last slow one gone after", "s", [slow.gone_seconds], goal="<= 30"),
        *rows_of(f"{GOOD} connections, afterwards", after, alone),
    ]
    return result
