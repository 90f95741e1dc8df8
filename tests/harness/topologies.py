"""How does a test get an origin with shields and edges that enrolled, each a process of its own? As an operator
does."""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.ports import free_port
from gateway.access import bootstrap
from tests.harness.commandline import run
from tests.harness.running import ENTREPOT, Got, clean_environment, get

START_SECONDS_MAX = 60.0


class Node:
    """One node: its address for clients, its address for edges ("" = none), its data, its process."""

    def __init__(
        self,
        folder: Path,
        name: str,
        options: list[str],
        *,
        peers: bool,
        config: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.environment = environment or {}
        self.name, self.data, self.log = name, folder / name, folder / f"{name}.log"
        self.options = [*options, "--data", str(self.data), "--port", str(port := free_port())]
        self.url, self.peers = f"http://127.0.0.1:{port}", ""
        if peers:
            self.options += ["--peer-port", str(peer_port := free_port())]
            self.peers = f"https://127.0.0.1:{peer_port}"
        if config:
            (folder / f"{name}.toml").write_text(config)
            self.options += ["--config", str(folder / f"{name}.toml")]
        self.process = self.start()

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Run it, again if it ended."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ENTREPOT, "serve", *self.options, *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=clean_environment() | self.environment,
            )
        return self.process

    def get(self, path: str, token: str = "", **headers: str) -> Got:
        """One GET."""
        return get(self.url + path, headers | ({"Authorization": f"Bearer {token}"} if token else {}))

    def until(
        self, path: str, status: int, token: str = "", *, method: str = "GET", seconds_max: float = START_SECONDS_MAX
    ) -> float:
        """Wait until this path answers so; the seconds that took."""
        began_s, seen = time.monotonic(), 0
        while time.monotonic() - began_s < seconds_max:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.words()}")
            try:
                seen = get(self.url + path, {"Authorization": f"Bearer {token}"} if token else {}, method).status
            except OSError:
                seen = 0
            if seen == status:
                return time.monotonic() - began_s
            time.sleep(0.01)
        raise AssertionError(f"{self.name} answers {seen} for {path}, not {status}: {self.words()}")

    def words(self) -> str:
        """What it told its operator."""
        return self.log.read_text()[-4000:]

    def served(self) -> list[dict[str, Any]]:
        """The lines of its access log so far, once what was asked before this call is in it."""
        mark = f"/mark-{time.time_ns()}"
        self.get(mark)
        end_s = time.monotonic() + START_SECONDS_MAX
        while True:
            lines = log_of(self)
            if any(line["target"] == mark for line in lines):
                return lines
            assert time.monotonic() < end_s, "the access log is not written"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        return self.process.returncode


def stop_together(nodes: Sequence[Node]) -> None:
    """Tell all to end, the last first, before any is waited for."""
    for node in reversed(nodes):
        if node.process.poll() is None:
            os.killpg(node.process.pid, signal.SIGTERM)
    for node in reversed(nodes):
        node.stop()


def log_of(node: Node) -> list[dict[str, Any]]:
    """The requests in a node's access log as it lies there, without what it tells of lines that were lost."""
    text = "".join(path.read_text() for path in sorted((node.data / "log").glob("*.jsonl")))
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line for line in lines if "target" in line]


def said(data: Path, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    """The status that whoever has this edge's key is answered with."""
    folder = data / "peers"
    tls = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    tls.check_hostname = False
    tls.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls)).open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class Topology:
    """An origin with a listener for edges, and what is invited to it. `token` is the administrator's."""

    def __init__(
        self, folder: Path, config: str = "", environment: Callable[[str], dict[str, str]] = lambda name: {}
    ) -> None:
        """`environment` is what a node of a name has beyond the usual."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config, self.environment = folder, config, environment
        self.token = bootstrap.prepare(folder / "origin") or ""
        self.nodes: list[Node] = []
        self.origin = self._start("origin", ["--role", "origin"], peers=True)
        self.origin.until("/-/api/v1/whoami", 200, self.token)

    def __enter__(self) -> "Topology":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """All, at the same time: each drains for a while."""
        stop_together(self.nodes)

    def stop_edges(self) -> None:
        """All but the origin; they are not known any more."""
        edges, self.nodes = self.nodes[1:], self.nodes[:1]
        stop_together(edges)

    def _start(self, name: str, options: list[str], *, peers: bool) -> Node:
        node = Node(self.folder, name, options, peers=peers, config=self.config, environment=self.environment(name))
        self.nodes.append(node)
        return node

    def invite(self, name: str, region: str, *workspaces: str, shield: bool = False) -> str:
        """A code."""
        given = [part for one in workspaces for part in ("--workspace", one)]
        more = ["--shield"] if shield else []
        code: str = self.entrepot("edge", "invite", name, "--region", region, *given, *more)["code"]
        return code

    def edge(
        self, name: str, region: str, *workspaces: str, shield: bool = False, parents: list[Node] | None = None
    ) -> Node:
        """An edge that enrols at the origin and follows `parents` from its second start on."""
        code = self.invite(name, region, *workspaces, shield=shield)
        above = parents or [self.origin]
        first = [part for one in above for part in ("--parent", one.peers)]
        enrolled = ["--parent", self.origin.peers] if above[0] is not self.origin else []
        options = ["--role", "edge", *(enrolled or first), "--enrol", code]
        node = self._start(name, options, peers=shield)
        if enrolled:
            node.until("/-/ready", 200)
            node.stop()
            node.options = node.options[:2] + first + node.options[6:]
            node.start()
        node.until("/-/ready", 200)
        return node

    def entrepot(self, *arguments: str, url: str = "", token: str = "") -> Any:
        """Run the CLI as the administrator with `--json`; the parsed answer."""
        environment = clean_environment()
        environment |= {"ENTREPOT_URL": url or self.origin.url, "ENTREPOT_TOKEN": token or self.token}
        done = run([*arguments, "--json"], environment)
        assert done.returncode == 0, f"entrepot {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout)

    def repository(self, workspace: str, name: str, *, public: bool = False) -> str:
        """A repository, with its workspace; its path."""
        known = [one["name"] for one in self.entrepot("workspace", "list")["items"]]
        if workspace not in known:
            self.entrepot("workspace", "create", workspace)
        self.entrepot("repo", "create", f"{workspace}/{name}", *(["--public"] if public else []))
        return f"{workspace}/{name}"

    def put(self, repository: str, path: str, body: bytes, node: Node | None = None) -> Got:
        """Publish one generic file."""
        url = f"{(node or self.origin).url}/{repository}/generic/{path}"
        return get(url, {"Authorization": f"Bearer {self.token}"}, "PUT", body)
