"""How much of what is asked for would a cache still have, by which policy?

Over requests drawn as those of a registry are (some packages far more than others, one in five never again, now and
then somebody who reads everything once, popularity that moves on), or over the access logs of a node: --log FILE.
Each policy sees the same requests, with 2 % and with 10 % of all that was asked for as its share. The ratio is to LRU.

Then two repositories share a cache: one that is asked for little and evenly, beside a busy one whose requests never
come twice. What the quiet one still finds, without and with a guaranteed share (or a most for the other), is told
beside what it would find with that much of a cache of its own. At last one of many that are asked for alike, or each of
them, may have half of what it would get: what does it have when most, and how many bytes are written on when its own
goes, for each that is freed, and for each that is fetched? Beside it the same with everybody's small objects in the
same packs, as it would be without packs of their own for those who have a most.
"""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from zlib import crc32

from bench.machine import Skipped
from bench.numbers import size_text
from bench.options import Options
from bench.policies import POLICIES, Packs
from bench.report import Result, Row
from cache.keeping.shares import parse

SHARES = (0.02, 0.10)
OBJECTS = 40_000
ALPHA = 0.9
ONCE_SHARE = 0.2
SCANS = 2
SCANNED = 8_000
CHURN_EVERY = 20_000
CHURN = 500
SIZES = ((0.55, 2 << 10, 64 << 10), (0.35, 64 << 10, 4 << 20), (0.10, 4 << 20, 64 << 20))
BASE = "LRU"
QUIET = 400
QUIET_REQUESTS = 0.05
MANY = (2, 4, 8, 16, 32)
AGAIN = 0.5
KNOWN = 2_000
EDGE_BYTES = 256 << 20
SMALL_BYTES_MIN, SMALL_BYTES_MORE = 8 << 10, 60_000
LOOK_EVERY = 50

Request = tuple[bytes, int]


def run(told: Options) -> Result:
    """`--count` thousand requests of each of `--rounds` drawn traces, or one of the logs."""
    traces = [recorded(told.logs)] if told.logs else [drawn(seed, told.count * 1_000) for seed in range(told.rounds)]
    result = Result("eviction", against=BASE)
    for share in SHARES:
        found = {name: [measured(name, trace, share) for trace in traces] for name in POLICIES}
        for index, kind in enumerate(("requests", "bytes")):
            for name in POLICIES:
                ours, base = ([one[index] for one in found[which]] for which in (name, BASE))
                result.rows.append(Row(f"{name}, {share:.0%}: {kind} it had", "%", ours, base))
        moved = max(one[2] for one in found["S3-FIFO over packs (ours)"])
        result.notes.append(f"{share:.0%}: over packs at most {moved:.2f} bytes were written on for each fetched")
    if not told.logs:
        result.rows += neighbours(told.count * 100)
        for many in MANY:
            result.rows += bounded(many, told.count * 100)
            result.rows += bounded(many, told.count * 100, each=True)
    for trace in traces:
        sizes = dict(trace)
        result.notes.append(f"{len(trace):,} requests for {len(sizes):,} objects of {size_text(sum(sizes.values()))}")
    return result


def neighbours(count: int) -> list[Row]:
    """The quiet repository's hits, in % of its requests; the ratio is to the same cache without shares."""
    draw = random.Random("neighbours")
    quiet = [(b"q%d" % n, 64 << 10) for n in range(QUIET)]
    trace = [
        draw.choice(quiet) if draw.random() < QUIET_REQUESTS else (b"b%d" % n, draw.choice((64 << 10, 4 << 20)))
        for n in range(count)
    ]
    bytes_max = 4 * sum(size for _, size in quiet)
    least = 100 * 1.3 * sum(size for _, size in quiet) / bytes_max
    busy_most = 100 - least
    told = {
        "no shares": (),
        f"quiet has {least:.0f} % at least": (parse(f"a/quiet={least}-"),),
        f"busy has {busy_most:.0f} % at most": (parse(f"a/busy=-{busy_most}"),),
    }
    found = {name: [quiet_hits(Packs(bytes_max, shares, owner_of), trace)] for name, shares in told.items()}
    alone = Packs(int(bytes_max * least / 100))
    found["a cache of that size alone"] = [quiet_hits(alone, [one for one in trace if one[0].startswith(b"q")])]
    base = found["no shares"]
    return [Row(f"beside a busy one: hits of the quiet, {name}", "%", ours, base) for name, ours in found.items()]


def bounded(many: int, count: int, *, each: bool = False) -> list[Row]:
    """One of `many` repositories, or `each`, has a most of half of an equal part. Beside: all in the same packs."""
    most = 50 / many
    case = f"{'each' if each else 'one'} of {many} may have {most:.2g} %"
    ours, beside = (_bounded(many, most, count, each=each, apart=apart) for apart in (True, False))
    named = (("it has when most", "%"), ("written on", "of freed"), ("written on", "of fetched"), ("hits of all", "%"))
    return [
        Row(f"{case}: {name}", unit, [one], [other])
        for (name, unit), one, other in zip(named, ours, beside, strict=True)
    ]


def _bounded(many: int, most: float, count: int, *, each: bool, apart: bool) -> tuple[float, float, float, float]:
    """What the first has after a look when it has most, in % of the cache, over the last three quarters; bytes written
    on for each freed and for each fetched; hits in % of requests. Half of the requests (AGAIN) are for what is asked
    for again and again, the others for what nobody asks for twice."""
    draw = random.Random(f"{many} repositories")
    shares = tuple(parse(f"a/r{number}=-{most}") for number in range(many if each else 1))
    policy = Packs(EDGE_BYTES, shares, lambda key: key.partition(b" ")[0].decode(), apart=apart)
    fetched = hits = 0
    share = 0.0
    for number in range(count):
        name = draw.randrange(KNOWN) if draw.random() < AGAIN else KNOWN + number
        key = b"a/r%d %d" % (draw.randrange(many), name)
        size = SMALL_BYTES_MIN + crc32(key) % SMALL_BYTES_MORE
        hit = policy.ask(key, size)
        hits, fetched = hits + hit, fetched + (0 if hit else size)
        if not number % LOOK_EVERY:
            policy.make_room()
            share = max(share, policy.share_of("a/r0")) if number > count // 4 else 0.0
    moved, freed = policy.excess_moved_bytes, policy.excess_freed_bytes
    return 100 * share, moved / max(freed, 1), moved / fetched, 100 * hits / count


def owner_of(key: bytes) -> str:
    return "a/quiet" if key.startswith(b"q") else "a/busy"


def quiet_hits(policy: Packs, trace: Sequence[Request]) -> float:
    """In % of its requests, over the second half."""
    asked = hits = 0
    for number, (key, size) in enumerate(trace):
        hit = policy.ask(key, size)
        if key.startswith(b"q") and number > len(trace) // 2:
            asked, hits = asked + 1, hits + hit
    return 100 * hits / max(asked, 1)


def measured(name: str, trace: Sequence[Request], share: float) -> tuple[float, float, float]:
    """Hits by request and by byte in %, and bytes that were moved for each that was fetched."""
    policy = POLICIES[name](int(sum(dict(trace).values()) * share))
    hits = hit_bytes = 0
    for key, size in trace:
        if policy.ask(key, size):
            hits += 1
            hit_bytes += size
    total = sum(size for _, size in trace)
    moved = policy.moved_bytes / max(total - hit_bytes, 1) if isinstance(policy, Packs) else 0.0
    return 100 * hits / len(trace), 100 * hit_bytes / total, moved


def drawn(seed: int, count: int) -> list[Request]:
    """A trace; the same for the same seed."""
    draw = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) ** ALPHA for rank in range(OBJECTS)))
    order = list(range(OBJECTS))
    draw.shuffle(order)
    scans = {int(count * (n + 0.5) / SCANS) for n in range(SCANS)}
    trace: list[Request] = []
    fresh = OBJECTS
    while len(trace) < count:
        if len(trace) in scans:
            scans.discard(len(trace))
            begin = draw.randrange(OBJECTS)
            trace += [_object(seed, (begin + n) % OBJECTS) for n in range(SCANNED)]
        if len(trace) % CHURN_EVERY == 0:  # some packages get new versions, and those are what is asked for
            for rank in draw.sample(range(OBJECTS), CHURN):
                order[rank], fresh = fresh, fresh + 1
        if draw.random() < ONCE_SHARE:
            trace.append(_object(seed, fresh))
            fresh += 1
        else:
            rank = draw.choices(range(OBJECTS), cum_weights=weights)[0]
            trace.append(_object(seed, order[rank]))
    return trace


def _object(seed: int, number: int) -> Request:
    draw = random.Random(seed * 1_000_003 + number)
    _, low, high = draw.choices(SIZES, [one[0] for one in SIZES])[0]
    return number.to_bytes(8), int(low * (high / low) ** draw.random())


def recorded(logs: Sequence[Path]) -> list[Request]:
    """What was answered whole to GET by the access logs of a node, in the order of time. Raises Skipped for nothing."""
    lines = sorted((line for path in logs for line in _lines(path)), key=lambda one: str(one["time"]))
    sizes: dict[bytes, int] = {}
    trace = []
    for line in lines:
        key, size = str(line["target"]).encode(), int(str(line["bytes"]))
        if line["method"] == "GET" and line["status"] == 200 and size:
            trace.append((key, sizes.setdefault(key, size)))
    if not trace:
        raise Skipped("the logs tell of no answered GET")
    return trace


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open() as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the last line of a log that is being written
