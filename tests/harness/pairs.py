"""How does a test get an origin and an edge with limits and TLS ports of their own? Served as `entrepot up` does it."""

import json
import os
import signal
import ssl
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.hostile.speaking import Said, Speaker
from bench.hostile.watching import exchange
from bench.ports import free_port
from bench.servers import certificate
from gateway.access import bootstrap
from tests.harness.commandline import run
from tests.harness.running import ENTREPOT, clean_environment, let_hear

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
PUBLIC, PRIVATE = "demo/open", "demo/main"


class Served:
    """One node of a pair: its plain and its TLS address, its data, its process."""

    def __init__(self, role: str, data: Path, config: Path, more: list[str], tls_port: int = 0) -> None:
        self.data, self.log = data, data.parent / f"{role}.log"
        chain, key = certificate(data.parent)
        port, tls_port = free_port(), tls_port or free_port()
        self.url, self.tls_url = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}"
        command = [*ENTREPOT, "serve", "--role", role, "--data", str(data), "--port", str(port)]
        command += ["--tls-port", str(tls_port), "--tls-cert", str(chain), "--tls-key", str(key)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(config), *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=clean_environment(),
            )

    def speaker(self, *, tls: bool = False, patience_s: float = 30.0) -> Speaker:
        """A connection."""
        if not tls:
            return Speaker(self.url, patience_s=patience_s)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return Speaker(self.tls_url, context=context, patience_s=patience_s)

    def ask(self, method: str, path: str, token: str = "", body: bytes = b"") -> Said:
        """One plain request."""
        with self.speaker() as speaker:
            return exchange(speaker, method, path, token, body)

    def wait(self, token: str) -> None:
        """Until it knows the token."""
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.log.name}: {self.log.read_text()[-3000:]}")
            try:
                if self.ask("GET", "/-/api/v1/repositories/demo/open", token).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)

    def logged(self) -> str:
        """The access log, once what was asked before this call is in it."""
        mark = f"/demo/open/generic/mark-{time.time_ns()}"
        self.ask("GET", mark)
        end = time.monotonic() + START_SECONDS_MAX
        while mark not in (text := "".join(path.read_text() for path in sorted((self.data / "log").glob("*.jsonl")))):
            assert time.monotonic() < end, "the access log is not written"
            time.sleep(0.05)
        return text

    def stop(self) -> int:
        """SIGTERM, then wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        return self.process.returncode


class Pair:
    """An origin and its edge with the demo repositories. `limits` are sections of the configuration. `edge_tls_port` is
    for who has to know it before."""

    def __init__(self, folder: Path, *, workers: int = 1, edge_tls_port: int = 0, **limits: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "limits.toml"
        lines = [f"workers = {workers}"]
        for section, settings in limits.items():
            lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]
        config.write_text("\n".join(lines) + "\n")
        ready = bootstrap.prepare_up(folder / "origin", folder / "edge")
        self.token = ready.admin
        self.origin = Served("origin", folder / "origin", config, [])
        parent = ["--parent", self.origin.url, "--parent-token-file", str(ready.edge_token_file)]
        self._edge = ("edge", folder / "edge", config, parent, edge_tls_port)
        try:
            self.edge = Served(*self._edge)
            for node in (self.origin, self.edge):
                node.wait(self.token)
        except BaseException:
            self.stop()
            raise

    def start_edge(self) -> None:
        """Anew, on the data of the edge that was stopped."""
        self.edge = Served(*self._edge)
        self.edge.wait(self.token)

    def entrepot(self, *arguments: str, node: Served | None = None) -> tuple[int, Any, str]:
        """Run the CLI against a node (the origin) as its admin, with `--json`: exit code, what it told, its errors."""
        at = (node or self.origin).url
        environment = clean_environment() | {"ENTREPOT_URL": at, "ENTREPOT_TOKEN": self.token}
        done = run([*arguments, "--json"], environment, timeout=120)
        if at == self.origin.url and (edge := getattr(self, "edge", None)) is not None and edge.process.poll() is None:
            let_hear(self.origin.url, edge.url, self.token)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def stop(self) -> None:
        """Both, at the same time: each drains for a while."""
        nodes = [node for node in (getattr(self, "edge", None), self.origin) if node is not None]
        for node in nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in nodes:
            node.stop()

    def words(self) -> str:
        """What both told their operator."""
        return self.origin.log.read_text() + self.edge.log.read_text()

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
