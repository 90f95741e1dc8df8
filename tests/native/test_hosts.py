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
from urllib.parse import urljoin

import pytest

from bench.hostile.speaking import Said
from gateway.access.credentials.tickets import USES_MAX
from tests.harness import images
from tests.harness.clients import program
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.registry import Image, bearer
from tests.harness.running import Got, clean_environment, get
from tests.native.test_recall import PATIENCE_S, call

pytestmark = pytest.mark.native

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
WORKSPACE, OPEN, CLOSED = "demo.example", "open.demo.example", "main.demo.example"
WHEEL = "thing-1.0-py3-none-any.whl"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
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
def test_crane_pulls_by_a_name_that_stands_for_a_place(pair: Pair, tmp_path: Path) -> None:
    """It builds the scope of its pass from the name that it knows, without what the host implies."""
    layer = os.urandom(5000).hex().encode()
    Image(pair.edge.url, f"{PRIVATE}/app", bearer(pair.token)).push("1", layer)
    for image in (f"{CLOSED}:{port(pair.edge)}/app", f"{WORKSPACE}:{port(pair.edge)}/main/app"):
        host = image.partition("/")[0]
        done = named([program("crane"), "auth", "login", host, "-u", "token", "-p", pair.token], tmp_path)
        assert done.returncode == 0, done.stderr
        done = named([program("crane"), "manifest", "--insecure", f"{image}:1"], tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["layers"][0]["digest"] == images.digest_of(layer)
        done = named([program("crane"), "blob", "--insecure", f"{image}@{images.digest_of(layer)}"], tmp_path)
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
    assert f"{OPEN},{PUBLIC},,,0\r\n".encode() in exported.body
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


def sent_on(pair: Pair, path: str, token: str, *, method: str = "GET") -> tuple[str, dict[str, str]]:
    """The path and query that the origin sends who shows this token to, and the fields that name the host there."""
    with pair.origin.speaker() as speaker:
        line = f"{method} {path} HTTP/1.1\r\nHost: {GLOBAL}\r\nAuthorization: Bearer {token}\r\n\r\n"
        speaker.send(line.encode())
        said = speaker.hear(head=method == "HEAD")
    assert said.status == 307, said
    location = said.headers["location"]
    assert location.startswith(_near(pair))
    assert token not in location
    assert (said.headers["cache-control"], said.headers["referrer-policy"]) == ("no-store", "no-referrer")
    return location.removeprefix(_near(pair)), {"Host": f"localhost:{port(pair.edge)}"}


def test_c12_a_file_of_a_private_repository_is_sent_for_with_a_ticket(pair: Pair, global_name: str) -> None:
    """Good for one read of it, there, from the client's network, for a minute and some uses; and for nothing once the
    token is revoked."""
    made = call(pair, "POST", "/tokens", {"name": "reader", "grants": [{"scope": PRIVATE, "read": True}]})
    token, other = made["token"], f"/{PRIVATE}/generic/other.bin"
    path = f"/{PRIVATE}/generic/ticketed.bin"
    for one in (path, other):
        assert get(pair.origin.url + one, bearer(pair.token), "PUT", b"private").status == 201
    target, host = sent_on(pair, path, token)
    url = pair.edge.url + target
    assert get(url, host).body == b"private"
    assert get(url, host | {"Range": "bytes=0-3"}).body == b"priv"
    signature = target.partition("?")[2]
    wrong = {
        "another file": get(f"{pair.edge.url}{other}?{signature}", host),
        "more asked": get(f"{url}&x=1", host),
        "another method": get(url, host, "HEAD"),
        "another host": get(url, host | {"Host": "else.example"}),
        "the origin": get(pair.origin.url + target, {"Host": "localhost:1"}),
        "a write": get(url, host, "PUT", b"mine"),
        "changed": get(url[:-4] + ("AAAA" if url[-4:] != "AAAA" else "BBBB"), host),
        "none": get(pair.edge.url + path, host),
        "the API": get(f"{pair.edge.url}/-/api/v1/whoami?{signature}", host),
    }
    assert {name: said.status for name, said in wrong.items()} == dict.fromkeys(wrong, 401)
    assert get(url, host | bearer("ent_" + "x" * 38)).status == 401, "what is shown counts, and not what comes along"
    used = [get(url, host).status for _ in range(USES_MAX)]
    assert used == [200] * (USES_MAX - 2) + [429] * 2
    fresh, _ = sent_on(pair, path, token)
    assert get(pair.edge.url + fresh, host).status == 200, "another one of the same token"
    call(pair, "DELETE", f"/tokens/{made['id']}")
    assert get(pair.edge.url + fresh, host).status == 401
    assert signature.partition("=")[2] not in pair.edge.logged()
    assert "entrepot-signature=-" in pair.edge.logged()


@ROOT
def test_c12_real_clients_that_drop_their_credential_get_private_files(
    pair: Pair, global_name: str, tmp_path: Path
) -> None:
    layer = b"private layer" * 1000
    Image(pair.origin.url, f"{PRIVATE}/app", bearer(pair.token)).push("2", layer)
    at_edge = len(pair.edge.logged())
    here = f"{global_name}:{port(pair.origin)}"
    pip = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--no-deps", "--disable-pip-version-check"]
    pip += ["--trusted-host", global_name, "--trusted-host", "localhost", "--index-url"]
    login = f"crane auth login {here} -u token -p {pair.token} && "
    image = f"{here}/{PRIVATE}/app"
    copy = ["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", f"--src-creds=token:{pair.token}"]
    wheel = json.loads(
        at(pair.origin, "x.example", f"/{PRIVATE}/pypi/simple/thing/", pair.token, Accept=SIMPLE_JSON).body
    )["files"][0]["url"]
    file = urljoin(f"/{PRIVATE}/pypi/simple/thing/", wheel)
    commands = {
        "pip": [*pip, f"http://token:{pair.token}@{here}/{PRIVATE}/pypi/simple/", "thing"],
        "curl": ["curl", "-sSfL", "-o", "got", "-u", f"token:{pair.token}", f"http://{here}{file}"],
        "crane": ["sh", "-c", f"{login}crane blob --insecure {image}@{images.digest_of(layer)}"],
        "skopeo": [*copy, f"docker://{image}:2", f"dir:{tmp_path}/copied"],
    }
    ran = []
    for name, command in commands.items():
        if shutil.which(name) is None and not os.environ.get("CI"):
            continue
        folder = tmp_path / name
        folder.mkdir()
        done = named(command, folder)
        assert done.returncode == 0, (name, done.stderr)
        ran.append(name)
    assert "curl" in ran
    lines = [json.loads(line) for line in pair.edge.logged()[at_edge:].splitlines() if line.startswith("{")]
    served = [line for line in lines if "entrepot-signature=-" in line.get("target", "") and line["status"] == 200]
    assert len(served) >= len(ran), "each of them was sent to the edge, and had its bytes there"
    assert "ent_" not in pair.edge.logged(), "no credential came along"


@ROOT
def test_real_clients_follow_a_global_name(pair: Pair, global_name: str, tmp_path: Path) -> None:
    layer = b"layer" * 1000
    Image(pair.edge.url, f"{PUBLIC}/app", bearer(pair.token)).push("1", layer)
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
        if shutil.which(command[0]) is None and not os.environ.get("CI"):
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
