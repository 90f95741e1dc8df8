"""Does the time of a refusal tell whether what was asked for is there? A t-test for each question (THREATS B9, C10).

A stranger asks for two things in turn, in a random order, thousands of times: one that is there and hidden from it, one
that never was. Welch's t-test says how likely the difference of the means is chance, over the nine tenths of the
samples that were not held up. A question leaks where that is below 0.01 in each of the rounds, to the same side.
"""

import random
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.hostile.drive import Target
from bench.machine import SERVER_CORE
from bench.matrix import BAD, GOOD, NARROWED, REPOSITORY, WORKSPACE, World, request_of
from bench.numbers import welch
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin
from gateway.access.tokens import CHECK_CHARS, check

SAMPLES, QUICK_SAMPLES = 10_000, 500
ROUNDS = 3
P_MIN = 0.01
KEPT = 0.9
READ_BYTES = 64 << 10
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """Two requests of one principal, which must be answered alike and as fast."""

    name: str
    there: bytes
    absent: bytes


class Line:
    """One connection, on which nothing but the time of one small exchange passes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._sock = socket.create_connection((parts.hostname, parts.port), 20)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> tuple[float, bytes]:
        """Microseconds, and the answer."""
        began = time.perf_counter_ns()
        self._sock.sendall(request)
        data = self._sock.recv(READ_BYTES)
        took = (time.perf_counter_ns() - began) / 1e3
        head = data.index(b"\r\n\r\n") + 4
        length = LENGTH.search(data, 0, head)
        while len(data) < head + (int(length[1]) if length else 0):
            data += self._sock.recv(READ_BYTES)
        return took, data

    def close(self) -> None:
        self._sock.close()


def questions(world: World, host: str) -> list[Question]:
    """What is asked, each of equal length on both sides."""
    main, void = f"/{WORKSPACE}/{REPOSITORY}", f"/{WORKSPACE}/void"
    file, none = "generic/good/0.txt", "generic/none/0.txt"
    tokens = world.tokens

    def pair(name: str, who: str, there: str, absent: str, method: str = "GET") -> Question:
        asked = [request_of(host, method, path, tokens[who]) for path in (there, absent)]
        return Question(name, asked[0], asked[1])

    known = tokens["neighbour"]
    near = known[:20] + tokens["unknown"][20:-CHECK_CHARS]
    near += check(near)
    api, tags = "/-/api/v1", "tags/list"
    users = f"{api}/workspaces/{WORKSPACE}/explain?action=read&principal=user:"
    return [
        pair("a repository, to a stranger", "stranger", f"{main}/{file}", f"{void}/{file}"),
        pair("a repository, to nobody", "anonymous", f"{main}/{file}", f"{void}/{file}"),
        pair("a repository, to its neighbour", "neighbour", f"{main}/{file}", f"{void}/{file}"),
        pair("a repository, to who would write", "stranger", f"{main}/{file}", f"{void}/{file}", method="DELETE"),
        pair("a workspace, to a stranger", "stranger", f"{main}/{file}", f"/nowork/{REPOSITORY}/{file}"),
        pair("a package, to a stranger", "stranger", f"{main}/{file}", f"{main}/{none}"),
        pair("a package, to who reads others", NARROWED, f"{main}/{file}", f"{main}/{none}"),
        pair("an image, to a stranger", "stranger", f"/v2{main}/good/image-0/{tags}", f"/v2{main}/none/image-0/{tags}"),
        Question(
            "a token that begins like one",
            request_of(host, "GET", f"{main}/{file}", near),
            request_of(host, "GET", f"{main}/{file}", tokens["unknown"]),
        ),
        pair("a user's name", "stranger", f"{users}{GOOD}", f"{users}{BAD}"),
        pair("a workspace, by the API", "stranger", f"{api}/workspaces/{WORKSPACE}", f"{api}/workspaces/nowork"),
        pair("a repository, by the API", "stranger", f"{api}/repositories{main}", f"{api}/repositories{void}"),
    ]  # fmt: skip


def drawn(line: Line, question: Question, count: int, dice: random.Random) -> tuple[list[float], list[float]]:
    """So many samples of each side, without those that were held up."""
    sides: tuple[list[float], list[float]] = ([], [])
    order = [0, 1] * count
    dice.shuffle(order)
    for _ in range(20):
        line.exchange(question.there)
        line.exchange(question.absent)
    for side in order:
        took, _ = line.exchange(question.absent if side else question.there)
        sides[side].append(took)
    limit = sorted([*sides[0], *sides[1]])[int(2 * count * KEPT) - 1]
    return [one for one in sides[0] if one <= limit], [one for one in sides[1] if one <= limit]


def judged(name: str, rounds: Sequence[tuple[list[float], list[float]]]) -> Row:
    """One question's row: by round the difference in microseconds; `note` is the verdict."""
    found = [welch(there, absent) for there, absent in rounds]
    differences = [sum(there) / len(there) - sum(absent) / len(absent) for there, absent in rounds]
    leaks = all(p < P_MIN for _, p in found) and len({t > 0 for t, _ in found}) == 1
    p = ", ".join(f"{p:.3f}" for _, p in found)
    return Row(name, "us more", differences, goal=f"p > {P_MIN}", note=f"{'LEAKS' if leaks else 'no oracle'}; p {p}")


def run(told: Options) -> Result:
    count = QUICK_SAMPLES if told.quick else SAMPLES
    result, dice = Result("timing"), random.Random(1)
    origin = LoneOrigin(told.home / "origin", "bench/files")
    with origin.start(core=SERVER_CORE):
        target = Target(origin.url, origin.token, f"{WORKSPACE}/{REPOSITORY}", origin.home / "data")
        world = World(origin.url, origin.token, target)
        for question in questions(world, urlsplit(origin.url).netloc):
            if told.cases in question.name:
                result.rows.append(asked(origin.url, question, count, dice))
    result.conditions["asked"] = f"{ROUNDS} rounds of {count} samples a side"
    return result


def asked(url: str, question: Question, count: int, dice: random.Random) -> Row:
    line = Line(url)
    answers = [line.exchange(one)[1] for one in (question.there, question.absent)]
    line.close()
    if len({len(one) for one in answers}) != 1 or any(b" 200 " in one[:20] for one in answers):
        return Row(question.name, "us more", note="LEAKS: the answers differ")
    rounds = []
    for _ in range(ROUNDS):
        line = Line(url)
        rounds.append(drawn(line, question, count, dice))
        line.close()
    return judged(question.name, rounds)
