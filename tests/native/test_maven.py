"""Does mvn deploy releases and snapshots through the edge and resolve them again, byte for byte?"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment

pytestmark = [pytest.mark.native, pytest.mark.live]

DEPLOY = "org.apache.maven.plugins:maven-deploy-plugin:3.1.1"
DEPENDENCY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
PLUGINS_SECONDS_MAX = 150

# Nobody but our repository is asked for what is resolved; plugins come from elsewhere.
POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>org.acme</groupId><artifactId>user</artifactId><version>1</version><packaging>pom</packaging>
<repositories><repository><id>acme</id><url>{url}</url></repository>
<repository><id>central</id><url>{url}</url><releases><enabled>false</enabled></releases>
<snapshots><enabled>false</enabled></snapshots></repository></repositories></project>
"""
# The mirror by the exact name keeps a mirror of everything, where this machine has one, away from our repository.
SETTINGS = """<settings>{servers}
<mirrors><mirror><id>acme</id><mirrorOf>acme</mirrorOf><url>{url}</url></mirror></mirrors></settings>
"""
SERVERS = "<servers><server><id>acme</id><username>token</username><password>{token}</password></server></servers>"


def environment() -> dict[str, str]:
    """Each step starts a machine of Java's: what starts it faster is worth more than what runs it faster."""
    return clean_environment() | {"MAVEN_OPTS": "-XX:TieredStopAtLevel=1"}


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


class Maven:
    """mvn in a folder of its own, with a local repository that has plugins and nothing of ours."""

    def __init__(self, folder: Path, plugins: Path, node: Up, credential: bool = True) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copytree(plugins, folder / "local")
        self.url = f"{node.edge}/{node.private}/maven/"
        servers = SERVERS.format(token=node.token) if credential else ""
        (folder / "settings.xml").write_text(SETTINGS.format(servers=servers, url=self.url))
        (folder / "pom.xml").write_text(POM.format(url=self.url))

    def mvn(self, *arguments: str, ok: bool = True) -> str:
        # Of the two settings files that mvn merges, ours takes the place that this machine does not use.
        option = "-gs" if (Path.home() / ".m2/settings.xml").exists() else "-s"
        settings = [option, str(self.folder / "settings.xml"), f"-Dmaven.repo.local={self.folder / 'local'}"]
        return run([program("mvn"), "-B", *settings, *arguments], cwd=self.folder, env=environment(), ok=ok)

    def deploy(self, artifact: str, version: str, body: bytes, ok: bool = True) -> str:
        file = self.folder / "file.jar"
        file.write_bytes(body)
        names = ["-DgroupId=org.acme", f"-DartifactId={artifact}", f"-Dversion={version}", "-Dpackaging=jar"]
        target = [f"-Durl={self.url}", "-DrepositoryId=acme", f"-Dfile={file}"]
        return self.mvn(f"{DEPLOY}:deploy-file", *names, *target, ok=ok)

    def resolve(self, artifact: str, version: str, ok: bool = True) -> str:
        wanted = [f"-Dartifact=org.acme:{artifact}:{version}", f"-DoutputDirectory={self.folder / 'out'}"]
        return self.mvn(f"{DEPENDENCY}:copy", *wanted, ok=ok)

    def resolved(self) -> list[bytes]:
        return [file.read_bytes() for file in (self.folder / "out").glob("*.jar")]


def test_a_release_is_deployed_once_and_resolved_with_the_token_only(node: Up, plugins: Path, tmp_path: Path) -> None:
    author = Maven(tmp_path / "author", plugins, node)
    author.deploy("fixed", "1.0", b"the first bytes")
    assert "Conflict" in author.deploy("fixed", "1.0", b"other bytes", ok=False)
    user = Maven(tmp_path / "user", plugins, node)
    user.resolve("fixed", "1.0")
    assert user.resolved() == [b"the first bytes"]
    stranger = Maven(tmp_path / "stranger", plugins, node, credential=False)
    assert "Unauthorized" in stranger.resolve("fixed", "1.0", ok=False)
    assert not stranger.resolved()


def test_of_a_snapshot_the_newer_build_is_resolved(node: Up, plugins: Path, tmp_path: Path) -> None:
    author = Maven(tmp_path / "author", plugins, node)
    for body in (b"the older build", b"the newer build"):
        author.deploy("moving", "2.0-SNAPSHOT", body)
    user = Maven(tmp_path / "user", plugins, node)
    user.resolve("moving", "2.0-SNAPSHOT")
    assert user.resolved() == [b"the newer build"]
