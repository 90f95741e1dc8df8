"""Does mvn get what this machine's own Maven repository has through the edge, with the fewest questions upstream, and
from the cache when that repository is gone (THREATS C14; incident O34: sha1 first, content then)?"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import maven_layout, mvn
from tests.harness.maven_deploying import Deployer
from tests.harness.relaying import Relay
from tests.harness.running import Up, get
from tests.native.test_upstreams import reachable

pytestmark = [pytest.mark.native, pytest.mark.live]

WANTED = "org.apache.commons:commons-text:1.12.0"
JAR = "org/apache/commons/commons-text/1.12.0/commons-text-1.12.0.jar"
SUMS = (".sha1", ".md5", ".sha256", ".sha512")


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay(reachable(mvn.upstream())) as between:
        yield between


def drawing(node: Up, name: str, relay: Relay, *options: str) -> str:
    """A new repository that draws on the relay; its address at the edge."""
    node.entrepot("repo", "create", f"{node.workspace}/{name}", *options, url=node.edge)
    node.entrepot("upstream", "add", f"{node.workspace}/{name}", "maven", relay.url, "--private-network", url=node.edge)
    return f"{node.edge}/{node.workspace}/{name}/maven/"


def resolved(folder: Path, url: str, token: str, artifact: str = WANTED, ok: bool = True) -> tuple[Path, str]:
    """What mvn has afterwards, plug-ins and all, and what it said; it began with nothing."""
    client = mvn.Maven(folder, url, token)
    said = client.mvn(f"{mvn.DEPENDENCY}:get", f"-Dartifact={artifact}", ok=ok)
    return folder / "local", said


def test_o34_cold_warm_and_with_the_upstream_gone(node: Up, relay: Relay, tmp_path: Path) -> None:
    url = drawing(node, "central", relay)
    cold, _ = resolved(tmp_path / "cold", url, node.token)
    asked = Counter(path for _, path, _ in relay.asked)
    files = [one for one in cold.rglob("*") if one.suffix in (".pom", ".jar")]
    assert len(files) > 50, "mvn's own plug-in and all that it needs came through us"
    assert (cold / JAR).read_bytes()[:2] == b"PK"
    assert [path for path in asked if path.endswith(SUMS)] == [], "checksums are computed here"
    assert [path for path, count in asked.items() if count > 1] == [], "nothing is asked for twice"
    assert len(asked) == len(files), "one question for each file, none beside"
    warm, _ = resolved(tmp_path / "warm", url, node.token)
    assert len(relay.asked) == len(asked), "nothing was asked again"
    relay.end()
    gone, _ = resolved(tmp_path / "gone", url, node.token)
    assert (gone / JAR).read_bytes() == (warm / JAR).read_bytes() == (cold / JAR).read_bytes()
    _, said = resolved(tmp_path / "unknown", url, node.token, "org.apache.commons:commons-text:1.11.0", ok=False)
    assert "502" in said or "Bad Gateway" in said, said
    credential = {"Authorization": f"Bearer {node.token}"}
    unknown = get(url + JAR.replace("1.12.0", "1.11.0"), credential)
    assert unknown.status == 502
    assert b"upstream" in unknown.body
    assert get(url + JAR).status == 401


def test_c14_a_name_published_here_is_never_taken_from_elsewhere(node: Up, relay: Relay) -> None:
    url = drawing(node, "shadowed", relay, "--public")
    deployer = Deployer(url, node.token)
    deployer.release("org.apache.commons", "commons-text", "0.1", {".jar": maven_layout.jar("ours")})
    assert deployer.refused == []
    assert get(url + JAR).status == 404
    listed = get(f"{url}org/apache/commons/commons-text/maven-metadata.xml").body.decode()
    assert "0.1" in listed
    assert "1.12.0" not in listed
    assert not [path for _, path, _ in relay.asked if "commons-text" in path]


def test_metadata_and_checksums_of_a_public_repository(node: Up, relay: Relay) -> None:
    url = drawing(node, "open-central", relay, "--public")
    listed = get(f"{url}org/apache/commons/commons-text/maven-metadata.xml")
    assert b"<version>1.12.0</version>" in listed.body
    jar = get(url + JAR)
    assert jar.status == 200
    told = {end: get(f"{url}{JAR}{end}").body.decode() for end in SUMS[:2]}
    again = get(url + JAR)
    assert (again.headers["x-checksum-sha1"], again.headers["x-checksum-md5"]) == (told[".sha1"], told[".md5"])
    assert get(f"{url}org/apache/commons/no-such-thing/1/no-such-thing-1.jar").status == 404
    assert [path for _, path, _ in relay.asked] == [
        "/org/apache/commons/commons-text/maven-metadata.xml",
        f"/{JAR}",
        "/org/apache/commons/no-such-thing/1/no-such-thing-1.jar",
    ]
