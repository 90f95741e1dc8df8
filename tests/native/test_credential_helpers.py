"""Real clients that ask the command line for the token: docker's kin, pip, uv and npm. None of them is told it (C11).

Their configuration lies in folders of the test; what they have written afterwards is looked through for the token."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clients import program
from tests.harness.distributions import wheel
from tests.harness.engines import docker_engine
from tests.harness.npm_registry import document
from tests.harness.registry import Image, bearer
from tests.harness.running import Up, clean_environment, get

pytestmark = pytest.mark.native
BIN = Path(sys.executable).parent


@pytest.fixture
def home(node: Up, tmp_path: Path) -> Iterator[Path]:
    """A user with a profile, and the helpers on the PATH; in the end the token is in the profile alone."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "keyring").symlink_to(BIN / "entrepot-keyring")
    environment = environment_of(tmp_path)
    told = [str(BIN / "entrepot"), "profile", "set", "node", "--url", node.edge, "--token-file=-"]
    subprocess.run(told, input=node.token, text=True, check=True, env=environment, capture_output=True, timeout=60)
    yield tmp_path
    secret = node.token.encode()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in written if secret in path.read_bytes()] == [tmp_path / "entrepot" / "config.toml"]


def environment_of(home: Path) -> dict[str, str]:
    return clean_environment() | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "DOCKER_CONFIG": str(home / ".docker"),
        "REGISTRY_AUTH_FILE": str(home / "auth.json"),
        "PATH": f"{home / 'bin'}:{BIN}:{os.environ['PATH']}",
    }


def did(home: Path, *command: str, **more: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment_of(home) | more, cwd=home, timeout=120
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def asks_us(home: Path, node: Up) -> None:
    """docker's configuration, as `entrepot credential setup docker` tells it."""
    lines = json.loads(did(home, "entrepot", "credential", "setup", "docker", node.private, "--json"))["lines"]
    for path in (home / ".docker" / "config.json", home / "auth.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines[1])


def test_crane_asks_as_docker_does(node: Up, home: Path) -> None:
    crane = program("crane")
    asks_us(home, node)
    name = f"{node.private}/c{uuid.uuid4().hex[:10]}"
    digest = Image(node.edge, name, bearer(node.token)).push("1", os.urandom(1000))
    where = f"{node.edge.removeprefix('http://')}/{name}:1"
    assert did(home, crane, "--insecure", "digest", where).strip() == digest
    did(home, crane, "--insecure", "tag", where, "2")


def test_docker(node: Up, home: Path) -> None:
    """`docker login` takes the token from us, tries it, and stores it with us again, where it is. The name of this test
    is part of the path of its sockets, which may have 107 bytes."""
    if os.geteuid() != 0:
        pytest.skip("the docker engine needs root")
    name = f"{node.private}/d{uuid.uuid4().hex[:10]}"
    host = node.edge.removeprefix("http://")
    with tarfile.open(home / "root.tar", "w") as tar:
        tar.add(__file__, "file")
    with docker_engine(home, host) as docker:
        asks_us(home, node)
        assert "Login Succeeded" in did(home, *docker, "login", host)
        kept = json.loads((home / ".docker" / "config.json").read_text())
        assert kept["credHelpers"] == {host: "entrepot"}
        assert not any(kept.get("auths", {}).values())
        did(home, *docker, "import", str(home / "root.tar"), f"{host}/{name}:1")
        did(home, *docker, "push", "-q", f"{host}/{name}:1")
        did(home, *docker, "rmi", "-f", f"{host}/{name}:1")
        did(home, *docker, "pull", "-q", f"{host}/{name}:1")
        body = json.dumps({"name": "other", "grants": [{"scope": node.private}]}).encode()
        headers = bearer(node.token) | {"Content-Type": "application/json"}
        other = json.loads(get(f"{node.edge}/-/api/v1/tokens", headers, "POST", body).body)["token"]
        command = [*docker, "login", "-u", "token", "--password-stdin", host]
        refused = subprocess.run(
            command, input=other, text=True, capture_output=True, env=environment_of(home), timeout=120
        )
        assert refused.returncode != 0, "another token does not take the place of the profile's"
        assert "the token is kept by entrepot" in refused.stderr
        did(home, *docker, "rmi", "-f", f"{host}/{name}:1")
        profile = home / "entrepot" / "config.toml"
        profile.rename(home / "aside")
        nobody = subprocess.run(
            [*docker, "pull", "-q", f"{host}/{name}:1"], capture_output=True, env=environment_of(home), timeout=120
        )
        assert nobody.returncode != 0, "without the profile it is nobody"
        (home / "aside").rename(profile)


def test_podman_asks_as_docker_does(node: Up, home: Path) -> None:
    skopeo = program("skopeo")
    asks_us(home, node)
    name = f"{node.private}/p{uuid.uuid4().hex[:10]}"
    digest = Image(node.edge, name, bearer(node.token)).push("1", os.urandom(1000))
    where = f"docker://{node.edge.removeprefix('http://')}/{name}:1"
    assert json.loads(did(home, skopeo, "inspect", "--tls-verify=false", "--no-tags", where))["Digest"] == digest


def test_pip_and_uv_ask_the_keyring(node: Up, home: Path) -> None:
    name = f"acme-{uuid.uuid4().hex[:8]}"
    file = home / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    file.write_bytes(wheel(name, "1.0"))
    did(home, "entrepot", "push", str(file), node.private)
    index = f"{node.edge}/{node.private}/pypi/simple/".replace("://", "://token@")
    did(home, sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--keyring-provider", "subprocess",
        "--index-url", index, "-d", "got", name)  # fmt: skip
    assert (home / "got" / file.name).read_bytes() == file.read_bytes()
    where = ["--target", str(home / "there"), "--python", sys.executable]
    command = ["uv", "pip", "install", "-q", "--no-deps", "--keyring-provider", "subprocess", "--default-index", index]
    did(home, *command, *where, name, UV_CACHE_DIR=str(home / "cache"))
    assert any((home / "there").glob("*.dist-info"))


def test_npm_is_run_with_the_token(node: Up, home: Path) -> None:
    npm = program("npm")
    name = f"acme-{uuid.uuid4().hex[:8]}"
    body = json.dumps(document(name, "1.0.0")).encode()
    assert get(f"{node.edge}/{node.private}/npm/{name}", bearer(node.token), "PUT", body).status in (200, 201)
    lines = json.loads(did(home, "entrepot", "credential", "setup", "npm", node.private, "--json"))["lines"]
    (home / ".npmrc").write_text("\n".join(lines[1:3]) + "\n")
    told = did(home, "entrepot", "credential", "run", "--", npm, "view", name, "version")
    assert told.strip() == "1.0.0"
    alone = subprocess.run(
        [npm, "view", name, "version"], capture_output=True, env=environment_of(home), cwd=home, timeout=120
    )
    assert alone.returncode != 0
    shutil.rmtree(home / ".npm", ignore_errors=True)
