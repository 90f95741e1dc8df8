"""Does an edge stay an edge when its certificate comes to its end? Renewed in time, used at once, and hits whatever
happens (THREATS F6)."""

import datetime
import json
import signal
import time
from collections.abc import Iterator

import pytest
from cryptography import x509

from gateway.access.peers import authority, membership
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native

DAY_S = 24 * 3600
SHORT_S = 40
"""Longer than two nodes take to start, one behind the other, on a machine that has much to do."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("enrolment") / "world") as made:
        yield made


def given(world: Topology, edge: Node, seconds: float, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The stopped edge has a certificate for its own key that is good for so long from now on; its bytes."""
    request = json.loads(membership._asked(membership._key(edge.data / "peers" / "key.pem"), ""))["request"]
    about = json.loads((edge.data / "peers" / "edge.json").read_bytes())
    with monkeypatch.context() as short:
        short.setattr(authority, "CERTIFICATE_DAYS", seconds / DAY_S)
        signing = authority.Authority(world.origin.data / authority.FILE_NAME)
        made, _ = signing.enrolled(request, about["name"], parent=about["parent"])
    path = edge.data / "peers" / "certificate.pem"
    path.write_text(made)
    return path.read_bytes()


def ends(edge: Node) -> datetime.datetime:
    held = x509.load_pem_x509_certificate((edge.data / "peers" / "certificate.pem").read_bytes())
    return held.not_valid_after_utc


def test_f6_certificates_are_renewed_in_time_also_behind_a_shield(
    world: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are used at once: nobody starts these nodes again before the old ones are over."""
    mine = world.repository("mine", "one", public=True)
    shield = world.edge("gate", "asia", shield=True)
    edge = world.edge("tokyo", "asia", parents=[shield, world.origin])
    for node in (edge, shield):
        node.stop()
    old = {node.name: given(world, node, SHORT_S, monkeypatch) for node in (shield, edge)}
    over_s = time.monotonic() + SHORT_S
    for node in (shield, edge):
        node.start()
        node.until("/-/ready", 200)
    end_s = time.monotonic() + 60
    for node in (shield, edge):
        while (node.data / "peers" / "certificate.pem").read_bytes() == old[node.name]:
            assert time.monotonic() < end_s, f"{node.name} does not renew its certificate: {node.words()}"
            time.sleep(0.05)
        assert ends(node) > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)
    time.sleep(max(0.0, over_s + 1 - time.monotonic()))
    world.origin.stop(signal.SIGKILL)  # every connection that was made under the old ones ends
    world.origin.start()
    world.origin.until("/-/ready", 200)
    assert world.put(mine, "a/1/a.bin", b"a" * 1000).status == 201
    for node in (shield, edge):
        node.until(f"/{mine}/generic/a/1/a.bin", 200)
    assert world.put(mine, "b/1/b.bin", b"b" * 1000, edge).status == 201, "writes go up, too"


def test_f6_hits_go_on_under_a_certificate_that_is_over(world: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, private = world.repository("kept", "one", public=True), world.repository("kept", "two")
    for repository in (mine, private):
        assert world.put(repository, "a/1/a.bin", b"a" * 1000).status == 201
    edge = world.edge("paris", "europe")
    edge.until(f"/{mine}/generic/a/1/a.bin", 200)
    edge.until(f"/{private}/generic/a/1/a.bin", 200, world.token)
    edge.stop()
    given(world, edge, -60, monkeypatch)
    edge.start()
    edge.until(f"/{mine}/generic/a/1/a.bin", 200)
    edge.until("/-/ready", 503)
    assert world.put(mine, "b/1/b.bin", b"b", edge).status == 503, "it cannot speak for anybody any more"
    assert edge.get(f"/{mine}/generic/a/1/a.bin").body == b"a" * 1000
    assert "is over" in edge.words()
    assert "entrepot edge invite" in edge.words(), "and its operator is told what to do"
