"""How is an image pulled, beside docker-registry: warm by CPU, cold by the clock?

Warm: the edge and docker-registry hold the same image, and give its blobs to as many connections as it has blobs; what
counts is bytes for a second of the server's CPU. The edge checks a pass with each request, docker-registry gets the
same header and checks nothing. Cold: skopeo copies the image into a directory, from an edge that has nothing of it and
from whoever the edge gets it from.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.clients import Refused, own
from bench.images import TAG, Image, image
from bench.machine import SERVER_CORE, need, use_all_cores, warm_memory
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Node, Running, ask, free_port

IMAGE_BYTES_MIN = 512 << 20
IMAGE_BYTES_QUICK = 16 << 20
NAME = "real/image"
COPY_SECONDS_MAX = 300
WARM_BYTES_MAX = 4 << 30
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class DockerRegistry(Running):
    """Debian's docker-registry over `home`: no access log, no access check."""

    def __init__(self, home: Path, *, core: int | None = SERVER_CORE) -> None:
        need("docker-registry")
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        (home / "config.yml").write_text(CONFIG.format(root=home / "data", port=self.port))
        command = ["docker-registry", "serve", str(home / "config.yml")]
        super().__init__(command, home / "registry.log", core, cwd=home)
        self.host, self.url = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}"
        self.wait_for_port(self.port)


def prepare(told: Options) -> None:
    """Makes the image, once, before the machine is measured."""
    need("skopeo", "docker-registry")
    image(wanted_bytes(told))


def wanted_bytes(told: Options) -> int:
    return IMAGE_BYTES_QUICK if told.quick else IMAGE_BYTES_MIN


# ---------------------------------------------------------------- skopeo


def skopeo(home: Path, *arguments: str) -> float:
    """Seconds of `skopeo copy`, with a home of its own. Raises Refused."""
    environment = {**os.environ, "HOME": str(home), "REGISTRY_AUTH_FILE": str(home / "none.json")}
    begin = time.perf_counter()
    command = ["skopeo", "copy", "-q", "--preserve-digests", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=COPY_SECONDS_MAX
    )
    if done.returncode:
        raise Refused(f"skopeo copy: {done.stderr[-400:]}")
    return time.perf_counter() - begin


def push(home: Path, what: Image, address: str, credential: str = "") -> None:
    """The layout's image as it is, digests and all."""
    sent = ["--dest-creds", f"u:{credential}"] if credential else []
    skopeo(home, "--dest-tls-verify=false", *sent, f"oci:{what.layout}:{TAG}", f"docker://{address}:{TAG}")


def pull(home: Path, what: Image, address: str, credential: str = "") -> float:
    """Seconds for the whole image, which is looked at afterwards: is it what was pushed? Raises Refused."""
    there = home / "pulled"
    sent = ["--src-creds", f"u:{credential}"] if credential else []
    seconds = skopeo(home, "--src-tls-verify=false", *sent, f"docker://{address}:{TAG}", f"dir:{there}")
    came = sum((there / digest.removeprefix("sha256:")).stat().st_size for digest in what.blobs)
    if came != what.size:
        raise Refused(f"{address}: {came} of {what.size} bytes came")
    for path in there.iterdir():
        path.unlink()
    there.rmdir()
    return seconds


# ---------------------------------------------------------------- warm


def pass_for(door: str, name: str, token: str) -> str:
    """What a client fetches before it pulls from a private repository."""
    query = urllib.parse.urlencode({"service": "bench", "scope": f"repository:{name}:pull"})
    url = f"{door}/v2/-/token?{query}"
    status, _, body = ask("GET", url, {"Authorization": f"Bearer {token}"})
    if status != 200:
        raise Refused(f"{url}: {status} {body[:200]!r}")
    return str(json.loads(body)["token"])


def warm(told: Options, what: Image) -> list[Row]:
    """All blobs at once, from servers that have them and take turns on their core."""
    economy = Row("warm pull, all blobs at once", "MB/CPU s", goal=">= 5")
    speed = Row("warm pull, all blobs at once: by the clock", "MB/s", note="one core each for server and client")
    with ExitStack() as stack:
        theirs = stack.enter_context(DockerRegistry(told.home / "warm-registry"))
        node = stack.enter_context(Node(told.home / "warm-node"))
        push(told.home, what, f"{theirs.host}/{NAME}")
        name = f"{node.private.strip('/')}/{NAME}"
        push(told.home, what, f"{host(node.origin)}/{name}", node.token)
        pull(told.home, what, f"{host(node.edge)}/{name}", node.token)
        header = f"Authorization: Bearer {pass_for(node.edge, name, node.token)}"
        sides = (
            (node, f"{node.edge}/v2/{name}", economy.ours, speed.ours),
            (theirs, f"{theirs.url}/v2/{NAME}", economy.theirs, speed.theirs),
        )
        for number in range(told.rounds):
            for server, base, by_cpu, by_clock in sides if number % 2 else reversed(sides):
                first, *rest = [f"{base}/blobs/{digest}" for digest in what.blobs]
                options = ["--header", header, *(part for url in rest for part in ("--also", url))]
                count = len(what.blobs)
                found = own(
                    server.pid, "fetch", first, connections=count, seconds=told.seconds, size=1, options=options
                )
                by_cpu.append(found.requests / found.server_cpu_seconds / 1e6)
                by_clock.append(found.rate / 1e6)
    return [economy, speed]


def host(url: str) -> str:
    return url.partition("://")[2]


# ---------------------------------------------------------------- cold


def cold_from_origin(told: Options, what: Image) -> list[Row]:
    """The origin holds the image, the edge has nothing of it."""
    row = Row("origin's image through a cold edge", "s", goal="<= 1.15", note="beside: the origin itself")
    for number in range(told.rounds):
        with fresh(told, number) as node:
            name = f"{node.private.strip('/')}/{NAME}"
            push(told.home, what, f"{host(node.origin)}/{name}", node.token)
            ready(told, what)
            row.theirs.append(pull(told.home, what, f"{host(node.origin)}/{name}", node.token))
            ready(told, what)
            row.ours.append(pull(told.home, what, f"{host(node.edge)}/{name}", node.token))
    return [row]


def cold_from_upstream(told: Options, what: Image) -> list[Row]:
    """docker-registry holds the image, origin and edge have nothing of it."""
    note = "beside: docker-registry itself"
    rows = {
        "edge": Row("foreign image through cold edge and origin", "s", goal="<= 1.15", note=note),
        "origin": Row("foreign image through a cold origin", "s", goal="<= 1.15", note=note),
    }
    with DockerRegistry(told.home / "upstream", core=None) as registry:
        push(told.home, what, f"{registry.host}/{NAME}")
        for number in range(told.rounds):
            for door, row in rows.items():
                with fresh(told, number) as node:
                    repository = f"{node.workspace}/foreign"
                    node.command("repo", "create", repository)
                    node.command("upstream", "add", repository, "oci", registry.url + "/", "--private-network")
                    ready(told, what)
                    row.theirs.append(pull(told.home, what, f"{registry.host}/{NAME}"))
                    ready(told, what)
                    address = f"{host(getattr(node, door))}/{repository}/{NAME}"
                    row.ours.append(pull(told.home, what, address, node.token))
    return list(rows.values())


@contextmanager
def fresh(told: Options, number: int) -> Iterator[Node]:
    """A node that knows nothing yet, and leaves nothing on the disk."""
    home = told.home / f"node{number}"
    with Node(home, core=None) as node:
        yield node
    shutil.rmtree(home)


def ready(told: Options, what: Image) -> None:
    warm_memory(told.home, min(4 * what.size, WARM_BYTES_MAX))


def run(told: Options) -> Result:
    what = image(wanted_bytes(told))
    result = Result("oci", against="beside")
    layers = f"{len(what.blobs) - 1} layers: gzip, one zstd, one plain"
    result.conditions["image"] = f"{what.size / 1e6:.0f} MB of this machine's files, {layers}"
    for part in (warm, cold_from_origin, cold_from_upstream):
        if told.cases in part.__name__:
            if part is not warm:
                use_all_cores()
            try:
                result.rows += part(told, what)
            except (Refused, RuntimeError) as reason:
                result.notes.append(f"{part.__name__} is void: {reason}")
    result.notes += [
        "warm: blobs by bench.load, one core for the server and one for the client; ratio: entrepot / docker-registry",
        "warm: the edge checks a pass at each request; docker-registry gets the same header and checks nothing",
        "cold: seconds of skopeo copy into a directory; servers and client share all cores; ratio: ours / beside",
    ]
    return result
