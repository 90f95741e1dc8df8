"""Does a host name that stands for a place work with real clients, and mean nothing else? THREATS B2, B4.

A client is given the name in an /etc/hosts of its own, in a mount namespace.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.hostile.speaking import Said
from tests.harness import images
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.registry import Image, bearer
from tests.harness.running import Got, clean_environment, get
from tests.native.test_recall import PATIENCE_S, call

pytestmark = pytest.mark.native

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
WORKSPACE, OPEN, CLOSED = "demo.example", "open.demo.example", "main.demo.example"
WHEEL = "thing-1.0-py3-none-any.whl"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("hosts")
    with Pair(folder / "pair") as made:
        for name, scope in ((WORKSPACE, "demo"), (OPEN, PUBLIC), (CLOSED, PRIVATE)):
            assert call(made, "POST", "/hosts", {"name": name, "scope": scope})["scope"] == scope
        wheel = _wheel(folder)
        for repository in (PUBLIC, PRIVATE):
            command = [sys.executable, "-m", "twine", "upload", "--repository-url"]
            command += [f"{made.edge.url}/{repository}/pypi/legacy/", "-u", "token", "-p", made.token, str(wheel)]
            subprocess.run(command, check=True, capture_output=True, env=clean_environment(), timeout=60)
        yield made


def _wheel(folder: Path) -> Path:
    (folder / "thing.py").write_text("VALUE = 1\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "thing"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["thing"]\n'
    )
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(folder)], check=True, capture_output=True, timeout=120)
    return folder / WHEEL


def at(node: Served, host: str, path: str, token: str = "", **more: str) -> Got:
    """A request that names this host, whatever it is sent to."""
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    return get(node.url + path, {"Host": host} | bearer(token) | fields)


def named(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a client to which these names are this machine."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {WORKSPACE} {OPEN} {CLOSED} {GLOBAL}\n")
    line = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", line, str(hosts), *command],
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean_environment() | {"HOME": str(folder)},
        timeout=120,
    )


def port(node: Served) -> str:
    return node.url.rpartition(":")[2]


def test_b4_one_address_on_each_host(pair: Pair) -> None:
    for node in (pair.origin, pair.edge):
        for host, path in (
            ("else.example", f"/{PUBLIC}/pypi/simple/thing/"),
            (WORKSPACE, "/open/pypi/simple/thing/"),
            (OPEN, "/pypi/simple/thing/"),
            (f"{OPEN.upper()}:443", "/pypi/simple/thing/"),
        ):
            assert at(node, host, path).status == 200, (host, path)
        for host, path in (
            (OPEN, f"/{PUBLIC}/pypi/simple/thing/"),
            (WORKSPACE, f"/{PUBLIC}/pypi/simple/thing/"),
            ("else.example", "/pypi/simple/thing/"),
        ):
            assert at(node, host, path).status in (401, 404), (host, path)
        assert at(node, CLOSED, "/pypi/simple/thing/").status == 401
        assert at(node, CLOSED, "/pypi/simple/thing/", pair.token).status == 200


def test_b2_what_a_proxy_would_say_changes_nothing(pair: Pair) -> None:
    plain = at(pair.edge, "else.example", "/pypi/simple/thing/")
    assert plain.status != 200
    for name in ("X_Forwarded_Host", "X_Host", "X_Original_Host", "Forwarded"):
        told = f"host={OPEN}" if name == "Forwarded" else OPEN
        said = at(pair.edge, "else.example", "/pypi/simple/thing/", "", **{name: told})
        assert (said.status, said.body) == (plain.status, plain.body)


@ROOT
def test_pip_installs_by_a_name_that_stands_for_a_place(pair: Pair, tmp_path: Path) -> None:
    for number, (host, path, token) in enumerate(
        (
            (OPEN, "/pypi/simple/", ""),
            (CLOSED, "/pypi/simple/", pair.token),
            (WORKSPACE, "/main/pypi/simple/", pair.token),
        )
    ):
        who = f"token:{token}@" if token else ""
        folder = tmp_path / str(number)
        folder.mkdir()
        index = f"http://{who}{host}:{port(pair.edge)}{path}"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-cache-dir",
            "--no-deps",
            "--disable-pip-version-check",
        ]
        done = named([*command, "--trusted-host", host, "--index-url", index, "thing"], folder)
        assert done.returncode == 0, done.stderr
        assert (folder / WHEEL).stat().st_size > 0


@ROOT
@pytest.mark.skipif(shutil.which("crane") is None, reason="crane is not installed")
def test_crane_pulls_by_a_name_that_stands_for_a_place(pair: Pair, tmp_path: Path) -> None:
    """It builds the scope of its pass from the name that it knows, without what the host implies."""
    layer = os.urandom(5000).hex().encode()
    Image(pair.origin.url, f"{PRIVATE}/app", bearer(pair.token)).push("1", layer)
    for image in (f"{CLOSED}:{port(pair.edge)}/app", f"{WORKSPACE}:{port(pair.edge)}/main/app"):
        host = image.partition("/")[0]
        done = named(["crane", "auth", "login", host, "-u", "token", "-p", pair.token], tmp_path)
        assert done.returncode == 0, done.stderr
        done = named(["crane", "manifest", "--insecure", f"{image}:1"], tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["layers"][0]["digest"] == images.digest_of(layer)
        done = named(["crane", "blob", "--insecure", f"{image}@{images.digest_of(layer)}"], tmp_path)
        assert (done.returncode, done.stdout.encode()) == (0, layer), done.stderr


def test_a_name_that_is_let_go_means_nothing_at_once(pair: Pair) -> None:
    name = "brief.example"
    call(pair, "POST", "/hosts", {"name": name, "scope": PUBLIC})
    with pair.edge.speaker() as speaker:
        statuses = []
        for step in ("bound", "bound", "gone"):
            if step == "gone":
                call(pair, "DELETE", f"/hosts/{name}")
            speaker.send(f"GET /pypi/simple/thing/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            statuses.append(speaker.hear().status)
    assert statuses[:2] == [200, 200]
    assert statuses[2] in (401, 404)


def test_names_are_exact_and_mean_one_thing(pair: Pair) -> None:
    def refused(**body: str) -> int:
        said = get(f"{pair.origin.url}/-/api/v1/hosts", bearer(pair.token) | JSON, "POST", json.dumps(body).encode())
        return said.status

    for name in ("*.x.example", "10.0.0.1", "::1", "a", "a..b", "x.example:80", "http://x.example", "-a.example"):
        assert refused(name=name, scope=PUBLIC) == 400, name
    assert refused(name=OPEN.upper(), scope=PRIVATE) == 409
    assert refused(name="new.example", scope="demo/none") == 404
    exported = get(f"{pair.edge.url}/-/hosts?form=csv", bearer(pair.token))
    assert f"{OPEN},{PUBLIC},\r\n".encode() in exported.body
    call(pair, "POST", "/hosts", {"name": "eu.example", "region": "eu"})
    told = json.loads(get(f"{pair.edge.url}/-/hosts", bearer(pair.token)).body)
    assert told["regions"] == {"eu": ["eu.example"]}
    assert get(f"{pair.edge.url}/-/hosts").status == 401


GLOBAL = "pkgs.example"


@pytest.fixture
def global_name(pair: Pair) -> Iterator[str]:
    """A name at the origin that sends readers on to the edge, once that was found to be well."""
    call(pair, "POST", "/hosts", {"name": GLOBAL, "redirects": True})
    call(pair, "POST", "/hosts", {"name": "near.example", "region": "near", "url": _near(pair)})
    settled(pair, 307)
    yield GLOBAL
    for name in (GLOBAL, "near.example"):
        call(pair, "DELETE", f"/hosts/{name}", at=pair.origin)


def _near(pair: Pair) -> str:
    """By a name: crane goes to no address of this machine that somebody else sends it to."""
    return f"http://localhost:{port(pair.edge)}"


def settled(pair: Pair, status: int) -> Said:
    """What the origin answers by the global name, once it is this."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with pair.origin.speaker() as speaker:
            speaker.send(f"GET /{PUBLIC}/pypi/simple/thing/?a=b HTTP/1.1\r\nHost: {GLOBAL}\r\n\r\n".encode())
            if (said := speaker.hear()).status == status:
                return said
        assert time.monotonic() < end, said
        time.sleep(0.1)


def test_c11_a_global_name_sends_readers_on_and_answers_who_shows_a_credential(pair: Pair, global_name: str) -> None:
    said = settled(pair, 307)
    assert said.headers["location"] == f"{_near(pair)}/{PUBLIC}/pypi/simple/thing/?a=b"
    assert (said.headers["cache-control"], said.body) == ("no-store", b"")
    assert at(pair.origin, global_name, f"/{PRIVATE}/pypi/simple/thing/", pair.token).status == 200
    assert at(pair.origin, global_name, f"/{PUBLIC}/pypi/simple/thing/", pair.token).status == 200
    assert at(pair.origin, global_name, f"/t/{pair.token}/{PRIVATE}/pypi/simple/thing/").status == 200
    assert at(pair.origin, global_name, f"/{PRIVATE}/pypi/simple/thing/").status == 401
    assert at(pair.origin, global_name, f"/{PUBLIC}/pypi/simple/thing/", "ent_" + "x" * 38).status == 401
    assert get(pair.origin.url + f"/{PUBLIC}/pypi/simple/thing/").status == 200


@ROOT
def test_real_clients_follow_a_global_name(pair: Pair, global_name: str, tmp_path: Path) -> None:
    layer = b"layer" * 1000
    Image(pair.origin.url, f"{PUBLIC}/app", bearer(pair.token)).push("1", layer)
    here = f"{global_name}:{port(pair.origin)}"
    pip = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--no-deps", "--disable-pip-version-check"]
    pip += ["--trusted-host", global_name, "--trusted-host", "localhost", "--index-url"]
    commands = {
        "pip": [*pip, f"http://{here}/{PUBLIC}/pypi/simple/", "thing"],
        "pip with a token": [*pip, f"http://token:{pair.token}@{here}/{PRIVATE}/pypi/simple/", "thing"],
        "curl": ["curl", "-sSfL", f"http://{here}/{PUBLIC}/pypi/simple/thing/"],
        "crane": ["crane", "manifest", "--insecure", f"{here}/{PUBLIC}/app:1"],
        "crane's layers": ["crane", "blob", "--insecure", f"{here}/{PUBLIC}/app@{images.digest_of(layer)}"],
    }
    for name, command in commands.items():
        if shutil.which(command[0]) is None:
            continue
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        done = named(command, folder)
        assert done.returncode == 0, (name, done.stderr)
    assert "ent_" not in pair.edge.logged(), "no credential came along"


def test_where_no_edge_is_well_the_node_answers_itself(pair: Pair, global_name: str) -> None:
    settled(pair, 307)
    pair.edge.stop()
    settled(pair, 200)
