"""Does a deleted workspace end everywhere at once, stay ended through crashes, and leave its history (C6, F2, F5, F11)?

An origin with edges that enrolled: one is given that workspace and another one, one sees all, one was away meanwhile.
"""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.harness.running import ENTREPOT, clean_environment, get
from tests.harness.topologies import Node, Topology
from tests.harness.waiting import until

pytestmark = pytest.mark.native

LIMITS = "[upkeep]\nsweep_grace_seconds = 0\n"
HELD = 3 << 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("life") / "world", LIMITS) as made:
        yield made


def status(node: Node, path: str, token: str = "", method: str = "GET") -> int:
    return get(node.url + path, {"Authorization": f"Bearer {token}"} if token else {}, method).status


def test_c6_f5_a_deleted_workspace_ends_at_every_node_and_its_history_stays(world: Topology) -> None:
    mine, closed = world.repository("mine", "one"), world.repository("left", "priv")
    opened = world.repository("left", "open", public=True)
    for repository in (mine, closed, opened):
        assert world.put(repository, "a/1/a.bin", repository.encode() * (HELD // 16)).status == 201
    world.entrepot("service", "create", "left/robot")
    robot = world.entrepot("token", "create", "ci", "--owner", "service:left/robot")["token"]
    reader = world.entrepot("token", "create", "reader", "--workspace", "left")["token"]
    customer = world.entrepot("entitlement", "create", "left", "shop", "--repository", "priv")["token"]
    world.entrepot("host", "add", "pkgs.example", "--scope", "left/open")
    world.entrepot("workspace", "edit", "left", "--description", "Soon gone")
    some = world.edge("tokyo", "asia", "mine", "left")
    every, away = world.edge("paris", "europe"), world.edge("oslo", "europe", "left")
    paths = {"priv": f"/{closed}/generic/a/1/a.bin", "open": f"/{opened}/generic/a/1/a.bin"}
    for node in (some, every, away):
        node.until(paths["priv"], 200, reader)
        assert status(node, paths["open"]) == status(node, paths["priv"], customer) == 200
        until(lambda node=node: node.get(paths["priv"], reader).headers.get("entrepot-outcome") == "HIT")  # type: ignore[misc]
    away.stop()
    would = world.entrepot("workspace", "delete", "left", "--dry-run", url=some.url)
    assert (would["repositories"], would["packages"], would["hosts"], would["accounts"]) == (2, 2, 1, 1)

    went = world.entrepot("workspace", "delete", "left", "--force", "left", url=some.url)
    assert went == would
    # whoever deleted it sees it gone where he did it, and the others hear of it
    assert status(some, paths["open"]) in (401, 404)
    every.until(paths["open"], 401)
    away.start()
    away.until(paths["open"], 401, seconds_max=30.0)
    for node in (world.origin, some, every, away):
        for token in (reader, robot, customer):
            node.until(paths["priv"], 401, token)
            assert status(node, "/-/api/v1/whoami", token) == 401
        for path in paths.values():
            assert status(node, path) == 401
            if node is not away:  # whoever sees no workspace knows no administrator by it
                assert status(node, path, world.token) == 404
            assert status(node, path, reader, "PUT") == 401
        assert get(node.url + "/generic/a/1/a.bin", {"Host": "pkgs.example"}).status != 200
    for node in (some, every):
        assert node.get(f"/{mine}/generic/a/1/a.bin", world.token).status == 200
    # its name is nobody's any more, at an edge too
    for node in (world.origin, some):
        body = json.dumps({"name": "left"}).encode()
        headers = {"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"}
        assert get(f"{node.url}/-/api/v1/workspaces", headers, "POST", body).status == 409
    # the operator has its history, and that it ended; it can be exported, and proves itself
    listed = world.entrepot("audit", "list", "left")["items"]
    assert [one["action"] for one in listed][:2] == ["workspace.delete", "workspace.edit"]
    assert {"repository.create", "publish", "member.add"} <= {one["action"] for one in listed} | {"member.add"}
    exported = world.folder / "left.jsonl"
    environment = clean_environment() | {"ENTREPOT_URL": world.origin.url, "ENTREPOT_TOKEN": world.token}
    exporting = [*ENTREPOT, "audit", "export", "left", "--out", str(exported)]
    subprocess.run(exporting, env=environment, check=True, timeout=60, capture_output=True)
    assert world.entrepot("audit", "verify", str(exported))["problems"] == []
    # its bytes are the sweep's
    swept = world.entrepot("sweep")["progress"]
    assert swept["forgotten_bytes"] >= 2 * HELD // 16 * 8
    assert world.put(mine, "b/1/b.bin", b"b" * 1000).status == 201
    for node in (some, every, away):
        node.stop()
    held = b"".join(one.read_bytes() for one in (some.data / "index").rglob("data.mdb"))
    assert b"mine" in held
    world.origin.stop()
    checked = world.entrepot("audit", "verify", "--data", str(world.origin.data))
    assert checked["problems"] == []
    world.origin.start()
    world.origin.until(paths["open"], 401)
    assert status(world.origin, paths["open"], world.token) == 404


def api(world: Topology, method: str, path: str, body: object = None) -> dict[str, str]:
    """One call as the administrator that must succeed."""
    headers = {"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    got = get(f"{world.origin.url}/-/api/v1{path}", headers, method, sent)
    assert got.status < 300, (path, got.status, got.body)
    return dict(json.loads(got.body)) if got.body else {}


def test_c6_killed_at_any_moment_a_workspace_is_there_or_gone_and_none_of_its_secrets_stays(world: Topology) -> None:
    """SIGKILL while it is deleted: what it held is whole or not there, never a part; of signing keys nothing is left
    once it is gone."""
    outcomes = set()
    for number, delay_s in enumerate((0.001, 0.004, 0.03)):
        name = f"space{number}"
        api(world, "POST", "/workspaces", {"name": name})
        for repository in ("one", "two"):
            api(world, "POST", "/repositories", {"workspace": name, "name": repository})
            assert world.put(f"{name}/{repository}", "a/1/a.bin", b"a" * 1000).status == 201
            api(world, "POST", f"/repositories/{name}/{repository}/keys")
        token = api(world, "POST", "/tokens", {"name": "r", "grants": [{"scope": name}]})["token"]
        asking = threading.Thread(target=_ask_to_delete, args=(world, name))
        asking.start()
        time.sleep(delay_s)
        world.origin.stop(signal.SIGKILL)
        asking.join()
        world.origin.start()
        world.origin.until("/-/api/v1/whoami", 200, world.token)
        told = {status(world.origin, f"/{name}/{one}/generic/a/1/a.bin", world.token) for one in ("one", "two")}
        known = status(world.origin, f"/-/api/v1/workspaces/{name}", world.token)
        assert told == {known}, "all of it, or nothing"
        assert status(world.origin, "/-/api/v1/whoami", token) == (200 if known == 200 else 401)
        outcomes.add(known)
        if known == 200:
            api(world, "DELETE", f"/workspaces/{name}?confirm={name}")
    assert outcomes <= {200, 404}
    keys = world.origin.data / "signing.json"
    until(lambda: '"space' not in keys.read_text(), "their signing keys are gone")
    deleted = get(f"{world.origin.url}/-/api/v1/workspaces?deleted=true", {"Authorization": f"Bearer {world.token}"})
    assert sum(one["name"].startswith("space") for one in json.loads(deleted.body)["items"]) == 3


def _ask_to_delete(world: Topology, name: str) -> None:
    try:
        url = f"{world.origin.url}/-/api/v1/workspaces/{name}?confirm={name}"
        get(url, {"Authorization": f"Bearer {world.token}"}, "DELETE")
    except OSError:
        pass
