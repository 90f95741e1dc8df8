"""Is anything lost when the node is killed with SIGKILL at a random durable system call, while clients publish?

strace delivers the signal at the Nth call that writes, syncs, renames or cuts a file, N drawn at random; all processes
of the node die with it. Then it is started again and everything that was ever acknowledged is asked for.
"""

import hashlib
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from bench.clients import Refused
from bench.machine import need
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, ask, entrepot

DURABLE = "write,writev,pwrite64,pwritev,pwritev2,fdatasync,fsync,msync,ftruncate,fallocate,renameat,rename,unlink"
NTH_MAX = 400
PUBLISHERS = 4
ROUND_SECONDS_MAX = 20.0
OLD_SAMPLE = 50
BODY_BYTES_MAX = 40_000
BASE = "/crash/files/generic"


@dataclass(slots=True)
class Ledger:
    """What clients know: digests of what was acknowledged, and of what was tried without an answer."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    tried: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def publish_until_dead(origin: LoneOrigin, ledger: Ledger, run: str, seed: int) -> None:
    """One publisher: small files one after the other, until the connection breaks."""
    chance = random.Random(f"{run} {seed}")
    connection = HTTPConnection("127.0.0.1", origin.port, timeout=10)
    end, number = time.monotonic() + ROUND_SECONDS_MAX, 0
    try:
        while time.monotonic() < end:
            number += 1
            path = f"{BASE}/{run}/{seed}/{number}"
            body = chance.randbytes(chance.randrange(1, BODY_BYTES_MAX))
            sha256 = hashlib.sha256(body).hexdigest()
            with ledger.lock:
                ledger.tried[path] = sha256
            connection.request("PUT", path, body=body, headers=origin.bearer)
            answer = connection.getresponse()
            answer.read()
            if 200 <= answer.status < 300:
                with ledger.lock:
                    ledger.acknowledged[path] = sha256
    except (OSError, HTTPException):
        return
    finally:
        connection.close()


def kill_once(origin: LoneOrigin, ledger: Ledger, number: int, chance: random.Random) -> bool:
    """One start under strace with publishers, until it is dead; False where the drawn call was never reached."""
    nth = chance.randrange(1, NTH_MAX)
    inject = f"inject={DURABLE}:signal=KILL:when={nth}"
    trace = origin.home / "strace.out"
    wrapper = ("strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={DURABLE}", "-e", inject)
    with origin.start(wrapper) as running:
        threads = [
            threading.Thread(target=publish_until_dead, args=(origin, ledger, str(number), seed))
            for seed in range(PUBLISHERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        running.stop(at_once=True)
    return "+++ killed by SIGKILL +++" in trace.read_text()


def listening(port: int) -> bool:
    return ask_quietly(f"http://127.0.0.1:{port}/-/health")


def ask_quietly(url: str) -> bool:
    try:
        return ask("GET", url)[0] == 200
    except (OSError, HTTPException):
        return False


def faults(origin: LoneOrigin, ledger: Ledger, chance: random.Random, latest: str) -> tuple[int, int]:
    """(acknowledged and not served, served wrong) of the files of the latest round and a sample of older ones."""
    lost = corrupt = 0
    new = [path for path in ledger.tried if path.startswith(f"{BASE}/{latest}/")]
    old = [path for path in ledger.acknowledged if not path.startswith(f"{BASE}/{latest}/")]
    for path in [*new, *chance.sample(old, min(OLD_SAMPLE, len(old)))]:
        status, _, body = ask("GET", origin.url + path, origin.bearer)
        if status == 200 and hashlib.sha256(body).hexdigest() != ledger.tried[path]:
            corrupt += 1
        if status != 200 and path in ledger.acknowledged:
            lost += 1
        if status not in (200, 404):
            corrupt += 1
    return lost, corrupt


def run(told: Options) -> Result:
    need("strace")
    seed = int(time.time())
    chance, ledger, origin = random.Random(seed), Ledger(), LoneOrigin(told.home / "crash", "crash/files")
    restarts = Row("restart until healthy", "s", goal="<= 5")
    lost = corrupt = reached = 0
    for number in range(told.count):
        reached += kill_once(origin, ledger, number, chance)
        begin = time.perf_counter()
        with origin.start():
            while not listening(origin.port):
                if time.perf_counter() - begin > ROUND_SECONDS_MAX:
                    raise Refused(f"no health after kill {number}, seed {seed}")
                time.sleep(0.02)
            restarts.ours.append(time.perf_counter() - begin)
            more = faults(origin, ledger, chance, str(number))
        lost, corrupt = lost + more[0], corrupt + more[1]
        print(f"  kill {number}: {len(ledger.acknowledged)} acknowledged, lost {lost}, corrupt {corrupt}", flush=True)
    check = subprocess.run(
        [entrepot(), "fsck", "--deep", "--data", str(origin.home / "data")], capture_output=True, text=True, check=False
    )
    result = Result("crash", notes=[f"seed {seed}; at most the {NTH_MAX}th of a thread's calls of: {DURABLE}"])
    result.rows = [
        Row("kills", "", [float(told.count)], note=f"{reached} at a drawn call, the others at the round's end"),
        Row("acknowledged publishes", "files", [float(len(ledger.acknowledged))]),
        Row("acknowledged and not served", "files", [float(lost)], goal="0"),
        Row("served with wrong bytes or an error", "files", [float(corrupt)], goal="0"),
        restarts,
    ]
    result.notes.append(f"fsck --deep at the end: exit {check.returncode} {check.stdout.strip()[-200:]}")
    return result
