"""Which world is measured? An origin at home, regions with a shield and edges each, and a foreign registry outside.

Every node is a host of its own: a namespace, a wire to its region's router, and from there one to the hub. Nodes enrol
with codes and speak mutual TLS to their parents, as an operator sets them up; an edge's parents are the shield of its
region and, after that, the origin.
"""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import Skipped, need
from bench.namespaces import Site, Sites, Way
from bench.servers import Running, ask, entrepot
from gateway.access import bootstrap
from gateway.access.peers import membership

PORT, PEER_PORT = 8080, 8443
BETWEEN = Way(5.0, 200, 0.0005)
WITHIN = Way(0.25, 1000)
READY_SECONDS_MAX = 60.0
WORKSPACE = "demo"


@dataclass(slots=True)
class Host:
    """A node on a machine of its own. `running` is None while it is down."""

    name: str
    region: str
    site: Site
    data: Path
    options: list[str] = field(default_factory=list)
    running: Running | None = None

    @property
    def url(self) -> str:
        """Its address for who stands in its own site."""
        return f"http://127.0.0.1:{PORT}"

    @property
    def peers(self) -> str:
        """Its address for edges."""
        return f"https://{self.site.address}:{PEER_PORT}"

    def start(self) -> None:
        command = [entrepot(), "serve", "--data", str(self.data), "--host", "0.0.0.0", "--port", str(PORT)]
        log = self.data.with_suffix(".log")
        self.running = Running(self.site.entering(*command, *self.options), log, None)

    def stop(self, *, at_once: bool = False) -> None:
        if self.running is not None:
            self.running.stop(at_once=at_once)
            self.running = None

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request from within its site, on a connection of its own. Raises OSError, HTTPException."""
        with self.site.entered():
            return ask(method, self.url + path, headers, body)

    def until(self, path: str, status: int, headers: dict[str, str] | None = None, *, method: str = "GET") -> float:
        """Wait until this path is answered so; the seconds that took. Raises RuntimeError."""
        began_s, seen = time.monotonic(), 0
        while time.monotonic() < began_s + READY_SECONDS_MAX:
            if self.running is not None and self.running.ended():
                raise RuntimeError(f"{self.name} ended: {self.running.tail()}")
            try:
                seen = self.ask(method, path, headers)[0]
            except OSError:
                seen = 0
            if seen == status:
                return time.monotonic() - began_s
            time.sleep(0.02)
        told = self.running.tail() if self.running is not None else "it is down"
        raise RuntimeError(f"{self.name} answers {seen} for {path}, not {status}: {told}")

    def answered(self, path: str) -> list[dict[str, object]]:
        """The lines of its access log for answers with a body to this path; what was asked a second ago is in it."""
        text = "".join(one.read_text() for one in sorted((self.data / "log").glob("*.jsonl")))
        lines = (json.loads(line) for line in text.splitlines() if path in line and line.endswith("}"))
        return [line for line in lines if line["method"] == "GET" and line["status"] in (200, 206) and line["bytes"]]


class World:
    """All hosts; `token` is the administrator's."""

    def __init__(self, home: Path, regions: Sequence[str], edges_a_region: int) -> None:
        if {name for _, name in socket.if_nameindex()} - {"lo"}:
            raise Skipped("regions need a network namespace of their own: run as root, and without --here")
        need("ip", "tc")
        self.home = home
        self.outside = Site(1, BETWEEN)
        self.routers = {name: Site(2 + number, BETWEEN) for number, name in enumerate(("home", *regions))}
        self.origin = Host("origin", "home", Site(11, WITHIN, self.routers["home"]), home / "origin")
        self.shields: list[Host] = []
        self.edges: list[Host] = []
        number = 11
        for region in regions:
            names = [f"{region}-shield", *(f"{region}-{count + 1}" for count in range(edges_a_region))]
            for name in names:
                number += 1
                host = Host(name, region, Site(number, WITHIN, self.routers[region]), home / name)
                (self.shields if name.endswith("shield") else self.edges).append(host)
        self.token = ""

    @property
    def hosts(self) -> list[Host]:
        return [self.origin, *self.shields, *self.edges]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def api(self, method: str, path: str, told: object) -> dict[str, object]:
        """One call to the origin's API. Raises RuntimeError where it is refused."""
        body = json.dumps(told).encode()
        headers = self.bearer | {"Content-Type": "application/json"}
        status, _, answer = self.origin.ask(method, f"/-/api/v1{path}", headers, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        found: dict[str, object] = json.loads(answer)
        return found

    def repository(self, name: str, *, public: bool, lease_s: int) -> str:
        """Its path."""
        told = {"workspace": WORKSPACE, "name": name, "public": public, "lease_s": lease_s}
        self.api("POST", "/repositories", told)
        return f"/{WORKSPACE}/{name}"

    def start(self, stack: ExitStack) -> None:
        """Everything runs and has caught up. What is started ends with the stack."""
        sites = [self.outside, *self.routers.values(), *(host.site for host in self.hosts)]
        stack.enter_context(Sites(sites, self.home))
        self.token = bootstrap.prepare(self.origin.data) or ""
        self.origin.options = ["--role", "origin", "--peer-port", str(PEER_PORT)]
        stack.callback(self.stop)
        self.origin.start()
        self.origin.until("/-/ready", 200)
        self.api("POST", "/workspaces", {"name": WORKSPACE})
        for host in self.shields:
            self._enrol(host, [self.origin], shield=True)
        for host in self.edges:
            self._enrol(host, [*(one for one in self.shields if one.region == host.region), self.origin])
        for host in [*self.shields, *self.edges]:
            host.until("/-/ready", 200)

    def _enrol(self, host: Host, parents: list[Host], *, shield: bool = False) -> None:
        told = {"name": host.name, "region": host.region, "workspaces": [], "parent": shield, "expires_s": 600}
        code = str(self.api("POST", "/edges", told)["code"])
        with host.site.entered():
            membership.enrol(self.origin.peers, code, host.data)
        host.options = ["--role", "edge", *(part for one in parents for part in ("--parent", one.peers))]
        host.options += ["--peer-port", str(PEER_PORT)] if shield else []
        host.start()

    def stop(self) -> None:
        """All at once: nothing here is to be kept."""
        for host in reversed(self.hosts):
            host.stop(at_once=True)

    def congestion(self) -> str:
        """What TCP does in the sites, which they have from the machine."""
        with self.origin.site.entered():
            return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()

    def into(self, region: str) -> int:
        """Bytes that have come into a region so far, with all that TCP and TLS add."""
        return self.routers[region].passed_bytes()


@contextmanager
def world(home: Path, regions: Sequence[str] = ("east", "west"), edges_a_region: int = 2) -> Iterator[World]:
    """A running one."""
    made = World(home, regions, edges_a_region)
    with ExitStack() as stack:
        made.start(stack)
        yield made
