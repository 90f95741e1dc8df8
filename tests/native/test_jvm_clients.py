"""Do Gradle, Ivy and sbt publish through the edge, and resolve what they, mvn and each other published (THREATS C15)?

What newer Gradles send beside (`.module` files, plug-in markers) is deployed as they send it, request by request:
`maven-publish` of Debian's Gradle lacks its transport, and no newer Gradle is in any registry that CI reaches.
"""

import subprocess
from pathlib import Path

import pytest

from tests.harness import jvm, maven_layout
from tests.harness.clients import program
from tests.harness.maven_deploying import Deployer
from tests.harness.running import Up, clean_environment

pytestmark = [pytest.mark.native, pytest.mark.live]

SBT_SECONDS_MAX = 240


@pytest.fixture(scope="module")
def home(node: Up) -> str:
    """The private repository at the edge, with what another client has deployed to it."""
    url = f"{node.edge}/{node.private}/maven/"
    deployer = Deployer(url, node.token)
    for stamp, text in (("20240101.010101", "older"), ("20240101.010102", "newer")):
        files = {".jar": maven_layout.jar(text), ".pom": maven_layout.pom("org.acme", "snap", "2.0-SNAPSHOT")}
        deployer.snapshot("org.acme", "snap", "2.0", stamp, files)
    for version in ("1.0", "1.5", "2.0"):
        pom = maven_layout.pom("org.acme", "ranged", version)
        files = {".jar": maven_layout.jar(version), ".pom": pom}
        deployer.release(
            "org.acme", "ranged", version, files | {".module": maven_layout.module("org.acme", "ranged", version)}
        )
    deployer.release("org.acme", "bare", "1.0", {".jar": maven_layout.jar("without a pom")})
    marker = maven_layout.marker("org.acme.tool", "org.acme", "tool", "1.0")
    deployer.release("org.acme.tool", "org.acme.tool.gradle.plugin", "1.0", {".pom": marker})
    assert deployer.refused == []
    return url


def out(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "out").glob("*")}


def test_gradle_publishes_a_plugin_and_applies_it_by_its_marker(node: Up, home: str, tmp_path: Path) -> None:
    jvm.gradle(tmp_path / "author", jvm.GRADLE_PLUGIN, "publish", home, node.token)
    wanted = ["org.acme:tool:1.0", "org.acme:tool:1.0:sources@jar", "org.acme:tool:1.0:javadoc@jar"]
    wanted += ["org.acme:snap:2.0-SNAPSHOT", "org.acme:ranged:[1.0,2.0)", "org.acme:bare:1.0@jar"]
    user = tmp_path / "user"
    said = jvm.gradle(user, jvm.gradle_user(wanted, "org.acme.tool"), "fetch", home, node.token)
    assert "the tool is applied" in said
    built = {file.name: file.read_bytes() for file in (tmp_path / "author/build/libs").glob("*.jar")}
    assert len(built) == 3
    assert out(user) == built | {
        "snap-2.0-SNAPSHOT.jar": maven_layout.jar("newer"),
        "ranged-1.5.jar": maven_layout.jar("1.5"),
        "bare-1.0.jar": maven_layout.jar("without a pom"),
    }
    stranger = tmp_path / "stranger"
    wanted = ["org.acme:bare:1.0@jar"]
    assert "401" in jvm.gradle(stranger, jvm.gradle_user(wanted, credential=False), "fetch", home, "x", ok=False)
    assert not out(stranger)


def test_ivy_publishes_in_both_layouts_and_resolves(node: Up, home: str, tmp_path: Path) -> None:
    author = tmp_path / "author"
    author.mkdir()
    for layout, revision in (("flat", "1.0"), ("own", "1.0")):
        name = f"ivy-{layout}"
        (author / f"{name}.jar").write_bytes(maven_layout.jar(name))
        (author / "module.xml").write_text(jvm.ivy_module(name, revision))
        publish = ["-ivy", "module.xml", "-publish", layout, "-revision", revision, "-overwrite"]
        jvm.ivy(author, home, node.token, *publish, "-publishpattern", f"{author}/[artifact].[ext]")
    user = tmp_path / "user"
    retrieve = ["-retrieve", f"{user}/out/[artifact]-[revision].[ext]"]
    for name, revision in (("ivy-flat", "1.0"), ("snap", "latest.integration"), ("ranged", "[1.0,2.0)")):
        jvm.ivy(user, home, node.token, "-dependency", "org.acme", name, revision, *retrieve)
    assert out(user) == {
        "ivy-flat-1.0.jar": maven_layout.jar("ivy-flat"),
        "snap-2.0-SNAPSHOT.jar": maven_layout.jar("newer"),
        "ranged-1.5.jar": maven_layout.jar("1.5"),
    }
    own = Deployer(home, node.token).ask("GET", "org.acme/ivy-own/1.0/jars/ivy-own.jar")
    assert own.body == maven_layout.jar("ivy-own")
    # Ivy overwrites where it is told to; a release here is for ever all the same
    (author / "ivy-own.jar").write_bytes(b"other")
    publish = ["-ivy", "module.xml", "-publish", "own", "-revision", "1.0", "-overwrite"]
    jvm.ivy(author, home, node.token, *publish, "-publishpattern", f"{author}/[artifact].[ext]", ok=False)
    stranger = tmp_path / "stranger"
    jvm.ivy(stranger, home, "", "-dependency", "org.acme", "ranged", "1.0", *retrieve, ok=False)


@pytest.fixture(scope="module")
def sbt_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """sbt fetches its own parts when it first runs; a skip where it cannot."""
    folder = tmp_path_factory.mktemp("sbt")
    (folder / "project").mkdir()
    (folder / "project/build.properties").write_text(f"sbt.version={jvm.SBT_VERSION}\n")
    try:
        command = [program("sbt"), "-Dsbt.server.autostart=false", "sbtVersion"]
        done = subprocess.run(
            command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=SBT_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the upstream of this machine's sbt does not answer in time")
    if done.returncode and ("Error downloading" in done.stdout or "Could not retrieve" in done.stdout):
        pytest.skip("the upstream of this machine's sbt cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("sbt_runs")
def test_sbt_publishes_and_resolves_with_coursier(node: Up, home: str, tmp_path: Path) -> None:
    wanted = ['"org.acme" % "lib" % "1.0"', '"org.acme" %% "cross" % "1.0"', '"org.acme" % "next" % "1.1-SNAPSHOT"']
    wanted += ['"org.acme" % "snap" % "2.0-SNAPSHOT"', '"org.acme" % "ranged" % "[1.0,2.0)"']
    build = jvm.sbt_build(*wanted)
    project = tmp_path / "project"
    said = jvm.sbt(project, build, home, node.token, "lib/publish", "cross/publish", "next/publish", "user/fetch")
    assert "lib-1.0-sources.jar" in said
    found = out(project)
    assert found.keys() == {
        "lib-1.0.jar", "cross_2.12-1.0.jar", "next-1.1-SNAPSHOT.jar", "snap-2.0-SNAPSHOT.jar", "ranged-1.5.jar"
    }  # fmt: skip
    assert found["snap-2.0-SNAPSHOT.jar"] == maven_layout.jar("newer")
    assert found["lib-1.0.jar"] == (project / "lib/target/lib-1.0.jar").read_bytes()
    stranger = tmp_path / "stranger"
    assert "nauthorized" in jvm.sbt(stranger, build, home, "", "user/fetch", ok=False)
    assert not out(stranger)
