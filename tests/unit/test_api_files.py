"""Where are the files of a package read, as its room says, and of one version with what that needs?"""

from pathlib import Path

import pytest

from cache.replication.wanted import Ties
from formats import ROOMS
from gateway.assembly import rooms
from storage.nouns import Draft, File, Grant, Package, PutFile, PutPackage, PutVersion, Version
from tests.harness.consoles import Console

AT = "/repositories/acme/main/files"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    made = Console(
        tmp_path,
        rooms=ROOMS,
        formats=tuple(ROOMS),
        normalise=rooms.normalise,
        address_of=rooms.address,
        ties=Ties(lambda format, facts: ("1-layer.bin",), lambda format, package, version, view: ()),
    )
    path = "query/a b+c/file#1.bin"
    put(made, "generic", path, File("file#1.bin", "", b"a" * 32, 3))
    files = [File(f"web-{one}.tgz", one, b"b" * 32, 4) for one in ("1.0.0", "2.0.0")]
    put(made, "npm", "@acme/web", *files, File("1-layer.bin", "", b"c" * 32, 5))
    return made


def put(console: Console, format: str, package: str, *files: File) -> None:
    versions = [PutVersion(format, package, Version(one.version, 1, b"facts")) for one in files if one.version]
    changes = (PutPackage(format, Package(package, 1)), *versions, *(PutFile(format, package, one) for one in files))
    console.ledger.write(Draft("acme", "main", "t", "t", changes))


async def test_a_file_is_read_at_the_address_that_its_room_tells_escaped(console: Console) -> None:
    got = await console.call("reader", "GET", f"{AT}/query/a%20b%2Bc/file%231.bin?format=generic")
    (file,) = got.json["items"]
    assert (file["path"], file["size_bytes"]) == ("/acme/main/generic/query/a%20b+c/file%231.bin", 3)


async def test_a_version_comes_with_what_it_needs_and_a_package_whole(console: Console) -> None:
    got = await console.call("reader", "GET", f"{AT}/@acme/web?format=npm&version=1.0.0")
    assert [one["name"] for one in got.json["items"]] == ["1-layer.bin", "web-1.0.0.tgz"]
    assert got.json["items"][1]["path"] == "/acme/main/npm/@acme/web/-/web-1.0.0.tgz"
    got = await console.call("reader", "GET", f"{AT}/@acme/web?format=npm&limit=2")
    assert [one["name"] for one in got.json["items"]] == ["1-layer.bin", "web-1.0.0.tgz"]
    got = await console.call("reader", "GET", f"{AT}/@acme/web?format=npm&limit=2&after={got.json['next']}")
    assert [one["name"] for one in got.json["items"]] == ["web-2.0.0.tgz"]


async def test_b9_who_may_not_read_a_package_hears_nothing_of_its_files(console: Console) -> None:
    narrow = Grant("acme/main", formats=("npm",), packages=("other",))
    console.add_token("narrow", narrow)
    for role, path, status in (
        ("narrow", "@acme/web?format=npm", 404),
        ("reader", "gone?format=npm", 404),
        ("reader", "@acme/web?format=npm&version=9.9.9", 404),
        ("reader", "@acme/web?format=nothing", 400),
        ("stranger", "@acme/web?format=npm", 404),
        ("anonymous", "@acme/web?format=npm", 401),
    ):
        assert (await console.call(role, "GET", f"{AT}/{path}")).status == status, (role, path)
