"""Does anything get lost where many deploy at once, each writing over the list that it has read (THREATS C15)?

What mvn sends, from 64 clients: the files with their checksums, and metadata at three levels, each with what its client
knew a moment ago. Half of them speak to the edge, half to the origin.
"""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.harness import maven_layout
from tests.harness.maven_deploying import Deployer
from tests.harness.running import Up

pytestmark = [pytest.mark.native, pytest.mark.live]

CLIENTS = 64
GROUP = "org.crowd"


def deployers(node: Up) -> list[Deployer]:
    """Clients, every second one at the origin."""
    homes = [f"{base}/{node.private}/maven/" for base in (node.edge, node.origin)]
    return [Deployer(homes[number % 2], node.token) for number in range(CLIENTS)]


def at_once(crowd: list[Deployer], deploy: "list[partial[None]]") -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        for done in [threads.submit(one) for one in deploy]:
            done.result(120)
    assert [one.refused for one in crowd if one.refused] == []


def files(artifact: str, version: str, text: str) -> dict[str, bytes]:
    return {".jar": maven_layout.jar(text), ".pom": maven_layout.pom(GROUP, artifact, version)}


def test_none_of_64_releases_is_lost(node: Up) -> None:
    crowd = deployers(node)
    versions = [f"1.{number}" for number in range(CLIENTS)]
    at_once(crowd, [partial(one.release, GROUP, "lib", version, files("lib", version, version))
                    for one, version in zip(crowd, versions, strict=True)])  # fmt: skip
    for base in (crowd[0], crowd[1]):
        listed = re.findall(r"<version>(.*?)</version>", base.metadata("org/crowd/lib"))
        assert listed == versions, "all are listed, in Maven's order"
        for version in versions:
            jar = base.ask("GET", f"org/crowd/lib/{version}/lib-{version}.jar")
            assert jar.body == maven_layout.jar(version)
            assert jar.headers["x-checksum-sha1"] == hashlib.sha1(jar.body).hexdigest()
    document = crowd[0].ask("GET", "org/crowd/lib/maven-metadata.xml").body
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        told = crowd[0].ask("GET", f"org/crowd/lib/maven-metadata.xml.{algorithm}").body.decode()
        assert told == hashlib.new(algorithm, document).hexdigest()


def test_no_plugin_of_a_group_is_lost(node: Up) -> None:
    crowd = deployers(node)[:24]
    names = [f"p{number:02}" for number in range(len(crowd))]
    at_once(crowd, [
        partial(one.release, "org.crowd.plugins", f"{name}-maven-plugin", "1", {".jar": maven_layout.jar(name)}, name)
        for one, name in zip(crowd, names, strict=True)
    ])  # fmt: skip
    found = re.findall(r"<prefix>(.*?)</prefix>", crowd[0].metadata("org/crowd/plugins"))
    assert sorted(found) == names


def test_of_64_builds_of_a_snapshot_the_newest_is_shown_and_all_are_there(node: Up) -> None:
    """However they come in, and though many believe to have the same build number."""
    crowd = deployers(node)
    stamps = [f"20240101.{number // 60:02}{number % 60:02}00" for number in range(CLIENTS)]
    at_once(crowd, [partial(one.snapshot, GROUP, "moving", "2.0", stamp, files("moving", "2.0-SNAPSHOT", stamp))
                    for one, stamp in zip(crowd, stamps, strict=True)])  # fmt: skip
    home, top = crowd[0], "org/crowd/moving/2.0-SNAPSHOT"
    text = home.metadata(top)
    value = re.search(r"<extension>jar</extension>\s*<value>(.*?)</value>", text)
    assert value is not None
    assert f"<timestamp>{stamps[-1]}</timestamp>" in text
    newest = maven_layout.jar(stamps[-1])
    assert home.ask("GET", f"{top}/moving-{value[1]}.jar").body == newest
    assert home.ask("GET", f"{top}/moving-2.0-SNAPSHOT.jar").body == newest
    for stamp in stamps:
        found = [home.ask("GET", f"{top}/moving-2.0-{stamp}-{number}.jar") for number in range(1, CLIENTS + 1)]
        assert [got.body for got in found if got.status == 200] == [maven_layout.jar(stamp)]
