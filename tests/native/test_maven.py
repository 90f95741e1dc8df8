"""Does mvn deploy releases and snapshots through the edge and resolve them again, byte for byte?"""

import subprocess
from pathlib import Path

import pytest

from tests.harness.clients import program
from tests.harness.mvn import DEPENDENCY, DEPLOY, Maven, environment
from tests.harness.running import Up

pytestmark = [pytest.mark.native, pytest.mark.live]

PLUGINS_SECONDS_MAX = 150


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local repository with mvn's own plugins, as this machine's mvn gets them; a skip where it can't."""
    local = tmp_path_factory.mktemp("plugins")
    command = [program("mvn"), "-B", f"-Dmaven.repo.local={local}", f"{DEPENDENCY}:help", f"{DEPLOY}:help"]
    try:
        done = subprocess.run(
            command, cwd=local, env=environment(), capture_output=True, text=True, timeout=PLUGINS_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the upstream of this machine's mvn does not answer in time")
    if done.returncode and "Could not transfer" in done.stdout:
        pytest.skip("the upstream of this machine's mvn cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return local


def client(folder: Path, plugins: Path, node: Up, credential: bool = True) -> Maven:
    return Maven(folder, f"{node.edge}/{node.private}/maven/", node.token if credential else "", plugins)


def test_a_release_is_deployed_once_and_resolved_with_the_token_only(node: Up, plugins: Path, tmp_path: Path) -> None:
    author = client(tmp_path / "author", plugins, node)
    author.deploy("fixed", "1.0", b"the first bytes")
    assert "Conflict" in author.deploy("fixed", "1.0", b"other bytes", ok=False)
    user = client(tmp_path / "user", plugins, node)
    user.resolve("fixed", "1.0")
    assert user.resolved() == [b"the first bytes"]
    stranger = client(tmp_path / "stranger", plugins, node, credential=False)
    assert "Unauthorized" in stranger.resolve("fixed", "1.0", ok=False)
    assert not stranger.resolved()


def test_of_a_snapshot_the_newer_build_is_resolved(node: Up, plugins: Path, tmp_path: Path) -> None:
    author = client(tmp_path / "author", plugins, node)
    for body in (b"the older build", b"the newer build"):
        author.deploy("moving", "2.0-SNAPSHOT", body)
    user = client(tmp_path / "user", plugins, node)
    user.resolve("moving", "2.0-SNAPSHOT")
    assert user.resolved() == [b"the newer build"]
