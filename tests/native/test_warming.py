"""Does `entrepot warm` leave an edge with what a lock file names or a query finds, each file fetched once?"""

import hashlib
import json
from pathlib import Path

from tests.harness import commandline, debs, images
from tests.harness.npm_registry import tarball
from tests.harness.registry import Image, bearer
from tests.harness.running import Up, clean_environment, get
from tests.native.test_python_clients import wheel


def run(node: Up, *arguments: str) -> tuple[int, dict[str, object]]:
    environment = clean_environment() | {"ENTREPOT_URL": node.edge, "ENTREPOT_TOKEN": node.token}
    done = commandline.run(["warm", node.private, *arguments, "--json"], environment)
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
    code, told = run(node, "--query", "name:^warm- format:pypi")
    assert (code, told["packages"], told["files"]) == (0, 1, 4), "two wheels, and the metadata beside each"
    assert told["fetched"] == 3, "but for the wheel that was there"
    locked.write_text("warm-one==9.9 --hash=sha256:" + "0" * 64 + "\n")
    code, told = run(node, "--lock-file", str(locked))
    assert (code, told["files"], told["missing"]) == (1, 0, ["warm-one 9.9"])


def put(node: Up, path: str, body: bytes) -> None:
    url = f"{node.origin}/{node.private}/{path}"
    done = get(url, {"Authorization": f"Bearer {node.token}"}, "PUT", body)
    assert done.status in (200, 201), done.body


def outcome(node: Up, path: str) -> str:
    """How an edge comes by a file."""
    got = get(node.edge + path, {"Authorization": f"Bearer {node.token}"})
    assert got.status == 200, got.body
    return got.headers["entrepot-outcome"]


def test_a_query_warms_packages_of_every_format_and_an_image_with_all_of_it(node: Up) -> None:
    """By the addresses that each room tells: what a client then asks for at its own is here."""
    put(node, "generic/query/a%20b+c/file%231.bin", b"generic")
    put(node, "deb/upload/stable/main/query-deb_1.0_all.deb", debs.deb("query-deb", "1.0"))
    jar = "org/acme/query/1.0/query-1.0.jar"
    put(node, f"maven/{jar}", b"PK a jar")
    image = Image(node.origin, f"{node.private}/query-image", bearer(node.token))
    digest = image.push("v1", b"one" * 500, b"two" * 500)
    signature = images.manifest(b"{}", b"signed")
    for blob in (b"{}", b"signed"):
        image.push_blob(blob)
    about = f"{digest.replace(':', '-')}.sig"
    assert image.push_manifest(signature, about).status == 201
    image.push("v2", b"not this")

    for format, files in (("generic", 1), ("deb", 1), ("maven", 1)):
        code, told = run(node, "--query", f"name:query format:{format}")
        assert (code, told["files"], told["fetched"], told["missing"]) == (0, files, files, []), (format, told)
    code, told = run(node, "--query", "format:oci name:query-image tag:v1")
    assert (code, told["packages"], told["failed"], told["missing"]) == (0, 1, 0, [])
    assert told["files"] == 6, "two manifests, two layers and a signature, and the configuration of both"
    held = f"/v2/{node.private}/query-image"
    home = f"/{node.private}"
    for path in (
        f"{home}/generic/query/a%20b+c/file%231.bin",
        f"{home}/deb/pool/query-deb/query-deb_1.0_all.deb",
        f"{home}/maven/{jar}",
        f"{held}/manifests/v1",
        f"{held}/manifests/{about}",
        f"{held}/blobs/{images.digest_of(b'one' * 500)}",
    ):
        assert outcome(node, path) == "HIT", path
    assert outcome(node, f"{held}/blobs/{images.digest_of(b'not this')}") == "FILL", "nobody asked for this one"
    assert run(node, "--query", "name:nothing-of-the-kind") == (
        0, {"packages": 0, "files": 0, "bytes": 0, "fetched": 0, "failed": 0, "missing": []}
    )  # fmt: skip
