"""How does a test get a real origin and edge? As a user does: by `entrepot up`, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.harness.commandline import run

ENTREPOT = (sys.executable, "-m", "gateway.cli.main")
START_SECONDS_MAX = 60
VISIBLE_SECONDS_MAX = 10.0


class Up:
    """A running `entrepot up`; attributes are those of its JSON line."""

    def __init__(self, data: Path, workers: int = 1, extra: tuple[str, ...] = ()) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        command = [*ENTREPOT, "up", "--data", str(data), "--origin-port", "0", "--edge-port", "0"]
        command += ["--workers", str(workers), "--json", *extra]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, start_new_session=True, env=clean_environment()
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(10)
            raise RuntimeError(f"entrepot up did not start:\n{self.log.read_text()[-4000:]}")
        facts: dict[str, Any] = json.loads(line)
        self.origin: str = facts["origin"]
        self.edge: str = facts["edge"]
        self.token: str = facts["token"]
        self.workspace: str = facts["workspace"]
        self.private = f"{self.workspace}/{facts['repository']}"
        self.public = f"{self.workspace}/{facts['public']}"

    def __enter__(self) -> "Up":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM, then wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    # ------------------------------------------------------------ speaking to it

    def entrepot(self, *arguments: str, url: str = "") -> Any:
        """Run the CLI against this node with `--json`; the parsed answer."""
        environment = clean_environment() | {"ENTREPOT_URL": url or self.origin, "ENTREPOT_TOKEN": self.token}
        done = run([*arguments, "--json"], environment)
        assert done.returncode == 0, f"entrepot {' '.join(arguments)}: {done.stderr}{done.stdout}"
        if url in ("", self.origin):
            let_hear(self.origin, self.edge, self.token)
        return json.loads(done.stdout)

    def with_credential(self, url: str) -> str:
        """The address with the token as its user information, as pip and curl take it."""
        return url.replace("://", f"://token:{self.token}@", 1)


def clean_environment() -> dict[str, str]:
    """This machine's environment without what would point a client elsewhere."""
    dropped = ("PIP_", "UV_", "TWINE_", "NPM_CONFIG_", "npm_config_", "ENTREPOT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def get(url: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None) -> "Got":
    """One plain request, errors as answers."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    with _opener().open(request, timeout=60) as answer:
        return Got(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())


def seen_in_time(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> "Got":
    """What was written at another node is had here as soon as its journal is: asked until it is no 404, for 10 s."""
    end = time.monotonic() + VISIBLE_SECONDS_MAX
    while (got := get(url, headers, method)).status == 404 and time.monotonic() < end:
        time.sleep(0.02)
    return got


def let_hear(origin: str, edge: str, token: str) -> None:
    """What was changed at the origin is known at the edge, too, before the next request: a command takes less time than
    its entry takes on its way. For 10 s at most, and not where either of them does not answer soon."""
    end = time.monotonic() + VISIBLE_SECONDS_MAX
    with suppress(OSError, KeyError, ValueError):
        wanted = _serials(origin, token)
        while time.monotonic() < end and any(_serials(edge, token).get(one, -1) < at for one, at in wanted.items()):
            time.sleep(0.01)


def _serials(url: str, token: str) -> dict[str, int]:
    """How far each workspace's history goes at this node."""
    request = urllib.request.Request(f"{url}/-/api/v1/status", headers={"Authorization": f"Bearer {token}"})
    with _opener().open(request, timeout=2) as answer:
        found: dict[str, int] = json.loads(answer.read())["serials"]
    return found


class Got:
    """An answer: `status`, `headers` with lower-case names, `body`."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class _NoErrors(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


@cache
def _opener() -> urllib.request.OpenerDirector:
    """One for all requests: making one reads the machine's certificates, which takes longer than most answers."""
    return urllib.request.build_opener(_NoErrors())
