"""What is in a package, a source package's description, or a list of changes that was sent? Runs in the sandbox."""

import re

import msgspec
import zstandard

from formats.deb import ar, names, paragraphs
from formats.deb.names import shown
from formats.deb.paragraphs import Fields
from formats.kit.archive import Limits, received_file
from formats.kit.contract import Finds, Received
from formats.kit.tars import names_in_tar, scan_tar
from storage.errors import Invalid, TooLarge

CONTROL_LIMITS = Limits(entries_max=2_000, total_bytes_max=64 << 20, ratio_max=300)
LISTED_BYTES_MAX = 1 << 30
"""A package with more in it is taken, and has no list of its paths."""
PATHS_BYTES_MAX = 512 << 10
"""Compressed: it goes into the journal."""
MEMBERS_MAX = 200

OURS = frozenset(("filename", "size", "md5sum", "sha1", "sha256", "sha512", "status", "directory"))
"""Fields that the index says of a package, and the package not of itself."""

_SHA256 = re.compile("[0-9a-f]{64}")
_NUMBER = re.compile("[0-9]{1,15}")
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """A file that a .dsc or .changes names."""

    name: str
    size: int
    sha256: str
    section: str = ""


class Found(msgspec.Struct, frozen=True):
    """What came. `kind`: deb, udeb, dsc, changes. `paths` is zstd of lines, b"" where there is no list."""

    kind: str
    name: str
    version: str
    stanza: str = ""
    architecture: str = ""
    section: str = ""
    paths: bytes = b""
    listed: tuple[Listed, ...] = ()
    distributions: tuple[str, ...] = ()


def unpack(received: Received) -> Finds:
    """What was sent, by the kind that its name tells. Raises Invalid, TooLarge."""
    filename = received.context["file"]
    if filename.endswith(names.BINARY_ENDINGS):
        found = _binary(received, "udeb" if filename.endswith(".udeb") else "deb")
    else:
        with received_file(received.descriptor, received.start) as file:
            raw = file.read(paragraphs.CONTROL_BYTES_MAX + 1)
        found = _source(raw) if filename.endswith(".dsc") else _changes(raw)
    return Finds(facts=msgspec.msgpack.encode(found), context=received.context)


def found_in(facts: bytes) -> Found:
    """What `unpack` handed on."""
    return msgspec.msgpack.decode(facts, type=Found)


# ---------------------------------------------------------------- binary packages


def _binary(received: Received, kind: str) -> Found:
    with received_file(received.descriptor, received.start) as file:
        members = ar.members(file)
        control = scan_tar(
            ar.Slice(file, members.control),  # type: ignore[arg-type]
            lambda name: name == "control",
            paragraphs.CONTROL_BYTES_MAX,
            CONTROL_LIMITS,
        )
        paths = names_in_tar(ar.Slice(file, members.data), LISTED_BYTES_MAX)  # type: ignore[arg-type]
    if "control" not in control.contents:
        raise Invalid("The package has no control file.", "Build it with dpkg-deb.")
    paragraph = paragraphs.parse(control.contents["control"], "control file")
    fields = Fields(paragraph)
    name = names.package(fields.need("Package", "control file"))
    version = names.version(fields.need("Version", "control file"))
    architecture = names.architecture(fields.need("Architecture", "control file"))
    kept = [(key, value) for key, value in paragraph.items() if key.lower() not in OURS | {"package"}]
    return Found(
        kind,
        name,
        version,
        paragraphs.stanza([("Package", name), *kept]),
        architecture,
        section=fields.get("Section").partition("\n")[0][:64],
        paths=_packed(paths),
    )


def _packed(paths: list[str] | None) -> bytes:
    """A list of paths, without those that a line cannot hold."""
    lines = [path.removeprefix("./").lstrip("/") for path in paths or () if not _UNFIT.search(path)]
    text = "\n".join(line for line in lines if line)
    data = zstandard.ZstdCompressor(level=12).compress(text.encode()) if text else b""
    return data if len(data) <= PATHS_BYTES_MAX else b""


# ---------------------------------------------------------------- source packages and changes


def _source(raw: bytes) -> Found:
    what = ".dsc"
    paragraph = paragraphs.parse(raw, what)
    fields = Fields(paragraph)
    name = names.package(fields.need("Source", what), "source package")
    version = names.version(fields.need("Version", what))
    kept = [
        (key, value)
        for key, value in paragraph.items()
        if key.lower() not in OURS | {"source", "files", "checksums-sha256", "checksums-sha1"}
    ]
    return Found(
        "dsc", name, version, paragraphs.stanza([("Package", name), *kept]), "source", listed=_listed(fields, what)
    )


def _changes(raw: bytes) -> Found:
    what = ".changes"
    fields = Fields(paragraphs.parse(raw, what))
    name = names.package(fields.need("Source", what).partition(" ")[0], "source package")
    version = names.version(fields.need("Version", what))
    distributions = tuple(names.distribution(one) for one in fields.need("Distribution", what).split())
    sections = {words[-1]: words[2] for words in fields.lines("Files") if len(words) == 5}
    listed = [msgspec.structs.replace(one, section=sections.get(one.name, "")) for one in _listed(fields, what)]
    return Found("changes", name, version, listed=tuple(listed), distributions=distributions)


def _listed(fields: Fields, what: str) -> tuple[Listed, ...]:
    """The files that it names, by the one digest that is believed."""
    lines = fields.lines("Checksums-Sha256")
    if not lines:
        raise Invalid(f"The {what} lacks the field Checksums-Sha256.", "Build it with a dpkg of this century.")
    if len(lines) > MEMBERS_MAX:
        raise TooLarge(f"The {what} names more than {MEMBERS_MAX} files.")
    found: dict[str, Listed] = {}
    for words in lines:
        if len(words) != 3 or not _SHA256.fullmatch(words[0]) or not _NUMBER.fullmatch(words[1]):
            raise Invalid(f"A line in Checksums-Sha256 of the {what} is not 'SHA256 SIZE NAME'.")
        if found.setdefault(words[2], Listed(names.file(words[2]), int(words[1]), words[0])).sha256 != words[0]:
            raise Invalid(f"The {what} names {shown(words[2])} twice.")
    return tuple(found.values())
