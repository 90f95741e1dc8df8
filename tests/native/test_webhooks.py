"""Is a receiver told what happened, once at least, signed, whatever dies; and nobody of what is not his (D14, D2)?"""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.harness.receivers import Came, Receiver
from tests.harness.running import Got, get
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native

FILES = 40
QUICK = "[webhooks]\nretry_seconds_min = 0.1\nretry_seconds_max = 0.5\nanswer_seconds_max = 5.0\n"
CANARY = "canary0secret0value0of0a0header"
PATH_CANARY = "/services/T0canary/B0path0of0a0url"


def api(world: Topology, method: str, path: str, body: Any = None, *, token: str = "", node: Node | None = None) -> Got:
    headers = {"Authorization": f"Bearer {token or world.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return get(f"{(node or world.origin).url}/-/api/v1{path}", headers, method, data)


def made(world: Topology, workspace: str, name: str, url: str, **more: Any) -> Any:
    body = {"name": name, "url": url, "private_network": True} | more
    got = api(world, "POST", f"/workspaces/{workspace}/webhooks", body)
    assert got.status == 201, got.body
    return json.loads(got.body)


def test_d14_nothing_is_lost_when_the_node_is_killed_and_every_repeat_has_its_id(tmp_path: Path) -> None:
    """A receiver that hangs, then a killed node: all that was published arrives, by the same ids."""
    hanging = threading.Event()

    def answers(came: Came) -> tuple[int, dict[str, str], bytes]:
        if not hanging.is_set():
            hanging.wait(20)
            return 500, {}, b""
        return 200, {}, b"thanks"

    with Receiver(answers) as receiver, Topology(tmp_path, QUICK) as world:
        repository = world.repository("acme", "builds")
        secret = made(world, "acme", "ci", receiver.url, events=["package.published"])["secret"]
        for number in range(FILES):
            assert world.put(repository, f"tool/{number}.bin", b"x%d" % number).status == 201
        before = receiver.until(lambda came: len(came) >= 1)
        world.origin.stop(signal.SIGKILL)
        hanging.set()
        world.origin.start()
        world.origin.until("/-/ready", 200)
        wanted = {f"tool/{number}.bin" for number in range(FILES)}
        receiver.until(lambda came: wanted <= {one.json["data"]["package"] for one in came})
        by_file: dict[str, set[str]] = {}
        for one in receiver.came:
            assert one.signed_by(secret)
            by_file.setdefault(one.json["data"]["package"], set()).add(one.id)
        assert all(len(ids) == 1 for ids in by_file.values()), "a repeat has the id of the first"
        assert len({next(iter(ids)) for ids in by_file.values()}) == FILES
        assert before[0].id in {one.id for one in receiver.came[len(before) :]}, "what was under way came again"
