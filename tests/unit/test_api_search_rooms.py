"""Does every field that a query can name find what was published, in every room where it means something (O32)?

What the contract's samples publish, and for each room one package that says all that its format can say.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.logs.register import Pull
from gateway.queries.fields import PACKAGE_FIELDS, VERSION_FIELDS
from storage.nouns import Draft, File, PutQuarantine, Quarantine, View
from tests.contract.cases import CASES
from tests.contract.room_of_maven import maven_pom
from tests.contract.rooms import AT_MS, Case, World, deb_upload, npm_upload, oci_blob, oci_manifest, pypi_upload
from tests.harness import debs, images
from tests.harness.consoles import Console

LICENSED = "org.opencontainers.image.licenses"
IMAGE = images.manifest(b"{}", b"a layer", notes={LICENSED: "MIT"})
INDEX = images.index(json.dumps(IMAGE).encode())
INDEX["manifests"][0]["platform"] = {"architecture": "arm64", "os": "linux"}
TELLING = {
    "pypi": (
        pypi_upload(
            "telling", "1.0", "License-Expression: MIT", "Requires-Dist: Needed_Lib[more]>=2.5,<4; extra == 'x'"
        ),
        pypi_upload("telling", "1.1rc1"),
    ),
    "npm": (
        npm_upload(
            "telling",
            "1.0.0",
            license="MIT",
            cpu=["arm64"],
            dependencies={"needed-lib": "^2.5.0 || >=3.0.0-beta.1", "alias": "npm:real@1.2.3"},
            devDependencies={"for-makers": "1.0.0"},
        ),
        npm_upload("telling", "1.1.0-rc.1"),
    ),
    "maven": (
        maven_pom(
            "telling",
            "1.0",
            "<licenses><license><name>MIT</name></license></licenses><properties><at>2.5</at></properties>"
            "<dependencies><dependency><groupId>org.far</groupId><artifactId>needed-lib</artifactId>"
            "<version>${at}</version></dependency><dependency><groupId>org.far</groupId>"
            "<artifactId>for-makers</artifactId><version>1</version><scope>test</scope></dependency></dependencies>",
        ),
        maven_pom("telling", "1.1-rc1"),
    ),
    "oci": (
        oci_blob("telling", b"{}"),
        oci_blob("telling", b"a layer"),
        oci_manifest("telling", IMAGE, "one"),
        oci_manifest("telling", INDEX, "all"),
    ),
    "deb": (
        deb_upload(
            "telling_1.0-1_arm64.deb",
            debs.deb("telling", "1.0-1", "arm64", Depends="libc6 (>= 2.36), other-lib | needed-lib:any (>= 2.5-1)"),
        ),
        deb_upload("telling_1.1~rc1-1_arm64.deb", debs.deb("telling", "1.1~rc1-1", "arm64")),
    ),
    "generic": (),
}
SAYS = {
    "license": {"pypi", "npm", "maven", "oci"},
    "architecture": {"npm", "oci", "deb"},
    "tag": {"npm", "oci"},
    "version": {"pypi", "npm", "maven", "oci", "deb"},
    "dependency": {"pypi", "npm", "maven", "deb"},
    "prerelease": {"pypi", "npm", "maven", "deb"},
    "type": {"pypi", "maven", "oci", "deb"},
    "distribution": {"deb"},
    "component": {"deb"},
}
"""Where these mean something. A wheel says its architecture in its name: test_api_search has one."""
DAY = datetime.datetime.fromtimestamp(AT_MS / 1000, datetime.UTC).date().isoformat()
LOOSE = {"oci": (b"other layer",)}
"""What no version needs: a layer of nobody's image."""


class Counted:
    """Every version was downloaded three times."""

    def package(self, *place: str, since_ms: int) -> dict[str, Pull]:
        return {name: Pull(3, self.last_ms) for name in self.names}

    names: tuple[str, ...] = ()
    last_ms = 1


class Published:
    """A console whose repository acme/main holds what a room's samples publish."""

    def __init__(self, root: Path, case: Case) -> None:
        self.counted, self.case, self.world = Counted(), case, World(case.room)
        self.console = Console(root, register=self.counted, formats=tuple(CASES))
        self.writer = self.console.ids["writer"]
        for upload in (*case.good, *TELLING[case.room.name]):
            changes = self.world.upload(upload).changes
            self.console.ledger.write(Draft("acme", "main", self.writer, "publish", changes))
        with self.console.ledger.catalog.read() as reading:
            view = reading.view("acme", "main", case.room.name)
            self.files = {one.name: view.files(one.name) for one in view.packages() if view.files(one.name)}
            self.versions = {name: self._versions(view, name) for name in self.files}
            self.tags = {name: view.tags(name) for name in self.files}
        self.counted.names = tuple({one for names in self.versions.values() for one in names})

    def _versions(self, view: View, name: str) -> set[str]:
        named = {one.name for one in view.versions(name)} | {one.version for one in view.files(name)} - {""}
        return named or {""}

    async def told(self, query: str) -> dict[str, set[str]]:
        """The versions that it finds, by package."""
        whole = f"format:{self.case.room.name} {query}"
        got = await self.console.call(
            "acme admin", "GET", f"/search?q={quote(whole, safe='')}&limit=1000&versions=1000"
        )
        assert got.status == 200, (query, got.body)
        return {one["name"]: {each["name"] for each in one["versions"]} for one in got.json["items"]}

    async def finds(self, query: str) -> set[str]:
        whole = f"format:{self.case.room.name} {query}"
        got = await self.console.call("acme admin", "GET", f"/search?q={quote(whole, safe='')}&limit=1000")
        assert got.status == 200, (query, got.body)
        return {one["name"] for one in got.json["items"]}


@pytest.fixture(params=sorted(CASES))
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path, CASES[request.param])
    yield made
    made.console.ledger.close()


def stored(one: Published) -> Iterator[tuple[str, File]]:
    """Every file with its package, but for what no version needs."""
    loose = LOOSE.get(one.case.room.name, ())
    for package, files in one.files.items():
        for file in files:
            if one.world.kept.get(file.sha256) not in loose:
                yield package, file


def quoted(text: str) -> str:
    return f'"{text}"'


async def test_o32_every_file_is_found_by_name_checksum_size_and_day(published: Published) -> None:
    everything = set(published.files)
    assert everything
    for package, file in stored(published):
        assert package in await published.finds(f"checksum:{file.sha256.hex()}"), file.name
        assert package in await published.finds(f"checksum:sha256:{file.sha256.hex()}"), file.name
        if not set(file.name) & set('"*?^$'):
            assert package in await published.finds(f"filename:{quoted(file.name)}"), file.name
        assert package in await published.finds(f"size:>={max(file.size, 0)}"), file.name
        assert package in await published.finds(f"size:>={max(file.size, 0)} uploaded:{DAY}"), file.name
    assert await published.finds("size:>=0") == everything
    assert await published.finds(f"uploaded:{DAY}") == await published.finds("uploaded:>2020-01-01") == everything
    assert await published.finds("uploaded:<2020-01-01") == await published.finds("size:>1g") == set()
    assert await published.finds("checksum:" + "0" * 64) == set()


async def test_o32_every_package_is_found_by_who_published_it_how_often_it_went_and_whether_it_is_held(
    published: Published,
) -> None:
    everything = set(published.files)
    assert await published.finds(f"uploader:{published.writer}") == everything
    assert await published.finds("uploader:nobody") == set()
    assert await published.finds("downloads:3") == await published.finds("downloads:>=1") == everything
    assert await published.finds("quarantined:true") == set()
    room = published.case.room.name
    held = sorted(everything)[0]
    put = PutQuarantine(Quarantine(room, held))
    published.console.ledger.write(Draft("acme", "main", "t", "t", (put,)))
    assert await published.finds("quarantined:true") == {held}
    assert await published.finds("quarantined:false") == everything - {held}


async def test_o32_versions_tags_licenses_and_architectures_are_found_where_there_are_any(
    published: Published,
) -> None:
    room = published.case.room.name
    for package, names in published.versions.items():
        for version in names - {""}:
            assert package in await published.finds(f"version:={quoted(version)}"), version
    for package, tags in published.tags.items():
        for tag in tags:
            assert package in await published.finds(f"tag:{quoted(tag)}")
    telling = {name for name in published.files if "telling" in name}
    for field, query in (("license", "license:mit"), ("architecture", "architecture:arm64"), ("version", "version:*")):
        found = await published.finds(query)
        assert bool(found) == (room in SAYS[field]), query
        assert room not in SAYS[field] or telling <= found, query
    assert any(published.tags.values()) == (room in SAYS["tag"])


TYPES = {"pypi": "wheel", "maven": "jar", "oci": "index", "deb": "deb", "npm": "*", "generic": "*"}
AHEAD = {"pypi": "1.1rc1", "npm": "1.1.0-rc.1", "maven": "1.1-rc1", "deb": "1.1~rc1-1"}


async def test_what_packages_say_of_themselves_is_found_where_their_format_has_words_for_it(
    published: Published,
) -> None:
    room = published.case.room.name
    telling = {name for name in published.files if "telling" in name}
    for field, query in (
        ("dependency", "dependency:needed-lib"),
        ("dependency", "dependency:NEEDED-*"),
        ("dependency", "dependency:needed-lib>=2.4 dependency:needed-lib<3"),
        ("dependency", 'dependency:"needed-lib > 2.4"'),
        ("type", f"type:{TYPES[room]}"),
        ("distribution", "distribution:stable"),
        ("component", "component:main"),
        ("prerelease", "prerelease:true"),
    ):
        found = await published.finds(query)
        assert bool(found) == (room in SAYS[field]), query
        assert room not in SAYS[field] or telling <= found, query
    for query in (
        "dependency:needed", "dependency:for-makers", "dependency:needed-lib>4", "dependency:needed-lib<1",
        "type:nonsense", "distribution:stab", "component:universe",
    ):  # fmt: skip
        assert await published.finds(query) == set(), query
    if room in AHEAD:
        ahead, rest = await published.told("name:telling prerelease:true"), await published.told("prerelease:false")
        assert set().union(*ahead.values()) == {AHEAD[room]}
        assert AHEAD[room] not in set().union(*rest.values())


async def test_what_a_dependency_is_called_elsewhere_finds_it_too(published: Published) -> None:
    others = {
        "pypi": ("dependency:needed_lib", "dependency:Needed.Lib"),
        "npm": ("dependency:real=1.2.3", "dependency:alias"),
        "maven": ("dependency:org.far:needed-lib=2.5", "dependency:org/far/needed-lib"),
        "deb": ("dependency:other-lib", "dependency:libc6>=2.36"),
    }
    for query in others.get(published.case.room.name, ()):
        assert await published.finds(query), query


async def test_the_last_download_is_compared_by_day_and_what_had_none_was_on_no_day(published: Published) -> None:
    everything = set(published.files)
    published.counted.last_ms = AT_MS
    for query in (f"last_downloaded:{DAY}", "last_downloaded:>2020-01-01", f"last_downloaded:<={DAY}"):
        assert await published.finds(query) == everything, query
    assert await published.finds(f"last_downloaded:>{DAY}") == set()
    published.counted.last_ms = 0
    for query in ("last_downloaded:<2030-01-01", "last_downloaded:>=1970-01-01"):
        assert await published.finds(query) == set(), query


async def test_b9_what_was_deleted_is_found_in_the_bin_by_who_may_read_that(published: Published) -> None:
    room, console = published.case.room.name, published.console
    everything = set(published.files)
    assert await published.finds("status:available") == everything
    assert await published.finds("status:deleted") == set()
    held = sorted(everything)[0]
    console.ledger.write(Draft("acme", "main", "t", "t", (PutQuarantine(Quarantine(room, held)),)))
    assert await published.finds("status:quarantined") == {held}
    assert await published.finds("status:AVAILABLE") == everything - {held}
    assert (await console.call("acme admin", "PATCH", "/repositories/acme/main", {"bin_s": 3600})).status == 200
    name = next(one for one in sorted(everything) if "telling" in one or room == "generic")
    got = await console.call("acme admin", "DELETE", f"/repositories/acme/main/packages/{quote(name)}?format={room}")
    assert got.status == 200, got.body
    assert name in await published.finds("status:deleted")
    assert name not in await published.finds("status:available")
    assert name not in await published.finds("NOT status:available")
    query = quote(f"status:deleted format:{room} name:^{name}$", safe="")
    (item,) = (await console.call("acme admin", "GET", f"/search?q={query}")).json["items"]
    assert {each["status"] for each in item["versions"]} == {"deleted"}
    for role in ("reader", "anonymous", "stranger"):
        assert (await console.call(role, "GET", f"/search?q={query}")).json["items"] == [], role
    assert len((await console.call("writer", "GET", f"/search?q={query}&sort=size")).json["items"]) == 1


async def test_what_is_gone_is_nobodys_any_more(published: Published) -> None:
    """Who publishes a name again after it was deleted is who published it."""
    room, view = published.case.room.name, published.world.view
    removed = [published.world.amend(*one).changes for one in published.case.remove(published.world)]
    for changes in removed:
        published.console.ledger.write(Draft("acme", "main", "t", "delete", changes))
    left = await published.finds(f"uploader:{published.writer}")
    assert {name for name in left if name in published.files and not view.files(name)} == set()
    upload = published.case.good[0]
    changes = World(published.case.room).upload(upload).changes
    published.console.ledger.write(Draft("acme", "main", published.console.ids["reader"], "publish", changes))
    again = {change.package for change in changes if hasattr(change, "file")}
    by_reader = await published.finds(f"uploader:{published.console.ids['reader']}")
    assert room in ("oci", "pypi", "npm", "maven") or again <= by_reader


def test_no_field_is_left_out() -> None:
    asked = {"checksum", "filename", "size", "uploaded", "uploader", "downloads", "last_downloaded", *SAYS}
    asked |= {"quarantined", "status"}
    assert asked == set(VERSION_FIELDS)
    assert {"format", "name"} <= set(PACKAGE_FIELDS)
