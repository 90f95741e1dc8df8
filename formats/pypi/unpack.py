"""What does an upload form hold: a wheel or sdist that is what it claims, or a wish to change what is there?

The index is made from the file itself. What the form says beside it is compared, and a difference is refused
(THREATS D9). Nothing is written anywhere; a wheel's files are read once, to compare them with its RECORD.
"""

from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import msgspec
from packaging.metadata import InvalidMetadata, Metadata, RawMetadata, parse_email
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from formats.kit.archive import received_file
from formats.kit.contract import Blob, Finds, Received
from formats.kit.tars import scan_tar
from formats.kit.traits import license_said
from formats.kit.zips import Zip
from formats.pypi import names
from formats.pypi.attest import provenance
from formats.pypi.facts import STATUSES
from formats.pypi.names import Distribution
from formats.pypi.records import check_record
from storage import digest
from storage.errors import Invalid

METADATA_BYTES_MAX = 8 << 20
REQUIRES_CHARS_MAX = 16 << 10
"""What is searched by is bounded; what a project requires beyond that is in its metadata alone."""
_STEP = 1 << 20
_FILETYPES = {True: "bdist_wheel", False: "sdist"}


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """What decide needs of an upload. `action` is publish, yank, unyank or status.

    `name` is normalised, `display` as its maker spells it. `filename` "" of a yank means all files of the version.
    """

    action: str
    name: str
    display: str = ""
    version: str = ""
    filename: str = ""
    identity: str = ""
    requires_python: str = ""
    reason: str = ""
    status: str = ""
    license: str = ""
    requires: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Found)


def found_in(finds: Finds) -> Found:
    """The facts that unpack put into Finds."""
    return _decoder.decode(finds.facts)


def unpack(received: Received) -> Finds:
    """Take an upload form apart. Raises Invalid, TooLarge."""
    fields = received.fields
    if _one(fields, ":action") == "file_upload":
        return _publish(received)
    if received.filename or received.blob.size > 0:
        raise Invalid("This action takes no file.")
    return Finds(_encode(wish(fields)))


def wish(fields: dict[str, list[str]]) -> Found:
    """A yank, unyank or change of status. Raises Invalid."""
    action = _one(fields, ":action")
    name = names.normalised(_one(fields, "name"))
    reason = names.clean(_one(fields, "reason"))
    if action in ("yank", "unyank"):
        number = str(names.version(_one(fields, "version")))
        return Found(action, name, version=number, filename=_one(fields, "filename"), reason=reason)
    if action == "status":
        status = _one(fields, "status")
        if status not in STATUSES:
            raise Invalid(f"{status[:40]!r} is no status of a project.", f"There are {', '.join(STATUSES)}.")
        return Found(action, name, reason=reason, status=status)
    if action in ("submit", "submit_pkg_info", "verify"):
        raise Invalid("Projects are not registered beforehand.", "Upload a file: the project comes with it.")
    raise Invalid(f"{action[:40]!r} is not understood.", "Actions are file_upload, yank, unyank and status.")


def _one(fields: dict[str, list[str]], name: str) -> str:
    """The value of a field that may be there once; "" where it is not."""
    values = fields.get(name, [])
    if len(values) > 1:
        raise Invalid(f"The form says {name} more than once.")
    return values[0] if values else ""


def _publish(received: Received) -> Finds:
    fields = received.fields
    if not received.filename or received.blob.size <= 0:
        raise Invalid("The form holds no file.", "Send the file as the part named content.")
    claimed = names.distribution(received.filename)
    file = received_file(received.descriptor, received.start)
    _check_digests(fields, received.blob, file)
    raw = _wheel(file, claimed) if claimed.wheel else _sdist(file, claimed, received.filename)
    judged = _judged(raw, claimed)
    _check_form(fields, claimed, judged.requires_python)
    blobs = {"metadata": Blob(data=raw)} if claimed.wheel else {}
    attestations = _one(fields, "attestations")
    if attestations:
        blobs["provenance"] = Blob(data=provenance(attestations, received.filename, received.blob.sha256))
    found = Found(
        "publish",
        claimed.name,
        judged.display,
        claimed.version,
        received.filename,
        claimed.identity,
        judged.requires_python,
        license=judged.license,
        requires=judged.requires,
    )
    return Finds(_encode(found), blobs)


def _check_digests(fields: dict[str, list[str]], blob: Blob, file: BinaryIO) -> None:
    """What the client announced must be what arrived. The weaker digests count only where sha256 was not sent."""
    announced = _one(fields, "sha256_digest").lower()
    if announced:
        if announced != blob.sha256.hex():
            raise Invalid("The file is not what sha256_digest announces.", "Send it again.")
        return
    for field, algorithm in (("blake2_256_digest", "blake2b_256"), ("md5_digest", "md5")):
        announced = _one(fields, field).lower()
        if announced:
            hashing = digest.new(algorithm)
            file.seek(0)
            while data := file.read(_STEP):
                hashing.update(data)
            if announced != hashing.hexdigest():
                raise Invalid(f"The file is not what {field} announces.", "Send it again.")
            return


def _wheel(file: BinaryIO, claimed: Distribution) -> bytes:
    """The METADATA of a wheel that has what PEP 427 asks for, and a RECORD that is true."""
    archive = Zip(file)
    tops = {name.partition("/")[0] for name in archive.members}
    infos = [top for top in tops if top.lower().endswith(".dist-info")]
    if len(infos) != 1 or not _is_named(infos[0][: -len(".dist-info")], claimed):
        raise Invalid("The wheel must have one .dist-info directory, of its own name and version.")
    held = {name for name, member in archive.members.items() if member.kind == "file"}
    for wanted in ("METADATA", "WHEEL", "RECORD"):
        if f"{infos[0]}/{wanted}" not in held:
            raise Invalid(f"The wheel lacks {wanted}.", "Build it anew.")
    check_record(archive, infos[0])
    return archive.read(f"{infos[0]}/METADATA", METADATA_BYTES_MAX)


def _is_named(text: str, claimed: Distribution) -> bool:
    """Is `text` NAME-VERSION of what was claimed, in any spelling?"""
    return names.same_version(names.version_of(claimed.name, f"{text}.tar.gz") or "?", claimed.version)


def _sdist(file: BinaryIO, claimed: Distribution, filename: str) -> bytes:
    """The PKG-INFO of a source distribution with one top directory."""
    if filename.endswith(".zip"):
        archive = Zip(file)
        tops = {name.partition("/")[0] for name in archive.members}
        top = _top(tops, claimed)
        member = archive.members.get(f"{top}/PKG-INFO")
        if member is not None and member.kind == "file":
            return archive.read(f"{top}/PKG-INFO", METADATA_BYTES_MAX)
    else:
        tar = scan_tar(file, _is_info, METADATA_BYTES_MAX)
        top = _top({name.partition("/")[0] for name in tar.members}, claimed)
        if f"{top}/PKG-INFO" in tar.contents:
            return tar.contents[f"{top}/PKG-INFO"]
    raise Invalid("The source distribution lacks PKG-INFO.", "Build it with a build backend.")


def _is_info(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/PKG-INFO")


def _top(tops: set[str], claimed: Distribution) -> str:
    if len(tops) != 1 or not _is_named(min(tops), claimed):
        raise Invalid("The source distribution must have one top directory, of its own name and version.")
    return min(tops)


class _Judged(NamedTuple):
    """Of core metadata: the name as spelt, Requires-Python, the license, and FileFacts.requires."""

    display: str
    requires_python: str
    license: str
    requires: str


def _judged(raw: bytes, claimed: Distribution) -> _Judged:
    """What core metadata says that agrees with the file's name. Raises Invalid."""
    try:
        parsed, unread = parse_email(raw)
    except (ValueError, LookupError, RecursionError, AttributeError, TypeError):
        raise Invalid("The core metadata cannot be read.", "Build the package anew.") from None
    for header in ("name", "version", "requires-python", "metadata-version"):
        if header in unread:
            raise Invalid(f"The core metadata says {header} twice, or not in UTF-8.", "Build the package anew.")
    display, number = parsed.get("name", ""), parsed.get("version", "")
    if not display or not number:
        raise Invalid("The core metadata lacks a name or a version.", "Build the package anew.")
    if names.normalised(display) != claimed.name:
        raise Invalid(f"The file is named for {claimed.name}, its metadata for {display[:80]!r}.")
    if not names.same_version(str(names.version(number)), claimed.version):
        raise Invalid(f"The file is named for version {claimed.version}, its metadata for {number[:80]!r}.")
    requires = _required(parsed)
    return _Judged(display, names.clean(parsed.get("requires_python", "")), _license(parsed), requires)


def _license(parsed: RawMetadata) -> str:
    """The License-Expression, or what older metadata say instead."""
    said = license_said(parsed.get("license_expression", "") or parsed.get("license", ""))
    classes = [one.rpartition(" :: ")[2] for one in parsed.get("classifiers", []) if one.startswith("License :: ")]
    return said or license_said(", ".join(classes))


def _required(parsed: RawMetadata) -> str:
    """The projects of Requires-Dist, with and without extras, one a line. Raises Invalid where a resolver that meets
    these lines could not read them."""
    metadata = Metadata.from_raw(parsed, validate=False)
    try:
        _, wanted = metadata.requires_python, metadata.requires_dist or []
    except InvalidMetadata as error:
        raise Invalid(f"The core metadata is malformed: {names.clean(str(error), 300)}.") from None
    lines: dict[str, None] = {}
    for one in wanted:
        lines[" ".join((canonicalize_name(one.name), *sorted(each.version for each in one.specifier)))] = None
    return _bounded(lines)


def _bounded(lines: Iterable[str]) -> str:
    """As many of these lines as there is room for."""
    kept, chars = [], 0
    for line in lines:
        chars += len(line) + 1
        if chars > REQUIRES_CHARS_MAX:
            break
        kept.append(line)
    return "\n".join(kept)


def _check_form(fields: dict[str, list[str]], claimed: Distribution, requires_python: str) -> None:
    """D9: where the form speaks of what the file says too, they must agree."""
    name, number = _one(fields, "name"), _one(fields, "version")
    if name and names.normalised(name) != claimed.name:
        raise Invalid(f"The form names the project {name[:80]!r}, the file {claimed.name!r}.")
    if number and not names.same_version(str(names.version(number)), claimed.version):
        raise Invalid(f"The form says version {number[:80]!r}, the file {claimed.version!r}.")
    kind = _one(fields, "filetype")
    if kind and kind != _FILETYPES[claimed.wheel]:
        raise Invalid(f"The form says {kind[:40]!r}, the file is {_FILETYPES[claimed.wheel]}.")
    wanted = _one(fields, "requires_python")
    if wanted and not _same_specifiers(wanted, requires_python):
        raise Invalid("The form and the file differ in Requires-Python.")


def _same_specifiers(one: str, other: str) -> bool:
    try:
        return SpecifierSet(one) == SpecifierSet(other)
    except InvalidSpecifier:
        return False
