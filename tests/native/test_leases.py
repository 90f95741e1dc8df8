"""What does an edge serve when its origin falls silent? Public things without end, private ones within their lease.

THREATS F2 and E10. The origin is stopped with a signal, so that its connections stay open and say nothing: the least
obvious way of being gone. When the edge last heard it stands in the edge's own file, on the clock of all processes.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import IncompleteRead
from pathlib import Path

import pytest

from cache.following.follower import Contact
from gateway.delivery.processes.workers import WORKER_NAME
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.registry import Image, bearer, fetched_pass
from tests.harness.running import Got, get, seen_in_time
from tests.harness.upstreams import Item, upstream
from tests.harness.waiting import until
from tests.native.test_recall import PATIENCE_S, SIZE, Download, await_cut, call, cut_at, publish

pytestmark = pytest.mark.native

LEASE_S = 6.0
LONG = "demo/long"
REFUSED = (401, 403, 503)


@contextmanager
def silent(node: Served) -> Iterator[None]:
    """All processes of a node stand still."""
    os.killpg(node.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(node.process.pid, signal.SIGCONT)


@dataclass
class Ask:
    """One way of asking for something, and what it gets while it may have it."""

    path: str
    good: int
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, node: Served) -> int:
        """The status; 0 where the answer was cut."""
        try:
            return get(node.url + self.path, self.headers, self.method).status
        except (ConnectionResetError, IncompleteRead):
            return 0


def ways(path: str, token: str, etag: str) -> list[Ask]:
    """Every way of reading a file: whole, a range, a HEAD, a condition that holds."""
    who = bearer(token)
    return [
        Ask(path, 200, headers=who),
        Ask(path, 206, headers=who | {"Range": "bytes=5-9"}),
        Ask(path, 200, "HEAD", who),
        Ask(path, 304, headers=who | {"If-None-Match": etag}),
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("leases") / "pair", cache={"lease_seconds": LEASE_S}) as made:
        call(made, "POST", "/repositories", {"workspace": "demo", "name": "long"})
        told = call(made, "PATCH", f"/repositories/{LONG}", {"lease_s": 300})
        assert (told["public"], told["lease_s"]) == (False, 300)
        yield made


def warmed(pair: Pair, path: str, token: str) -> list[Ask]:
    """All ways to it, once the edge holds it."""

    def held() -> Got | None:
        got = get(pair.edge.url + path, bearer(token))
        assert got.status == 200, got.body
        return got if got.headers.get("entrepot-outcome") == "HIT" else None

    return ways(path, token, until(held, path).headers["etag"])


def test_f2_private_hits_all_within_the_lease_and_none_after(pair: Pair) -> None:
    private: list[Ask] = []
    public: list[Ask] = []
    long: list[Ask] = []
    for size in (500, 300_000):  # from memory, and by sendfile
        private += warmed(pair, publish(pair, PRIVATE, f"file-{size}", size), pair.token)
        public += warmed(pair, publish(pair, PUBLIC, f"file-{size}", size), "")
        long += warmed(pair, publish(pair, LONG, f"file-{size}", size), pair.token)
    private += [Ask(f"/{PRIVATE}/generic/", 200, headers=bearer(pair.token))]
    with upstream() as source:
        source.items["/g/a/1/a-1.jar"] = Item(b"pulled" * 9000)
        new = {"format": "maven", "url": f"{source.url}/", "private_network": True}
        call(pair, "POST", f"/repositories/{PRIVATE}/upstreams", new)
        private += warmed(pair, f"/{PRIVATE}/maven/g/a/1/a-1.jar", pair.token)
        private += _of_an_image(pair)
        stalled = [
            Download(pair.edge, _large(pair, repository, name), token, tls=tls)
            for name, repository, token, tls in (
                ("lost", PRIVATE, pair.token, False),
                ("lost-sealed", PRIVATE, pair.token, True),
                ("lost-coming", PRIVATE, pair.token, False),
                ("kept", PUBLIC, "", False),
                ("kept-long", LONG, pair.token, False),
            )
        ]
        before = cut_at(pair.edge)
        with silent(pair.origin):
            _through_the_lease(pair, private, [*public, *long])
            await_cut(pair.edge, before)
            _after_the_lease(pair, private[0].path, public)
            assert [one.rest() for one in stalled] == [None, None, None, SIZE, SIZE]
        end = time.monotonic() + PATIENCE_S
        while [ask(pair.edge) for ask in private] != [ask.good for ask in private]:
            assert time.monotonic() < end, "it does not recover by itself"


def _large(pair: Pair, repository: str, name: str) -> str:
    """One that a client does not take at once; the edge holds it, but for the one that it is to lose while it comes."""
    path = publish(pair, repository, name)
    if "coming" not in name:
        warmed(pair, path, pair.token)
    return path


def _of_an_image(pair: Pair) -> list[Ask]:
    """By the token itself and by a pass of it, which is not older than the lease."""
    image = Image(pair.origin.url, f"{PRIVATE}/app", bearer(pair.token))
    digest = image.push("1", b"layer" * 5000)
    allowed = fetched_pass(pair.edge.url, pair.token, f"repository:{PRIVATE}/app:pull")
    at = f"/v2/{PRIVATE}/app/manifests"
    for reference in ("1", digest):  # pushed at the origin: the edge has it some milliseconds later
        assert seen_in_time(f"{pair.edge.url}{at}/{reference}", bearer(pair.token)).status == 200
    return [
        Ask(f"{at}/{reference}", 200, method, bearer(secret))
        for reference in ("1", digest)
        for secret in (pair.token, allowed)
        for method in ("GET", "HEAD")
    ]


def _through_the_lease(pair: Pair, private: list[Ask], always: list[Ask]) -> None:
    """Each answer is judged by when it was asked for and when it came."""
    contact = Contact(pair.edge.data / "follower.lock")
    inside = outside = 0
    while outside < 2 * len(private):
        for ask in private:
            before_s = time.monotonic()
            status = ask(pair.edge)
            after_s = time.monotonic()
            ends_s = contact.read()[3] + LEASE_S
            if after_s < ends_s:
                assert status == ask.good, ask
                inside += 1
            elif before_s > ends_s:
                assert status == 503, ask
                outside += 1
        for ask in always:
            assert ask(pair.edge) == ask.good, ask
    assert inside > len(private)


def _after_the_lease(pair: Pair, path: str, public: list[Ask]) -> None:
    """Refused in the client's words, with word of when to come back; the API tells nothing either."""
    said = get(pair.edge.url + path, bearer(pair.token))
    assert (said.status, said.headers["retry-after"]) == (503, "2")
    assert b"lost its origin" in said.body
    said = get(f"{pair.edge.url}/v2/{PRIVATE}/app/manifests/1", bearer(pair.token))
    assert (said.status, json.loads(said.body)["errors"][0]["code"]) == (503, "UNAVAILABLE"), said.body
    api = f"{pair.edge.url}/-/api/v1"
    assert get(f"{api}/repositories/{PRIVATE}/packages?format=generic", bearer(pair.token)).status == 503
    told = json.loads(get(f"{api}/status", bearer(pair.token)).body)
    assert told["connected"] is False
    assert "serials" not in told
    for method, target in (("PUT", f"/{PUBLIC}/generic/new"), ("POST", "/-/api/v1/workspaces"), ("DELETE", path)):
        said = get(pair.edge.url + target, bearer(pair.token), method, b"{}")
        assert (said.status, said.headers["retry-after"]) == (503, "2"), (method, target, said)
    health = get(f"{pair.edge.url}/-/health")
    assert (health.status, json.loads(health.body)["connected"]) == (200, False)
    for ask in public:
        assert ask(pair.edge) == ask.good


def test_f2_an_edge_that_starts_alone_goes_on_where_it_was(pair: Pair) -> None:
    """A restart renews no lease: the contact is the machine's, not the process's."""
    private, public = publish(pair, PRIVATE, "again", 900), publish(pair, PUBLIC, "again", 900)
    for path in (private, public):
        warmed(pair, path, pair.token)
    heard_s = Contact(pair.edge.data / "follower.lock").read()[3]
    assert heard_s > 0
    with silent(pair.origin):
        while get(pair.edge.url + private, bearer(pair.token)).status == 200:
            time.sleep(0.1)
        worker = _worker_of(pair.edge)
        os.kill(worker, signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < end
            try:
                if get(pair.edge.url + public).status == 200:
                    break
            except OSError:
                time.sleep(0.1)
        assert _worker_of(pair.edge) != worker
        assert get(pair.edge.url + private, bearer(pair.token)).status == 503


def _worker_of(node: Served) -> int:
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == WORKER_NAME)
