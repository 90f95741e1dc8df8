"""How fast are cached reads beside tuned nginx, which serves the same bytes in the same rounds?

Server on one core, client on another. nginx serves a plain file in every case: for the private ones it checks nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Measured, Refused, own, wrk
from bench.numbers import size_text
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Filler, Nginx, Node, Running, TlsOrigin, ask, put

SIZES = {"1 KB": 1 << 10, "64 KB": 64 << 10, "1 MB": 1 << 20}
HANDSHAKES_AT_ONCE = 16
WARMING_REQUESTS = 5
BUSY_CLIENT = 0.97


@dataclass(frozen=True, slots=True)
class Case:
    """One question. `tool`: wrk (small answers), own (large ones), full and resumed (handshakes). `size` 0 = no body
    is counted. `header` is added to the request; "etag" stands for a validator that holds."""

    name: str
    file: str
    tool: str = "wrk"
    connections: int = 1
    size: int = 0
    header: str = ""
    private: bool = False
    tls: bool = False
    goal: str = ""


def cases(big: str, big_bytes: int) -> list[Case]:
    """All that is asked, the long ones last."""
    listed = [
        Case("1 KB c1", "1 KB", goal=">= 1.0"),
        Case("1 KB c64", "1 KB", connections=64, goal=">= 1.0"),
        Case("1 KB private c1", "1 KB", private=True, goal=">= 0.9"),
        Case("1 KB private c64", "1 KB", connections=64, private=True, goal=">= 0.9"),
        Case("1 KB range of 1 MB c64", "1 MB", connections=64, header="Range: bytes=65536-66559"),
        Case("304 c64", "1 KB", connections=64, header="etag"),
        Case("TLS 1 KB c1", "1 KB", tls=True),
        Case("TLS 1 KB c64", "1 KB", connections=64, tls=True, goal=">= 0.85"),
        Case("TLS full handshake", "1 KB", "full", HANDSHAKES_AT_ONCE, tls=True, goal=">= 0.9"),
        Case("TLS resumed handshake", "1 KB", "resumed", HANDSHAKES_AT_ONCE, tls=True, goal=">= 0.9"),
    ]
    for tls, name, goals in ((False, "", (">= 1.0", ">= 0.9")), (True, "TLS ", (">= 1.0", ">= 1.2"))):
        for file, goal in zip(("64 KB", "1 MB"), goals, strict=True):
            for connections in (1, 64):
                listed.append(
                    Case(f"{name}{file} c{connections}", file, "own", connections, SIZES[file], tls=tls, goal=goal)
                )
        listed.append(Case(f"{name}{big} c1", big, "own", 1, big_bytes, tls=tls, goal=goals[1]))
    listed.insert(4, Case("64 KB private c64", "64 KB", "own", 64, SIZES["64 KB"], private=True, goal=">= 0.9"))
    return sorted(listed, key=lambda case: case.tls)


@dataclass(frozen=True, slots=True)
class Side:
    """A server under test and where its files are. `credential` is the header that private files want."""

    server: Running
    public: str
    private: str = ""
    secure: str = ""
    credential: str = ""

    def url(self, case: Case) -> str:
        base = self.secure if case.tls else self.private if case.private else self.public
        return f"{base}/{case.file.replace(' ', '')}"


def headers(side: Side, case: Case) -> list[str]:
    """What the case's request carries at this side. Raises Refused where a first look finds another answer."""
    sent = [side.credential] if case.private else []
    if case.header and case.header != "etag":
        sent.append(case.header)
    for _ in range(WARMING_REQUESTS if case.size <= SIZES["1 MB"] else 1):
        status, got, _ = ask("GET", side.url(case), dict(line.split(": ", 1) for line in sent), drop=True)
    if case.header == "etag":
        sent.append(f"If-None-Match: {got['etag']}")
        status, _, _ = ask("GET", side.url(case), dict(line.split(": ", 1) for line in sent))
    wanted = {"etag": 304, "": 200}.get(case.header, 206)
    if status != wanted:
        raise Refused(f"{side.url(case)} answers {status} and not {wanted}")
    return sent


def measure(side: Side, case: Case, sent: Sequence[str], seconds: float) -> Measured:
    url, pid = side.url(case), side.server.pid
    if case.tool == "wrk":
        return wrk(pid, url, connections=case.connections, seconds=seconds, headers=sent)
    options = [part for line in sent for part in ("--header", line)]
    what = "fetch" if case.tool == "own" else "shake"
    options += ["--resume"] if case.tool == "resumed" else []
    return own(pid, what, url, connections=case.connections, seconds=seconds, size=case.size, options=options)


def compare(case: Case, ours: Side | None, theirs: Side | None, told: Options) -> Row:
    """Both sides by turns, the first one alternating."""
    row = Row(case.name, unit(case), goal=case.goal)
    both = ((ours, row.ours, row.ours_cpu), (theirs, row.theirs, row.theirs_cpu))
    sides = [(side, headers(side, case), kept, cpu) for side, kept, cpu in both if side]
    busy = 0.0
    for number in range(told.rounds):
        for side, sent, kept, cpu in sides if number % 2 else reversed(sides):
            found = measure(side, case, sent, told.seconds)
            kept.append(found.rate * case.size / 1e6 if case.size > SIZES["64 KB"] else found.rate)
            cpu.append(found.cpu_us)
            busy = max(busy, found.client_busy)
    if ours is None and told.only != "nginx":
        row.note = "void: the node did not come up"
    elif busy > BUSY_CLIENT:
        row.note = "client-bound: judge by eff"
    return row


def unit(case: Case) -> str:
    return "MB/s" if case.size > SIZES["64 KB"] else "conn/s" if case.tool in ("full", "resumed") else "req/s"


# ---------------------------------------------------------------- the two servers


def files(big: str, big_bytes: int) -> dict[str, int]:
    return SIZES | {big: big_bytes}


def start_nginx(home: Path, stack: ExitStack, sizes: dict[str, int], log: bool) -> Side:
    home.mkdir(parents=True, exist_ok=True)
    nginx = stack.enter_context(Nginx(home, tls=True, buffered=log))
    for name, size in sizes.items():
        with Filler(name, size) as content, (nginx.root / name.replace(" ", "")).open("wb") as file:
            while chunk := content.read(1 << 20):
                file.write(chunk)
    return Side(nginx, nginx.url, nginx.url, nginx.tls_url, "Authorization: Bearer ent_unchecked")


def start_node(home: Path, stack: ExitStack, sizes: dict[str, int], at: str) -> Side:
    node = stack.enter_context(Node(home))
    for place in (node.public, node.private):
        for name, size in sizes.items():
            with Filler(name, size) as content:
                put(f"{node.origin}{place}/generic/{name.replace(' ', '')}", content, node.bearer)
    base = node.edge if at == "edge" else node.origin
    credential = f"Authorization: Bearer {node.token}"
    return Side(node, f"{base}{node.public}/generic", f"{base}{node.private}/generic", "", credential)


def start_tls(home: Path, stack: ExitStack) -> Side | None:
    """None where it does not come up: what was measured before is not thrown away for it."""
    try:
        origin = stack.enter_context(TlsOrigin(home))
    except RuntimeError as error:
        print(f"  no TLS: {error}", flush=True)
        return None
    return Side(origin, "", "", f"{origin.url}/demo/open/generic")


def rows(told: Options, plain: list[Case], secure: list[Case], sizes: dict[str, int]) -> Iterator[Row]:
    """Between plain and TLS the node is restarted: `up` offers no TLS, so its origin is then served alone."""
    with ExitStack() as outer:
        theirs = start_nginx(told.home / "nginx", outer, sizes, told.nginx_log) if told.only != "entrepot" else None
        with ExitStack() as stack:
            ours = start_node(told.home / "node", stack, sizes, told.at) if told.only != "nginx" else None
            for case in plain:
                yield attempt(case, ours, theirs, told)
        with ExitStack() as stack:
            if told.only != "nginx" and secure:
                ours = start_tls(told.home / "node", stack)
            for case in secure:
                yield attempt(case, ours, theirs, told)


def attempt(case: Case, ours: Side | None, theirs: Side | None, told: Options) -> Row:
    """A case that a server answers wrongly spoils its own row alone."""
    try:
        row = compare(case, ours, theirs, told)
    except Refused as reason:
        row = Row(case.name, unit(case), goal=case.goal, note=f"void: {reason}")
    print(f"  {row.case}: {row.ours} {row.theirs} {row.note}", flush=True)
    return row


def run(told: Options) -> Result:
    big = size_text(told.big_bytes)
    wanted = [case for case in cases(big, told.big_bytes) if told.cases in case.name]
    plain, secure = [case for case in wanted if not case.tls], [case for case in wanted if case.tls]
    result = Result("delivery", against="nginx")
    result.conditions["asked"] = f"the {told.at} (TLS: the origin), {told.rounds} rounds of {told.seconds} s"
    result.rows = list(rows(told, plain, secure, files(big, told.big_bytes)))
    result.notes += [
        "ratio: entrepot / nginx of the same round, median [range]",
        "eff: nginx's CPU for a request / ours; above 1 ours needs less",
        "server pinned to one core, client to another; access log and metrics of the node on, nginx's access log "
        + ("on, 64 KB at a time" if told.nginx_log else "off"),
        "private: the node checks the token at each request; nginx gets the same header and checks nothing",
    ]
    return result
