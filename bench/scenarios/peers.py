"""How do other registries serve the same file? pypiserver, devpi-server and Verdaccio, installed at their newest.

They are installed into a private directory before the bench leaves the machine's network, by the machine's own pip and
npm. Each serves on the server's core; the client is the same for all.
"""

import base64
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from bench.clients import Refused, own, wrk
from bench.machine import Skipped, need
from bench.options import Options
from bench.ports import free_port
from bench.report import Result, Row
from bench.servers import Node, Running, ask

PLACE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrepot-bench"
BIN = PLACE / "python" / "bin"
VERDACCIO = PLACE / "npm" / "node_modules" / ".bin" / "verdaccio"
SIZES = {"1 KB": 1 << 10, "1 MB": 1 << 20}
CONNECTIONS = 64
INSTALL_SECONDS_MAX = 900
WHEEL_FRAME_BYTES = 1400
# One of Verdaccio's dependencies asks for a tag of node-fetch that not every mirror carries.
VERDACCIO_PACKAGE = {"private": True, "dependencies": {"verdaccio": "6"}, "overrides": {"node-fetch": "2"}}


def prepare(_: Options) -> None:
    """Installs the peers, once. Raises Skipped where the registries do not answer."""
    need("npm", "node")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
    steps: list[list[str]] = []
    if not (BIN / "devpi-server").exists():
        steps += [[sys.executable, "-m", "venv", str(PLACE / "python")]]
        steps += [[str(BIN / "pip"), "install", "-q", "pypiserver", "devpi-server", "devpi-client"]]
    if not VERDACCIO.exists():
        (PLACE / "npm").mkdir(parents=True, exist_ok=True)
        (PLACE / "npm" / "package.json").write_text(json.dumps(VERDACCIO_PACKAGE))
        steps += [["npm", "install", "--silent", "--no-package-lock", "--prefix", str(PLACE / "npm")]]
    for step in steps:
        done = subprocess.run(
            step, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
        )
        if done.returncode:
            raise Skipped(f"{' '.join(step[:3])} failed: {done.stderr[-300:]}")


# ---------------------------------------------------------------- the packages


@dataclass(frozen=True, slots=True)
class Pack:
    """One package in one file."""

    name: str
    file: str
    content: bytes


def wheel(size: int) -> Pack:
    """A wheel of about `size` bytes with a true RECORD: the least that indexes accept, and a filler."""
    name = f"benchwheel{size}"
    info = f"{name}-1.0.dist-info"
    members = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if size > SIZES["1 KB"]:
        members[f"{name}.bin"] = random.Random(size).randbytes(size - WHEEL_FRAME_BYTES)
    record = [f"{path},sha256={record_digest(content)},{len(content)}" for path, content in members.items()]
    members[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return Pack(name, f"{name}-1.0-py3-none-any.whl", out.getvalue())


def record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def tarball(size: int) -> Pack:
    """An npm package of about `size` bytes."""
    name = f"benchball{size}"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        members = {"package.json": json.dumps({"name": name, "version": "1.0.0"}).encode()}
        members["filler.bin"] = random.Random(size).randbytes(max(1, size - 300))
        for member, content in members.items():
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Pack(name, f"{name}-1.0.0.tgz", out.getvalue())


def publish_wheel(legacy: str, pack: Pack, headers: dict[str, str]) -> None:
    """The form that twine sends."""
    boundary = "entrepot-bench-boundary"
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "metadata_version": "2.1",
        "name": pack.name,
        "version": "1.0",
        "sha256_digest": hashlib.sha256(pack.content).hexdigest(),
    }
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    disposition = f'Content-Disposition: form-data; name="content"; filename="{pack.file}"'
    parts.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n")
    body = "".join(parts).encode() + pack.content + f"\r\n--{boundary}--\r\n".encode()
    media = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    expect(ask("POST", legacy, headers | media, body), legacy)


def publish_tarball(registry: str, pack: Pack, headers: dict[str, str]) -> None:
    """The document that npm sends."""
    tarball_url = f"{registry}{pack.name}/-/{pack.file}"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(pack.content).digest()).decode()
    dist = {"tarball": tarball_url, "integrity": integrity, "shasum": hashlib.sha1(pack.content).hexdigest()}
    version = {"name": pack.name, "version": "1.0.0", "_id": f"{pack.name}@1.0.0", "dist": dist}
    attachment = {
        "content_type": "application/octet-stream",
        "data": base64.b64encode(pack.content).decode(),
        "length": len(pack.content),
    }
    document = {
        "_id": pack.name,
        "name": pack.name,
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
        "_attachments": {pack.file: attachment},
    }
    url = registry + pack.name
    expect(ask("PUT", url, headers | {"Content-Type": "application/json"}, json.dumps(document).encode()), url)


def expect(answer: tuple[int, dict[str, str], bytes], url: str) -> bytes:
    status, _, body = answer
    if not 200 <= status < 300:
        raise Refused(f"{url}: {status} {body[:300]!r}")
    return body


def file_url(page: str) -> str:
    """The one file that a simple page names."""
    found = re.search(r'href="([^"#]+)', expect(ask("GET", page, {"Accept": "text/html"}), page).decode())
    if found is None:
        raise Refused(f"{page} names no file")
    return urljoin(page, str(found[1]))


# ---------------------------------------------------------------- the peers: each returns where its files are

Served = tuple[Running, dict[str, str]]


def serve_pypiserver(home: Path, stack: ExitStack) -> Served:
    packages = home / "packages"
    packages.mkdir(parents=True)
    for size in SIZES.values():
        (packages / wheel(size).file).write_bytes(wheel(size).content)
    port = free_port()
    command = [str(BIN / "pypi-server"), "run", "-i", "127.0.0.1", "-p", str(port), "--disable-fallback", str(packages)]
    running = stack.enter_context(Running(command, home / "pypiserver.log"))
    running.wait_for_port(port)
    base = f"http://127.0.0.1:{port}/simple"
    return running, {name: file_url(f"{base}/{wheel(size).name}/") for name, size in SIZES.items()}


def serve_devpi(home: Path, stack: ExitStack) -> Served:
    home.mkdir(parents=True)
    data, port = str(home / "server"), free_port()
    subprocess.run([str(BIN / "devpi-init"), "--serverdir", data, "--no-root-pypi"], check=True, capture_output=True)
    command = [str(BIN / "devpi-server"), "--serverdir", data, "--host", "127.0.0.1", "--port", str(port)]
    running = stack.enter_context(Running(command, home / "devpi.log"))
    running.wait_for_port(port)
    base = f"http://127.0.0.1:{port}"
    tool = [str(BIN / "devpi"), "--clientdir", str(home / "client")]
    lines = [["use", base], ["login", "root", "--password="], ["index", "-c", DEVPI_INDEX], ["use", DEVPI_INDEX]]
    for size in SIZES.values():
        (home / wheel(size).file).write_bytes(wheel(size).content)
        lines.append(["upload", str(home / wheel(size).file)])
    for line in lines:
        done = subprocess.run([tool[0], line[0], *tool[1:], *line[1:]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"devpi {line[0]}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return running, {
        name: file_url(f"{base}/{DEVPI_INDEX}/+simple/{wheel(size).name}/") for name, size in SIZES.items()
    }


DEVPI_INDEX = "root/bench"
VERDACCIO_CONFIG = """
storage: ./storage
auth: {{htpasswd: {{file: ./htpasswd}}}}
uplinks: {{}}
packages: {{'**': {{access: $all, publish: $all, unpublish: $all}}}}
max_body_size: 50mb
log: {{type: stdout, format: json, level: error}}
listen: 127.0.0.1:{port}
"""


def serve_verdaccio(home: Path, stack: ExitStack) -> Served:
    home.mkdir(parents=True)
    port = free_port()
    (home / "config.yaml").write_text(VERDACCIO_CONFIG.format(port=port))
    command = [str(VERDACCIO), "--config", str(home / "config.yaml")]
    running = stack.enter_context(Running(command, home / "verdaccio.log", cwd=home))
    running.wait_for_port(port)
    base, served = f"http://127.0.0.1:{port}/", {}
    for name, size in SIZES.items():
        pack = tarball(size)
        publish_tarball(base, pack, {})
        served[name] = f"{base}{pack.name}/-/{pack.file}"
    return running, served


PEERS: dict[str, Callable[[Path, ExitStack], Served]] = {
    "pypiserver": serve_pypiserver,
    "devpi": serve_devpi,
    "verdaccio": serve_verdaccio,
}


def serve_node(home: Path, stack: ExitStack) -> tuple[Running, dict[str, dict[str, str]]]:
    """Ours: the same wheels and tarballs, from the edge."""
    node = stack.enter_context(Node(home))
    wheels, tarballs = {}, {}
    for name, size in SIZES.items():
        publish_wheel(f"{node.edge}{node.public}/pypi/legacy/", wheel(size), node.bearer)
        publish_tarball(f"{node.edge}{node.public}/npm/", tarball(size), node.bearer)
        wheels[name] = file_url(f"{node.edge}{node.public}/pypi/simple/{wheel(size).name}/")
        tarballs[name] = f"{node.edge}{node.public}/npm/{tarball(size).name}/-/{tarball(size).file}"
    return node, {"pypiserver": wheels, "devpi": wheels, "verdaccio": tarballs}


def fetched(running: Running, url: str, name: str, told: Options) -> tuple[float, float]:
    """(requests a second, server's CPU microseconds for one)."""
    expect(ask("GET", url), url)
    if name == "1 KB":
        found = wrk(running.pid, url, connections=CONNECTIONS, seconds=told.seconds)
    else:
        found = own(running.pid, "fetch", url, connections=CONNECTIONS, seconds=told.seconds, size=SIZES[name])
    return found.rate, found.cpu_us


def run(told: Options) -> Result:
    result = Result("peers", against="peer")
    with ExitStack() as ours_stack:
        node, mine = serve_node(told.home / "node", ours_stack)
        for peer, serve in PEERS.items():
            if told.cases not in peer:
                continue
            with ExitStack() as stack:
                running, theirs = serve(told.home / peer, stack)
                for name in SIZES:
                    row = Row(f"{peer}, {name} c{CONNECTIONS}", "req/s", goal=">= 20" if name == "1 KB" else ">= 4")
                    for _ in range(told.rounds):
                        for server, url, kept, cpu in (
                            (running, theirs[name], row.theirs, row.theirs_cpu),
                            (node, mine[peer][name], row.ours, row.ours_cpu),
                        ):
                            rate, cost = fetched(server, url, name, told)
                            kept.append(rate)
                            cpu.append(cost)
                    result.rows.append(row)
    result.notes.append(f"versions: {versions()}")
    result.notes.append("one worker each, on the same core by turns; the client on another")
    return result


def versions() -> str:
    listed = subprocess.run([str(BIN / "pip"), "list", "--format=freeze"], capture_output=True, text=True, check=False)
    found = [line for line in listed.stdout.splitlines() if re.match(r"(pypiserver|devpi.server)==", line)]
    package = PLACE / "npm" / "node_modules" / "verdaccio" / "package.json"
    found.append(f"verdaccio=={json.loads(package.read_text())['version']}")
    return ", ".join([*found, f"node {shutil.which('node') and _node_version()}"])


def _node_version() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
