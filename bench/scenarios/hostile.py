"""What do mutated and crafted packages do to a node, room by room, while good clients use it?

Every room's corpus goes to an origin of its own: first some good packages, then the crafted ones one by one with a look
at what is stored after each, then the mutants from several clients at once.
"""

import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import environ
from pathlib import Path

from bench.hostile.corpus import Attack, Corpus
from bench.hostile.drive import Attacker, Judged, Target, crafted, mutated
from bench.hostile.rooms import corpora
from bench.hostile.watching import Bystanders, Metrics, Seen, metrics_of, processes, summary
from bench.machine import SERVER_CORE
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, Running, entrepot

REPOSITORY = "hostile/main"
BYSTANDERS = "good/files"
THREADS = 4
GOOD = 20


@dataclass
class Outcome:
    """What one room's attacks came to."""

    crafted: Judged
    mutated: Judged
    seen: Seen
    before: Metrics
    after: Metrics
    grown_bytes: int
    exits: int
    seconds: float

    @property
    def complaints(self) -> list[str]:
        found = [*self.crafted.complaints, *self.mutated.complaints, *self.seen.wrong]
        if self.exits:
            found.append(f"{self.exits} processes of the node ended")
        return found


def mutants(corpus: Corpus, count: int, seed: str = "") -> Iterator[Attack]:
    """The same ones for the same seed."""
    for number in range(count):
        attack = corpus.mutant(random.Random(f"{corpus.room} {seed} {number}"))
        name = f"mutant {number} ({attack.name})"
        yield Attack(name, attack.requests, "anything" if attack.expected == "broken" else "harmless")


def attacked(corpus: Corpus, origin: LoneOrigin, node: Running, count: int) -> Outcome:
    """All attacks of one room upon a running origin."""
    target = Target(origin.url, origin.token, REPOSITORY, origin.home / "data")
    warm_up(target, corpus)
    began, found, before = time.perf_counter(), processes(node.pid), metrics_of(origin.url, origin.token)
    made = crafted(target, corpus, corpus.crafted())
    with Bystanders(origin.url, origin.token, BYSTANDERS, node.pid) as bystanders:
        hurt = mutated(target, corpus, mutants(corpus, count), THREADS)
        bystanders.seen.longest_step_s = max(
            bystanders.seen.longest_step_s, metrics_of(origin.url, origin.token).longest_s
        )
    after, left = metrics_of(origin.url, origin.token), processes(node.pid)
    seen = bystanders.seen
    resting = sum(found["worker"].values())
    peak = max(seen.worker_peak_bytes, sum(left["worker"].values()))
    exits = len(found["worker"].keys() - left["worker"].keys()) + bool(node.ended())
    return Outcome(made, hurt, seen, before, after, peak - resting, exits, time.perf_counter() - began)


def warm_up(target: Target, corpus: Corpus) -> None:
    """Good packages, which must be taken: else the attacks would prove nothing."""
    with Attacker(target, corpus) as attacker:
        for number in range(GOOD):
            attack = corpus.good(number)
            said = attacker.ask(attack.requests[-1], attacker.prepare(attack))
            if said is None or not 200 <= said.status < 300:
                raise RuntimeError(f"the good package {attack.name} was answered {said}")


def started(home: Path) -> LoneOrigin:
    """An origin with the repositories of attackers and bystanders."""
    origin = LoneOrigin(home, REPOSITORY)
    with origin.start():
        told = environ | {"ENTREPOT_URL": origin.url, "ENTREPOT_TOKEN": origin.token}
        workspace = BYSTANDERS.partition("/")[0]
        for line in (["workspace", "create", workspace], ["repo", "create", BYSTANDERS, "--public"]):
            subprocess.run([entrepot(), *line], env=told, check=True, capture_output=True)
    return origin


def rows(room: str, outcome: Outcome) -> list[Row]:
    seen, made, hurt = outcome.seen, outcome.crafted, outcome.mutated
    probe, worst = summary(seen.probes_ms)
    failures = made.failures + hurt.failures + outcome.after.failures - outcome.before.failures
    stalls = outcome.after.long_steps - outcome.before.long_steps
    figures = (
        ("crafted sent", "", made.sent, ">= 100", f"{made.taken} taken"),
        ("mutants sent", "", hurt.sent, ">= 10,000", f"{hurt.taken} taken, {outcome.seconds:.0f} s"),
        ("5xx", "", failures, "0", ""),
        ("worker exits", "", outcome.exits, "0", ""),
        ("complaints", "", len(outcome.complaints), "0", "dialect, stored, bystanders"),
        ("worker's memory grew", "MB", outcome.grown_bytes / 1e6, "<= 64", "anonymous, peak"),
        ("sandbox's memory", "MB", seen.sandbox_peak_bytes / 1e6, "", "anonymous, peak"),
        ("steps over 50 ms", "", stalls, "0", "inside the worker"),
        ("longest step", "ms", seen.longest_step_s * 1e3, "<= 50", "inside the worker"),
        ("probe p99", "ms", probe, "", f"longest {worst:.0f} ms"),
        ("good publish p99", "ms", summary(seen.publishes_ms)[0], "", f"{len(seen.publishes_ms)} of them"),
    )
    return [Row(f"{room}: {case}", unit, [float(n)], goal=goal, note=note) for case, unit, n, goal, note in figures]


def run(told: Options) -> Result:
    result = Result("hostile")
    for room, corpus in corpora().items():
        if told.cases not in room:
            continue
        origin = started(told.home / room)
        with origin.start(core=SERVER_CORE) as node:
            outcome = attacked(corpus, origin, node, told.mutants)
        result.rows += rows(room, outcome)
        result.notes += [f"{room}: {one}" for one in outcome.complaints[:40]]
    result.notes.append("one worker of an origin and its sandbox on one core, all clients on the other")
    return result
