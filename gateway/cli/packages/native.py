"""How is a file published by the protocol of its format? Which request does twine, npm or curl make of it?

Pure but for reading the file. Only what the protocol demands is taken from inside a package; the node takes it apart
itself, and trusts nothing that is said beside it.
"""

import base64
import email.parser
import hashlib
import re
import tarfile
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from gateway.cli.terminal.output import Usage

INNER_BYTES_MAX = 4 << 20
NPM_BYTES_MAX = 512 << 20

# the fields of core metadata, as upload forms spell them, that may be given once
_ONCE = ("metadata_version", "summary", "author", "author_email", "license", "license_expression", "requires_python")
_OFTEN = {"Classifier": "classifiers", "Requires-Dist": "requires_dist", "Project-URL": "project_urls"}


class Form(NamedTuple):
    """A multipart upload: small fields, and the file under `part`."""

    path: str
    fields: dict[str, str | list[str]]
    part: str


class Whole(NamedTuple):
    """A PUT of a body that was made for it."""

    path: str
    body: bytes
    media: str


class Raw(NamedTuple):
    """A PUT of the file as it is."""

    path: str


Request = Form | Whole | Raw


def request_of(format: str, file: Path, path: str, base: str, tag: str) -> Request:
    """The request that publishes `file`, relative to the repository at `base`. Raises Usage."""
    if format == "generic":
        return Raw("generic/" + urllib.parse.quote(path or file.name))
    if format == "maven":
        if path.count("/") < 3:
            raise Usage("A Maven file needs its place.", "Add --path GROUP/ARTIFACT/VERSION/, its dots as slashes.")
        return Raw("maven/" + urllib.parse.quote(path))
    if format == "pypi":
        return pypi(file)
    if format == "npm":
        return npm(file, f"{base}/npm", tag)
    if format == "deb":
        return deb(file, path)
    raise Usage(f'There is no pushing of format "{format}".', "One of deb, pypi, npm, maven, oci, generic.")


def guess(file: Path) -> str:
    """The format that a file's name leaves no doubt about; "" otherwise."""
    return {".whl": "pypi", ".tgz": "npm", ".deb": "deb", ".udeb": "deb"}.get(file.suffix, "")


NAMING = (".dsc", ".changes")
"""Endings of files that name others, in the order in which they are sent."""


def order[One](format: str, files: list[One], suffix: Callable[[One], str]) -> list[One]:
    """The files in an order in which each may be sent: what names others comes behind them."""
    if format != "deb":
        return files
    return sorted(files, key=lambda one: NAMING.index(suffix(one)) if suffix(one) in NAMING else -1)


def deb(file: Path, path: str) -> Raw:
    """DISTRIBUTION/COMPONENT, or nothing where a .changes says where the files are listed. Raises Usage."""
    place = path.strip("/")
    if not place:
        return Raw(f"deb/incoming/{urllib.parse.quote(file.name)}")
    if "/" not in place:
        raise Usage("It is not said into which component.", "Name the place like demo/main/deb/stable/main.")
    return Raw(f"deb/upload/{urllib.parse.quote(place)}/{urllib.parse.quote(file.name)}")


# ---------------------------------------------------------------- PyPI's upload form


def pypi(file: Path) -> Form:
    """The form of a wheel or a source distribution."""
    try:
        if file.suffix == ".whl":
            name, version, _, tags = parse_wheel_filename(file.name)
            kind = {"filetype": "bdist_wheel", "pyversion": ".".join(sorted({tag.interpreter for tag in tags}))}
        else:
            name, version = parse_sdist_filename(file.name)
            kind = {"filetype": "sdist", "pyversion": "source"}
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise Usage(f"{file.name} is not named as a Python package is.", str(error)) from error
    metadata = email.parser.BytesParser().parsebytes(_inside(file, _is_python_metadata), headersonly=True)
    fields: dict[str, str | list[str]] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        **kind,
    }
    for field in _ONCE:
        if value := metadata.get(field.replace("_", "-")):
            fields[field] = str(value)
    for header, field in _OFTEN.items():
        if values := metadata.get_all(header):
            fields[field] = [str(value) for value in values]
    fields["name"] = str(metadata.get("Name", name))
    fields["version"] = str(metadata.get("Version", version))
    with file.open("rb") as content:
        fields["sha256_digest"] = hashlib.file_digest(content, "sha256").hexdigest()
    return Form("pypi/legacy/", fields, "content")


def _is_python_metadata(name: str) -> bool:
    return re.fullmatch(r"[^/]+(\.dist-info/METADATA|/PKG-INFO)", name) is not None


# ---------------------------------------------------------------- npm's packument with an attachment


def npm(file: Path, registry: str, tag: str) -> Whole:
    """The document that `npm publish` would send for this tarball."""
    if file.stat().st_size > NPM_BYTES_MAX:
        raise Usage(f"{file.name} is larger than npm's protocol can carry ({NPM_BYTES_MAX >> 20} MB).")
    try:
        manifest: Any = msgspec.json.decode(_inside(file, _is_package_json))
        name, version = manifest["name"], manifest["version"]
    except (msgspec.DecodeError, KeyError, TypeError):
        name = version = None
    if not (isinstance(name, str) and isinstance(version, str) and name and version):
        raise Usage(f"{file.name} holds no package.json with a name and a version.", "Make it with: npm pack.")
    data = file.read_bytes()
    tarball = f"{name}-{version}.tgz"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    shasum = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    address = f"{registry}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    published = manifest | {
        "_id": f"{name}@{version}",
        "dist": {"integrity": integrity, "shasum": shasum, "tarball": address},
    }
    document = {
        "_id": name,
        "name": name,
        "dist-tags": {tag: version},
        "versions": {version: published},
        "_attachments": {
            tarball: {
                "content_type": "application/octet-stream",
                "data": base64.b64encode(data).decode(),
                "length": len(data),
            }
        },
    }
    return Whole("npm/" + urllib.parse.quote(name, safe="@"), msgspec.json.encode(document), "application/json")


def _is_package_json(name: str) -> bool:
    return re.fullmatch(r"[^/]+/package\.json", name) is not None


# ---------------------------------------------------------------- looking into archives


def _inside(file: Path, wanted: Any) -> bytes:
    """The first member of an archive whose name is `wanted`. Raises Usage."""
    try:
        for content in _members(file, wanted):
            with content:
                return content.read(INNER_BYTES_MAX)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError) as error:
        raise Usage(f"{file.name} cannot be opened as an archive.", str(error)) from error
    raise Usage(f"{file.name} lacks the metadata that its format demands.", "Was it built by the format's own tool?")


def _members(file: Path, wanted: Any) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if wanted(entry.filename):
                    yield archive.open(entry)
        return
    with tarfile.open(file, "r:*") as tar:
        for member in tar:
            if wanted(member.name) and member.isfile():
                found = tar.extractfile(member)
                if found is not None:
                    yield found
