"""What does full authorisation cost a cached read, and do a million tokens and 100,000 grants change that?

One worker on one core, one file of 1 KB. In each round the same node is asked without a credential (of a public
repository) and as each kind of principal, over 64 connections that stay. Then a second node that holds a million
tokens and 100,000 grants more is asked the same, beside the first one.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.clients import ROOT, Measured, Refused, own, wrk
from bench.machine import SERVER_CORE, use_all_cores
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Filler, LoneOrigin, Running, ask, entrepot, put

WORKSPACE, PUBLIC, PRIVATE, RULED = "bench", "open", "files", "ruled"
TOKENS, GRANTS = 1_000_000, 100_000
QUICK_TOKENS, QUICK_GRANTS = 20_000, 2_000
CONNECTIONS = 64
SIZE = 1 << 10
FILE = "small"
TURNS = "each request another token"
GOAL, GOAL_AT_SIZE = ">= 0.91", ">= 0.95"

CASES = {
    "a token": ("token", PRIVATE),
    "a user, by a role of its team": ("user", PRIVATE),
    "a token bound to networks": ("bound", PRIVATE),
    "a customer": ("customer", PRIVATE),
    "network rules": ("ruled", RULED),
    "a customer bound to networks, network rules": ("all", RULED),
    "a customer with limits, each download charged": ("limited", PRIVATE),
}


@dataclass(frozen=True, slots=True)
class Side:
    """A node with its tokens by kind, and `turns`: the lines of many that are asked with in turn."""

    origin: LoneOrigin
    running: Running
    kinds: dict[str, str]
    turns: Path

    def url(self, repository: str) -> str:
        return f"{self.origin.url}/{WORKSPACE}/{repository}/generic/{FILE}"


def made(home: Path, tokens: int, grants: int) -> tuple[LoneOrigin, dict[str, str], Path]:
    """A node that is filled, and stopped again; kept ones are taken as they are."""
    kept = home / "access.json"
    if kept.exists():
        told = json.loads(kept.read_text())
        return LoneOrigin.kept(home, told["port"], told["token"]), told["kinds"], home / "turns"
    origin = LoneOrigin(home, f"{WORKSPACE}/{PRIVATE}")
    with origin.start():
        told = {"ENTREPOT_URL": origin.url, "ENTREPOT_TOKEN": origin.token}
        for line in (
            ["repo", "create", f"{WORKSPACE}/{PUBLIC}", "--public"],
            ["repo", "create", f"{WORKSPACE}/{RULED}"],
        ):
            subprocess.run([entrepot(), *line], env=told, check=True, capture_output=True)
        for repository in (PUBLIC, PRIVATE, RULED):
            with Filler(FILE, SIZE) as content:
                put(f"{origin.url}/{WORKSPACE}/{repository}/generic/{FILE}", content, origin.bearer)
    command = [sys.executable, "-m", "bench.granting", str(home / "data"), WORKSPACE, PRIVATE, RULED]
    done = subprocess.run(
        [*command, str(tokens), str(grants)], check=True, stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=use_all_cores
    )
    filled = json.loads(done.stdout)
    (home / "turns").write_text("".join(f"Authorization: Bearer {one}\n" for one in filled["turns"]))
    kept.write_text(json.dumps({"port": origin.port, "token": origin.token, "kinds": filled["kinds"]}))
    return origin, filled["kinds"], home / "turns"


def asked(side: Side, kind: str, repository: str, seconds: float) -> Measured:
    """One measurement, after a look that it is answered at all."""
    url = side.url(repository)
    headers = [f"Authorization: Bearer {side.kinds[kind]}"] if kind else []
    for _ in range(5):
        status, _, _ = ask("GET", url, dict(line.split(": ", 1) for line in headers))
    if status != 200:
        raise Refused(f"{url} answers {status}")
    return wrk(side.running.pid, url, connections=CONNECTIONS, seconds=seconds, headers=headers)


def in_turn(side: Side, seconds: float, turn: int) -> Measured:
    """One measurement in which no token comes again, from the one of this number on."""
    return own(
        side.running.pid, "fetch", side.url(PRIVATE), connections=CONNECTIONS, seconds=seconds,
        options=["--turns", str(side.turns), "--turn", str(turn)],
    )  # fmt: skip


def run(told: Options) -> Result:
    tokens, grants = (QUICK_TOKENS, QUICK_GRANTS) if told.quick else (TOKENS, GRANTS)
    home = told.keep or told.home
    result = Result("access", against="the other node or principal, same round")
    result.conditions["asked"] = f"{told.rounds} rounds of {told.seconds} s, {CONNECTIONS} connections, {SIZE} bytes"
    result.conditions["large"] = f"{tokens:,} tokens and {grants:,} grants more"
    with ExitStack() as stack:
        sides = []
        for name, sizes in (("plain", (0, 0)), ("large", (tokens, grants))):
            origin, kinds, turns = made(home / name, *sizes)
            sides.append(Side(origin, stack.enter_context(origin.start(core=SERVER_CORE)), kinds, turns))
        result.rows = measured(told, *sides)
    result.notes.append("above: authorised / anonymous at one node; below: the large node / the plain one")
    return result


def measured(told: Options, plain: Side, large: Side) -> list[Row]:
    """All cases in each round, so that they meet the same machine."""
    wanted = {name: case for name, case in CASES.items() if told.cases in name}
    rows = {name: Row(name, "req/s", goal=GOAL) for name in wanted}
    at_size = {name: Row(f"large: {name}", "req/s", goal=GOAL_AT_SIZE) for name in ("anonymous", *wanted, TURNS)}
    turn = 0
    for number in range(told.rounds):
        order = [plain, large] if number % 2 else [large, plain]
        anonymous = asked(plain, "", PUBLIC, told.seconds)
        for name, (kind, repository) in wanted.items():
            found = {id(side): asked(side, kind, repository, told.seconds) for side in order}
            note(rows[name], found[id(plain)], anonymous)
            note(at_size[name], found[id(large)], found[id(plain)])
        note(at_size["anonymous"], asked(large, "", PUBLIC, told.seconds), asked(plain, "", PUBLIC, told.seconds))
        turned = {id(side): in_turn(side, told.seconds, turn) for side in order}
        turn += int(max(one.requests for one in turned.values()))  # those before are remembered still
        note(at_size[TURNS], turned[id(large)], turned[id(plain)])
    return [*rows.values(), *at_size.values()]


def note(row: Row, ours: Measured, theirs: Measured) -> None:
    row.ours.append(ours.rate)
    row.theirs.append(theirs.rate)
    row.ours_cpu.append(ours.cpu_us)
    row.theirs_cpu.append(theirs.cpu_us)
