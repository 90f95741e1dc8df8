"""The Maven room by its contract: from an upload to a resolver, and from one repository to the next."""

import hashlib

import msgspec
import pytest

from formats.kit import xmls
from formats.kit.contract import ABOUT, Amend, Decision, Foreign, Learn, Pull, Serve, Show, about
from formats.maven import ROOM
from formats.maven.facts import package_facts, version_facts
from storage.errors import (
    Absent,
    Conflict,
    Forbidden,
    Invalid,
    MethodRefused,
    TooLarge,
    Unauthenticated,
    UpstreamFailed,
)
from storage.nouns import PutVersion
from tests.contract.rooms import Upload, World, ask
from tests.harness import maven_layout

DEMO = "org/acme/demo"
BUILD = f"{DEMO}/2-SNAPSHOT/demo-2-2023110"


@pytest.fixture
def world() -> World:
    return World(ROOM)


def put(world: World, path: str, body: bytes = b"bytes", **headers: str) -> Decision:
    return world.upload(Upload("PUT", path, body, {name.replace("_", "-"): text for name, text in headers.items()}))


def checksum(world: World, path: str, text: str) -> Decision:
    return world.amend(ask(ROOM, "PUT", path), text.encode())


def delete(world: World, path: str) -> Decision:
    return world.amend(ask(ROOM, "DELETE", path))


def page(world: World, path: str) -> str:
    document = world.page(path)
    assert document is not None, path
    return document.body.decode()


def metadata(world: World, path: str) -> xmls.Element:
    return xmls.read(page(world, f"{path}/maven-metadata.xml").encode(), 1 << 20)


def versions(world: World, package: str = DEMO) -> list[str]:
    return [one.text for one in metadata(world, package).all("versioning", "versions", "version")]


# ---------------------------------------------------------------- publishing


def test_the_list_of_versions_is_what_is_here_and_not_what_a_client_says(world: World) -> None:
    for version in ("1.10", "1.2", "2-SNAPSHOT", "1.9-beta"):
        put(world, f"{DEMO}/{version}/demo-{version}.jar")
    said = put(world, f"{DEMO}/maven-metadata.xml", maven_layout.artifact_metadata("1.2", "666"))
    assert said.changes == ()
    assert said.reply.status < 300
    found = metadata(world, DEMO)
    assert versions(world) == ["1.2", "1.9-beta", "1.10", "2-SNAPSHOT"]
    assert (found.said("groupId"), found.said("artifactId")) == ("org.acme", "demo")
    assert found.said("versioning", "latest") == "2-SNAPSHOT"
    assert found.said("versioning", "release") == "1.10"
    assert found.said("versioning", "lastUpdated") == "20231114221324"


def test_c15_a_release_is_for_ever(world: World) -> None:
    path = f"{DEMO}/1/demo-1.jar"
    assert put(world, path).reply.status == 201
    assert put(world, path).changes == ()
    with pytest.raises(Conflict) as refused:
        put(world, path, b"other")
    assert "raise the version" in refused.value.remedy
    put(world, f"{DEMO}/2/demo-2.jar")
    assert delete(world, path).reply.status == 204
    assert versions(world) == ["2"]
    with pytest.raises(Conflict):
        put(world, path, b"other")
    put(world, path)
    assert versions(world) == ["1", "2"]


def test_d9_a_pom_speaks_of_its_place(world: World) -> None:
    for name, pom in {
        "group": maven_layout.pom("org.evil", "demo", "1"),
        "artifact": maven_layout.pom("org.acme", "other", "1"),
        "version": maven_layout.pom("org.acme", "demo", "2"),
        "no project": b"<pom/>",
        "no xml": b"{}",
        "entities": b'<!DOCTYPE project [<!ENTITY a "b">]><project/>',
        "nothing": b"<project/>",
        "group twice": maven_layout.pom("org.acme", "demo", "1", more="<groupId>org.evil</groupId>"),
        "group in pieces": maven_layout.pom("org.<x/>acme", "demo", "1"),
        "group elsewhere": maven_layout.pom("org.acme", "demo", "1").replace(b"groupId", b"x:groupId"),
    }.items():
        with pytest.raises(Invalid):
            put(world, f"{DEMO}/1/demo-1.pom", pom)
        assert world.view.serial == 0, name
    with pytest.raises(TooLarge):
        put(world, f"{DEMO}/1/demo-1.pom", b"<project>" + b" " * (4 << 20) + b"</project>")
    inherited = (
        b"<project><parent><groupId>org.acme</groupId><artifactId>up</artifactId><version>${revision}</version>"
        b"</parent><artifactId>demo</artifactId><packaging>maven-plugin</packaging><name>Demo</name></project>"
    )
    put(world, f"{DEMO}/1/demo-1.pom", inherited)
    facts = version_facts(world.view.version(DEMO, "1"))
    assert (facts.packaging, facts.name) == ("maven-plugin", "Demo")
    put(world, f"{DEMO}/1/demo-1.jar")
    assert version_facts(world.view.version(DEMO, "1")) == facts, "a jar after its pom takes nothing away"
    put(world, f"{DEMO}_2.12_1.0/1/demo-1.pom", maven_layout.pom("org.acme", "demo", "1"))


def test_gradle_modules_and_markers(world: World) -> None:
    good = maven_layout.module("org.acme", "demo", "1")
    put(world, f"{DEMO}/1/demo-1.module", good)
    twice = (good[:-1] + b',"component":{}}', good[:-1] + b',"x":"\xff"}')
    for odd in (maven_layout.module("org.acme", "other", "1"), b"{}", b"[" * 10_000, b"\xff", *twice):
        with pytest.raises(Invalid):
            put(world, f"{DEMO}/2/demo-2.module", odd)
    marker = "org/acme/tool/org.acme.tool.gradle.plugin"
    body = maven_layout.pom("org.acme.tool", "org.acme.tool.gradle.plugin", "1", packaging="pom")
    put(world, f"{marker}/1/org.acme.tool.gradle.plugin-1.pom", body)
    assert versions(world, marker) == ["1"]


def test_group_metadata_lists_plugins_that_are_here(world: World) -> None:
    for name in ("one", "two"):
        put(world, f"org/acme/{name}-maven-plugin/1/{name}-maven-plugin-1.jar")
    put(world, "org/acme/maven-metadata.xml", maven_layout.group_metadata(one="one-maven-plugin", evil="not-here"))
    put(world, "org/acme/maven-metadata.xml", maven_layout.group_metadata(two="two-maven-plugin"))
    found = metadata(world, "org/acme")
    assert [one.said("prefix") for one in found.all("plugins", "plugin")] == ["one", "two"]
    assert found.said("versioning", "latest") == ""
    delete(world, "org/acme/one-maven-plugin/")
    assert [one.said("prefix") for one in metadata(world, "org/acme").all("plugins", "plugin")] == ["two"]
    delete(world, "org/acme/two-maven-plugin/1/")
    assert world.page("org/acme/maven-metadata.xml") is None
    with pytest.raises(Invalid):
        put(world, "org/acme/maven-metadata.xml", b"<html></html>")


# ---------------------------------------------------------------- snapshots


def test_a_snapshot_lists_the_newest_of_each_kind(world: World) -> None:
    for name, body in {
        f"{BUILD}7.000001-1.jar": b"one",
        f"{BUILD}7.000001-1-sources.jar": b"one's sources",
        f"{BUILD}7.000009-2.jar": b"two",
        f"{BUILD}7.000005-9.jar": b"late",
    }.items():
        put(world, name, body)
    found = metadata(world, f"{DEMO}/2-SNAPSHOT")
    assert found.said("version") == "2-SNAPSHOT"
    assert found.said("versioning", "snapshot", "timestamp") == "20231107.000009"
    assert found.said("versioning", "snapshot", "buildNumber") == "2"
    listed = {
        (one.said("classifier"), one.said("extension")): one.said("value")
        for one in found.all("versioning", "snapshotVersions", "snapshotVersion")
    }
    assert listed == {("", "jar"): "2-20231107.000009-2", ("sources", "jar"): "2-20231107.000001-1"}
    assert versions(world) == ["2-SNAPSHOT"]


@pytest.mark.parametrize("moment", ["99991231.235959", "20231117.000000", "20231301.000000", "00000000.000000"])
def test_a_build_from_no_time_or_from_days_ahead_is_refused(world: World, moment: str) -> None:
    """It would be the newest for ever, or until then."""
    with pytest.raises(Invalid) as refused:
        put(world, f"{DEMO}/2-SNAPSHOT/demo-2-{moment}-1.jar")
    assert "clock" in refused.value.remedy
    put(world, f"{DEMO}/2-SNAPSHOT/demo-2-20231115.220000-1.jar")


def plain(world: World, name: str = "demo-2-SNAPSHOT.jar") -> bytes | None:
    plan = ROOM.read(ask(ROOM, "GET", f"{DEMO}/2-SNAPSHOT/{name}"))
    assert isinstance(plan, Serve)
    file = world.view.file(plan.package, plan.file)
    return world.kept[file.sha256] if file is not None else None


def test_the_plain_name_of_a_snapshot_is_its_newest_build(world: World) -> None:
    put(world, f"{BUILD}7.000009-2.jar", b"two")
    put(world, f"{BUILD}7.000001-1.jar", b"one")
    assert plain(world) == b"two"
    assert page(world, f"{DEMO}/2-SNAPSHOT/demo-2-SNAPSHOT.jar.sha1") == hashlib.sha1(b"two").hexdigest()
    with pytest.raises(Conflict) as refused:
        put(world, f"{BUILD}7.000009-2.jar", b"other")
    assert "new build" in refused.value.remedy
    delete(world, f"{BUILD}7.000009-2.jar")
    assert plain(world) == b"one"
    put(world, f"{BUILD}7.000009-2.jar", b"a snapshot may come back")
    with pytest.raises(Absent):
        delete(world, f"{DEMO}/2-SNAPSHOT/demo-2-SNAPSHOT.jar")
    delete(world, f"{BUILD}7.000009-2.jar")
    delete(world, f"{BUILD}7.000001-1.jar")
    assert plain(world) is None
    assert world.view.package(DEMO) is None


def test_a_snapshot_without_builds_may_be_replaced(world: World) -> None:
    path = f"{DEMO}/2-SNAPSHOT/demo-2-SNAPSHOT.jar"
    put(world, path, b"one")
    put(world, path, b"two")
    assert plain(world) == b"two"
    put(world, f"{BUILD}7.000009-2.jar", b"a build beside it")
    assert plain(world) == b"two", "what was published under the plain name is not covered"
    found = metadata(world, f"{DEMO}/2-SNAPSHOT")
    assert found.said("versioning", "lastUpdated")


# ---------------------------------------------------------------- checksums


def test_checksums_are_computed_and_compared(world: World) -> None:
    path, body = f"{DEMO}/1/demo-1.jar", b"jar"
    with pytest.raises(Conflict) as refused:
        checksum(world, f"{path}.sha1", hashlib.sha1(body).hexdigest())
    assert "first" in refused.value.remedy
    put(world, path, body)
    for name in ("md5", "sha1", "sha256", "sha512"):
        right = hashlib.new(name, body).hexdigest()
        assert page(world, f"{path}.{name}") == right
        for text in (right, right.upper(), f"{right}  demo-1.jar\n", f"SHA(demo-1.jar)= {right}"):
            assert checksum(world, f"{path}.{name}", text).changes == ()
        wrong = hashlib.new(name, b"other").hexdigest()
        for text in (wrong, "", right[1:], "zz" * 20, f"{wrong} {right}"):
            with pytest.raises(Invalid):
                checksum(world, f"{path}.{name}", text)
    assert world.page(f"{DEMO}/1/other.jar.sha1") is None


def test_an_announced_checksum_is_compared_before_anything_is_kept(world: World) -> None:
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, b"jar").hexdigest()
        with pytest.raises(Invalid):
            put(world, f"{DEMO}/1/demo-1.jar", b"other", **{f"x_checksum_{name}": digest})
        assert world.view.serial == 0
        put(World(ROOM), f"{DEMO}/1/demo-1.jar", b"jar", **{f"x_checksum_{name}": digest.upper()})


def test_metadata_has_checksums_of_what_is_served(world: World) -> None:
    put(world, f"{DEMO}/1/demo-1.jar")
    document = world.page(f"{DEMO}/maven-metadata.xml")
    assert document is not None
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, document.body).hexdigest()
        assert page(world, f"{DEMO}/maven-metadata.xml.{name}") == digest
        assert dict(document.headers)[f"X-Checksum-{name.capitalize()}"] == digest
    own = maven_layout.artifact_metadata("1")
    assert checksum(world, f"{DEMO}/maven-metadata.xml.sha1", hashlib.sha1(own).hexdigest()).changes == ()
    with pytest.raises(Invalid):
        checksum(world, f"{DEMO}/maven-metadata.xml.sha1", "nonsense")


# ---------------------------------------------------------------- removing and refusing


def test_deleting_versions_and_artifacts(world: World) -> None:
    for version in ("1", "2"):
        put(world, f"{DEMO}/{version}/demo-{version}.jar")
        put(world, f"{DEMO}/{version}/demo-{version}.jar.asc")
    delete(world, f"{DEMO}/1/")
    assert versions(world) == ["2"]
    assert world.page(f"{DEMO}/1/demo-1.jar.sha1") is None
    delete(world, f"{DEMO}/")
    assert world.view.package(DEMO) is None
    assert world.view.claimed(DEMO), "the name stays taken (C14)"
    for path in (f"{DEMO}/", f"{DEMO}/2/", f"{DEMO}/2/demo-2.jar"):
        with pytest.raises(Absent):
            delete(world, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"{DEMO}/1/a.jar"), ("PUT", DEMO + "/"), ("DELETE", f"{DEMO}/1/a.jar.sha1"), ("PUT", "")],
)
def test_methods_that_are_not_there(method: str, path: str) -> None:
    with pytest.raises(MethodRefused):
        ROOM.read(ask(ROOM, method, path))
    reply = ROOM.refuse(ask(ROOM, method, path), MethodRefused("No."))
    assert method not in dict(reply.headers)["Allow"].split(", ")


def test_ivy_finds_its_realm() -> None:
    reply = ROOM.refuse(ask(ROOM, "GET", "x"), Unauthenticated("Who?"))
    assert dict(reply.headers)["WWW-Authenticate"] == 'Basic realm="Entrepot"'
    assert ROOM.refuse(ask(ROOM, "GET", "x"), Forbidden("No.")).status == 403


# ---------------------------------------------------------------- upstreams


def fetch(path: str) -> Learn | Pull | None:
    plan = ROOM.read(ask(ROOM, "GET", path))
    assert isinstance(plan, Serve | Show)
    return ROOM.upstream(ask(ROOM, "GET", path), plan)


def test_how_an_upstream_is_asked() -> None:
    jar = fetch(f"{DEMO}/1/demo-1.jar")
    assert isinstance(jar, Pull)
    assert (jar.path, jar.immutable, jar.media) == (f"{DEMO}/1/demo-1.jar", True, "application/java-archive")
    sha1 = fetch(f"{DEMO}/1/demo-1.jar.sha1")
    assert isinstance(sha1, Pull)
    assert (sha1.path, sha1.digest_of, sha1.immutable) == (jar.path + ".sha1", (jar.path, "sha1"), True)
    assert sha1.accept == jar.accept, "the record of the file itself is found by both"
    learn = fetch(f"{DEMO}/maven-metadata.xml")
    assert isinstance(learn, Learn)
    assert learn.path == f"{DEMO}/maven-metadata.xml"
    assert learn == fetch(f"{DEMO}/maven-metadata.xml.md5") == ROOM.upstream(ABOUT, about(DEMO))
    for path, immutable in {
        f"{DEMO}/2-SNAPSHOT/maven-metadata.xml": False,
        f"{DEMO}/2-SNAPSHOT/demo-2-SNAPSHOT.jar": False,
        f"{BUILD}7.000001-1.jar": True,
    }.items():
        pull = fetch(path)
        assert isinstance(pull, Pull)
        assert (pull.path, pull.immutable) == (path, immutable)
    odd = fetch("a+b/c d/1 2/x~[1].jar")
    assert isinstance(odd, Pull)
    assert odd.path == "a%2Bb/c%20d/1%202/x~%5B1%5D.jar"
    assert ROOM.upstream(ABOUT, about("")) is None


def test_what_an_upstream_tells_is_laid_under_what_is_here(world: World) -> None:
    foreign = ROOM.learn(DEMO, maven_layout.artifact_metadata("1", "1.1", "../x", "<b/>"), "http://up.example/")
    assert [one.name for one in foreign.versions] == ["1", "1.1"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(foreign), type=Foreign) == foreign
    world.view.lay(foreign)
    assert versions(world) == ["1", "1.1"]
    assert metadata(world, DEMO).said("versioning", "lastUpdated") == "20200102030405"
    put(world, f"{DEMO}/3/demo-3.jar")
    world.view.lay(foreign, allowed=True)
    assert versions(world) == ["1", "1.1", "3"]
    group = ROOM.learn("org/acme", maven_layout.group_metadata(one="one-plugin"), "http://up.example/")
    assert package_facts(group.package).plugins["one-plugin"].prefix == "one"


@pytest.mark.parametrize("raw", [b"", b"<html/>", b"<metadata>", b"<!DOCTYPE metadata><metadata/>", b"\x1f\x8b"])
def test_b5_an_answer_that_is_no_metadata(raw: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        ROOM.learn(DEMO, raw, "http://up.example/")


def test_a_checksum_is_a_small_question() -> None:
    plan = ROOM.read(ask(ROOM, "PUT", f"{DEMO}/1/demo-1.jar.sha1"))
    assert isinstance(plan, Amend)
    assert plan.bytes_max <= 4096


def test_parallel_deploys_lose_nothing(world: World) -> None:
    """Each client uploads its own idea of the list: the list is made of what came."""
    stale = maven_layout.artifact_metadata("1.0")
    for number in range(64):
        decision = put(world, f"{DEMO}/1.{number}/demo-1.{number}.jar", b"%d" % number)
        assert any(isinstance(change, PutVersion) for change in decision.changes)
    for _ in range(64):
        put(world, f"{DEMO}/maven-metadata.xml", stale)
    assert versions(world) == [f"1.{number}" for number in range(64)]
