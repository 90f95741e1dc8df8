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
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.clients import ROOT, Refused, own
from bench.images import TAG, Image, image
from bench.machine import SERVER_CORE, need, use_all_cores, warm_memory
from bench.options import Options
from bench.ports import free_port
from bench.report import Result, Row
from bench.servers import Nginx, Node, Running, ask

IMAGE_BYTES_MIN = 512 << 20
IMAGE_BYTES_QUICK = 16 << 20
NAME = "real/image"
COPY_SECONDS_MAX = 300
ONE_WAY_MS = 10.0
FAR_MB_PER_SECOND = 125.0
WARM_BYTES_MAX = 4 << 30
CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, cache: {{blobdescriptor: inmemory}}}}
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
    rows = [Row(case, unit, goal=goal, note=note) for case, unit, goal, note in WARM]
    with ExitStack() as stack:
        registry = stack.enter_context(DockerRegistry(told.home / "warm-registry"))
        nginx = stack.enter_context(Nginx(told.home / "warm-nginx"))
        node = stack.enter_context(Node(told.home / "warm-node"))
        push(told.home, what, f"{registry.host}/{NAME}")
        name = f"{node.private.strip('/')}/{NAME}"
        push(told.home, what, f"{host(node.origin)}/{name}", node.token)
        pull(told.home, what, f"{host(node.edge)}/{name}", node.token)
        (nginx.root / "blobs").mkdir()
        for digest in what.blobs:
            shutil.copy(what.path(digest), nginx.root / "blobs" / digest)
        header = f"Authorization: Bearer {pass_for(node.edge, name, node.token)}"
        sides: list[tuple[Running, str]] = [
            (node, f"{node.edge}/v2/{name}"), (registry, f"{registry.url}/v2/{NAME}"), (nginx, nginx.url)
        ]  # fmt: skip
        for number in range(told.rounds):
            turn = sides if number % 2 else sides[::-1]
            found = {server.pid: pulled(server, base, header, what, told.seconds) for server, base in turn}
            ours, theirs, ceiling = (found[server.pid] for server, _ in sides)
            for row, against, which in zip(rows, (theirs, ceiling, theirs), (0, 0, 1), strict=True):
                row.ours.append(ours[which])
                row.theirs.append(against[which])
    return rows


WARM = (
    ("warm pull, all blobs at once", "MB/CPU s", ">= 5", "beside: docker-registry"),
    ("warm pull, all blobs at once", "MB/CPU s", "", "beside: nginx with sendfile"),
    ("warm pull, all blobs at once: by the clock", "MB/s", "", "beside: docker-registry"),
)


def pulled(server: Running, base: str, header: str, what: Image, seconds: float) -> tuple[float, float]:
    """(MB for a second of the server's CPU, MB a second)."""
    first, *rest = [f"{base}/blobs/{digest}" for digest in what.blobs]
    options = ["--header", header, *(part for url in rest for part in ("--also", url))]
    count = len(what.blobs)
    found = own(server.pid, "fetch", first, connections=count, seconds=seconds, size=1, options=options)
    return found.requests / found.server_cpu_seconds / 1e6, found.rate / 1e6


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
    with DockerRegistry(told.home / "upstream", core=None) as registry:
        push(told.home, what, f"{registry.host}/{NAME}")
        one = foreign(told, what, registry.host, "origin", "foreign image through a cold origin")
        two = foreign(told, what, registry.host, "edge", "foreign image through cold edge and origin")
    return [one, two]


def cold_from_afar(told: Options, what: Image) -> list[Row]:
    """The same, where the registry is as far away as registries are, and the way to it as wide."""
    with ExitStack() as stack:
        registry = stack.enter_context(DockerRegistry(told.home / "far", core=None))
        push(told.home, what, f"{registry.host}/{NAME}")
        command = [sys.executable, "-m", "bench.distance", str(registry.port), str(ONE_WAY_MS), str(FAR_MB_PER_SECOND)]
        relay = stack.enter_context(Running(command, told.home / "relay.log", None, cwd=ROOT, speaks=True))
        where = f"127.0.0.1:{int(relay.line())}"
        return [foreign(told, what, where, "edge", "the same, registry 20 ms away behind 1 Gbit/s")]


def foreign(told: Options, what: Image, where: str, door: str, case: str) -> Row:
    """By turns: from the registry at `where`, and through a node that knows nothing yet."""
    row = Row(case, "s", goal="<= 1.15", note="beside: docker-registry itself")
    for number in range(told.rounds):
        with fresh(told, number) as node:
            repository = f"{node.workspace}/foreign"
            node.command("repo", "create", repository)
            node.command("upstream", "add", repository, "oci", f"http://{where}/", "--private-network")
            ready(told, what)
            row.theirs.append(pull(told.home, what, f"{where}/{NAME}"))
            ready(told, what)
            address = f"{host(getattr(node, door))}/{repository}/{NAME}"
            row.ours.append(pull(told.home, what, address, node.token))
    return row


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
    for part in (warm, cold_from_origin, cold_from_upstream, cold_from_afar):
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
