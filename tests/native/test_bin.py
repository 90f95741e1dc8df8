"""The recycle bin at an origin and its edge: deleted by clients and by name, seen no more, back as it was (issue 5).

One story over one pair of nodes, since each start costs seconds; the edge is asked wherever an edge can be.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.distributions import wheel
from tests.harness.npm_registry import document
from tests.harness.pairs import PRIVATE, Pair, Served
from tests.harness.running import ENTREPOT, clean_environment

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("bin") / "pair", workers=2, upkeep={"sweep_grace_seconds": 0}) as made:
        yield made


def did(pair: Pair, *arguments: str, node: Served | None = None) -> dict[str, object]:
    """What a command told, which must have succeeded; at the edge, where nothing else is said."""
    code, told, words = pair.entrepot(*arguments, node=node or pair.edge)
    assert code == 0, words
    assert isinstance(told, dict)
    return told


def status(pair: Pair, path: str) -> tuple[int, int]:
    """At the origin and at the edge."""
    return pair.origin.ask("GET", path, pair.token).status, pair.edge.ask("GET", path, pair.token).status


def put(pair: Pair, path: str, body: bytes) -> int:
    return pair.edge.ask("PUT", path, pair.token, body).status


def usage(pair: Pair) -> tuple[int, int]:
    told = did(pair, "quota", "show", PRIVATE)
    return int(str(told["bytes"])), int(str(told["bin_bytes"]))


def test_the_story_of_a_bin(pair: Pair, tmp_path: Path) -> None:
    assert did(pair, "repo", "edit", PRIVATE, "--bin", "30d")["bin_s"] == 30 * 24 * 3600
    publish(pair, tmp_path)
    full, none = usage(pair)
    assert none == 0

    # by the client's own protocol, by name, and by a query: all go the same way, and the edge sees each at once
    assert pair.edge.ask("DELETE", f"/{PRIVATE}/generic/a/x", pair.token).status == 204
    assert did(pair, "delete", f"{PRIVATE}/npm/demo@1.0.0")["failed"] == []
    would = did(pair, "delete", "--query", "name:acme-demo AND version:<2", "--in", PRIVATE, "--dry-run")
    assert would["items"] == [{"item": f"{PRIVATE}/pypi/acme-demo@1.0", "would": "delete"}]
    assert pair.entrepot("delete", "--query", "name:acme-demo AND version:<2")[0] == 2
    gone = did(pair, "delete", "--query", "name:acme-demo AND version:<2", "--in", PRIVATE, "--yes")
    assert [one["item"] for one in gone["items"]] == [f"{PRIVATE}/pypi/acme-demo@1.0"]  # type: ignore[attr-defined]
    for path in ("generic/a/x", "npm/demo/-/demo-1.0.0.tgz", "pypi/files/acme-demo/acme_demo-1.0-py3-none-any.whl"):
        assert status(pair, f"/{PRIVATE}/{path}") == (404, 404), path
    assert b"acme_demo-1.0-" not in pair.edge.ask("GET", f"/{PRIVATE}/pypi/simple/acme-demo/", pair.token).body
    listed = did(pair, "bin", "list", PRIVATE)["items"]
    assert isinstance(listed, list)
    assert sorted((one["format"], one["package"], one["version"]) for one in listed) == [
        ("generic", "a/x", ""), ("npm", "demo", "1.0.0"), ("pypi", "acme-demo", "1.0"),
    ]  # fmt: skip
    seen, binned = usage(pair)
    assert (seen + binned, binned > 0) == (full, True)

    # the names are taken (C15), the bytes are held, whatever is swept
    assert put(pair, f"/{PRIVATE}/generic/a/x", b"other") == 409
    swept = did(pair, "sweep", "--wait", node=pair.origin)
    assert swept["problem"] == "", swept
    assert did(pair, "restore", f"{PRIVATE}/pypi/acme-demo@1.0")["failed"] == []
    ids = [one["id"] for one in listed if one["format"] != "pypi"]
    assert did(pair, "restore", PRIVATE, *ids)["failed"] == []
    for path in ("generic/a/x", "npm/demo/-/demo-1.0.0.tgz", "pypi/files/acme-demo/acme_demo-1.0-py3-none-any.whl"):
        assert status(pair, f"/{PRIVATE}/{path}") == (200, 200), path
    assert usage(pair) == (full, 0)
    packument = json.loads(pair.edge.ask("GET", f"/{PRIVATE}/npm/demo", pair.token).body)
    assert packument["dist-tags"] == {"latest": "1.0.0"}

    # taken out by right alone, and then the name of a format that gives names again is free
    assert did(pair, "delete", f"{PRIVATE}/generic/a/x")["failed"] == []
    assert pair.entrepot("restore", f"{PRIVATE}/generic/never", node=pair.edge)[0] == 3
    assert did(pair, "bin", "empty", PRIVATE, "--yes") == {"emptied": 1}
    assert put(pair, f"/{PRIVATE}/generic/a/x", b"other") == 201
    actions = [one["action"] for one in did(pair, "audit", "list", "demo", node=pair.origin)["items"]]  # type: ignore[attr-defined]
    for action in ("package.delete", "package.restore", "bin.empty", "delete"):
        assert action in actions


def publish(pair: Pair, folder: Path) -> None:
    for version in ("1.0", "2.0"):
        file = folder / f"acme_demo-{version}-py3-none-any.whl"
        file.write_bytes(wheel("acme-demo", version))
        did(pair, "push", str(file), PRIVATE)
    assert put(pair, f"/{PRIVATE}/generic/a/x", os.urandom(5_000)) == 201
    assert put(pair, f"/{PRIVATE}/npm/demo", json.dumps(document("demo", "1.0.0")).encode()) in (200, 201)


def test_a_bin_outlives_its_index(pair: Pair) -> None:
    """Rebuilt from the journal, the bin holds what it held, and it comes back (O3, E11)."""
    did(pair, "delete", f"{PRIVATE}/pypi/acme-demo@2.0")
    before = did(pair, "bin", "list", PRIVATE, node=pair.origin)
    assert pair.origin.stop() == 0
    data = str(pair.origin.data)
    for command in ("rebuild-index", "fsck"):
        done = subprocess.run(
            [*ENTREPOT, command, "--data", data], capture_output=True, env=clean_environment(), timeout=120
        )
        assert done.returncode == 0, done.stderr
    pair.origin = again(pair)
    assert did(pair, "bin", "list", PRIVATE, node=pair.origin) == before
    assert did(pair, "restore", f"{PRIVATE}/pypi/acme-demo@2.0", node=pair.origin)["failed"] == []
    path = f"/{PRIVATE}/pypi/files/acme-demo/acme_demo-2.0-py3-none-any.whl"
    assert pair.origin.ask("GET", path, pair.token).status == 200


def again(pair: Pair) -> Served:
    """The origin, once more over its data."""
    node = Served("origin", pair.origin.data, pair.origin.data.parent / "limits.toml", [])
    node.wait(pair.token)
    return node
