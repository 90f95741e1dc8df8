"""How long after a revocation, a quarantine or a deletion does the last of eight edges refuse?

Eight edges in namespaces of their own, 10 ms away in each direction, follow one origin. A batch of operations is
ordered at the origin; at each edge every target is asked for again and again, from before its order until it is
refused, so that the answers are the remembered ones of the hot path. From the API's answer to the last edge's refusal.
Then one edge is cut off without a word: how long does it go on serving what was revoked?
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from bench.machine import use_all_cores
from bench.namespaces import Site, Sites, Way
from bench.numbers import percentile
from bench.options import Options
from bench.ports import free_port
from bench.report import Result, Row
from bench.servers import Running, ask, entrepot
from bench.watching import ROUND_SECONDS_MAX, Line, Watch, watch
from gateway.access import bootstrap, tokens
from storage.nouns import SYSTEM, Draft, Grant, PutToken, Token

EDGES = 8
DELAY_MS = 10.0
LEASE_S = 5.0
BATCH = 20
KINDS = ("revoke", "quarantine", "delete")
REPOSITORIES = tuple(f"demo/bench-{number}" for number in range(4))
TOKENS_AN_ENTRY = 100


def run(told: Options) -> Result:
    """`--operations` of all kinds together."""
    use_all_cores()
    with world(told.home) as made:
        targets = made.prepared(told.operations)
        begun_s = time.monotonic()
        late: dict[str, list[float]] = {kind: [] for kind in KINDS}
        while batch := list(islice(targets, BATCH)):
            watches = [Watch(request) for _, request, _ in batch]
            made.heat(watches)
            watch(made.nodes, made.doers, watches, [order for _, _, order in batch], lambda status: status != 200)
            for (kind, _, _), one in zip(batch, watches, strict=True):
                late[kind].append(max(0.0, max(one.seen_s.values()) - one.done_s) * 1e3)
        seconds = time.monotonic() - begun_s
        partitioned_s = made.partitioned()
    every = [value for values in late.values() for value in values]
    result = Result("revoke")
    result.notes += [
        f"{len(every):,} operations, {BATCH} at once, over {len(REPOSITORIES)} repositories, in {seconds:.0f} s",
        f"{EDGES} edges, each {DELAY_MS:.0f} ms away in each direction, one worker each; all on this machine",
        "from the API's answer to the refusal by the last edge; a round of asking is part of the figure",
    ]
    for kind in KINDS:
        if late[kind]:
            result.rows.append(Row(f"{kind} to the last edge, p50", "ms", [percentile(late[kind], 50)]))
            result.rows.append(Row(f"{kind} to the last edge, p99", "ms", [percentile(late[kind], 99)], goal="<= 150"))
    result.rows.append(Row("all, p99", "ms", [percentile(every, 99)], goal="<= 150"))
    result.rows.append(Row("all, the worst", "ms", [max(every)], goal="<= 1000"))
    result.rows.append(
        Row("cut off: served on after the revocation", "s", [partitioned_s], goal=f"<= {LEASE_S:.0f} (the lease)")
    )
    return result


class World:
    """An origin, its edges, and a connection to each."""

    def __init__(self, url: str, token: str, texts: dict[str, str], sites: list[Site], nodes: list[Line]) -> None:
        self.url = url
        self.token = token
        self.texts = texts
        self.sites = sites
        self.nodes = nodes
        host, port = url.removeprefix("http://").split(":")
        self.doers = [Line(socket.create_connection((host, int(port)))) for _ in range(BATCH)]
        self.bearer = {"Authorization": f"Bearer {token}"}

    def prepared(self, count: int) -> Iterator[tuple[str, bytes, bytes]]:
        """(kind, the request of a reader, the order), the kinds in turn. Files are published first, at the origin."""
        ids = list(self.texts)
        paths = [f"/{REPOSITORIES[number % len(REPOSITORIES)]}/generic/{number}" for number in range(count)]
        held = f"/{REPOSITORIES[0]}/generic/held"
        wanted = [held, *(path for number, path in enumerate(paths) if KINDS[number % 3] != "revoke")]
        for at in range(0, len(wanted), BATCH):
            lines = wanted[at : at + BATCH]
            for doer, path in zip(self.doers, lines, strict=False):
                doer.ask([(path, request("PUT", path, self.token, b"x" * 500))])
            for doer in self.doers[: len(lines)]:
                self._answered(doer)
        for number, path in enumerate(paths):
            kind = KINDS[number % 3]
            if kind == "revoke":
                id = ids.pop()
                reader = request("GET", held, self.texts[id])
                yield kind, reader, request("DELETE", f"/-/api/v1/tokens/{id}", self.token)
            elif kind == "delete":
                yield kind, request("GET", path, self.token), request("DELETE", path, self.token)
            else:
                repository = path.split("/generic/")[0].removeprefix("/")
                body = json.dumps({"format": "generic", "package": path.rpartition("/")[2]}).encode()
                order = request("POST", f"/-/api/v1/repositories/{repository}/quarantine", self.token, body)
                yield kind, request("GET", path, self.token), order

    def _answered(self, line: Line) -> None:
        """Wait for all that was asked there; a publish is asked for until it is there, everything else must be 2xx."""
        line.sock.setblocking(True)
        while line.awaited:
            for key, status in line.answers():
                assert 200 <= status < 300, (key, status)
        line.sock.setblocking(False)

    def heat(self, watches: list[Watch]) -> None:
        """Every edge has answered for each, and remembers it. Raises TimeoutError."""
        end_s = time.monotonic() + ROUND_SECONDS_MAX
        for node in self.nodes:
            waiting = list(watches)
            node.sock.setblocking(True)
            while waiting:
                if time.monotonic() > end_s:
                    raise TimeoutError("an edge does not come to answer for what is there")
                node.ask([(number, one.request) for number, one in enumerate(waiting)])
                node.sock.setblocking(True)
                missing = []
                while node.awaited:
                    missing += [waiting[int(str(key))] for key, status in node.answers() if status != 200]
                waiting = missing
            node.sock.setblocking(False)

    def partitioned(self) -> float:
        """One edge is cut off, then a token revoked: for how many seconds is it still good there?"""
        id, text = next(iter(self.texts.items()))
        site, node = self.sites[0], self.nodes[0]
        again = request("GET", f"/{REPOSITORIES[0]}/generic/held", text)
        self.heat([Watch(again)])
        site.cut()
        status, _, _ = ask("DELETE", f"{self.url}/-/api/v1/tokens/{id}", self.bearer)
        assert status == 200, status
        begun_s = last_s = time.monotonic()
        node.sock.setblocking(True)
        while last_s - begun_s < 4 * LEASE_S:
            node.ask([("", again)])
            node.sock.setblocking(True)
            status = node.answers()[0][1]
            if status != 200:
                assert status == 503, status
                break
            last_s = time.monotonic()
            time.sleep(0.005)
        return last_s - begun_s


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if method in ("PUT", "POST") else ""
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode() + body


@contextmanager
def world(home: Path) -> Iterator[World]:
    """Everything is started, and every edge has caught up."""
    ready = bootstrap.prepare_up(home / "origin", home / "edge")
    texts = seeded(home / "origin")
    with ExitStack() as stack:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        everywhere = "0.0.0.0"  # of a namespace of its own
        command = [entrepot(), "serve", "--data", str(home / "origin"), "--host", everywhere, "--port", str(port)]
        stack.enter_context(Running(command, home / "origin.log", None)).wait_for_port(port)
        bearer = {"Authorization": f"Bearer {ready.admin}", "Content-Type": "application/json"}
        for repository in REPOSITORIES:
            workspace, _, name = repository.partition("/")
            body = json.dumps({"workspace": workspace, "name": name, "lease_s": int(LEASE_S)}).encode()
            assert ask("POST", f"{url}/-/api/v1/repositories", bearer, body)[0] == 201
        sites = [Site(number, Way(DELAY_MS)) for number in range(1, EDGES + 1)]
        stack.enter_context(Sites(sites, home))
        for site in sites:
            command = [entrepot(), "serve", "--role", "edge", "--data", str(home / site.name), "--port", str(port)]
            command += ["--parent", f"http://{site.hub}:{port}", "--parent-token-file", str(ready.edge_token_file)]
            stack.enter_context(Running(site.entering(*command), home / f"{site.name}.log", None))
        nodes = [Line(_connected(site, port)) for site in sites]
        yield World(url, ready.admin, texts, sites, nodes)


def _connected(site: Site, port: int) -> socket.socket:
    end_s = time.monotonic() + 60
    while True:
        try:
            with site.entered():
                return socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def seeded(root: Path) -> dict[str, str]:
    """Tokens that read everything, put into the origin's journal before it starts: their text by id."""
    made = [tokens.mint() for _ in range(3_500)]
    now_ms = bootstrap.now_ms()
    changes = [
        PutToken(Token(parts.id, "bench", parts.sha256, (Grant("*"),), at_ms=now_ms, verify_key=parts.verify_key))
        for _, parts in made
    ]
    drafts = [
        Draft(SYSTEM, "", "bench", "token.create", tuple(changes[at : at + TOKENS_AN_ENTRY]))
        for at in range(0, len(changes), TOKENS_AN_ENTRY)
    ]
    bootstrap.write(root, drafts)
    return {parts.id: text for text, parts in made}
