"""What becomes of edges whose origin was put back in time?

Its data directory is copied while it is stopped, more is published and seen everywhere, and the copy is put back: a
journal with less in it than the edges know. They must forget what is no longer true, and never mix the two histories.
"""

import shutil
import time

from bench.regions.asking import Asker
from bench.regions.phases import RECOVERY_SECONDS_MAX, lost, why
from bench.regions.story import Story


def rolled_back(story: Story) -> None:
    """THREATS F3 and E12."""
    world, traffic = story.world, story.traffic
    traffic.quiet.set()
    traffic.settle()
    copy = world.home / "origin-copy"
    world.origin.stop()
    shutil.copytree(world.origin.data, copy, ignore=shutil.ignore_patterns("*.sock"))
    world.origin.start()
    world.origin.until("/-/ready", 200)
    paths = [f"{traffic.repositories[number % 2 == 0]}/generic/lost/{number}" for number in range(story.lengths.lost)]
    asker = Asker(world.origin)
    for path in paths:
        assert asker.ask("PUT", path, world.bearer, f"old {path}".encode()).status == 201
    asker.close()
    for host in world.edges:
        for path in paths:
            host.until(path, 200, world.bearer)
    with story.phase("origin put back"):
        begun_s = time.monotonic()
        world.origin.stop(at_once=True)
        shutil.rmtree(world.origin.data)
        copy.rename(world.origin.data)
        world.origin.start()
        world.origin.until("/-/ready", 200)
        back_s = time.monotonic()
        forgot_s = forgotten(story, paths)
        until_s = time.monotonic()
    what = f"origin put back by {len(paths)} publishes"
    reads = traffic.reads(begun_s, until_s, warm=True)
    public = [one for one in reads if one.public]
    story.say(f"{what}: until no edge serves any of them", forgot_s - back_s, "s", note="from the origin's being ready")
    story.say(f"{what}: public hits not served meanwhile", lost(public), f"of {len(public)}", "0", why(public))
    story.say(
        f"{what}: private hits not served meanwhile", lost(reads) - lost(public), f"of {len(reads) - len(public)}"
    )
    story.say(f"{what}: seen again after that", returned(story, paths), "answers", "0")
    said = sum("starting anew" in host.running.log.read_text() for host in world.hosts if host.running is not None)
    story.say(f"{what}: nodes that told their operator", said, f"of {len(world.hosts) - 1}")
    traffic.quiet.clear()


def forgotten(story: Story, paths: list[str]) -> float:
    """When (monotonic) the last edge had answered 404 for each of them."""
    end_s = time.monotonic() + RECOVERY_SECONDS_MAX
    for host in story.world.edges:
        asker = Asker(host)
        for path in paths:
            while (status := asker.ask("GET", path, story.world.bearer).status) != 404:
                if time.monotonic() > end_s:
                    raise RuntimeError(f"{host.name} still answers {status} for {path}, which the origin has lost")
                time.sleep(0.02)
        asker.close()
    return time.monotonic()


def returned(story: Story, paths: list[str]) -> int:
    """The other history goes on, further than the lost one went: every second path is published anew, with other bytes.

    How often does an edge still show the old bytes, or a path of which only the lost history knows?
    """
    world, wrong = story.world, 0
    anew = paths[::2]
    asker = Asker(world.origin)
    for number, path in enumerate([*anew, *(f"{anew[0]}-{number}" for number in range(2 * len(paths)))]):
        assert asker.ask("PUT", path, world.bearer, f"new {number}".encode()).status == 201
    asker.close()
    for host in world.edges:
        host.until(f"{anew[0]}-{2 * len(paths) - 1}", 200, world.bearer)
        for path in paths:
            status, _, body = host.ask("GET", path, world.bearer)
            wrong += not body.startswith(b"new ") if path in anew else status != 404
    return wrong
