"""What does a document tell that a client puts: a new version with its tarball, or changes to what is there?

The index is made from the file: name, version, what is installed and what is run must be in the tarball as the document
says them, or the document is refused.
"""

from typing import BinaryIO

import msgspec

from formats.kit.archive import Limits, Member
from formats.kit.contract import Ask, Blob, Finds, Received
from formats.kit.jsons import Scanner, Write, strict
from formats.kit.tars import Tar, scan_tar
from formats.npm.attest import Attested, attested
from formats.npm.facts import Amended, Published, VersionFacts, packed
from formats.npm.manifest import (
    TRUE,
    deprecation_of,
    halves,
    keywords_of,
    runs_at_install,
    text_of,
    value_of,
)
from formats.npm.names import bare, clean, new_name, new_tag, new_version
from formats.npm.upstream import digests_of, shasum_of
from formats.npm.wire import Route, route
from storage.errors import Invalid

MANIFEST_BYTES_MAX = 4 << 20
README_CHARACTERS_MAX = 64 << 10
DESCRIPTION_CHARACTERS_MAX = 1000
LIMITS = Limits(total_bytes_max=8 << 30)
_DEPENDENCIES = (("dependencies", "optionalDependencies"), ("peerDependencies",))
_BY_SERVER = {"_id", "_npmUser", "_hasShrinkwrap", "hasInstallScript"}
Members = dict[str, msgspec.Raw]


class _Attachment(msgspec.Struct):
    data: str = ""
    length: int = -1


class _Document(msgspec.Struct):
    name: str | None = None
    id: str | None = msgspec.field(name="_id", default=None)
    rev: str | None = msgspec.field(name="_rev", default=None)
    versions: dict[str, Members] | None = None
    tags: dict[str, str] = msgspec.field(name="dist-tags", default_factory=dict)
    attachments: dict[str, _Attachment] = msgspec.field(name="_attachments", default_factory=dict)
    maintainers: msgspec.Raw = msgspec.Raw(b"null")
    readme: msgspec.Raw = msgspec.Raw(b"null")


_document = msgspec.json.Decoder(_Document)
_members = msgspec.json.Decoder(Members)


class _Landing:
    """Where the tarball goes while the document is read: one file in the directory for derived files."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/tarball"
        self.attachment = ""
        self.size = 0
        self._file: BinaryIO | None = None

    def __call__(self, attachment: str, /) -> Write | None:
        if not attachment.endswith(".tgz"):
            return None
        if self._file is not None:
            raise Invalid("The document has two tarballs.", "Publish one version at a time.")
        self.attachment = attachment
        self._file = open(self.path, "w+b")  # noqa: SIM115 - closed by `close`, after the scanner has written it
        return self._write

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self.size += len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def unpack(ask: Ask, received: Received) -> Finds:
    """Take a PUT document apart. Raises Invalid, TooLarge."""
    at = route(ask)
    landing = _Landing(received.directory)
    try:
        with open(received.descriptor, "rb", buffering=0, closefd=False) as body:
            body.seek(received.start)
            kept = Scanner(lambda size: body.read(size) or b"", landing).run()
    finally:
        landing.close()
    document = _read(kept)
    if any(name not in (None, at.name) for name in (document.name, document.id)):
        raise Invalid("The document is of another package than its address.", "Publish with the name in package.json.")
    if not document.attachments:
        return Finds(packed(_amended(at, document)))
    if at.kind == "revision":
        raise Invalid("A revision has no attachments.", "Publish the version to the package's own address.")
    return _publication(at.name, document, landing)


def _read(kept: bytes) -> _Document:
    try:
        kept.decode()
        return _document.decode(kept)
    except RecursionError:
        raise Invalid("The document nests too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:200]
        raise Invalid(f"The document is not a package document: {reason}.", "Publish with a current client.") from None


def _amended(at: Route, document: _Document) -> Amended:
    deprecated = None
    if document.versions is not None:
        deprecated = {name: deprecation_of(members.get("deprecated")) for name, members in document.versions.items()}
    maintainers = b""
    people = value_of(document.maintainers)
    if people is not None:
        if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
            raise Invalid("The maintainers are not a list of people.")
        maintainers = bytes(document.maintainers)
    return Amended(at.name, at.rev or document.rev or "", deprecated, document.tags, maintainers)


# ---------------------------------------------------------------- a new version


def _publication(name: str, document: _Document, landing: _Landing) -> Finds:
    new_name(name)
    version, members = _version_of(name, document, landing)
    announced = document.attachments[landing.attachment].length
    if announced not in (-1, landing.size):
        raise Invalid(f"The tarball has {landing.size} bytes, and the document says {announced}.", "Publish it again.")
    bundle = _bundle(name, version, document, landing.attachment)
    with open(landing.path, "rb") as file:
        inside = _Inside(file)
    inside.agree(name, version, members)
    facts = _facts(name, version, members, inside, text_of(document.readme), bundle)
    dist = _dist(members)
    found = Published(
        name,
        version,
        facts,
        tuple(new_tag(tag) for tag, target in document.tags.items() if target == version) or ("latest",),
        description=text_of(members.get("description"))[:DESCRIPTION_CHARACTERS_MAX],
        keywords=keywords_of(members.get("keywords")),
        sha1=dist.get("sha1", ""),
        sha512=dist.get("sha512", ""),
        subject=bundle.subject if bundle else "",
    )
    blobs = {"file": Blob(path=landing.path, digests_wanted=("sha1", "sha512"))}
    if bundle:
        blobs["sigstore"] = Blob(data=bundle.document)
    return Finds(packed(found), blobs)


def _version_of(name: str, document: _Document, landing: _Landing) -> tuple[str, Members]:
    """The version that the tarball is of: the one whose file name the attachment has."""
    if not landing.attachment:
        raise Invalid("The document has no tarball among its attachments.", "Publish with a current client.")
    for version, members in (document.versions or {}).items():
        if landing.attachment in (f"{name}-{version}.tgz", f"{bare(name)}-{version}.tgz"):
            new_version(version)
            if text_of(members.get("name")) != name or text_of(members.get("version")) != version:
                raise Invalid("The manifest in the document has another name or version.", "Publish it again.")
            return version, members
    raise Invalid("The tarball is of no version in the document.", "Its attachment must be called NAME-VERSION.tgz.")


def _bundle(name: str, version: str, document: _Document, tarball: str) -> Attested | None:
    """The provenance that came along; any other attachment is refused."""
    bundle = None
    for attachment, one in document.attachments.items():
        if attachment in (f"{name}-{version}.sigstore", f"{bare(name)}-{version}.sigstore"):
            lengths = (-1, len(one.data.encode()), len(one.data.encode("utf-16-le")) // 2)
            if one.length not in lengths or bundle is not None:
                raise Invalid("The attestation is not as long as the document says, or is there twice.")
            bundle = attested(name, version, one.data)
        elif attachment != tarball:
            raise Invalid(
                "The document has an attachment that belongs to no version.", "Publish one version at a time."
            )
    return bundle


def _dist(members: Members) -> dict[str, str]:
    """The digests that the document announces, in hex."""
    raw = members.get("dist")
    if raw is None:
        return {}
    try:
        dist = _members.decode(raw)
    except msgspec.DecodeError:
        raise Invalid("The manifest's dist is no object.") from None
    integrity, shasum = text_of(dist.get("integrity")), text_of(dist.get("shasum"))
    digests = {**digests_of(integrity), **shasum_of(shasum)}
    if (integrity and not digests_of(integrity)) or (shasum and not shasum_of(shasum)):
        raise Invalid("The manifest's integrity or shasum is no digest.", "Publish with a current client.")
    return digests


def _facts(
    name: str, version: str, members: Members, inside: "_Inside", readme: str, bundle: Attested | None
) -> VersionFacts:
    own = {key: raw for key, raw in members.items() if key not in _BY_SERVER}
    own["_id"] = msgspec.Raw(msgspec.json.encode(f"{name}@{version}"))
    if inside.runs:
        own["hasInstallScript"] = msgspec.Raw(TRUE)
    if inside.locked:
        own["_hasShrinkwrap"] = msgspec.Raw(TRUE)
    full, short = halves(own)
    readme = text_of(members.get("readme")) or readme
    return VersionFacts(
        full,
        short,
        deprecation_of(members.get("deprecated")),
        readme[:README_CHARACTERS_MAX],
        b'"fileCount":%d,"unpackedSize":%d' % (inside.files, inside.bytes),
        bundle.provenance if bundle else b"",
    )


# ---------------------------------------------------------------- inside the tarball


class _Inside:
    """What the tarball itself says: its package.json, how much it holds, and whether it runs something at install."""

    def __init__(self, file: BinaryIO) -> None:
        if file.read(2) != b"\x1f\x8b":
            raise Invalid("The tarball is not compressed with gzip.", "Pack it with npm pack.")
        tar = scan_tar(file, _is_manifest, MANIFEST_BYTES_MAX, LIMITS)
        top = _top(tar.members)
        self.manifest = _manifest(tar, top)
        files = [one for one in tar.members.values() if one.kind == "file"]
        self.files = len(files)
        self.bytes = sum(one.size for one in files)
        self.locked = f"{top}/npm-shrinkwrap.json" in tar.members
        self.scripts = _strings(self.manifest.get("scripts"))
        compiles = f"{top}/binding.gyp" in tar.members and value_of(self.manifest.get("gypfile")) is not False
        self.compiles = compiles and not (self.scripts.get("install") or self.scripts.get("preinstall"))
        self.runs = self.compiles or runs_at_install(self.manifest.get("scripts"))

    def agree(self, name: str, version: str, members: Members) -> None:
        """Raises Invalid where the document's manifest says other things of what is installed than the file does."""
        own_name, own_version = text_of(self.manifest.get("name")), text_of(self.manifest.get("version"))
        if own_name != name or clean(own_version) != version:
            raise Invalid(
                "The package.json in the tarball has another name or version than the document.", "Pack it again."
            )
        for kinds in _DEPENDENCIES:
            if _needs(members, kinds) != _needs(self.manifest, kinds):
                raise Invalid(
                    f"The document's {kinds[0]} are not those of the package.json in the tarball.",
                    "Publish the tarball with the manifest that it was packed with.",
                )
        said = _strings(members.get("scripts"))
        for script in ("preinstall", "install", "postinstall"):
            theirs, ours = said.get(script, ""), self.scripts.get(script, "")
            if theirs != ours and not (script == "install" and self.compiles and theirs == "node-gyp rebuild"):
                raise Invalid(
                    f"The document's {script} script is not that of the package.json in the tarball.",
                    "Publish the tarball with the manifest that it was packed with.",
                )


def _is_manifest(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/package.json")


def _top(members: dict[str, Member]) -> str:
    """The one directory that clients strip. With two of them, two files could become one."""
    tops = {name.partition("/")[0] for name, one in members.items() if one.kind != "directory" and "/" in name}
    if len(tops) != 1:
        raise Invalid("The tarball must hold everything in one directory.", "Pack it with npm pack.")
    return tops.pop()


def _manifest(tar: Tar, top: str) -> Members:
    """The package.json at the top, which no other entry may be mistaken for."""
    alike = [name for name in tar.members if name.count("/") == 1 and name.lower().endswith("/package.json")]
    raw = tar.contents.get(f"{top}/package.json")
    if raw is None or len(alike) != 1:
        raise Invalid("The tarball needs exactly one package.json at its top.", "Pack it with npm pack.")
    raw = strict(raw.removeprefix(b"\xef\xbb\xbf"))
    try:
        raw.decode()
        return _members.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("The package.json in the tarball is not a JSON object.", "Correct it and pack again.") from None


def _strings(raw: msgspec.Raw | None) -> dict[str, str]:
    """The texts of an object, without blanks around them; {} for anything else."""
    value = value_of(raw)
    if not isinstance(value, dict):
        return {}
    return {key: one.strip() for key, one in value.items() if isinstance(one, str)}


def _needs(members: Members, kinds: tuple[str, ...]) -> dict[str, str]:
    """What is depended on. Addresses and shorthands of them are written anew by clients: those count by name alone."""
    needs: dict[str, str] = {}
    for kind in kinds:
        for name, wanted in _strings(members.get(kind)).items():
            needs[name] = "" if ":" in wanted or "/" in wanted else wanted
    return needs
