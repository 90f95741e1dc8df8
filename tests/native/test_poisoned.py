"""Does a change that one build of an edge cannot take in leave that edge standing? THREATS F10.

One edge has a fault put into its fold: some settings of one repository make it raise. It serves what it has, hears what
comes behind, says what is missing and what to do, and has all of it again once the change is made anew, or once it is
of another build.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commandline import run
from tests.harness.running import clean_environment
from tests.harness.topologies import Node, Topology
from tests.harness.waiting import until

pytestmark = pytest.mark.native

LEASE = "[cache]\nlease_seconds = 2.0\n"
FAULT = """
from storage.index import fold, holes
from storage.nouns import PutRepository

good = fold._FOLDS[PutRepository]

def folded(at, change):
    good(at, change)
    if change.repository.name == "two" and (change.repository.quota_bytes == 66_666 or change.repository.networks):
        raise KeyError("a fault of this build")

fold._FOLDS[PutRepository] = folded
holes.build = lambda: "an older one"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    fault = tmp_path / "fault"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(FAULT)
    faulty = {"PYTHONPATH": str(fault)}
    with Topology(tmp_path / "world", LEASE, lambda name: faulty if name == "tokyo" else {}) as world:
        yield world


def holes_of(world: Topology, edge: Node) -> list[dict[str, Any]]:
    """What it says of itself, once it has heard all that the origin said until now."""
    serials = json.loads(world.origin.get("/-/api/v1/status", world.token).body)["serials"]
    end_s = time.monotonic() + 30
    while True:
        told = json.loads(edge.get("/-/api/v1/status", world.token).body)
        if told.get("serials") == serials:
            found: list[dict[str, Any]] = told["holes"]
            return found
        assert time.monotonic() < end_s, f"{told} is not {serials}: {edge.words()}"
        time.sleep(0.02)


def test_f10_an_edge_stands_says_what_it_lacks_and_comes_to_it_again(world: Topology) -> None:
    public = world.repository("mine", "one", public=True)
    private, other = world.repository("mine", "two"), world.repository("other", "three")
    paths = {place: f"/{place}/generic/a/1/a.bin" for place in (public, private, other)}
    for place in paths:
        assert world.put(place, "a/1/a.bin", b"a").status == 201
    bad, well = world.edge("tokyo", "asia"), world.edge("paris", "europe")
    for edge in (bad, well):
        for path in paths.values():
            edge.until(path, 200, world.token)
    assert holes_of(world, bad) == []

    # a setting that takes nothing from anybody: all goes on, and it is said
    world.entrepot("quota", "set", private, "66666", url=bad.url)
    (hole,) = holes_of(world, bad)
    assert (hole["workspace"], hole["repository"], hole["closes"]) == ("mine", "two", [])
    assert hole["why"].startswith("KeyError at sitecustomize.py:")
    assert holes_of(world, well) == []
    assert f"entry {hole['serial']} of mine" in bad.words()
    assert "a fault of this build" not in bad.words()
    token = world.entrepot("token", "create", "reader", "--repository", private, "--read", url=bad.url)
    assert bad.get(paths[private], token["token"]).status == 200
    world.entrepot("token", "revoke", token["id"])
    bad.until(paths[private], 401, token["token"], seconds_max=5)
    metrics = bad.get("/-/metrics", world.token).body.decode()
    assert "entrepot_feed_holes 1\n" in metrics
    assert 'entrepot_feed_workspace_holes{workspace="mine"} 1\n' in metrics
    assert "entrepot_feed_closed{" not in metrics
    assert "not taken in: entry" in said(world, bad)
    until(lambda: told_at_origin(world).get("tokyo") == [hole], "the origin is told")
    until(lambda: told_at_origin(world).get("paris") == [], "and by the other edge")

    # one that might: its workspace's private packages go with their lease, nobody else's
    world.entrepot("network", "allow", private, "--network", "127.0.0.0/8")
    bad.until(paths[private], 503, world.token, seconds_max=20)
    for path in (paths[public], paths[other]):
        assert bad.get(path, world.token).status == 200
    assert well.get(paths[private], world.token).status == 200
    the_api_tells_no_more_than_is_served(world, bad, private)
    assert holes_of(world, bad)[-1]["closes"] == ["mine"]
    assert 'entrepot_feed_closed{workspace="mine"} 1\n' in bad.get("/-/metrics", world.token).body.decode()
    assert "private packages of mine are refused" in said(world, bad)
    assert bad.get("/-/ready").status == 200
    until(lambda: len(told_at_origin(world).get("tokyo", ())) == 2, "the origin is told of the other one")
    the_origin_tells_of_both(world, bad)
    assert world.put(other, "b/1/b.bin", b"b", bad).status == 201, "what is written through it is seen at it"
    assert bad.get(f"/{other}/generic/b/1/b.bin", world.token).body == b"b"

    # made anew, as the origin has it now, it is not missing any more
    world.entrepot("quota", "set", private, "0")
    world.entrepot("network", "remove", private, "1")
    bad.until(paths[private], 200, world.token, seconds_max=20)
    assert holes_of(world, bad) == []

    # and another build learns by itself what this one could not
    world.entrepot("network", "allow", private, "--network", "127.0.0.0/8")
    assert holes_of(world, bad)[-1]["closes"] == ["mine"]
    bad.stop()
    bad.environment.clear()
    bad.start()
    bad.until(paths[private], 200, world.token)
    assert holes_of(world, bad) == []
    until(lambda: told_at_origin(world) == {"tokyo": [], "paris": []}, "the origin hears that all is well")
    assert bad.words().count("Traceback") == 0


def the_origin_tells_of_both(world: Topology, bad: Node) -> None:
    """In words and numbers, and through the edge itself."""
    listed = said(world, world.origin, "edge", "list").splitlines()
    (line,) = (one.split("\t") for one in listed if one.startswith("tokyo"))
    assert line[8] == "2 entries, refuses private packages of mine"
    words = said(world, bad, "edge", "show", "tokyo")
    assert "private packages of mine are refused there. Upgrade this edge, or make the change anew." in words
    told = world.origin.get("/-/metrics", world.token).body.decode()
    for name, value in (("holes", 2), ("closed_workspaces", 1)):
        assert f'entrepot_edge_{name}{{edge="tokyo",region="asia"}} {value}\n' in told
        assert f'entrepot_edge_{name}{{edge="paris",region="europe"}} 0\n' in told
    logged = '"message":"an edge could not take in entries","edge":"tokyo","count":2,"closes":"mine"'
    assert logged in world.origin.words()


def the_api_tells_no_more_than_is_served(world: Topology, bad: Node, private: str) -> None:
    """F2: of what its packages are refused of it lists nothing either, and a search says that it does not."""
    for address in (f"/repositories/{private}/packages?format=generic", f"/repositories/{private}", "/workspaces/mine"):
        got = bad.get(f"/-/api/v1{address}", world.token)
        assert (got.status, got.headers["retry-after"]) == (503, "2"), (address, got.body)
    told = json.loads(bad.get("/-/api/v1/search?q=format:generic", world.token).body)
    assert ({one["repository"] for one in told["items"]}, told["left_out"]) == ({"one", "three"}, 1)
    environment = clean_environment() | {"ENTREPOT_URL": bad.url, "ENTREPOT_TOKEN": world.token}
    done = run(("search", "format:generic"), environment)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert "1 repository is left out." in done.stderr
    refused = run(("copy", "--query", "format:generic", "--to", "other/three"), environment)
    assert refused.returncode != 0, "nobody does to a part what he means to do to all"
    assert "may not tell of all" in refused.stderr


def told_at_origin(world: Topology) -> dict[str, list[dict[str, Any]]]:
    """What each edge lacks, as its origin knows; an edge that it has not heard yet is not there."""
    items = world.entrepot("edge", "list")["items"]
    return {one["name"]: one["report"]["holes"] for one in items if one["report"] is not None}


def said(world: Topology, node: Node, *command: str) -> str:
    """What `entrepot status`, or another command, shows an operator."""
    environment = clean_environment() | {"ENTREPOT_URL": node.url, "ENTREPOT_TOKEN": world.token}
    done = run(command or ("status",), environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
