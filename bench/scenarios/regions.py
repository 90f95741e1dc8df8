"""What do several regions make of a crowd, a cut wire, killed nodes, and an origin that was put back in time?

An origin, a shield and two edges in each of two regions, and a foreign registry outside; each a host of its own, with
delay, loss and bandwidth between. Everything happens while clients read and publish. `--count` clients are the crowd,
`--big-bytes` is what it asks for, of which each reads `--share-bytes`.
"""

import sys
from contextlib import ExitStack

from bench.machine import use_all_cores
from bench.numbers import size_text
from bench.options import Options
from bench.regions import history, phases, ranges
from bench.regions.outside import Outside
from bench.regions.story import Lengths, Story
from bench.regions.traffic import PUBLISHES_PER_SECOND, READS_PER_SECOND, Traffic
from bench.regions.world import BETWEEN, WITHIN, World, world
from bench.report import Result

QUICK = Lengths(steady_s=3, cut_s=9, lease_s=5, down_s=2, away_s=3, hits=1, packages=60, lost=5)


def run(told: Options) -> Result:
    """All phases, or with `--cases` those whose name contains it."""
    use_all_cores()
    lengths = QUICK if told.quick else Lengths()
    with ExitStack() as stack:
        made = stack.enter_context(world(told.home))
        story, congestion = told_story(made, lengths, told, stack), made.congestion()
    result = Result("regions", rows=story.rows, notes=story.notes)
    result.moments, result.phases = story.moments(), story.told_phases()
    result.conditions["regions"] = (
        f"{len(made.edges)} edges, {len(made.shields)} shields, one origin; one worker each, all on this machine"
    )
    result.conditions["wires"] = (
        f"two regions: {4 * BETWEEN.way_ms:.0f} ms there and back, {BETWEEN.mbit} Mbit/s, loss {2 * BETWEEN.loss:.1%}; "
        f"in a region: {4 * WITHIN.way_ms:.0f} ms, {WITHIN.mbit} Mbit/s; TCP: {congestion}"
    )
    result.conditions["asked"] = (
        f"{READS_PER_SECOND:.0f} reads a second at each edge, Zipf over {lengths.packages} packages, half of them "
        f"private; {PUBLISHES_PER_SECOND:.0f} publishes a second; {size_text(told.big_bytes)} to {told.count} clients"
    )
    result.notes += [
        "a hit is what an edge has answered for before; clients stand in their edge's own site",
        "what is lost on a wire is what TCP hands to a network card at once, up to 64 KB",
    ]
    return result


def told_story(made: World, lengths: Lengths, told: Options, stack: ExitStack) -> Story:
    public = made.repository("public", public=True, lease_s=lengths.lease_s)
    private = made.repository("private", public=False, lease_s=lengths.lease_s)
    outside = Outside(told.home, made.outside, told.big_bytes, stack)
    upstream = {"format": "pypi", "url": outside.url, "private_network": True}
    made.api("POST", f"/repositories{public}/upstreams", upstream)
    traffic = Traffic(made, public, private, lengths.packages)
    story = Story(made, traffic, lengths)
    if told.cases in "cold":
        phases.cold(story, outside, public, told.count, told.share_bytes)
    with traffic:
        for phase in (
            phases.steady,
            phases.partition,
            phases.origin_killed,
            phases.edge_killed,
            phases.shield_killed,
            history.rolled_back,
        ):
            if told.cases in phase.__name__:
                print(f"... {phase.__name__}", file=sys.stderr)
                phase(story)
        if told.cases in "far_range":
            ranges.far_range(story, 10 * told.big_bytes)
    return story
