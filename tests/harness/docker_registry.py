"""How does a test get a real foreign registry? Debian's docker-registry on loopback, which tells what it was asked."""

import re
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from bench.ports import free_port
from tests.harness.clients import program

CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
START_SECONDS_MAX = 20
_ASKED = re.compile(r'"(GET|HEAD) (/v2/[^ ]*) HTTP')


class DockerRegistry:
    """A registry over `root`; `stop` and `start` take it away and bring it back at the same port."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = root / "log"
        self._config = root / "config.yml"
        self._config.write_text(CONFIG.format(root=root / "data", port=self.port))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program("docker-registry"), "serve", str(self._config)], stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline_s:
            try:
                urllib.request.urlopen(self.url, timeout=2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"docker-registry did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def asked(self) -> list[tuple[str, str]]:
        """The (method, path) of every read so far."""
        return _ASKED.findall(self.log.read_text())

    def __enter__(self) -> "DockerRegistry":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
