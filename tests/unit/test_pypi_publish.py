"""Does an upload get in exactly when it is what it claims, and does a file name keep its bytes for ever?"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from twine.commands.upload import skip_upload

from formats.pypi import ROOM, records
from formats.pypi.attest import provenance
from formats.pypi.facts import file_facts, project_facts
from storage.errors import Absent, Forbidden, Invalid, Problem, TooLarge
from storage.nouns import PutFile
from tests.harness.distributions import Fields, attestation, core_metadata, recorded, sdist, tarred, wheel, zipped
from tests.harness.publishing import AT_MS, amend, ask, receive, upload
from tests.harness.views import MemoryView

WHEEL = "foo_bar-1.0-py3-none-any.whl"
SDIST = "foo_bar-1.0.tar.gz"
FORM = ask("POST", "legacy/", content_type="application/x-www-form-urlencoded")


def fields(**more: str) -> Fields:
    return {":action": ["file_upload"], **{key: [value] for key, value in more.items()}}


def published(filename: str = WHEEL, data: bytes = b"", view: MemoryView | None = None, **more: str) -> MemoryView:
    view = view or MemoryView()
    reply = upload(ROOM, view, fields(**more), filename, data or wheel("Foo.Bar", "1.0"))
    assert reply.status == 200
    return view


def refused(filename: str, data: bytes, view: MemoryView | None = None, **more: str) -> str:
    """The text of the refusal. Nothing may have changed."""
    view = view or MemoryView()
    before = view.serial
    with pytest.raises(Problem) as problem:
        upload(ROOM, view, fields(**more), filename, data)
    assert problem.value.status in (400, 403, 413)
    assert view.serial == before
    return ROOM.refuse(ask("POST", "legacy/"), problem.value).body.decode()


# ---------------------------------------------------------------- getting in


def test_a_wheel_brings_its_project_release_and_metadata() -> None:
    data = wheel("Foo.Bar", "1.0", "Requires-Python: >=3.9", "Requires-Dist: baz>1; extra == 'x'")
    view = published(data=data, name="Foo.Bar", version="1.0.0", filetype="bdist_wheel", requires_python=">=3.9")
    package = view.package("foo-bar")
    assert package
    assert project_facts(package.facts).display == "Foo.Bar"
    assert [one.name for one in view.versions("foo-bar")] == ["1.0"]
    beside, kept = view.file("foo-bar", WHEEL + ".metadata"), view.file("foo-bar", WHEEL)
    assert kept
    assert beside
    assert (kept.sha256, kept.size, kept.at_ms) == (hashlib.sha256(data).digest(), len(data), AT_MS)
    facts = file_facts(kept.facts)
    assert (facts.requires_python, facts.metadata, facts.yanked) == (">=3.9", beside.sha256.hex(), None)
    metadata = core_metadata("Foo.Bar", "1.0", "Requires-Python: >=3.9", "Requires-Dist: baz>1; extra == 'x'")
    assert beside.sha256 == hashlib.sha256(metadata).digest()


def test_a_source_joins_the_release_without_a_sibling() -> None:
    view = published(SDIST, sdist("foo-bar", "1.0"), published(), filetype="sdist")
    assert [one.name for one in view.files("foo-bar")] == [WHEEL, WHEEL + ".metadata", SDIST]


def test_a_zipped_source_is_read_too() -> None:
    data = zipped({"foo-bar-1.0/PKG-INFO": core_metadata("foo-bar", "1.0"), "foo-bar-1.0/setup.py": b""})
    assert published("foo-bar-1.0.zip", data).file("foo-bar", "foo-bar-1.0.zip")


def test_what_a_real_backend_builds_gets_in(tmp_path: Path) -> None:
    (tmp_path / "real_thing.py").write_text("x = 1\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "Real.Thing"\nversion = "1.0.post1"\nrequires-python = ">=3.8"\ndependencies = ["a>1"]\n'
        '[tool.setuptools]\npy-modules = ["real_thing"]\n'
    )
    command = [sys.executable, "-m", "build", "--no-isolation", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    view = MemoryView()
    built = sorted((tmp_path / "dist").iterdir())
    assert len(built) == 2
    for path in built:
        published(path.name, path.read_bytes(), view, name="Real.Thing", version="1.0.post1")
    assert [file_facts(one.facts).requires_python for one in view.files("real-thing")] == [">=3.8", "", ">=3.8"]


def test_1_0_0_joins_the_release_1_0() -> None:
    view = published("foo_bar-1.0.0.tar.gz", sdist("foo-bar", "1.0.0"), published())
    assert [one.name for one in view.versions("foo-bar")] == ["1.0"]
    assert {one.version for one in view.files("foo-bar")} == {"1.0"}


# ---------------------------------------------------------------- C15: a name keeps its bytes


def test_c15_the_same_file_again_is_fine_and_changes_nothing() -> None:
    view = published()
    published(view=view)
    assert view.serial == 1


def twine_would_skip(text: str) -> bool:
    reply = SimpleNamespace(status_code=400, reason="Bad Request", text=text)
    return skip_upload(reply, True, None)  # type: ignore[arg-type]


def test_c15_other_bytes_under_a_name_are_refused_as_twine_knows_it() -> None:
    text = refused(WHEEL, wheel("foo-bar", "1.0", "Summary: other"), published())
    assert "File already exists" in text
    assert twine_would_skip(text)


@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("Foo.Bar-1.0-py3-none-any.whl", wheel("Foo.Bar", "1.0", "Summary: other")),
        ("foo_bar-1.0.0-py3-none-any.whl", wheel("foo-bar", "1.0.0")),
        ("foo_bar-01.0-py3-none-any.whl", wheel("foo-bar", "01.0")),
    ],
)
def test_c15_another_spelling_of_a_file_that_is_there_is_refused(filename: str, data: bytes) -> None:
    text = refused(filename, data, published())
    assert WHEEL in text
    assert not twine_would_skip(text)


def test_c15_a_release_has_one_source() -> None:
    data = zipped({"foo-bar-1.0/PKG-INFO": core_metadata("foo-bar", "1.0")})
    view = published(SDIST, sdist("foo-bar", "1.0"))
    assert SDIST in refused("foo-bar-1.0.zip", data, view)


def test_c15_a_removed_file_comes_back_only_as_it_was() -> None:
    view = published()
    amend(ROOM, view, ask("DELETE", f"files/foo-bar/{WHEEL}"))
    other = wheel("foo-bar", "1.0", "Summary: other")
    for filename in (WHEEL, "Foo.Bar-1.0-py3-none-any.whl", "foo_bar-1.0.0-py3-none-any.whl"):
        data = wheel("foo-bar", "1.0.0") if "1.0.0" in filename else other
        text = refused(filename, data, view)
        assert "was removed" in text
        assert not twine_would_skip(text)
    published(view=view)
    assert view.file("foo-bar", WHEEL)


# ---------------------------------------------------------------- D9: the form and the file


@pytest.mark.parametrize(
    "told",
    [
        {"name": "other"},
        {"version": "1.1"},
        {"filetype": "sdist"},
        {"requires_python": ">=3.9"},
        {"name": "a b"},
        {"version": "x"},
        {"sha256_digest": "0" * 64},
        {"blake2_256_digest": "0" * 64},
        {"md5_digest": "0" * 32},
    ],
)
def test_d9_a_form_that_says_something_else_is_refused(told: dict[str, str]) -> None:
    refused(WHEEL, wheel("foo-bar", "1.0"), **told)


def test_d3_the_announced_digests_are_checked_and_sha256_decides() -> None:
    data = wheel("foo-bar", "1.0")
    sha256 = hashlib.sha256(data).hexdigest()
    blake2 = hashlib.blake2b(data, digest_size=32).hexdigest()
    published(data=data, sha256_digest=sha256.upper())
    published(data=data, blake2_256_digest=blake2)
    published(data=data, md5_digest=hashlib.md5(data).hexdigest())
    refused(WHEEL, data, blake2_256_digest=blake2[:-2])


def test_d9_a_repeated_field_is_refused_and_classifiers_are_not() -> None:
    data = wheel("foo-bar", "1.0")
    with pytest.raises(Invalid):
        upload(ROOM, MemoryView(), {**fields(), "name": ["foo-bar", "other"]}, WHEEL, data)
    assert upload(ROOM, MemoryView(), {**fields(), "classifiers": ["a", "b"]}, WHEEL, data).status == 200


# ---------------------------------------------------------------- D4, D9: hostile files

INFO = "foo_bar-1.0.dist-info"

WHEELS: dict[str, bytes] = {
    "no zip": b"x" * 1000,
    "a tar": sdist("foo-bar", "1.0"),
    "nothing in it": zipped({}),
    "another name": wheel("other", "1.0"),
    "another version": wheel("foo-bar", "1.1"),
    "two dist-infos": wheel("foo-bar", "1.0", files={"foo_bar-1.1.dist-info/METADATA": b""}),
    "a dist-info in other case": wheel("foo-bar", "1.0", files={"foo_bar-1.0.DIST-INFO/METADATA": b""}),
    "no record": zipped({f"{INFO}/METADATA": core_metadata("foo-bar", "1.0"), f"{INFO}/WHEEL": b""}),
    "not all recorded": wheel("foo-bar", "1.0", record=f"{INFO}/METADATA,,\n{INFO}/WHEEL,,\n"),
    "more recorded": wheel("foo-bar", "1.0", record="nowhere.py,,\n"),
    "another hash recorded": recorded("foo-bar", "1.0", turn=True),
    "another size recorded": recorded("foo-bar", "1.0", size=1),
    "a weak hash recorded": recorded("foo-bar", "1.0", algorithm="md5"),
    "an unknown hash recorded": recorded("foo-bar", "1.0", algorithm="sha3_256"),
    "record no text": wheel("foo-bar", "1.0", record='"a'),
    "unsafe name": wheel("foo-bar", "1.0", files={"../evil.py": b""}),
    "file and directory": wheel("foo-bar", "1.0", files={"pkg": b""}),
    "prefixed": b"#!/bin/sh\n" + wheel("foo-bar", "1.0"),
    "trailed": wheel("foo-bar", "1.0") + b"\0",
    "cut": wheel("foo-bar", "1.0")[:-30],
    "metadata empty": wheel("foo-bar", "1.0", files={f"{INFO}/METADATA": b""}),
    "metadata binary": wheel("foo-bar", "1.0", files={f"{INFO}/METADATA": bytes(range(256))}),
    "metadata of another": wheel("foo-bar", "1.0", files={f"{INFO}/METADATA": core_metadata("evil", "1.0")}),
    "metadata of another version": wheel("foo-bar", "1.0", files={f"{INFO}/METADATA": core_metadata("foo-bar", "2")}),
    "name twice": wheel("foo-bar", "1.0", "Name: evil"),
    "version twice": wheel("foo-bar", "1.0", "Version: 1.0"),
    "python twice": wheel("foo-bar", "1.0", "Requires-Python: >=3", "Requires-Python: >=2"),
    "python nonsense": wheel("foo-bar", "1.0", "Requires-Python: snake"),
    "requirement nonsense": wheel("foo-bar", "1.0", "Requires-Dist: ???"),
}


@pytest.mark.parametrize("kind", WHEELS)
def test_d4_a_wheel_that_is_not_what_it_claims_is_refused(kind: str) -> None:
    refused(WHEEL, WHEELS[kind])


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_d4_a_wheel_with_a_true_record_is_taken(algorithm: str) -> None:
    view = MemoryView()
    upload(ROOM, view, fields(), WHEEL, recorded("foo-bar", "1.0", algorithm=algorithm))
    assert view.file("foo-bar", WHEEL) is not None


def test_a_wheel_too_large_to_be_hashed_is_compared_by_names_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHECKED_BYTES_MAX", 1000)
    upload(ROOM, MemoryView(), fields(), WHEEL, recorded("foo-bar", "1.0", turn=True))
    refused(WHEEL, recorded("foo-bar", "1.0", size=1))


SDISTS: dict[str, bytes] = {
    "no tar": b"x" * 1000,
    "nothing in it": tarred({}),
    "no metadata": tarred({"foo_bar-1.0/setup.py": b""}),
    "metadata too deep": tarred({"foo_bar-1.0/x/PKG-INFO": core_metadata("foo-bar", "1.0")}),
    "two tops": tarred({"foo_bar-1.0/PKG-INFO": core_metadata("foo-bar", "1.0"), "x/y": b""}),
    "another top": sdist("foo-bar", "1.0", top="other-1.0"),
    "another version on top": sdist("foo-bar", "1.0", top="foo-bar-2.0"),
    "unsafe name": tarred({"foo_bar-1.0/PKG-INFO": core_metadata("foo-bar", "1.0"), "foo_bar-1.0/../../x": b""}),
    "another name inside": tarred({"foo_bar-1.0/PKG-INFO": core_metadata("evil", "1.0")}),
    "a zip": zipped({"foo_bar-1.0/PKG-INFO": core_metadata("foo-bar", "1.0")}),
}


@pytest.mark.parametrize("kind", SDISTS)
def test_d4_a_source_that_is_not_what_it_claims_is_refused(kind: str) -> None:
    refused(SDIST, SDISTS[kind])


def test_d4_metadata_beyond_reason_is_refused() -> None:
    data = wheel("foo-bar", "1.0", files={f"{INFO}/METADATA": core_metadata("foo-bar", "1.0") + bytes(9 << 20)})
    with pytest.raises(TooLarge):
        upload(ROOM, MemoryView(), fields(), WHEEL, data)


@pytest.mark.parametrize("filename", ["", "foo_bar-1.0.exe", "../" + WHEEL, "x.whl", "W" * 400 + "-1.0.tar.gz"])
def test_a_file_name_that_names_nothing_is_refused(filename: str) -> None:
    refused(filename, wheel("foo-bar", "1.0"))


def test_an_upload_without_a_file_is_refused() -> None:
    assert "no file" in refused(WHEEL, b"")


# ---------------------------------------------------------------- attestations


def test_attestations_are_kept_as_provenance() -> None:
    data = wheel("foo-bar", "1.0")
    finds = receive(ROOM, ask("POST", "legacy/", content_type="multipart/form-data; boundary=x"), fields(), WHEEL, data)
    assert "provenance" not in finds.blobs
    told = attestation(WHEEL, data)
    view = published(data=data, attestations=told)
    beside, kept = view.file("foo-bar", WHEEL + ".provenance"), view.file("foo-bar", WHEEL)
    assert beside
    assert kept
    assert file_facts(kept.facts).provenance
    assert beside.media == "application/vnd.pypi.integrity.v1+json"
    written = provenance(told, WHEEL, hashlib.sha256(data).digest())
    assert beside.sha256 == hashlib.sha256(written).digest()
    bundle = {"publisher": {"kind": "Entrepot", "claims": None}, "attestations": json.loads(told)}
    assert json.loads(written) == {"version": 1, "attestation_bundles": [bundle]}


DATA = wheel("foo-bar", "1.0")
GOOD = attestation(WHEEL, DATA)


@pytest.mark.parametrize(
    "told",
    [
        "no json",
        "{}",
        "[]",
        "[1]",
        "null",
        attestation("other-1.0-py3-none-any.whl", DATA),
        attestation(WHEEL, b"other bytes"),
        attestation(WHEEL, DATA, version=2),
        attestation(WHEEL, DATA, envelope={"statement": "???", "signature": "AAAA"}),
        attestation(WHEEL, DATA, envelope={"statement": "AAAA", "signature": "AAAA"}),
        attestation(WHEEL, DATA, verification_material=1),
        GOOD.replace('"version": 1', '"version": 1, "version": 1'),
        GOOD.replace('"AAAA"', "NaN"),
        "[" * 100_000,
        "[" * 65 + "]" * 65,
        "[" + ",".join([GOOD[1:-1]] * 17) + "]",
        GOOD.replace('"AAAA"', "[" * 70 + "]" * 70),
    ],
)
def test_d6_attestations_that_say_nothing_of_the_file_are_refused(told: str) -> None:
    refused(WHEEL, DATA, attestations=told)


# ---------------------------------------------------------------- yank, status, delete


def yanked(view: MemoryView) -> dict[str, str | None]:
    return {one.name: file_facts(one.facts).yanked for one in view.files("foo-bar") if "metadata" not in one.name}


def test_a_release_is_yanked_and_unyanked_whole_or_by_file() -> None:
    view = published(SDIST, sdist("foo-bar", "1.0"), published())
    wish: Fields = {":action": ["yank"], "name": ["Foo_Bar"], "version": ["1.0.0"], "reason": ["bad\n\x1b[1mday"]}
    assert upload(ROOM, view, wish).status == 200
    assert yanked(view) == {WHEEL: "bad [1mday", SDIST: "bad [1mday"}
    serial = view.serial
    upload(ROOM, view, wish)
    assert view.serial == serial
    amend(ROOM, view, FORM, f":action=unyank&name=foo-bar&version=1.0&filename={WHEEL}".encode())
    assert yanked(view) == {WHEEL: None, SDIST: "bad [1mday"}
    assert file_facts(next(one for one in view.files("foo-bar") if one.name == WHEEL).facts).metadata


def test_a_file_that_joins_a_yanked_release_is_yanked_too() -> None:
    view = published()
    amend(ROOM, view, FORM, b":action=yank&name=foo-bar&version=1.0")
    published(SDIST, sdist("foo-bar", "1.0"), view)
    assert yanked(view) == {WHEEL: "", SDIST: ""}


@pytest.mark.parametrize("status", ["archived", "quarantined"])
def test_a_closed_project_takes_no_files_until_it_is_opened(status: str) -> None:
    view = published()
    amend(ROOM, view, FORM, f":action=status&name=foo-bar&status={status}&reason=moved".encode())
    with pytest.raises(Forbidden):
        upload(ROOM, view, fields(), SDIST, sdist("foo-bar", "1.0"))
    amend(ROOM, view, FORM, b":action=status&name=foo-bar&status=active")
    published(SDIST, sdist("foo-bar", "1.0"), view)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", Invalid),
        (b"%%%", Invalid),
        (b":action=yank&name=foo-bar&version=2.0", Absent),
        (b":action=yank&name=nobody&version=1.0", Absent),
        (b":action=yank&name=foo-bar&version=1.0&filename=x", Absent),
        (b":action=yank&name=foo-bar", Invalid),
        (b":action=yank&name=foo-bar&version=1.0&version=2.0", Invalid),
        (b":action=status&name=foo-bar&status=gone", Invalid),
        (b":action=status&name=nobody&status=active", Absent),
        (b":action=submit&name=foo-bar", Invalid),
        (b":action=file_upload&name=foo-bar", Invalid),
        (b"&".join(b"a=1" for _ in range(40)), Invalid),
        (b"\xff", Invalid),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(body: bytes, problem: type[Problem]) -> None:
    view = published()
    with pytest.raises(problem):
        amend(ROOM, view, FORM, body)
    assert view.serial == 1


def test_a_wish_brings_no_file() -> None:
    wish: Fields = {":action": ["yank"], "name": ["foo-bar"], "version": ["1.0"]}
    with pytest.raises(Invalid):
        upload(ROOM, published(), wish, WHEEL, b"x")


def test_a_removed_file_takes_its_siblings_and_the_last_its_release() -> None:
    data = wheel("Foo.Bar", "1.0")
    view = published(SDIST, sdist("foo-bar", "1.0"), published(data=data, attestations=attestation(WHEEL, data)))
    assert amend(ROOM, view, ask("DELETE", f"files/Foo.Bar/{WHEEL}")).status == 204
    assert [one.name for one in view.files("foo-bar")] == [SDIST]
    assert [one.name for one in view.versions("foo-bar")] == ["1.0"]
    amend(ROOM, view, ask("DELETE", f"files/foo-bar/{SDIST}"))
    assert (view.files("foo-bar"), view.versions("foo-bar")) == ([], [])
    assert view.package("foo-bar")
    assert view.claimed("foo-bar")


@pytest.mark.parametrize("path", ["files/foo-bar/x", "files/nobody/x", f"files/foo-bar/{WHEEL}.metadata"])
def test_what_is_not_there_is_not_removed(path: str) -> None:
    with pytest.raises(Absent):
        amend(ROOM, published(), ask("DELETE", path))


def test_all_changes_are_of_this_room() -> None:
    request = ask("POST", "legacy/", content_type="multipart/form-data; boundary=x")
    decision = ROOM.decide(request, receive(ROOM, request, fields(), WHEEL, DATA), MemoryView())
    assert {change.format for change in decision.changes if isinstance(change, PutFile)} == {"pypi"}
    assert decision.action == "pypi.publish"
