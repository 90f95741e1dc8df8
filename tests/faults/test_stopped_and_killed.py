"""A node that the machine stops, or kills for its memory: it serves nobody whom it should not, and loses nothing that
it said it has (THREATS E10)."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.delivery.processes.workers import WORKER_NAME
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.registry import bearer
from tests.harness.running import get
from tests.harness.waiting import until
from tests.native.test_recall import call

pytestmark = pytest.mark.faults

LEASE_S = 3.0
MEMORY = Path("/sys/fs/cgroup/memory")
SPARE_BYTES = 16 << 20
ASKED_BYTES = 64 << 20


@contextlib.contextmanager
def stopped(node: Served) -> Iterator[None]:
    os.killpg(node.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(node.process.pid, signal.SIGCONT)


def test_e10_an_edge_that_stood_still_past_its_lease_believes_nothing_of_before(tmp_path: Path) -> None:
    """What its origin took back meanwhile is never served, not once, though it had it in memory; what is public and
    what is still allowed comes back by itself."""
    with Pair(tmp_path / "pair", cache={"lease_seconds": LEASE_S}) as pair:
        made = call(pair, "POST", "/tokens", {"name": "leaver", "grants": [{"scope": PRIVATE, "read": True}]})
        for repository in (PRIVATE, PUBLIC):
            path = f"/{repository}/generic/kept.bin"
            assert pair.edge.ask("PUT", path, pair.token, b"kept").status == 201
            assert pair.edge.ask("GET", path, pair.token).status == 200
        lost = f"/{PRIVATE}/generic/kept.bin"
        with contextlib.ExitStack() as open_ones:
            speakers = [open_ones.enter_context(pair.edge.speaker()) for _ in range(20)]
            line = f"GET {lost} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {made['token']}\r\n\r\n".encode()
            for one in speakers:
                one.send(line)
                assert one.hear().status == 200, "warm, and on a connection that stays open"
            with stopped(pair.edge):
                call(pair, "DELETE", f"/tokens/{made['id']}", at=pair.origin)
                time.sleep(LEASE_S + 1)
                for one in speakers:
                    one.send(line)  # read first, before any word of the origin
            statuses = {one.hear().status for one in speakers}
        assert statuses <= {401, 503}
        assert get(pair.edge.url + f"/{PUBLIC}/generic/kept.bin").status == 200
        until(lambda: pair.edge.ask("GET", lost, pair.token).status == 200, "the edge hears its origin again")
        assert get(pair.edge.url + lost, bearer(made["token"])).status == 401
        assert "Traceback" not in pair.words()


@pytest.fixture
def tight() -> Iterator[Path]:
    """A group of processes whose memory can be bounded."""
    group = MEMORY / f"entrepot-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no group of processes can be made here, or there is no memory controller of version 1")
    try:
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


def workers_of(node: Served) -> list[int]:
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == WORKER_NAME]
    return []


def test_e10_an_origin_whose_workers_the_kernel_kills_for_memory_loses_nothing(tmp_path: Path, tight: Path) -> None:
    """While 8 clients publish, the memory of each worker in turn is taken away under it."""
    with contextlib.ExitStack() as stack:
        with inside(tight):
            pair = stack.enter_context(Pair(tmp_path / "pair", workers=2))
        taken: dict[str, bytes] = {}
        ending = False

        def publish(client: int) -> None:
            number = 0
            while not ending:
                body = hashlib.sha256(b"%d %d" % (client, number)).digest() * 4000
                path = f"/{PRIVATE}/generic/{client}/{number}.bin"
                with contextlib.suppress(OSError, urllib.error.URLError):
                    if get(pair.origin.url + path, bearer(pair.token), "PUT", body).status == 201:
                        taken[path] = body
                number += 1

        with ThreadPoolExecutor(8) as clients:
            running = [clients.submit(publish, client) for client in range(8)]
            try:
                for turn in range(4):
                    before = len(taken)
                    until(lambda before=before: len(taken) > before + 20, "clients publish")
                    victim = until(lambda: workers_of(pair.origin))[turn % 2]
                    kills = killed(tight)
                    squeeze(tight, victim)
                    assert killed(tight) > kills, "the kernel kills for memory"
                    until(lambda victim=victim: victim not in workers_of(pair.origin), "it is gone")
                    (tight / "memory.limit_in_bytes").write_text("-1")
                    until(lambda: len(workers_of(pair.origin)) == 2, "another takes its place")
            finally:
                ending = True
            for one in running:
                one.result()
        assert len(taken) > 80
        until(lambda: ready(pair.origin), "it is ready again")
        wrong = [path for path, body in taken.items() if pair.origin.ask("GET", path, pair.token).body != body]
        assert wrong == [], "nothing acknowledged is lost"
        assert pair.origin.process.poll() is None


def ready(node: Served) -> bool:
    with contextlib.suppress(OSError):
        return get(node.url + "/-/ready").status == 200
    return False


def squeeze(group: Path, victim: int) -> None:
    """Leave the group less memory than the next who asks for some needs; the victim is what the kernel takes first."""
    Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
    (group / "memory.force_empty").write_text("0")
    used = int((group / "memory.usage_in_bytes").read_text())
    (group / "memory.limit_in_bytes").write_text(str(used + SPARE_BYTES))
    joins = f"echo $$ > {group}/cgroup.procs; echo 900 > /proc/$$/oom_score_adj"
    subprocess.run(
        ["sh", "-c", f"{joins}; head -c {ASKED_BYTES} /dev/zero | tail"], stdout=subprocess.DEVNULL, check=False
    )


@contextlib.contextmanager
def inside(group: Path) -> Iterator[None]:
    """What is started meanwhile is in the group, with all the memory that it comes to use."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (MEMORY / "cgroup.procs").write_text(str(os.getpid()))


def killed(group: Path) -> int:
    """How many processes of it the kernel has killed for memory."""
    fields = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(fields["oom_kill"])
