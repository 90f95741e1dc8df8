"""What does the Debian room make of packages, sources and changes, honest or not?"""

import hashlib

import msgspec
import pytest

from formats import deb
from formats.kit.contract import Amend, Listed, Made, Making, Manifest, Pull, Serve
from storage.errors import Absent, Conflict, Invalid, MethodRefused, TooLarge
from tests.contract.rooms import Upload, World, ask
from tests.harness import debs

ROOM = deb.ROOM


def upload(body: bytes, name: str = "x.deb", place: str = "upload/stable/main") -> Upload:
    return Upload("PUT", f"{place}/{name}", body)


def packages(world: World, distribution: str, path: str) -> str:
    """A whole index, as the core would put it together."""
    found = b""
    for package in world.view.packages():
        found += ROOM.fragments(distribution, package.name, world.view).get(path, b"")
    return found.decode()


@pytest.fixture
def world() -> World:
    return World(ROOM)


# ---------------------------------------------------------------- indexes


def test_a_package_is_listed_where_it_was_sent(world: World) -> None:
    body = debs.deb("acme", "1:2.0-1", "amd64", Depends="libc6")
    reply = world.upload(upload(body)).reply
    assert reply.status == 201
    listed = packages(world, "stable", "main/binary-amd64/Packages")
    assert listed.startswith("Package: acme\nVersion: 1:2.0-1\nArchitecture: amd64\n")
    assert "Description: a package\n of several\n .\n lines\n" in listed
    assert (
        f"Filename: pool/acme/acme_2.0-1_amd64.deb\nSize: {len(body)}\nSHA256: {hashlib.sha256(body).hexdigest()}\n\n"
        in listed
    )
    assert packages(world, "stable", "main/Contents-amd64") == "usr/share/doc/acme/README misc/acme\n"
    assert packages(world, "stable", "contrib/binary-amd64/Packages") == ""
    with pytest.raises(Absent):
        ROOM.parts("other", world.view)


def test_the_same_package_in_two_places_is_one_file(world: World) -> None:
    body = debs.deb("acme", "1.0", "amd64")
    world.upload(upload(body))
    assert world.upload(upload(body, place="upload/testing/contrib")).reply.status == 200
    assert len(world.published) == 1
    for where in (("stable", "main"), ("testing", "contrib")):
        assert "Package: acme" in packages(world, where[0], f"{where[1]}/binary-amd64/Packages")
    assert packages(world, "stable", "contrib/binary-amd64/Packages") == ""


def test_what_is_for_all_is_in_every_index(world: World) -> None:
    world.upload(upload(debs.deb("data", "1.0", "all")))
    assert "No-Support" not in release(world)
    for architecture in ("amd64", "arm64"):
        world.upload(upload(debs.deb("tool", "1.0", architecture)))
    assert "No-Support-for-Architecture-all: Packages\n" in release(world)
    for architecture in ("amd64", "arm64", "all"):
        assert "Package: data" in packages(world, "stable", f"main/binary-{architecture}/Packages")
    assert "Architectures: all amd64 arm64\n" in release(world)


def release(world: World, at_ms: int = 1_700_000_000_000) -> str:
    made = (Made("main/binary-amd64/Packages", 12, bytes(32)), Made("main/binary-amd64/Packages.gz", 5, b"\1" * 32))
    making = Making("stable", "acme", "main", made, at_ms)
    return ROOM.manifest(making, world.view).body.decode()


def test_the_manifest_lists_what_was_made_and_until_when(world: World) -> None:
    world.upload(upload(debs.deb("tool", "1.0", "amd64")))
    text = release(world)
    assert f" {'00' * 32}           12 main/binary-amd64/Packages\n" in text
    assert f" {'01' * 32}            5 main/binary-amd64/Packages.gz\n" in text
    assert "Date: Tue, 14 Nov 2023 22:13:20 UTC\nValid-Until: Tue, 28 Nov 2023 22:13:20 UTC\n" in text
    settings(world, {"valid_s": 0, "origin": "Acme", "codename": "wheel", "not_automatic": True, "contents": False})
    text = release(world)
    assert "Valid-Until" not in text
    assert text.startswith("Origin: Acme\nLabel: acme/main\nSuite: stable\nCodename: wheel\n")
    assert "NotAutomatic: yes\n" in text
    assert not any("Contents" in part.path for part in ROOM.parts("stable", world.view))
    settings(world, {"architectures": ["s390x"], "components": ["contrib"]})
    assert "contrib/binary-s390x/Packages" in {part.path for part in ROOM.parts("stable", world.view)}


def settings(world: World, told: dict[str, object], distribution: str = "stable") -> None:
    world.amend(ask(ROOM, "PUT", f"distributions/{distribution}"), msgspec.json.encode(told))


@pytest.mark.parametrize(
    "told",
    [{"valid_s": -1}, {"valid_s": 1 << 40}, {"label": "a\nSHA256: x"}, {"label": "x" * 300}, {"other": 1},
     {"components": ["a/b"]}, {"components": ["binary-x"]}, {"architectures": ["source"]}, {"origin": 5}, []],
)  # fmt: skip
def test_settings_that_make_no_sense(world: World, told: object) -> None:
    with pytest.raises(Invalid):
        world.amend(ask(ROOM, "PUT", "distributions/stable"), msgspec.json.encode(told))


def test_an_installer_package_has_an_index_of_its_own(world: World) -> None:
    world.upload(upload(debs.deb("netcfg", "1.0", "amd64"), "netcfg_1.0_amd64.udeb"))
    assert "Package: netcfg" in packages(world, "stable", "main/debian-installer/binary-amd64/Packages")
    assert packages(world, "stable", "main/binary-amd64/Packages") == ""
    plan = ROOM.read(ask(ROOM, "GET", "dists/stable/main/debian-installer/binary-amd64/Packages.gz"))
    assert isinstance(plan, Listed)
    assert (plan.set, plan.path) == ("stable", "main/debian-installer/binary-amd64/Packages.gz")


# ---------------------------------------------------------------- sources and changes


def test_a_source_package_comes_after_its_members(world: World) -> None:
    files = debs.source("acme", "1.0-1")
    *members, dsc = files
    with pytest.raises(Invalid, match=r"acme_1\.0\.orig\.tar\.gz"):
        world.upload(upload(files[dsc], dsc))
    for name in members:
        world.upload(upload(files[name], name))
    assert (
        packages(world, "stable", "main/source/Sources")
        if "d/stable" in {p.name for p in world.view.packages()}
        else True
    )
    world.upload(upload(files[dsc], dsc))
    listed = packages(world, "stable", "main/source/Sources")
    assert listed.startswith("Package: acme\nFormat: 3.0 (quilt)\n")
    assert "Directory: pool/acme\n" in listed
    for name, data in files.items():
        assert f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" in listed
    with pytest.raises(Conflict):
        world.upload(upload(files[members[0]] + b"x", members[0]))


def test_changes_say_where_files_are_listed(world: World) -> None:
    body = debs.deb("acme", "1.0", "amd64")
    world.upload(upload(body, "acme_1.0_amd64.deb", "incoming"))
    listed = debs.changes("acme", "1.0", {"acme_1.0_amd64.deb": body}, "sid testing", "contrib/net")
    with pytest.raises(Absent):
        ROOM.parts("sid", world.view)
    world.upload(upload(listed, "acme_1.0_amd64.changes", "incoming"))
    for distribution in ("sid", "testing"):
        assert "Package: acme" in packages(world, distribution, "contrib/binary-amd64/Packages")
    assert world.upload(upload(listed, "acme_1.0_amd64.changes", "incoming")).changes == ()
    other = debs.changes("acme", "1.0", {"acme_1.0_amd64.deb": body + b"x"}, "sid")
    with pytest.raises(Invalid, match="other bytes"):
        world.upload(upload(other, "acme_1.0_amd64.changes", "incoming"))
    world.upload(upload(listed, "acme_1.0_amd64.changes", "upload/bullseye/extra"))
    assert "Package: acme" in packages(world, "bullseye", "extra/binary-amd64/Packages")


def test_a_signed_description_is_read_and_kept_as_it_came(world: World) -> None:
    files = debs.source("acme", "1.0-1")
    *members, dsc = files
    signed = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + files[dsc]
    signed += b"\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
    for name in members:
        world.upload(upload(files[name], name))
    world.upload(upload(signed, dsc))
    assert "Package: acme" in packages(world, "stable", "main/source/Sources")
    assert world.published["s/acme", dsc] == hashlib.sha256(signed).digest()


# ---------------------------------------------------------------- removal


def test_a_package_leaves_one_place_and_then_the_repository(world: World) -> None:
    body = debs.deb("acme", "1.0", "amd64")
    world.upload(upload(body))
    world.upload(upload(body, place="upload/testing/main"))
    remove(world, "pool/acme/acme_1.0_amd64.deb?distribution=testing")
    assert packages(world, "testing", "main/binary-amd64/Packages") == ""
    assert packages(world, "testing", "main/Contents-amd64") == ""
    assert "Package: acme" in packages(world, "stable", "main/binary-amd64/Packages")
    with pytest.raises(Absent):
        remove(world, "pool/acme/acme_1.0_amd64.deb?distribution=testing")
    remove(world, "pool/acme/acme_1.0_amd64.deb?distribution=stable&component=main")
    assert world.view.file("b/acme", "acme_1.0_amd64.deb") is None
    assert world.view.versions("b/acme") == []
    with pytest.raises(Conflict, match="was removed"):
        world.upload(upload(debs.deb("acme", "1.0", "amd64", Section="other")))
    assert world.upload(upload(body)).reply.status == 201


def remove(world: World, path: str) -> None:
    request = ask(ROOM, "DELETE", path)
    assert isinstance(ROOM.read(request), Amend)
    world.amend(request)


def test_a_source_package_goes_with_the_members_that_no_other_needs(world: World) -> None:
    for version in ("1.0-1", "1.0-2"):
        for name, data in debs.source("acme", version).items():
            world.upload(upload(data, name))
    with pytest.raises(Conflict, match="belongs to a source package"):
        remove(world, "pool/acme/acme_1.0.orig.tar.gz")
    remove(world, "pool/acme/acme_1.0-1.dsc")
    assert [file.name for file in world.view.files("s/acme")] == [
        "acme_1.0-2.debian.tar.xz", "acme_1.0-2.dsc", "acme_1.0.orig.tar.gz"
    ]  # fmt: skip


# ---------------------------------------------------------------- hostile


CONTROL = debs.control("acme", "1.0", "amd64")
ODD_CONTROLS = {
    "two paragraphs": CONTROL + b"\nPackage: evil\nVersion: 1\n",
    "a blank continuation": CONTROL.replace(b" .\n", b" \t\n"),
    "carriage returns": CONTROL.replace(b"Section: misc", b"Section: misc\rPackage: evil"),
    "a NUL": CONTROL.replace(b"misc", b"mi\0sc"),
    "a line separator": CONTROL.replace(b"misc", "mi\u2028sc".encode()),
    "not UTF-8": CONTROL.replace(b"misc", b"mi\xffsc"),
    "a field twice": CONTROL + b"section: other\n",
    "no package": CONTROL.replace(b"Package: acme\n", b""),
    "a folded version": CONTROL.replace(b"Version: 1.0\n", b"Version: 1.0\n more\n"),
    "an odd name": CONTROL.replace(b"acme\n", b"../etc\n", 1),
    "an upper-case name": CONTROL.replace(b"acme\n", b"Acme\n", 1),
    "an odd version": CONTROL.replace(b"1.0", b"1/0"),
    "an odd architecture": CONTROL.replace(b"amd64", b"amd64 i386"),
    "every architecture": CONTROL.replace(b"amd64", b"any"),
    "no colon": CONTROL + b"Nothing\n",
    "a comment": CONTROL + b"#x: y\n",
    "begins with a space": b" x\n" + CONTROL,
    "empty": b"",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_CONTROLS)
def test_d9_a_control_file_that_two_readers_could_take_differently(world: World, odd: str) -> None:
    with pytest.raises(Invalid):
        world.upload(upload(debs.deb(raw_control=ODD_CONTROLS[odd])))
    assert world.view.serial == 0


def test_d4_control_files_without_measure(world: World) -> None:
    for raw in (
        CONTROL + b"X: " + b"x" * (300 << 10) + b"\n",
        CONTROL + b"X: y\n" + b" y\n" * (400 << 10),
        CONTROL + b"".join(b"X-%d: y\n" % number for number in range(400)),
    ):
        with pytest.raises((TooLarge, Invalid)):
            world.upload(upload(debs.deb(raw_control=raw)))


def test_d9_what_a_package_says_of_its_place_is_not_believed(world: World) -> None:
    raw = CONTROL + b"Filename: http://evil.example/x\nSHA256: 00\nSize: 1\nMD5sum: 00\n"
    world.upload(upload(debs.deb(raw_control=raw)))
    listed = packages(world, "stable", "main/binary-amd64/Packages")
    assert "evil" not in listed
    assert listed.count("SHA256:") == listed.count("Size:") == listed.count("Filename:") == 1
    assert "MD5sum" not in listed


GOOD = debs.deb("acme", "1.0", "amd64")
DATA = debs.packed(debs.tar({"usr/x": b"x"}), ".xz")
CONTROL_TAR = debs.packed(debs.tar({"control": CONTROL}), ".xz")
VERSION = ("debian-binary", b"2.0\n")
CONTROLS = ("control.tar.xz", CONTROL_TAR)
ODD_PACKAGES = {
    "nothing": b"",
    "no archive": b"PK\3\4" * 100,
    "cut short": GOOD[:-7],
    "more behind": GOOD + b"more",
    "another order": debs.ar(VERSION, ("data.tar.xz", DATA), ("control.tar.xz", CONTROL_TAR)),
    "no version": debs.ar(("control.tar.xz", CONTROL_TAR), ("data.tar.xz", DATA)),
    "a later version": debs.ar(("debian-binary", b"3.0\n"), ("control.tar.xz", CONTROL_TAR), ("data.tar.xz", DATA)),
    "two controls": debs.ar(VERSION, ("control.tar.xz", CONTROL_TAR), ("control.tar", b""), ("data.tar.xz", DATA)),
    "one thing twice": debs.ar(VERSION, ("_x", b""), ("_x", b""), CONTROLS, ("data.tar.xz", DATA)),
    "an unknown member": debs.ar(VERSION, ("control.tar.xz", CONTROL_TAR), ("data.tar.xz", DATA), ("evil", b"")),
    "no data": debs.ar(VERSION, ("control.tar.xz", CONTROL_TAR)),
    "data that is none": debs.ar(VERSION, ("control.tar.xz", CONTROL_TAR), ("data.tar.xz", b"x" * 600)),
    "a lie about compression": debs.ar(VERSION, ("control.tar.lz", CONTROL_TAR), ("data.tar.xz", DATA)),
    "no control in it": debs.ar(VERSION, ("control.tar", debs.tar({"x": b""})), ("data.tar.xz", DATA)),
    "a size that is none": GOOD.replace(b"4         `", b"-4        `", 1),
    "many members": debs.ar(VERSION, *((f"_{number}", b"") for number in range(40))),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_PACKAGES)
def test_d4_packages_that_dpkg_would_not_build(world: World, odd: str) -> None:
    with pytest.raises(Invalid):
        world.upload(upload(ODD_PACKAGES[odd]))
    assert world.view.serial == 0


def test_d4_bombs(world: World) -> None:
    for ending in (".gz", ".xz", ".zst"):
        bomb = debs.packed(debs.tar({"control": CONTROL, "x": bytes(90 << 20)}), ending)
        with pytest.raises((TooLarge, Invalid)):
            world.upload(upload(debs.ar(VERSION, (f"control.tar{ending}", bomb), (f"data.tar{ending}", DATA))))
    bomb = debs.packed(debs.tar({"x": bytes(90 << 20)}), ".zst")
    with pytest.raises(TooLarge):
        world.upload(upload(debs.ar(VERSION, ("control.tar.xz", CONTROL_TAR), ("data.tar.zst", bomb))))


def test_paths_that_no_line_can_hold_are_left_out(world: World) -> None:
    files = {"usr/good": b"", "usr/a\nevil root/evil": b"", "usr/b\x7f": b"", "usr/ümlaut": b""}
    world.upload(upload(debs.deb("acme", "1.0", "amd64", files=files)))
    assert packages(world, "stable", "main/Contents-amd64") == "usr/good misc/acme\nusr/ümlaut misc/acme\n"


def test_names_that_cannot_be(world: World) -> None:
    for path in (
        "upload/stable/x.deb", "upload/a b/main/x.deb", "upload/../main/x.deb", "upload/stable/source/x.deb",
        "upload/stable/main/x.exe", "upload/stable/main/", "upload/stable/main/.deb",
        "upload/stable/main/noowner.tar.gz",
        "upload/a/b/c/d/e/main/x.deb", "incoming/sub/x.deb",
    ):  # fmt: skip
        with pytest.raises((Invalid, Absent, MethodRefused)):
            ROOM.read(ask(ROOM, "PUT", path))


def test_a_package_that_waits_for_its_changes_is_called_by_its_name(world: World) -> None:
    with pytest.raises(Invalid, match=r"acme_1\.0_amd64\.deb"):
        world.upload(upload(debs.deb("acme", "1.0", "amd64"), "other_1.0_amd64.deb", "incoming"))


# ---------------------------------------------------------------- reading


def test_addresses_of_a_distribution() -> None:
    digest = "ab" * 32
    for path, plan in {
        "dists/stable/InRelease": Manifest("stable", "text/plain", "clear"),
        "dists/stable/Release": Manifest("stable", "text/plain"),
        "dists/stable/updates/Release.gpg": Manifest("stable/updates", "text/plain", "detached"),
        "dists/a/b/main/binary-amd64/Packages.xz": Listed("a/b", "application/x-xz", "main/binary-amd64/Packages.xz"),
        "dists/stable/main/source/Sources": Listed("stable", "text/plain", "main/source/Sources"),
        "dists/stable/main/Contents-amd64.gz": Listed("stable", "application/gzip", "main/Contents-amd64.gz"),
        f"dists/stable/main/binary-amd64/by-hash/SHA256/{digest}":
            Listed("stable", "application/octet-stream", sha256=digest),
        f"dists/stable/main/by-hash/SHA256/{digest}": Listed("stable", "application/octet-stream", sha256=digest),
    }.items():  # fmt: skip
        found = ROOM.read(ask(ROOM, "GET", path))
        assert isinstance(found, Manifest | Listed)
        assert found.otherwise == Serve(f"d/{plan.set}", path)
        assert msgspec.structs.replace(found, otherwise=None) == plan
    for path in (f"dists/s/m/by-hash/SHA256/{digest[1:]}", "dists/a b/InRelease", "distributions/a b"):
        with pytest.raises(Absent):
            ROOM.read(ask(ROOM, "GET", path))


def test_what_only_an_upstream_can_have_is_asked_for_by_its_path() -> None:
    digest = "ab" * 32
    for path, package, immutable in (
        ("dists/bookworm/main/i18n/Translation-en.xz", "d/bookworm", False),
        ("dists/bookworm/ChangeLog", "d/bookworm", False),
        (f"dists/bookworm/main/i18n/by-hash/SHA256/{digest}", "d/bookworm", True),
        (f"dists/bookworm/main/binary-amd64/by-hash/SHA512/{digest * 2}", "d/bookworm", True),
        ("dists/bookworm/InRelease", "d/bookworm", False),
        ("pool/main/h/hello/hello_2.10-3_amd64.deb", "u/", True),
        ("pool/hello/hello_2.10-3_amd64.deb", "b/hello", True),
        ("./Packages.gz", "u/", False),
        ("pool/main/g/g++/g++_1%3a2.deb", "u/", True),
    ):
        request = ask(ROOM, "GET", path)
        plan = ROOM.read(request)
        serve = plan.otherwise if isinstance(plan, Manifest | Listed) else plan
        assert isinstance(serve, Serve)
        assert serve.package == package
        if path.startswith("./"):
            with pytest.raises(Absent):
                ROOM.upstream(request, serve)
            continue
        pull = ROOM.upstream(request, serve)
        assert isinstance(pull, Pull)
        assert pull.path == path.replace("%", "%25")
        assert pull.immutable is immutable
        assert pull.digests == ({"sha256": digest} if "SHA256" in path else {})


def test_a_problem_is_told_in_a_line() -> None:
    reply = ROOM.refuse(ask(ROOM, "PUT", "pool/x"), Conflict("It is there.", "Take another."))
    assert (reply.status, reply.body) == (409, b"It is there. Take another.\n")
