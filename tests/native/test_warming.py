"""Does `entrepot warm` leave an edge with the files that a lock file names, each fetched once?"""

import hashlib
import json
import subprocess
from pathlib import Path

from tests.harness.npm_registry import tarball
from tests.harness.running import ENTREPOT, Up, clean_environment
from tests.native.test_python_clients import wheel


def run(node: Up, *arguments: str) -> tuple[int, dict[str, object]]:
    environment = clean_environment() | {"ENTREPOT_URL": node.edge, "ENTREPOT_TOKEN": node.token}
    command = [*ENTREPOT, "warm", node.private, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return done.returncode, told


def test_an_edge_is_warm_after_a_lock_file(node: Up, tmp_path: Path) -> None:
    built = [wheel(tmp_path, "warm-one", version) for version in ("1.0", "2.0")]
    for one in built:
        node.entrepot("push", str(one), "--to", node.private, url=node.edge)
    packed = tmp_path / "warm-two-1.0.0.tgz"
    packed.write_bytes(tarball({"name": "warm-two", "version": "1.0.0"}, {"index.js": b"x" * 9}))
    node.entrepot("push", str(packed), "--to", node.private, url=node.edge)
    locked = tmp_path / "requirements.txt"
    locked.write_text(f"warm-one==1.0 --hash=sha256:{hashlib.sha256(built[0].read_bytes()).hexdigest()}\n")
    size = built[0].stat().st_size
    first = {"packages": 1, "files": 1, "bytes": size, "fetched": 1, "failed": 0, "missing": []}
    assert run(node, "--lock-file", str(locked)) == (0, first)
    assert run(node, "--lock-file", str(locked)) == (0, first | {"fetched": 0}), "it is there by now"
    packages = {"node_modules/warm-two": {"version": "1.0.0", "resolved": "https://elsewhere.example/x.tgz"}}
    npm = tmp_path / "package-lock.json"
    npm.write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    code, told = run(node, "--lock-file", str(npm))
    assert (code, told["files"], told["fetched"]) == (0, 1, 1)
    code, told = run(node, "--query", "warm-", "--format", "pypi")
    assert (code, told["packages"], told["files"], told["fetched"]) == (0, 1, 2, 1), "the other version is new"
    locked.write_text("warm-one==9.9 --hash=sha256:" + "0" * 64 + "\n")
    code, told = run(node, "--lock-file", str(locked))
    assert (code, told["files"], told["missing"]) == (1, 0, ["warm-one 9.9"])
