"""How are the servers under test started, filled and ended? Only what is started here is ended here."""

import io
import json
import os
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Buffer, Sequence
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

from bench.machine import SERVER_CORE, need, pinned
from bench.ports import free_port

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 40.0
READ_BYTES = 256 << 10


class Running:
    """A process that was started, in a session of its own, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        core: int | None = SERVER_CORE,
        *,
        cwd: Path | None = None,
        speaks: bool = False,
    ) -> None:
        """`speaks`: its first line of output is wanted; else that goes to the log as well."""
        self.log, self.name = log, Path(command[0]).name
        self._sink: IO[bytes] = log.open("ab")
        self.process = subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if speaks else self._sink,
            stderr=self._sink,
            cwd=cwd,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def line(self) -> bytes:
        """The first line that it prints. Raises RuntimeError where it ends or stays silent."""
        assert self.process.stdout is not None
        descriptor, data, end = self.process.stdout.fileno(), b"", time.monotonic() + START_SECONDS_MAX
        while b"\n" not in data:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(descriptor, 65536) if ready else b""
            if not piece:
                raise RuntimeError(f"no answer from {self.name}: {self.tail()}")
            data += piece
        return data.partition(b"\n")[0]

    def wait_for_port(self, port: int) -> None:
        """Until the port takes connections."""
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and not self.ended():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError(f"{self.name} does not listen on {port}: {self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def ended(self) -> bool:
        """Has the process itself ended? It stays a zombie, so that its id and its group's cannot pass to another."""
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def stop(self, *, at_once: bool = False) -> None:
        """SIGTERM (or not even that), and after a while SIGKILL to all that is left of its own process group."""
        if self.process.returncode is None:
            end = time.monotonic() + STOP_SECONDS_MAX
            if not at_once and not self.ended():
                self.process.terminate()
                while not self.ended() and time.monotonic() < end:
                    time.sleep(0.02)
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed P-256 certificate for 127.0.0.1: both servers get the same."""
    need("openssl")
    chain, key = directory / "bench.pem", directory / "bench.key"
    if not chain.exists():
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
        )
        subprocess.run([*command.split(), "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key


# ---------------------------------------------------------------- nginx

NGINX = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  types {{ text/html html; }}
  default_type application/octet-stream;
  access_log {access}; server_tokens off;
  client_body_temp_path {home}/t; proxy_temp_path {home}/t; fastcgi_temp_path {home}/t;
  uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 75; keepalive_requests 1000000000;
  open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; open_file_cache_min_uses 1;
  server {{ listen 127.0.0.1:{port} reuseport backlog=4096; {tls} root {root}; index index.html; }}
}}
"""
NGINX_TLS = (
    "listen 127.0.0.1:{port} ssl reuseport backlog=4096; ssl_certificate {chain}; ssl_certificate_key {key}; "
    "ssl_protocols TLSv1.3; ssl_session_tickets on; ssl_session_cache shared:bench:10m;"
)


class Nginx(Running):
    """Debian's nginx, one worker, tuned for static files, as root only in name: it serves `home/www`."""

    def __init__(
        self,
        home: Path,
        *,
        tls: bool = False,
        access_log: bool = False,
        buffered: bool = False,
        core: int | None = SERVER_CORE,
    ) -> None:
        """`buffered`: its access log is written as a busy server's is, 64 KB at a time."""
        need("nginx")
        self.root = home / "www"
        self.access = home / "access.log"
        self.root.mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port = free_port(), free_port() if tls else 0
        secure = ""
        if tls:
            chain, key = certificate(home)
            secure = NGINX_TLS.format(port=self.tls_port, chain=chain, key=key)
        access = f"{self.access} combined buffer=64k flush=1s" if buffered else str(self.access)
        text = NGINX.format(
            home=home, port=self.port, tls=secure, root=self.root, access=access if access_log or buffered else "off"
        )
        if os.geteuid() == 0:
            text = "user root;" + text
        (home / "nginx.conf").write_text(text)
        super().__init__(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")], home / "nginx.out", core)
        self.url, self.tls_url = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.tls_port}"
        self.wait_for_port(self.port)


# ---------------------------------------------------------------- the node


def entrepot() -> str:
    """The command that is installed beside this Python."""
    path = Path(sys.executable).parent / "entrepot"
    if not path.exists():
        raise RuntimeError("entrepot is not installed beside this Python: pip install --no-deps -e .")
    return str(path)


class Node(Running):
    """`entrepot up`: an origin and an edge, with the demo workspace."""

    def __init__(
        self, home: Path, *, workers: int = 1, core: int | None = SERVER_CORE, options: Sequence[str] = ()
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        command = [entrepot(), "up", "--data", str(home / "data"), "--origin-port", "0", "--edge-port", "0"]
        super().__init__(
            [*command, "--workers", str(workers), "--json", *options], home / "node.log", core, cwd=home, speaks=True
        )
        try:
            told = json.loads(self.line())
        except BaseException:
            self.stop()
            raise
        self.origin: str = told["origin"]
        self.edge: str = told["edge"]
        self.token: str = told["token"]
        self.workspace: str = told["workspace"]
        self.private = f"/{told['workspace']}/{told['repository']}"
        self.public = f"/{told['workspace']}/{told['public']}"

    def command(self, *arguments: str) -> str:
        """Runs the command line against this node's origin."""
        environment = {**os.environ, "ENTREPOT_URL": self.origin, "ENTREPOT_TOKEN": self.token}
        done = subprocess.run([entrepot(), *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"entrepot {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class LoneOrigin:
    """One origin without an edge over one directory, which can be started and killed many times."""

    def __init__(self, home: Path, repository: str, options: Sequence[str] = ()) -> None:
        self.home, self.port, self.options = home, free_port(), options
        home.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{self.port}"
        with self.start():
            self.token = self._token()
            told = {"ENTREPOT_URL": self.url, "ENTREPOT_TOKEN": self.token}
            for line in (["workspace", "create", repository.partition("/")[0]], ["repo", "create", repository]):
                subprocess.run([entrepot(), *line], env=os.environ | told, check=True, capture_output=True)

    @classmethod
    def kept(cls, home: Path, port: int, token: str) -> Self:
        """One that an earlier run left behind."""
        made = cls.__new__(cls)
        made.home, made.port, made.token, made.url = home, port, token, f"http://127.0.0.1:{port}"
        made.options = ()
        return made

    def start(self, wrapper: Sequence[str] = (), core: int | None = None) -> Running:
        """Raises RuntimeError where it does not come to listen; with a wrapper, which may mean that, it does not."""
        command = [entrepot(), "serve", "--role", "origin", "--data", str(self.home / "data"), "--port", str(self.port)]
        running = Running([*wrapper, *command, *self.options], self.home / "node.log", core, cwd=self.home)
        try:
            running.wait_for_port(self.port)
        except RuntimeError:
            if not wrapper:
                raise
        return running

    def _token(self) -> str:
        """The first start shows it on its standard error."""
        found = re.search(r"ent_[0-9A-Za-z]{38}", (self.home / "node.log").read_text())
        if found is None:
            raise RuntimeError("the first start showed no admin token")
        return found[0]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class TlsOrigin(Running):
    """The origin that a Node (stopped by now) left in `home`, served alone and with a certificate."""

    def __init__(self, home: Path, *, workers: int = 1, core: int | None = SERVER_CORE) -> None:
        chain, key = certificate(home)
        port, tls_port = free_port(), free_port()
        command = [entrepot(), "serve", "--role", "origin", "--data", str(home / "data" / "origin")]
        command += ["--port", str(port), "--workers", str(workers), "--tls-port", str(tls_port)]
        command += ["--tls-cert", str(chain), "--tls-key", str(key)]
        super().__init__(command, home / "tls.log", core, cwd=home)
        self.url = f"https://127.0.0.1:{tls_port}"
        self.wait_for_port(tls_port)


# ---------------------------------------------------------------- one plain request


class Filler(io.RawIOBase):
    """A body of any size that compresses badly and is the same for the same name, without being held in memory."""

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self._block = memoryview(random.Random(name).randbytes(1 << 20))
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Buffer, /) -> int:
        target = memoryview(into).cast("B")
        offset = self._at % len(self._block)
        count = min(len(target), self.size - self._at, len(self._block) - offset)
        target[:count] = self._block[offset : offset + count]
        self._at += count
        return count


def ask(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | Filler | None = None,
    *,
    drop: bool = False,
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: (status, headers in lower case, body).

    `drop` reads the body to its end and keeps none of it.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(parts.hostname, parts.port, timeout=120, context=untrusting())
    else:
        connection = HTTPConnection(parts.hostname, parts.port, timeout=120, blocksize=READ_BYTES)
    length = {"Content-Length": str(body.size)} if isinstance(body, Filler) else {}
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body, headers={**(headers or {}), **length})
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        if not drop:
            return answer.status, told, answer.read()
        while answer.read(READ_BYTES):
            pass
        return answer.status, told, b""
    finally:
        connection.close()


def untrusting() -> ssl.SSLContext:
    """A client's TLS 1.3 that asks for no proof: the servers are our own children."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def put(url: str, body: bytes | Filler, headers: dict[str, str]) -> None:
    """Publishes; raises RuntimeError on any answer but 2xx."""
    status, _, answer = ask("PUT", url, headers, body)
    if not 200 <= status < 300:
        raise RuntimeError(f"PUT {url}: {status} {answer[:300]!r}")
