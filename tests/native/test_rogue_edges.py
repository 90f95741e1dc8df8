"""What can an edge do that turned against its origin, and what do others do to honest ones? (THREATS F5, F9)

Each speaks with the certificate of an edge that enrolled, to the listener for edges.
"""

import socket
import ssl
from collections.abc import Iterator

import msgspec
import pytest

from bench.hostile.speaking import Reset, Speaker
from gateway.access.limits.tolls import Return, Wish
from tests.harness.topologies import Node, Topology, said
from tests.harness.waiting import until

pytestmark = pytest.mark.native

SIZE = 12 << 20
"""More than the buffers of both sides hold."""
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("rogues") / "world") as made:
        made.repository("mine", "one")
        made.edge("tokyo", "asia", "mine")
        yield made


class Taking:
    """An edge that has taken the first bytes of a body, and no more."""

    def __init__(self, edge: Node, origin: Node, path: str) -> None:
        tls = ssl.create_default_context(cafile=str(edge.data / "peers" / "authority.pem"))
        tls.check_hostname = False
        tls.load_cert_chain(edge.data / "peers" / "certificate.pem", edge.data / "peers" / "key.pem")
        self.speaker = Speaker(origin.peers, context=tls, patience_s=PATIENCE_S)
        self.speaker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        self.speaker.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.status, self.headers = self.speaker._head()

    def rest(self) -> int | None:
        """The length of the body where it comes whole; None where it was cut."""
        with self.speaker:
            try:
                return len(self.speaker._body(self.status, self.headers, head=False))
            except Reset:
                return None


def test_f1_a_body_on_its_way_to_an_edge_goes_on_whatever_others_write(world: Topology) -> None:
    """Anybody who writes anything could else keep all edges from ever having a large file."""
    origin, edge = world.nodes
    assert world.put("mine/one", "big.bin", b"b" * SIZE).status == 201
    taking = Taking(edge, origin, "/mine/one/generic/big.bin")
    assert taking.status == 200
    for number in range(3):
        assert world.put("mine/one", f"small-{number}.bin", b"s").status == 201
        edge.until(f"/mine/one/generic/small-{number}.bin", 200, world.token)
    assert taking.rest() == SIZE


def test_f1_f5_a_body_on_its_way_to_an_edge_that_is_revoked_or_loses_the_workspace_is_cut(world: Topology) -> None:
    origin, _ = world.nodes[:2]
    world.repository("theirs", "two", public=True)
    paths = [f"/{one}/generic/cut.bin" for one in ("mine/one", "theirs/two")]
    assert [world.put(one, "cut.bin", b"c" * SIZE).status for one in ("mine/one", "theirs/two")] == [201, 201]
    stolen, narrowed = world.edge("stolen", "asia"), world.edge("narrowed", "asia", "mine", "theirs")
    cut = [Taking(stolen, origin, path) for path in paths] + [Taking(narrowed, origin, paths[1])]
    spared = Taking(narrowed, origin, paths[0])
    assert [one.status for one in (*cut, spared)] == [200] * 4
    world.entrepot("edge", "give", "narrowed", "--workspace", "mine")
    world.entrepot("edge", "revoke", "stolen")
    until(lambda: "2 bodies on their way were cut" in origin.words(), "those of the one that was revoked are cut")
    assert [one.rest() for one in cut] == [None] * 3
    assert spared.rest() == SIZE
    stolen.stop()
    narrowed.stop()
    del world.nodes[2:]


def test_f5_f9_an_edge_gives_back_no_more_than_it_was_lent(world: Topology) -> None:
    """What others counted stays counted: else one edge of a workspace could undo the limits at all of them."""
    origin, edge = world.nodes
    assert world.put("mine/one", "tool.bin", b"tool").status == 201
    made = world.entrepot("entitlement", "create", "mine", "customer", "--downloads", "2")
    path, text, id = "/mine/one/generic/tool.bin", made["token"], made["id"]
    assert [origin.get(path, text).status for _ in range(3)] == [200, 200, 403]
    used = world.entrepot("entitlement", "show", "mine", id)["used"]
    assert used["downloads"] == 2
    back = msgspec.msgpack.encode(Return(id, used["since_ms"], 2, 1 << 40))
    assert said(edge.data, "POST", f"{origin.peers}/-/peer/toll-back", back) == 200
    assert world.entrepot("entitlement", "show", "mine", id)["used"] == used
    assert origin.get(path, text).status == 403
    assert edge.get(path, text).status == 403
    wish = msgspec.msgpack.encode(Wish(id, 1, 0))
    assert said(edge.data, "POST", f"{origin.peers}/-/peer/toll", wish) == 200
