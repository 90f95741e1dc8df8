"""How do an origin and an edge come up together on one machine, by one command, and go down together?

`up` forks both before it does anything else, prepares the origin's data while they wait, lets them begin, waits until
the edge knows the admin token, says what to type, and then does nothing but wait. A signal, or the end of either node,
ends both.
"""

import contextlib
import gc
import http.client
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from gateway.access import bootstrap
from gateway.cli.nodes import serving
from gateway.cli.nodes.forking import Fork
from gateway.cli.nodes.settings import hold, node_of
from gateway.cli.packages.listing import lines
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson
from storage.errors import Problem, Unavailable

HOST = "127.0.0.1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
TURN_SECONDS = 0.02
ASK_SECONDS_MAX = 2.0

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Node(NamedTuple):
    """One of the two: what it is called, where it is, and its process."""

    role: str
    url: str
    process: Fork


def up(
    *,
    data: Path = Path("./entrepot-data"),
    origin_port: int = 8080,
    edge_port: int = 8081,
    workers: int = 1,
    json: AsJson = False,
) -> int:
    """Start an origin and an edge on this machine, over data of their own, and keep them running.

    Parameters
    ----------
    data
        Where the data of both lies; made if it is not there, opened if it is.
    origin_port
        The origin's port; 0 = any free one.
    edge_port
        The edge's port; 0 = any free one.
    workers
        Worker processes of each.
    """
    out = Output(json)
    with bootstrap.alone(data) as lock, contextlib.ExitStack() as ports:
        held = [ports.enter_context(hold(HOST, port)) for port in (origin_port, edge_port)]
        origin, edge = (f"http://{HOST}:{one.getsockname()[1]}" for one in held)
        gc.collect()
        gc.freeze()  # what is loaded by now is shared for as long as nobody writes to it
        own = [lock, *(one.fileno() for one in held)]
        nodes = [_fork("origin", origin, data / "origin", workers, own)]
        nodes.append(_fork("edge", edge, data / "edge", workers, [*own, nodes[0].process.descriptor], parent=origin))
        try:
            ready = bootstrap.prepare_up(data / "origin", data / "edge")
        except BaseException:
            _kill(nodes)
            raise
        # from here on: preparing runs a loop of its own, which wants the signals to itself
        with signals() as woken:
            try:
                for node in nodes:
                    node.process.begin()
                if _wait_until_ready(nodes, ready.admin, woken):
                    _tell(out, origin, edge, ready.admin)
                    _wait_for_the_end(nodes, woken)
            except BaseException:
                _stop(nodes, woken)
                raise
            return _stop(nodes, woken)


def _fork(
    role: Literal["origin", "edge"], url: str, data: Path, workers: int, own: Sequence[int], *, parent: str = ""
) -> Node:
    def work() -> int:
        options: dict[str, Any] = {"role": role, "data": str(data), "host": HOST, "port": int(url.rpartition(":")[2])}
        options |= {"workers": workers, "parents": (parent,) if parent else None}
        try:
            return serving.run_node(node_of(None, options, data / bootstrap.EDGE_FILE_NAME if parent else None))
        except Problem as problem:
            return Output(False).problem(problem)

    return Node(role, url, Fork(f"entrepot-{role}", work, own))


# ---------------------------------------------------------------- waiting


class Woken:
    """Signals as bytes in a socket, so that one wait serves them and the ends of the nodes."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver
        self.stopping = False

    def wait(self, seconds: float) -> bool:
        """Wait for any signal, at most so long. True if a stop was asked for within this wait."""
        readable, _, _ = select.select([self._receiver], [], [], seconds)
        numbers = self._receiver.recv(4096) if readable else b""
        asked = any(number in numbers for number in _STOPPING)
        self.stopping = self.stopping or asked
        return asked


@contextlib.contextmanager
def signals() -> Iterator[Woken]:
    """Catch the signals that stop us, and that a child has ended, while the block runs."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in (*_STOPPING, signal.SIGCHLD)}
        waker = signal.set_wakeup_fd(sender.fileno())
        try:
            yield Woken(receiver)
        finally:
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                signal.signal(number, handler)


def _wait_until_ready(nodes: list[Node], admin: str, woken: Woken) -> bool:
    """True when the admin token works on both; False if a stop was asked for first. Raises Problem."""
    deadline_s = time.monotonic() + START_SECONDS_MAX
    waiting = list(nodes)
    while waiting:
        if woken.stopping:
            return False
        _check_alive(nodes)
        waiting = [node for node in waiting if not _answers(node, admin)]
        if waiting and time.monotonic() > deadline_s:
            raise Unavailable(f"The {waiting[0].role} did not come up in {START_SECONDS_MAX:.0f} s.", "See above.")
        if waiting:
            woken.wait(TURN_SECONDS)
    return True


def _answers(node: Node, admin: str) -> bool:
    """Is the node healthy, and does it know the token and the demo repositories, the last things that were made?"""
    headers = {"Authorization": f"Bearer {admin}"}
    paths = ("/-/health", "/-/api/v1/whoami", *(f"/-/api/v1/repositories/demo/{name}" for name in ("main", "open")))
    connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=ASK_SECONDS_MAX)
    with contextlib.closing(connection):
        try:
            return all(_status(connection, path, headers) == 200 for path in paths)
        except (OSError, http.client.HTTPException):
            return False


def _status(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> int:
    connection.request("GET", path, headers=headers)
    with connection.getresponse() as answer:
        answer.read()
    return answer.status


def _check_alive(nodes: list[Node]) -> None:
    for node in nodes:
        code = node.process.code
        if code is not None:
            raise Problem(f"The {node.role} ended by itself with code {code}.", "What it said is above.")


def _wait_for_the_end(nodes: list[Node], woken: Woken) -> None:
    while not woken.stopping:
        _check_alive(nodes)
        # a signal wakes this at once; the limit is for one that was lost
        woken.wait(5.0)


def _stop(nodes: list[Node], woken: Woken) -> int:
    """Let each drain and end, the edge first, since what it relays needs its origin. A second request to stop, or no
    end in time, kills them. The exit code."""
    deadline_s = time.monotonic() + STOP_SECONDS_MAX
    ending: Node | None = None
    while living := [node for node in nodes if node.process.code is None]:
        if ending is not living[-1]:
            ending = living[-1]
            ending.process.send(signal.SIGTERM)
        if woken.wait(TURN_SECONDS) or time.monotonic() > deadline_s:
            _kill(nodes)
    return 0 if all(node.process.code == 0 for node in nodes) else 1


def _kill(nodes: list[Node]) -> None:
    for node in nodes:
        node.process.send(signal.SIGKILL)
    for node in nodes:
        node.process.wait()


# ---------------------------------------------------------------- telling


def _tell(out: Output, origin: str, edge: str, admin: str) -> None:
    workspace, private, public = bootstrap.DEMO_WORKSPACE, bootstrap.DEMO_PRIVATE, bootstrap.DEMO_PUBLIC
    facts = {
        "origin": origin,
        "edge": edge,
        "workspace": workspace,
        "repository": private,
        "public": public,
        "token": admin,
    }
    repository = f"{edge}/{workspace}/{private}"
    pypi, npm = lines("pypi", repository), lines("npm", repository)
    text = [
        "Entrepot is running.",
        "",
        f"  origin  {origin}",
        f"  edge    {edge}   (clients speak to this one)",
        "",
        f"Workspace {workspace} has the repositories {private} (private) and {public} (public). In another terminal:",
        "",
        f"  export ENTREPOT_URL={edge} ENTREPOT_TOKEN={admin}",
        "",
        "pip",
        *(f"  {line}" for line in (pypi[2], pypi[0])),
        "",
        "npm",
        *(f"  {line}" for line in npm[:4]),
        "",
        "The token is good until the next start. Ctrl-C stops both.",
    ]
    out.fact(facts, "\n".join(text))
    sys.stdout.flush()
