"""What does the contract suite have to know of a room before it can test it?

A Case is the twenty lines that a new room brings: good uploads, how to remove one, pages to look at, and how names are
meant. World is the core in little: it carries an upload or a removal through a room and keeps the bytes.
"""

import hashlib
import json
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.hostile.corpus import damaged
from formats import ROOMS
from formats.kit.contract import (
    Accept,
    Amend,
    Ask,
    Blob,
    Decision,
    Document,
    Finds,
    Plan,
    Received,
    Reply,
    Room,
    Serve,
    Show,
)
from gateway.front.routes import full_home
from storage.digest import Hasher
from storage.errors import Absent
from tests.harness import debs, distributions, images, npm_registry
from tests.harness.views import MemoryView

AT_MS = 1_700_000_000_123
HEAD_BYTES = 100
"""How far into its descriptor a file begins here, as it does in a stage that can become a pack."""


@dataclass(frozen=True)
class Upload:
    """A request with a package in it. `body` is the file, or the envelope of a room that spools."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)
    filename: str = ""


@dataclass(frozen=True)
class Case:
    """What the suite knows of one room.

    `good` is a sequence of uploads that are all taken, the last two of different packages; `other(upload)` is the same
    name with other bytes. `mutant(random)` is a damaged upload. `remove(world)` lists requests that take all away.
    `pages` are reads whose documents are looked at. `paths` are fragments to make odd addresses from, `letters` what
    names are made of. `named(name)` is a read of what is called so; `meant(plan)` is the name that its plan speaks of;
    two names are the same exactly when `canonical` says so, which is written here a second time on purpose.
    """

    room: Room
    good: tuple[Upload, ...]
    other: Callable[[Upload], Upload]
    mutant: Callable[[random.Random], Upload]
    remove: Callable[["World"], list[tuple[Ask, bytes]]]
    pages: tuple[tuple[str, dict[str, str]], ...]
    paths: tuple[str, ...]
    letters: str
    named: Callable[[str], str]
    meant: Callable[[Plan], str | None]
    canonical: Callable[[str], str]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"<Case {self.room.name}>")  # what hypothesis shows


def ask(room: Room, method: str, path: str, headers: dict[str, str] | None = None, at_ms: int = AT_MS) -> Ask:
    path, _, text = path.partition("?")
    query = tuple((key, value) for key, _, value in (one.partition("=") for one in text.split("&") if one))
    base = f"http://127.0.0.1{full_home('acme', 'main', room.name)}"
    return Ask(method, path, path, query, headers or {}, base, "acme", "main", "ann", at_ms)


class World:
    """One repository's side of one room. `kept` holds the bytes by identity, `published` all names that ever were."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.view = MemoryView()
        self.kept: dict[bytes, bytes] = {}
        self.published: dict[tuple[str, str], bytes] = {}
        self._at_ms = AT_MS

    def upload(self, upload: Upload) -> Decision:
        """Carry an upload through. Raises Problem; then nothing has changed."""
        self._at_ms += 1000
        request = ask(self.room, upload.method, upload.path, upload.headers, self._at_ms)
        plan = self.room.read(request)
        assert isinstance(plan, Accept), f"not taken as an upload: {plan}"
        finds = self._finds(request, plan, upload)
        return self._decided(request, finds)

    def amend(self, request: Ask, body: bytes = b"") -> Decision:
        """Carry a small change through."""
        plan = self.room.read(request)
        assert isinstance(plan, Amend)
        assert len(body) <= plan.bytes_max
        return self._decided(request, Finds(body=body, context=carried(plan.context)))

    def page(self, path: str, headers: dict[str, str] | None = None, base: str = "") -> Document | None:
        """A rendered page, None where there is none."""
        plan = self.room.read(ask(self.room, "GET", path, headers, self._at_ms))
        assert isinstance(plan, Show), f"no page: {plan}"
        try:
            return self.room.render(plan, self.view, base or f"http://127.0.0.1/acme/main/{self.room.name}")
        except Absent:
            return None

    def _decided(self, request: Ask, finds: Finds) -> Decision:
        decision = self.room.decide(request, finds, self.view)
        journalled = msgspec.msgpack.encode(decision.changes)
        self.view.apply(msgspec.msgpack.decode(journalled, type=type_of_changes()))
        for change in decision.changes:
            changed = getattr(change, "file", None)
            if isinstance(changed, msgspec.Struct):
                self.published[change.package, changed.name] = changed.sha256  # type: ignore[attr-defined]
        return decision

    def _finds(self, request: Ask, plan: Accept, upload: Upload) -> Finds:
        whole = plan.body != "spool"
        blobs = {"file": self._identified(upload.body, plan.digests)} if whole else {}
        if not plan.unpack:
            return Finds(blobs=blobs, context=carried(plan.context))
        with tempfile.TemporaryDirectory() as directory:
            staged = Path(directory, "staged")
            staged.write_bytes(b"\xff" * HEAD_BYTES + upload.body)
            work = Path(directory, "work")
            work.mkdir()
            blob = blobs.get("file", Blob(size=len(upload.body)))
            with staged.open("rb") as file:
                received = Received(
                    upload.fields, upload.filename, file.fileno(), blob, str(work), carried(plan.context), HEAD_BYTES
                )
                finds = self.room.unpack(request, received)
            finds = msgspec.msgpack.decode(msgspec.msgpack.encode(finds), type=Finds)
            for name, derived in finds.blobs.items():
                data = Path(derived.path).read_bytes() if derived.path else derived.data
                assert not derived.path or Path(derived.path).parent == work, "derived files lie side by side"
                blobs[name] = self._identified(data, derived.digests_wanted)
        return msgspec.structs.replace(finds, blobs=blobs, context=carried(plan.context))

    def _identified(self, data: bytes, digests: tuple[str, ...]) -> Blob:
        hasher = Hasher(digests)
        hasher.update(data)
        self.kept[hasher.sha256] = data
        return Blob(sha256=hasher.sha256, size=hasher.size, digests=hasher.others)


def carried(context: Any) -> Any:
    """A context as it arrives after a journey to a child process or through a session's file."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(context))


def type_of_changes() -> Any:
    return Decision.__annotations__["changes"]


# ---------------------------------------------------------------- generic


def generic_upload(path: str, body: bytes) -> Upload:
    return Upload("PUT", path, body, {"x-checksum-sha256": hashlib.sha256(body).hexdigest()})


def generic_mutant(dice: random.Random) -> Upload:
    """Other bytes than were announced, or an announcement that cannot be read."""
    upload = generic_upload("a/b.txt", b"some bytes " * 20)
    if dice.random() < 0.5:
        return replace(upload, body=damaged(upload.body, dice) + b"!")
    value = damaged(b"sha-256=:c29tZSBieXRlcyBzb21lIGJ5dGVzIHNvbWUgYnk=:, md5=:AAAA:", dice).decode("latin-1")
    name = dice.choice(
        ("repr-digest", "content-digest", "if-match", "upload-complete", "content-type", "x-checksum-md5")
    )
    return replace(upload, headers={**upload.headers, "x-checksum-sha256": "0" * 64, name: value})


GENERIC = Case(
    room=ROOMS["generic"],
    good=(
        generic_upload("top.txt", b"top"),
        generic_upload("a/b/c.bin", bytes(range(256))),
        generic_upload("a/b/d ü.txt", b"d"),
        generic_upload("zebra.dat", b""),
    ),
    other=lambda upload: generic_upload(upload.path, upload.body + b"x"),
    mutant=generic_mutant,
    remove=lambda world: [
        (ask(world.room, "DELETE", package), b"") for package in sorted({package for package, _ in world.published})
    ],
    pages=(
        ("", {"accept": "application/json"}),
        ("", {}),
        ("a/b/", {"accept": "application/json"}),
        ("a/?limit=1", {}),
    ),
    paths=("-/uploads/", "a/", "b", "-", "%2f", "?limit=2&after=b", ".."),
    letters="aA-._é\u0301e/",
    named=lambda name: name,
    meant=lambda plan: plan.package if isinstance(plan, Serve) else None,
    canonical=lambda name: name,
)


# ---------------------------------------------------------------- pypi


def pypi_upload(name: str, version: str, *lines: str) -> Upload:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return pypi_form(filename, distributions.wheel(name, version, *lines))


def pypi_form(filename: str, body: bytes) -> Upload:
    fields = {":action": ["file_upload"], "sha256_digest": [hashlib.sha256(body).hexdigest()]}
    return Upload("POST", "legacy/", body, {"content-type": "multipart/form-data; boundary=x"}, fields, filename)


def pypi_mutant(dice: random.Random) -> Upload:
    """A wounded wheel, source, metadata file or form, with the digest of what is sent."""
    match dice.randrange(5):
        case 0:
            return pypi_form("odd-1.0-py3-none-any.whl", damaged(distributions.wheel("odd", "1.0"), dice))
        case 1:
            return pypi_form("odd-1.0.tar.gz", damaged(distributions.sdist("odd", "1.0"), dice))
        case 2:
            metadata = damaged(
                distributions.core_metadata("odd", "1.0", "Requires-Python: >=3.8", "Project-URL: a, b"), dice
            )
            packed = distributions.wheel("odd", "1.0", files={"odd-1.0.dist-info/METADATA": metadata})
            return pypi_form("odd-1.0-py3-none-any.whl", packed)
        case 3:
            name = damaged(b"odd-1.0-py3-none-any.whl", dice).decode("latin-1")
            return pypi_form(name, distributions.wheel("odd", "1.0"))
        case _:
            upload = pypi_upload("odd", "1.0")
            told = {
                name: [damaged(text, dice).decode("latin-1")]
                for name, text in ((":action", b"file_upload"), ("name", b"odd"), ("version", b"1.0"))
            }
            told["attestations"] = [
                damaged(distributions.attestation(upload.filename, upload.body).encode(), dice).decode("latin-1")
            ]
            chosen = dice.choice(sorted(told))
            return replace(upload, fields={**upload.fields, chosen: told[chosen]})


def pypi_meant(plan: Plan) -> str | None:
    if isinstance(plan, Show):
        return plan.package
    if isinstance(plan, Reply) and plan.status == 301:
        return dict(plan.headers)["Location"].strip("./")
    return None


PYPI = Case(
    room=ROOMS["pypi"],
    good=(
        pypi_upload("Foo.Bar", "1.0", "Requires-Python: >=3.9"),
        pypi_form("foo_bar-1.0.tar.gz", distributions.sdist("foo-bar", "1.0")),
        pypi_upload("Foo.Bar", "2.0a1"),
        pypi_upload("other", "1!1.0+local"),
    ),
    other=lambda upload: pypi_form(
        upload.filename,
        distributions.sdist("foo-bar", "1.0", "Summary: other")
        if upload.filename.endswith(".gz")
        else distributions.wheel(*upload.filename.split("-")[:2], "Summary: other"),
    ),
    mutant=pypi_mutant,
    remove=lambda world: [
        (ask(world.room, "DELETE", f"files/{package}/{name}"), b"")
        for package, name in sorted(world.published)
        if not name.endswith((".metadata", ".provenance"))
    ],
    pages=(
        ("simple/", {}),
        ("simple/", {"accept": "application/vnd.pypi.simple.v1+json"}),
        ("simple/foo-bar/", {}),
        ("simple/foo-bar/", {"accept": "application/vnd.pypi.simple.v1+json"}),
        ("simple/other/", {}),
    ),
    paths=(
        "simple/",
        "files/",
        "legacy/",
        "integrity/",
        "foo-bar",
        "1.0",
        "/provenance",
        "foo_bar-1.0.tar.gz",
        ".metadata",
    ),
    letters="aA-._b",
    named=lambda name: f"simple/{name}/",
    meant=pypi_meant,
    canonical=lambda name: re.sub(r"[-_.]+", "-", name).lower(),
)


# ---------------------------------------------------------------- npm


def npm_upload(name: str, version: str, **options: Any) -> Upload:
    return Upload("PUT", name, json.dumps(npm_registry.document(name, version, **options)).encode())


def npm_mutant(dice: random.Random) -> Upload:
    """A wounded document, or a wounded tarball or manifest in a document that fits it."""
    match dice.randrange(4):
        case 0:
            data = damaged(npm_registry.tarball({"name": "odd", "version": "1.0.0"}), dice)
            return npm_upload("odd", "1.0.0", data=data)
        case 1:
            manifest = damaged(
                b'{"name":"odd","version":"1.0.0","scripts":{"install":"x"},"dependencies":{"a":"1"}}', dice
            )
            return npm_upload("odd", "1.0.0", data=npm_registry.tarball(manifest))
        case 2:
            data = npm_registry.tarball({"name": "odd", "version": "1.0.0"})
            bundle = damaged(npm_registry.sigstore("odd", "1.0.0", data).encode(), dice).decode("latin-1")
            return npm_upload("odd", "1.0.0", data=data, bundle=bundle)
        case _:
            upload = npm_upload("odd", "1.0.0")
            return replace(upload, body=damaged(upload.body, dice))


def npm_removals(world: World) -> list[tuple[Ask, bytes]]:
    found = []
    for package in sorted({package for package, _ in world.published}):
        document = world.page(f"{package}?write=true")
        assert document is not None
        found.append((ask(world.room, "DELETE", f"{package}/-rev/{json.loads(document.body)['_rev']}"), b""))
    return found


NPM = Case(
    room=ROOMS["npm"],
    good=(
        npm_upload("demo", "1.0.0", description="one"),
        npm_upload("demo", "1.1.0-beta.1", tag="beta", attachments_first=True),
        npm_upload("demo.js", "1.0.0"),
        npm_upload("@acme/demo", "1.0.0"),
    ),
    other=lambda upload: replace(
        npm_upload(upload.path, next(iter(json.loads(upload.body)["versions"])), keywords=["x"])
    ),
    mutant=npm_mutant,
    remove=npm_removals,
    pages=(
        ("demo", {}),
        ("demo", {"accept": "application/vnd.npm.install-v1+json"}),
        ("demo/latest", {}),
        ("@acme/demo", {}),
        ("-/package/demo/dist-tags", {}),
        ("-/v1/search?text=demo", {}),
        ("-/all", {}),
    ),
    paths=(
        "@",
        "demo",
        "/-/",
        "-rev/",
        "-/",
        "package/",
        "dist-tags",
        "v1/search",
        "?text=x&size=2",
        "demo-1.0.0.tgz",
        "user/",
    ),
    letters="aA-._~b@/",
    named=lambda name: name,
    meant=lambda plan: plan.package if isinstance(plan, Show) and plan.page == "full" else None,
    canonical=lambda name: name,
)

# ---------------------------------------------------------------- oci


def oci_blob(name: str, body: bytes, algorithm: str = "sha256") -> Upload:
    digest = hashlib.new(algorithm, body).hexdigest()
    return Upload("POST", f"{name}/blobs/uploads/?digest={algorithm}:{digest}", body)


def oci_manifest(name: str, document: dict[str, Any], tag: str = "") -> Upload:
    body = json.dumps(document).encode()
    path = f"{name}/manifests/{images.digest_of(body)}" + (f"?tag={tag}" if tag else "")
    return Upload("PUT", path, body, {"content-type": document["mediaType"]})


def oci_mutant(dice: random.Random) -> Upload:
    """A wounded manifest, one that says two things, or a blob that is not what its digest says."""
    match dice.randrange(4):
        case 0:
            return replace(oci_blob("odd", b"layer"), body=damaged(b"layer", dice) + b"!")
        case 1:
            body = damaged(json.dumps(images.manifest(b"{}", b"layer", subject=b"x")).encode(), dice)
            return Upload("PUT", "odd/manifests/latest", body, {"content-type": images.MANIFEST})
        case 2:
            media = damaged(images.INDEX.encode(), dice).decode("latin-1")
            body = json.dumps(images.index()).encode()
            return Upload("PUT", "odd/manifests/latest", body, {"content-type": media})
        case _:
            document = images.index(subject=b"x")
            member = dice.choice(("layers", "config", "mediaType", "annotations", "subject", "manifests"))
            odd = {"digest": "sha256:" + "A" * 64, "size": 1}
            document[member] = dice.choice(([], {}, None, 1, "x", [[]], [{}], {"a": 1}, odd))
            return Upload("PUT", "odd/manifests/latest", json.dumps(document).encode(), {"content-type": images.INDEX})


OCI_IMAGE = images.manifest(b"{}", b"layer")
OCI_SUBJECT = images.digest_of(json.dumps(OCI_IMAGE).encode())

OCI = Case(
    room=ROOMS["oci"],
    good=(
        oci_blob("demo/app", b"{}"),
        oci_blob("demo/app", b"layer"),
        oci_blob("demo/app", b"other layer", "sha512"),
        oci_manifest("demo/app", OCI_IMAGE, "latest"),
        oci_manifest("demo/app", images.index(json.dumps(OCI_IMAGE).encode()), "all"),
        oci_manifest("demo/app", images.manifest(b"{}", subject=json.dumps(OCI_IMAGE).encode(), notes={"a": "b"})),
        oci_blob("demo", b"{}"),
    ),
    other=lambda upload: replace(upload, body=upload.body + b" "),
    mutant=oci_mutant,
    remove=lambda world: [
        (ask(world.room, "DELETE", world.room.address(package, name)), b"") for package, name in sorted(world.published)
    ],
    pages=(
        ("demo/app/tags/list", {}),
        ("demo/app/tags/list?n=1", {}),
        ("demo/tags/list", {}),
        (f"demo/app/referrers/{OCI_SUBJECT}", {}),
        (f"demo/app/referrers/{OCI_SUBJECT}?artifactType=x", {}),
    ),
    paths=(
        "demo",
        "/blobs/",
        "/blobs/uploads/",
        "?digest=",
        "?mount=",
        "&from=acme/main/demo",
        f"sha256:{'0' * 64}",
        "/manifests/",
        "/tags/list",
        "?n=0&last=x",
        "/referrers/",
        "latest",
    ),
    letters="a0-._/",
    named=lambda name: f"{name}/tags/list",
    meant=lambda plan: plan.package if isinstance(plan, Show) else None,
    canonical=lambda name: name,
)


# ---------------------------------------------------------------- deb


def deb_upload(name: str, body: bytes, place: str = "upload/stable/main") -> Upload:
    return Upload("PUT", f"{place}/{name}", body)


DEB_SOURCE = debs.source("acme", "1.0-1")


def deb_other(upload: Upload) -> Upload:
    """The same name with other bytes."""
    name = upload.path.rpartition("/")[2]
    if name.endswith(".deb"):
        package, version, rest = name.removesuffix(".deb").split("_")
        return replace(upload, body=debs.deb(package, version, rest, Section="other"))
    return replace(upload, body=upload.body + b"\n")


def deb_mutant(dice: random.Random) -> Upload:
    """A wounded package, control file, archive, source description or list of changes."""
    match dice.randrange(6):
        case 0:
            return deb_upload("odd.deb", damaged(debs.deb("odd"), dice))
        case 1:
            return deb_upload("odd.deb", debs.deb(raw_control=damaged(debs.control("odd", Depends="a, b"), dice)))
        case 2:
            archive = damaged(debs.tar({"control": debs.control("odd")}), dice)
            return deb_upload(
                "odd.deb", debs.ar(("debian-binary", b"2.0\n"), ("control.tar", archive), ("data.tar", b""))
            )
        case 3:
            return deb_upload("odd_1.0.dsc", damaged(debs.source("odd", "1.0-1")["odd_1.0-1.dsc"], dice))
        case 4:
            return deb_upload(
                "odd_1.0.changes", damaged(debs.changes("odd", "1.0", {"odd_1.deb": b"x"}), dice), "incoming"
            )
        case _:
            name = damaged(b"odd_1.0_all.deb", dice).decode("latin-1")
            return deb_upload(name, debs.deb("odd", "1.0"), dice.choice(("incoming", "upload/sid/main", "upload/s")))


DEB = Case(
    room=ROOMS["deb"],
    good=(
        deb_upload("acme_1.0-1_all.deb", debs.deb("acme", "1.0-1")),
        *(deb_upload(name, body) for name, body in DEB_SOURCE.items()),
        deb_upload("acme_1.0-2_amd64.deb", debs.deb("acme", "1:1.0-2", "amd64", ending=".zst")),
        deb_upload("other+x_2.0~rc1_amd64.deb", debs.deb("other+x", "2.0~rc1", "amd64", ending=".gz")),
    ),
    other=deb_other,
    mutant=deb_mutant,
    remove=lambda world: [
        (ask(world.room, "DELETE", f"pool/{package[2:]}/{name}"), b"")
        for package, name in sorted(world.published)
        if name.endswith((".deb", ".dsc"))
    ],
    pages=(("distributions/", {}), ("distributions/stable", {})),
    paths=(
        "dists/",
        "stable/",
        "main/",
        "binary-amd64/",
        "Packages.gz",
        "InRelease",
        "by-hash/SHA256/",
        "pool/",
        "acme_1.0-1_all.deb",
        "upload/",
        "incoming/",
        "distributions/",
        "key.asc",
        "?distribution=stable",
    ),
    letters="aA-+.b_/",
    named=lambda name: f"pool/{name}/{name}_1_all.deb",
    meant=lambda plan: plan.package if isinstance(plan, Serve) and plan.package.startswith("b/") else None,
    canonical=lambda name: name,
)

CASES = {case.room.name: case for case in (DEB, GENERIC, PYPI, NPM, OCI)}
