"""Do downloads at every node come to the origin, each once, with a word on what may still be under way? (O20)

At a running origin and its edge, which is killed and comes back. THREATS F11.
"""

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from tests.harness.distributions import wheel
from tests.harness.pairs import PUBLIC, Pair
from tests.harness.waiting import until

pytestmark = pytest.mark.native

EMPTY = b"{}"
DIGEST = "sha256:" + hashlib.sha256(EMPTY).hexdigest()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": DIGEST, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.empty.v1+json", "digest": DIGEST, "size": 2}],
    }
).encode()
IMAGE = f"/v2/{PUBLIC}/app"


def told(pair: Pair, package: str, format: str, node: Any = None) -> Any:
    code, found, errors = pair.entrepot("pulls", PUBLIC, package, "--format", format, node=node)
    assert code == 0, errors
    return found


def counts(pair: Pair, package: str, format: str) -> dict[str, int]:
    return {one["name"]: one["downloads"] for one in told(pair, package, format)["versions"]}


def push(pair: Pair, folder: Path) -> None:
    for version in ("1.0", "2.0"):
        path = folder / f"demo-{version}-py3-none-any.whl"
        path.write_bytes(wheel("demo", version))
        assert pair.entrepot("push", str(path), PUBLIC)[0] == 0
    with pair.origin.speaker() as speaker:
        fields = f"Host: r\r\nAuthorization: Bearer {pair.token}\r\n"
        for method, path, kind, body in (
            ("POST", f"{IMAGE}/blobs/uploads/?digest={DIGEST}", "application/octet-stream", EMPTY),
            ("PUT", f"{IMAGE}/manifests/latest", "application/vnd.oci.image.manifest.v1+json", MANIFEST),
        ):
            head = f"{method} {path} HTTP/1.1\r\n{fields}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            speaker.send(head.encode() + body)
            assert speaker.hear().status == 201


def files(pair: Pair) -> list[str]:
    """The paths of the wheels, as their page has them."""
    page = f"http://r/{PUBLIC}/pypi/simple/demo/"
    told = pair.origin.ask("GET", page.removeprefix("http://r")).body.decode()
    links = [part.partition("#")[0].partition('"')[0] for part in told.split('href="')[1:]]
    return sorted(urlsplit(urljoin(page, link)).path for link in links)


def test_o20_pulls_at_every_node_are_counted_once_and_told_up_to_when(tmp_path: Path) -> None:
    logs = {"take_every_seconds": 1.0}
    with Pair(tmp_path / "pair", logs=logs) as pair:
        push(pair, tmp_path)
        paths = files(pair)
        assert len(paths) == 2, paths
        for node, times in ((pair.origin, 2), (pair.edge, 3)):
            for path in (paths[0],) * times:
                assert until(lambda node=node, path=path: node.ask("GET", path).status == 200)
        assert pair.edge.ask("GET", paths[0] + ".metadata").status == 200
        assert until(lambda: pair.edge.ask("GET", f"{IMAGE}/manifests/latest").status == 200)
        assert until(lambda: counts(pair, "demo", "pypi").get("1.0") == 5)
        asked_ms = time.time() * 1000
        known = until(lambda: (now := told(pair, "demo", "pypi", pair.edge))["counted_until_ms"] > asked_ms and now)
        assert (known["downloads"], known["lost_until_ms"]) == (5, 0)
        assert counts(pair, "app", "oci")
        assert [(one["name"], one["downloads"]) for one in told(pair, "app", "oci")["tags"]] == [("latest", 1)]
        shown = json.loads(pair.origin.ask("GET", f"/-/api/v1/repositories/{PUBLIC}/packages/demo?format=pypi").body)
        assert {one["name"]: one["downloads"] for one in shown["versions"]} == {"1.0": 5, "2.0": 0}
        shown = json.loads(pair.edge.ask("GET", f"/-/api/v1/repositories/{PUBLIC}/packages/demo?format=pypi").body)
        assert {one["downloads"] for one in shown["versions"]} == {None}

        # what a killed edge has not sent is waited for: nobody may think that 2.0 was not pulled
        assert pair.edge.ask("GET", paths[1]).status == 200
        pair.edge.logged()
        pulled_ms = time.time() * 1000
        os.killpg(pair.edge.process.pid, signal.SIGKILL)
        pair.edge.process.wait()
        time.sleep(8)
        known = told(pair, "demo", "pypi")
        assert known["counted_until_ms"] < pulled_ms
        pair.start_edge()
        assert until(lambda: counts(pair, "demo", "pypi") == {"1.0": 5, "2.0": 1})
        until(lambda: told(pair, "demo", "pypi")["counted_until_ms"] > pulled_ms)

        # all of it leaves, resumed in between, and the counts are those of the lines
        lines = tmp_path / "lines.jsonl"
        code, done, errors = pair.entrepot("logs", "export", "demo", "--to", str(lines), "--client", "")
        assert code == 0, errors
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        assert len(rows) == done["rows"]
        mine = [one for one in rows if one["file"].endswith("whl") and (one["method"], one["status"]) == ("GET", 200)]
        assert sorted(one["version"] for one in mine) == ["1.0"] * 5 + ["2.0"], "what the edge fetched is not in it"
        code, told_all, errors = pair.entrepot("logs", "demo", "--edges", "--limit", "1000")
        fetched = {one["principal"] for one in told_all["items"] if one["file"].endswith("whl")}
        assert {one for one in fetched if one.startswith("edge:")}, "it is, for who asks"
        code, done, errors = pair.entrepot("logs", "export", "demo", "--format", "parquet", "--to", str(tmp_path / "p"))
        assert (code, done["rows"] >= len(rows)) == (0, True), errors
        assert next((tmp_path / "p").iterdir()).read_bytes()[:4] == b"PAR1"
        assert pair.entrepot("usage", "demo", "--by", "version")[1]["items"]
        assert '"level":"error"' not in pair.words()
