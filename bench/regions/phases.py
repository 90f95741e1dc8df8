"""What happens in the regions, and what must not be lost by it? One function a phase, each leaving all as it was.

Every figure is taken from what the readers, the publisher and the watchers of `traffic` saw within the phase, or from
requests that the phase itself makes at the nodes.
"""

import json
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack

from bench.clients import ROOT
from bench.numbers import percentile
from bench.regions.asking import Answer, Asker
from bench.regions.crowd import crowd
from bench.regions.outside import NAME, Outside
from bench.regions.story import Story
from bench.regions.traffic import Seen
from bench.regions.world import Host
from bench.servers import Running

LOG_SECONDS = 1.2
RECOVERY_SECONDS_MAX = 90.0
GRACE_S = 0.3
HAMMERED_MAX = 4
"""How often the load generators begin anew where not all of the hits were asked for."""


def cold(story: Story, outside: Outside, repository: str, clients: int, share: int) -> None:
    """One object that nobody has, asked for by all at once."""
    world, edges = story.world, story.world.edges
    paths = {found_at(host, repository) for host in edges}
    assert len(paths) == 1, paths
    path = paths.pop()
    before = {region: world.into(region) for region in world.routers}
    with story.phase("cold object"):
        found = crowd(edges, path, clients // len(edges), outside.size, outside.sha256, share)
    story.notes += found.wrong[:5]
    time.sleep(LOG_SECONDS)
    lines = world.origin.answered(NAME)
    fetched = {str(line["peer"]) for line in lines}
    worst = 0
    for region in world.routers:
        inside = {host.site.address for host in world.hosts if host.region == region}
        count = sum(line["peer"] in inside for line in lines)
        worst = max(worst, count)
    every = found.all_ms
    where = f"cold, {clients} clients at {len(edges)} edges"
    story.say(f"{where}: fetches of the upstream", outside.fetches(), "fetches", "1")
    story.say(f"{where}: fetches of the origin, a region", worst, "fetches", "1", f"by {len(fetched)} in all")
    story.say(f"{where}: wrong or broken answers", len(found.wrong), "answers", "0")
    if every:
        story.say(f"{where}: all have asked after", found.asked_ms, "ms")
        story.say(f"{where}: first of the first bytes", min(every), "ms")
        story.say(f"{where}: half of the first bytes", percentile(every, 50), "ms")
        story.say(f"{where}: last of the first bytes", max(every), "ms")
        ratios = [max(values) / min(values) for values in found.first_byte_ms.values() if values]
        story.say(f"{where}: last / first, at one edge", ratios, "x", "<= 1.2")
        story.say(f"{where}: last / first, over all edges", max(every) / min(every), "x", "<= 1.2")
        late = [value for values in found.read_ms.values() for value in values]
        story.say(f"{where}: the same, when the bench's clients read them", max(late) / min(late), "x")
        story.notes += [
            f"{name}: first bytes after {min(values):.0f}, half {percentile(values, 50):.0f}, last {max(values):.0f} ms"
            for name, values in found.first_byte_ms.items()
            if values
        ]
    story.say(f"{where}: all are done", found.seconds, "s", note=f"{found.whole} got all of it")
    for region in world.routers:
        if region != "home":
            arrived = (world.into(region) - before[region]) / outside.size
            story.say(f"{where}: bytes into {region}", arrived, "x the object", "<= 1.1")


def found_at(host: Host, repository: str) -> str:
    """The path of the cold file as the edge's own page tells it."""
    page = f"{repository}/pypi/simple/cold/"
    status, _, body = host.ask("GET", page, {"Accept": "text/html"})
    match = re.search(r'href="([^"#]+)', body.decode())
    if status != 200 or match is None:
        raise RuntimeError(f"{host.name} {page}: {status} {body[:300]!r}")
    parts = page.strip("/").split("/")
    href = re.sub(r"^https?://[^/]+", "", match[1])
    while href.startswith("../"):
        href, parts = href[3:], parts[:-1]
    return href if href.startswith("/") else "/" + "/".join([*parts, href])


def steady(story: Story) -> None:
    """Nothing happens but reads and publishes."""
    world, traffic = story.world, story.traffic
    before = sum(world.into(region) for region in world.routers if region != "home")
    begun_s = time.monotonic()
    with story.phase("steady"):
        time.sleep(story.lengths.steady_s)
    until_s = time.monotonic()
    traffic.quiet.set()
    traffic.settle()
    traffic.quiet.clear()
    reads = traffic.reads(begun_s, until_s)
    good = [one for one in reads if one.good]
    note = f"{lost(reads)} not answered 200 {why(reads)}".rstrip()
    story.say("steady: reads", len(reads) / (until_s - begun_s), "/s", note=note)
    story.say("steady: hit ratio", sum(one.answer.outcome == "HIT" for one in good) / max(1, len(good)), "of 1")
    arrived = sum(world.into(region) for region in world.routers if region != "home") - before
    served = sum(one.answer.size for one in good)
    story.say("steady: bytes into the regions", arrived / max(1, served), "of those served")
    hits = [one.answer.first_byte_ms for one in good if one.answer.outcome == "HIT"]
    fills = [one.answer.first_byte_ms for one in good if one.answer.outcome in ("FILL", "JOINED")]
    story.say_percentiles("steady: first byte of a hit", hits, "ms")
    story.say_percentiles("steady: first byte of what is fetched", fills, "ms")
    story.say_percentiles("steady: publish to visible, each edge", traffic.lags(begun_s, until_s), "ms", "<= 150")


def lost(reads: list[Seen]) -> int:
    return sum(not one.good for one in reads)


def why(reads: list[Seen]) -> str:
    """How those that are lost were answered; 0 = not at all, or not to the end."""
    counted = Counter(one.answer.status for one in reads if not one.good)
    return ", ".join(f"{count} x {status}" for status, count in sorted(counted.items()))


def partition(story: Story) -> None:
    """The wire of the last region is cut, and healed."""
    world, traffic, lengths = story.world, story.traffic, story.lengths
    region = world.edges[-1].region
    inside = [host for host in world.edges if host.region == region]
    names = [host.name for host in inside]
    with story.phase("partition"):
        world.routers[region].cut()
        cut_s = time.monotonic()
        written = Asker(inside[0], 30).ask("PUT", f"{traffic.repositories[True]}/generic/x", world.bearer, b"x")
        time.sleep(max(0.0, cut_s + lengths.cut_s - time.monotonic()))
        world.routers[region].heal()
        healed_s = time.monotonic()
    with story.phase("healed"):
        recovered_s = regained(story, inside)
        traffic.quiet.set()
        traffic.settle()
        traffic.quiet.clear()
    within = traffic.reads(cut_s, healed_s, names, warm=True)
    public = [one for one in within if one.public]
    # The lease runs from the last word of the parent, which may be a beat older than the cut.
    before = [one for one in within if not one.public and one.at_s < cut_s + lengths.lease_s - 2]
    after = [one for one in within if not one.public and one.at_s > cut_s + lengths.lease_s + GRACE_S]
    until_s = max([one.at_s for one in within if not one.public and one.good], default=cut_s) - cut_s
    what = f"cut off for {lengths.cut_s:.0f} s"
    story.say(f"{what}: public hits not served", lost(public), f"of {len(public)}", "0")
    story.say(f"{what}: private hits not served within the lease", lost(before), f"of {len(before)}", "0")
    story.say(f"{what}: private hits served after it", len(after) - lost(after), f"of {len(after)}", "0")
    story.say(f"{what}: private hits were served for", until_s, "s", f"<= {lengths.lease_s}")
    story.say(f"{what}: a write is answered", written.status, "status", "503", f"Retry-After: {written.retry_after}")
    story.say(f"{what}: the write's answer took", written.first_byte_ms, "ms", "<= 6000")
    story.say(f"{what}: private reads again after the heal", recovered_s, "s")
    queued = traffic.lags(cut_s, healed_s, names)
    caught_up_s = max(
        (one.at_s + one.lag_ms / 1e3 for one in traffic.visible if cut_s <= one.at_s < healed_s), default=0
    )
    if queued:
        story.say(f"{what}: all publishes of it visible after the heal", caught_up_s - healed_s, "s")
    others = [host.name for host in world.edges if host.region != region]
    elsewhere = traffic.reads(cut_s, healed_s, others, warm=True)
    story.say(f"{what}: hits not served in the other regions", lost(elsewhere), f"of {len(elsewhere)}", "0")


def regained(story: Story, hosts: list[Host]) -> float:
    """Seconds until all these edges serve a private package."""
    path = story.traffic.published(public=False)[0]
    begun_s = time.monotonic()
    for host in hosts:
        host.until(path, 200, story.world.bearer, method="HEAD")
    return time.monotonic() - begun_s


def written_at(story: Story, host: Host, name: str) -> tuple[float, Answer]:
    """Seconds until a write at this edge is taken, and the last refusal before that."""
    path, begun_s, refusal = f"{story.traffic.repositories[True]}/generic/{name}", time.monotonic(), Answer(0)
    asker = Asker(host, 30)
    while time.monotonic() < begun_s + RECOVERY_SECONDS_MAX:
        answer = asker.ask("PUT", path, story.world.bearer, name.encode())
        if answer.status == 201:
            asker.close()
            return time.monotonic() - begun_s, refusal
        refusal = answer
        time.sleep(0.05)
    raise RuntimeError(f"{host.name} takes no write: {refusal}")


def hammered(story: Story, stack: ExitStack, path: str, seconds: float) -> list[Running]:
    """A load generator in each edge's site, for so long, on a public package that it has."""
    started = []
    for host in story.world.edges:
        url = host.url + path
        command = [sys.executable, "-m", "bench.load", "fetch", url, "--connections", "8", "--seconds", str(seconds)]
        log = story.world.home / f"{host.name}.load.log"
        one = Running(host.site.entering(*command), log, None, cwd=ROOT, speaks=True)
        started.append(stack.enter_context(one))
    return started


def hammers(started: list[Running]) -> tuple[int, int]:
    """(requests, those that were not answered 200); a generator that gave up counts as one of them."""
    asked = wrong = 0
    for one in started:
        try:
            statuses = json.loads(one.line())["statuses"]
        except (RuntimeError, ValueError):
            statuses = {"none": 1}
        asked += sum(statuses.values())
        wrong += sum(count for status, count in statuses.items() if status != "200")
    return asked, wrong


def origin_killed(story: Story) -> None:
    """kill -9 of the origin, and its start some seconds later."""
    world, traffic = story.world, story.traffic
    path = traffic.published(public=True)[0]
    for host in world.edges:
        host.until(path, 200)
    with story.phase("origin killed"), ExitStack() as stack:
        killed_s = time.monotonic()
        world.origin.stop(at_once=True)
        refused = Asker(world.edges[0], 30).ask("PUT", f"{traffic.repositories[True]}/generic/y", world.bearer, b"y")
        asked = wrong = 0
        for _ in range(HAMMERED_MAX):
            more, bad = hammers(hammered(story, stack, path, story.lengths.away_s - 1))
            asked, wrong = asked + more, wrong + bad
            if asked >= story.lengths.hits:
                break
        time.sleep(max(0.0, killed_s + story.lengths.away_s - time.monotonic()))
        away_s = time.monotonic() - killed_s
        started_s = time.monotonic()
        world.origin.start()
        world.origin.until("/-/ready", 200)
        listening_s = time.monotonic() - started_s
        written_at(story, world.edges[0], "after-the-kill")
        traffic.await_everywhere(f"{traffic.repositories[True]}/generic/after-the-kill")
        time.sleep(0.5)
        traffic.quiet.set()
        traffic.settle()
        traffic.quiet.clear()
        until_s = time.monotonic()
    recovered = [one.at_s for one in traffic.visible if one.at_s > started_s]
    hits = traffic.reads(killed_s, until_s, public=True, warm=True)
    private = traffic.reads(killed_s, min(until_s, killed_s + story.lengths.lease_s - 2), public=False, warm=True)
    what = f"origin killed, down for {away_s:.0f} s"
    story.say(f"{what}: requests for public hits that were not answered 200", wrong, f"of {asked:,}", "0")
    story.say(f"{what}: public hits not served", lost(hits), f"of {len(hits)}", "0")
    story.say(f"{what}: private hits not served within the lease", lost(private), f"of {len(private)}", "0")
    story.say(f"{what}: a write is answered", refused.status, "status", "503", f"Retry-After: {refused.retry_after}")
    story.say(f"{what}: from its start to ready", listening_s, "s")
    if recovered:
        story.say(f"{what}: from its start to a write through an edge", min(recovered) - started_s, "s")
        slowest = max(one.at_s + one.lag_ms / 1e3 for one in traffic.visible if one.at_s == min(recovered))
        story.say(f"{what}: from its start to that visible at all edges", slowest - started_s, "s")


def edge_killed(story: Story) -> None:
    """kill -9 of one edge, and its start some seconds later."""
    world, traffic = story.world, story.traffic
    host = world.edges[0]
    had = traffic.warm(host.name, public=True)
    with story.phase("edge killed"):
        killed_s = time.monotonic()
        host.stop(at_once=True)
        time.sleep(story.lengths.down_s / 2)
        started_s = time.monotonic()
        before = host.site.passed_bytes()
        host.start()
        host.until(had[0], 200)
        serves_s = time.monotonic() - started_s
        host.until("/-/ready", 200)
        ready_s = time.monotonic() - started_s
        time.sleep(2.0)
        until_s = time.monotonic()
        again = [Asker(host).ask("GET", path) for path in had[:50]]
    reads = traffic.reads(killed_s, until_s, [host.name])
    others = traffic.reads(killed_s, until_s, [one.name for one in world.edges[1:]], warm=True)
    back = [
        # what is private waits for a word of the origin, what is public for nobody
        *traffic.reads(started_s + serves_s, until_s, [host.name], public=True, warm=True),
        *traffic.reads(started_s + ready_s, until_s, [host.name], public=False, warm=True),
    ]
    what = f"edge killed, down for {story.lengths.down_s / 2:.0f} s"
    broken = sum(one.answer.status == 0 for one in reads)
    story.say(f"{what}: its clients' requests without an answer", broken, f"of {len(reads)}")
    story.say(f"{what}: hits not served at the others", lost(others), f"of {len(others)}", "0")
    story.say(f"{what}: from its start to the first hit", serves_s, "s")
    story.say(f"{what}: from its start to level with the origin", ready_s, "s")
    story.say(f"{what}: warm reads not served after that", lost(back), f"of {len(back)} {why(back)}", "0")
    refetched = sum(one.outcome in ("FILL", "JOINED") for one in again)
    story.say(f"{what}: packages that it fetched again", refetched, f"of {len(again)}", "0")
    story.say(f"{what}: bytes through its wire meanwhile", (host.site.passed_bytes() - before) / 1e3, "KB")


def shield_killed(story: Story) -> None:
    """kill -9 of one shield: its edges go over to the origin, and come back when it is there again."""
    world, traffic = story.world, story.traffic
    shield = world.shields[0]
    inside = [host for host in world.edges if host.region == shield.region]
    names = [host.name for host in inside]
    with story.phase("shield killed"):
        killed_s = time.monotonic()
        shield.stop(at_once=True)
        path = f"{traffic.repositories[True]}/generic/while-the-shield-is-away"
        answer = Asker(world.origin).ask("PUT", path, world.bearer, b"z" * 50_000)
        assert answer.status == 201, answer
        for host in inside:
            host.until(path, 200)
        over_s = time.monotonic() - killed_s
        time.sleep(max(0.0, killed_s + story.lengths.down_s - time.monotonic()))
        shield.start()
        shield.until("/-/ready", 200)
        until_s = time.monotonic()
    reads = traffic.reads(killed_s, until_s, names)
    warm = [one for one in reads if one.warm]
    what = f"shield killed, down for {story.lengths.down_s:.0f} s"
    story.say(f"{what}: from its end to a new package at both its edges", over_s, "s")
    story.say(f"{what}: hits not served", lost(warm), f"of {len(warm)}", "0")
    others = [one for one in reads if not one.warm]
    story.say(f"{what}: cold reads not served", lost(others), f"of {len(others)}", note=why(others))
    story.say(f"{what}: publish to visible, the worst", max(traffic.lags(killed_s, until_s, names), default=0), "ms")
