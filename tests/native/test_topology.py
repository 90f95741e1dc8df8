"""Do an origin, a shield and edges that enrolled keep what they promise? All processes of their own, mutual TLS
between."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cache.following.follower import SILENCE_SECONDS
from tests.harness.running import ENTREPOT, clean_environment, get
from tests.harness.topologies import Node, Topology, log_of, said


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("topology") / "world") as made:
        yield made


@pytest.fixture
def world(running: Topology) -> Iterator[Topology]:
    """One origin for all; each test has names of its own, and takes its edges with it."""
    yield running
    running.stop_edges()


def test_f5_an_edge_sees_its_workspaces_alone(world: Topology) -> None:
    mine, theirs = world.repository("mine1", "one"), world.repository("theirs1", "secret-name")
    assert world.put(mine, "a/1/a.bin", b"a" * 1000).status == 201
    assert world.put(theirs, "b/1/b.bin", b"b" * 1000).status == 201
    edge = world.edge("tokyo1", "asia", "mine1")
    path = f"/{mine}/generic/a/1/a.bin"
    edge.until(path, 200, world.token)
    assert edge.get(path, world.token).body == b"a" * 1000
    assert edge.get(f"/{theirs}/generic/b/1/b.bin", world.token).status == 404
    edge.stop()
    held = b"".join(one.read_bytes() for one in (edge.data / "index").rglob("*") if one.is_file())
    assert b"mine1" in held
    assert b"secret-name" not in held
    assert b"theirs1" not in held


def test_f5_what_an_edge_is_given_and_loses_takes_effect_on_its_stream(world: Topology) -> None:
    mine, more = world.repository("mine2", "one"), world.repository("more2", "two")
    world.put(mine, "a/1/a.bin", b"a" * 1000)
    world.put(more, "b/1/b.bin", b"b" * 1000)
    edge = world.edge("tokyo2", "asia", "mine2")
    path = f"/{more}/generic/b/1/b.bin"
    edge.until(f"/{mine}/generic/a/1/a.bin", 200, world.token)
    assert edge.get(path, world.token).status == 404
    world.entrepot("edge", "give", "tokyo2", "--workspace", "mine2", "--workspace", "more2")
    edge.until(path, 200, world.token)
    world.put(more, "b/2/b.bin", b"c" * 1000)
    edge.until(f"/{more}/generic/b/2/b.bin", 200, world.token)
    world.entrepot("edge", "give", "tokyo2", "--workspace", "mine2")
    edge.until(path, 404, world.token)
    assert edge.get(f"/{mine}/generic/a/1/a.bin", world.token).status == 200
    world.entrepot("edge", "give", "tokyo2", "--everything")
    edge.until(path, 200, world.token)


def test_f5_a_revoked_edge_loses_its_stream_and_its_fetches_at_once(world: Topology) -> None:
    mine = world.repository("mine3", "one", public=True)
    world.put(mine, "a/1/a.bin", b"a" * 1000)
    world.put(mine, "b/1/b.bin", b"b" * 1000)
    edge = world.edge("tokyo3", "asia")
    edge.until(f"/{mine}/generic/a/1/a.bin", 200)
    assert world.entrepot("edge", "revoke", "tokyo3")["state"] == "revoked"
    edge.until("/-/ready", 503)
    assert edge.get(f"/{mine}/generic/a/1/a.bin").status == 200, "public hits go on"
    assert edge.get(f"/{mine}/generic/b/1/b.bin").status in (502, 503), "what is not here is not fetched any more"
    assert world.put(mine, "c/1/c.bin", b"c" * 1000).status == 201
    assert edge.get(f"/{mine}/generic/c/1/c.bin").status == 404, "and nothing new is heard of"
    edge.stop()
    edge.start()
    edge.until("/-/health", 200)
    assert edge.get("/-/ready").status == 503, "its certificate stays refused"


def test_f5_an_edge_has_no_right_of_its_own_to_write(world: Topology) -> None:
    mine = world.repository("mine4", "one")
    edge = world.edge("tokyo4", "asia")
    target = f"{world.origin.peers}/{mine}/generic/a/1/a.bin"
    assert said(edge.data, "PUT", target, b"mine4") == 403
    assert said(edge.data, "PUT", target, b"mine4", {"X-Entrepot-Relayed": "1"}) == 401
    assert said(edge.data, "POST", f"{world.origin.peers}/-/api/v1/workspaces", b'{"name": "x"}') in (401, 403)
    assert world.put(mine, "a/1/a.bin", b"a" * 100, edge).status == 201, "its clients write by their own right"
    assert edge.get(f"/{mine}/generic/a/1/a.bin", world.token).body == b"a" * 100
    assert said(edge.data, "POST", f"{world.origin.peers}/-/peer/journal", b"") == 200


def test_f5_an_edge_cannot_ask_for_workspaces_of_others(world: Topology) -> None:
    mine, theirs = world.repository("mine5", "one"), world.repository("theirs5", "two", public=True)
    world.put(mine, "a/1/a.bin", b"a" * 100)
    world.put(theirs, "a/1/a.bin", b"a" * 100)
    edge = world.edge("tokyo5", "asia", "mine5")
    base = world.origin.peers
    assert said(edge.data, "GET", f"{base}/{mine}/generic/a/1/a.bin") == 200
    for path in (
        f"{theirs}/generic/a/1/a.bin",
        "-/peer/foreign/theirs5/two/pypi?package=a",
        "-/peer/set/theirs5/two/deb?set=stable",
        "-/peer/certificates/theirs5/two",
    ):
        assert said(edge.data, "GET", f"{base}/{path}") == 404, path
    relayed = {"X-Entrepot-Relayed": "1", "Authorization": f"Bearer {world.token}"}
    assert said(edge.data, "PUT", f"{base}/{theirs}/generic/b/1/b.bin", b"b", relayed) == 404
    assert said(edge.data, "PUT", f"{base}/{mine}/generic/b/1/b.bin", b"b", relayed) == 201


def test_b9_f5_an_edge_that_may_not_see_a_source_opens_it_for_nobody(world: Topology) -> None:
    """It says that its client is in the office, and may say so of one workspace: not of the one that is copied from."""
    mine, theirs = world.repository("mine6", "one"), world.repository("theirs6", "two")
    world.put(theirs, "tool.bin", b"tool")
    bearer = {"Authorization": f"Bearer {world.token}"}
    digest = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    to = f"{world.origin.url}/v2/{theirs}/image/blobs/uploads/?digest={digest}"
    assert get(to, bearer, "POST", b"layer").status == 201
    world.entrepot("network", "allow", theirs, "--network", "10.0.0.0/8")
    world.entrepot("network", "deny", theirs)
    tokyo, gate = world.edge("tokyo6", "asia", "mine6"), world.edge("gate6", "asia", shield=True)
    relayed = bearer | {"X-Entrepot-Relayed": "1", "X-Entrepot-Client": "10.0.0.7", "Content-Type": "application/json"}
    body = json.dumps({"source": theirs, "format": "generic", "package": "tool.bin"}).encode()

    def opened(edge: Node, name: str, **said_too: str) -> tuple[int, int]:
        headers = relayed | {key.replace("_", "-"): value for key, value in said_too.items()}
        mount = f"/v2/{mine}/{name}/blobs/uploads/?mount={digest}&from={theirs}/image"
        copy = f"/-/api/v1/repositories/{mine}/copies"
        asked = [(mount, b""), (copy, body)]
        mounted, copied = (said(edge.data, "POST", world.origin.peers + at, sent, headers) for at, sent in asked)
        return mounted, copied

    assert opened(tokyo, "a") == (202, 403)
    assert opened(gate, "b", X_Entrepot_Client_Within="mine6") == (202, 403), (
        "for an edge behind it that may see no more"
    )
    assert opened(gate, "c", X_Entrepot_Client="192.0.2.1") == (202, 403)
    assert opened(gate, "d") == (201, 200)
    assert said(tokyo.data, "PUT", f"{world.origin.peers}/{mine}/generic/b.bin", b"b", relayed) == 201


def test_f5_a_code_is_good_once_and_for_its_origin_alone(world: Topology, tmp_path: Path) -> None:
    code = world.invite("tokyo7", "asia")
    wrong = code.partition(".")[0] + "." + "A" * 43
    assert "not the origin that made this code" in enrolling(world, tmp_path / "one", wrong)
    assert "no enrolment code" in enrolling(world, tmp_path / "one", code[:-3])
    edge = world._start("tokyo7", ["--role", "edge", "--parent", world.origin.peers, "--enrol", code], peers=False)
    edge.until("/-/ready", 200)
    assert "mistyped, used, or too old" in enrolling(world, tmp_path / "two", code)
    kept = b"".join(one.read_bytes() for one in world.origin.data.rglob("*") if one.is_file())
    assert code.partition(".")[0].encode() not in kept, "C11: the code is known by its hash alone"
    assert (edge.data / "peers" / "key.pem").stat().st_mode & 0o077 == 0
    assert (world.origin.data / "authority.json").stat().st_mode & 0o077 == 0


def test_an_edge_follows_and_fetches_through_a_shield_and_past_it_when_it_is_gone(world: Topology) -> None:
    mine, theirs = world.repository("mine8", "one"), world.repository("theirs8", "two")
    shield = world.edge("gate8", "asia", shield=True)
    edge = world.edge("tokyo8", "asia", "mine8", parents=[shield, world.origin])
    other = world.edge("paris8", "europe", "mine8")
    world.put(mine, "a/1/a.bin", b"a" * 100_000)
    world.put(theirs, "a/1/a.bin", b"a" * 100_000)
    path = f"/{mine}/generic/a/1/a.bin"
    edge.until(path, 200, world.token)
    assert asked(shield, path), "through the shield"
    assert edge.get(f"/{theirs}/generic/a/1/a.bin", world.token).status == 404
    assert said(other.data, "POST", f"{shield.peers}/-/peer/journal", b"") == 503, "the origin gives it no stream there"
    assert said(other.data, "POST", f"{world.origin.peers}/-/peer/journal", b"", {"Entrepot-For": "tokyo8"}) == 404
    assert world.put(mine, "w/1/w.bin", b"w", edge).status == 201, "a write goes up through it"
    shield.stop(signal.SIGKILL)
    assert world.put(mine, "b/1/b.bin", b"b" * 1000).status == 201
    edge.until(f"/{mine}/generic/b/1/b.bin", 200, world.token)
    assert world.put(mine, "x/1/x.bin", b"x", edge).status == 201
    shield.start()
    shield.until("/-/ready", 200)
    deadline_s, number = time.monotonic() + 60, 0
    while not asked(shield, f"/{mine}/generic/c/{number}/c.bin"):
        assert time.monotonic() < deadline_s, "it does not come back to the parent that it prefers"
        number += 1
        world.put(mine, f"c/{number}/c.bin", b"%d" % number)
        edge.until(f"/{mine}/generic/c/{number}/c.bin", 200, world.token)
        time.sleep(0.2)
    time.sleep(2 * SILENCE_SECONDS)  # by now its stream must have gone back, too
    shield.stop()
    streams = [line for line in log_of(shield) if line["target"].endswith("/-/peer/journal")]
    assert [line["principal"] for line in streams if line["status"] == 200].count("tokyo8") >= 1


def test_o5_a_thousand_eager_clients_are_one_fetch_of_a_region(world: Topology) -> None:
    mine = world.repository("mine9", "one", public=True)
    shield = world.edge("gate9", "asia", shield=True)
    edges = [world.edge(f"edge-{number}", "asia", parents=[shield, world.origin]) for number in range(4)]
    body = os.urandom(4 << 20)
    path = f"/{mine}/generic/a/1/a.bin"
    assert world.put(mine, "a/1/a.bin", body).status == 201
    for node in (shield, *edges):  # an edge whose shield does not know the file yet asks the origin itself
        node.until("/-/ready", 200)
        node.until(path, 200, method="HEAD")
    for edge in edges:
        through(world, mine, edge, shield)
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda number: edges[number % 4].get(path), range(200)))
    assert {hashlib.sha256(one.body).digest() for one in answers} == {hashlib.sha256(body).digest()}
    assert len(asked(world.origin, path)) == 1, "one fetch of the origin for the region"
    assert len(asked(shield, path)) == 4, "one fetch of the shield for each edge"


def test_an_edge_that_was_not_invited_as_a_shield_is_nobodys_parent(world: Topology) -> None:
    edge = world.edge("tokyo10", "asia")
    edge.stop()
    edge.start("--peer-port", "1")
    edge.process.wait(60)
    assert "not invited to be a parent" in edge.words()


def through(world: Topology, repository: str, edge: Node, shield: Node) -> None:
    """Until this edge asks its shield: one that began before its shield answered asks the origin for a while."""
    for number in range(60):
        path = f"/{repository}/generic/through/{edge.name}/{number}.bin"
        assert world.put(repository, f"through/{edge.name}/{number}.bin", b"x").status == 201
        shield.until(path, 200, method="HEAD")
        edge.until(path, 200)
        if asked(shield, path):
            return
        time.sleep(0.5)
    raise AssertionError("the edge does not go back to its shield")


def asked(node: Node, path: str) -> list[dict[str, Any]]:
    """The answers with a body that it gave for this path."""
    return [line for line in node.served() if line["target"] == path and line["method"] == "GET" and line["bytes"]]


def enrolling(world: Topology, data: Path, code: str) -> str:
    """What a machine is told that enrols with this code."""
    command = [*ENTREPOT, "serve", "--role", "edge", "--data", str(data), "--port", "1", "--parent", world.origin.peers]
    command[command.index("--port") + 1] = "9"
    done = subprocess.run(
        [*command, "--enrol", code], capture_output=True, text=True, env=clean_environment(), timeout=60
    )
    assert done.returncode != 0
    return " ".join(done.stderr.split())


def test_f5_a_machine_that_was_revoked_comes_back_under_its_name_with_another_key(world: Topology) -> None:
    mine = world.repository("mine", "one")
    world.put(mine, "a/1/a.bin", b"a" * 1000)
    edge = world.edge("tokyo", "asia", "mine")
    held = tuple((edge.data / "peers" / name).read_bytes() for name in ("key.pem", "certificate.pem"))
    with pytest.raises(AssertionError, match="entrepot edge revoke tokyo"):
        world.invite("tokyo", "asia", "mine")
    world.entrepot("edge", "revoke", "tokyo")
    edge.stop()
    shutil.rmtree(edge.data)
    edge.options[edge.options.index("--enrol") + 1] = world.invite("tokyo", "asia", "mine")
    edge.start()
    edge.until(f"/{mine}/generic/a/1/a.bin", 200, world.token)
    states = {one["name"]: one["state"] for one in world.entrepot("edge", "list")["items"]}
    assert states["tokyo"] == "enrolled"
    target = f"{world.origin.peers}/{mine}/generic/a/1/a.bin"
    assert said(edge.data, "GET", target) == 200
    for name, body in zip(("key.pem", "certificate.pem"), held, strict=True):
        (edge.data / "peers" / name).write_bytes(body)
    assert said(edge.data, "GET", target) == 401, "what the lost one had opens nothing"
