"""What does a request of apt, dput or a script mean?

GET dists/DIST/InRelease, Release, Release.gpg        the signed manifest of a distribution
GET dists/DIST/COMPONENT/binary-ARCH/Packages[.gz]    an index that it lists, also .../by-hash/SHA256/HEX
GET pool/PACKAGE/FILE                                 a file
GET key.asc, key.gpg                                  the certificates to verify with
GET distributions/[DIST]                              what there is, as JSON
PUT upload/DIST/COMPONENT/FILE                        publish a package, source package or its files there
PUT incoming/FILE                                     the same, listed where its .changes says (dput)
PUT distributions/DIST                                settings, as JSON
DELETE pool/PACKAGE/FILE[?distribution=D&component=C] remove, or only from there
"""

import re
from typing import Literal

from formats.deb import names
from formats.kit.contract import Accept, Amend, Ask, Keyring, Listed, Manifest, Plan, Reply, Serve, Show
from formats.kit.refusals import line
from formats.kit.routes import Declared, reads, writes
from storage.errors import Absent, Invalid, MethodRefused, Problem, Unsupported

TEXT = "text/plain; charset=utf-8"
KEYS = {"key.asc": Keyring("application/pgp-keys", armored=True), "key.gpg": Keyring("application/octet-stream")}
SEALS: dict[str, Literal["", "clear", "detached"]] = {"Release": "", "InRelease": "clear", "Release.gpg": "detached"}
MEDIA = {".gz": "application/gzip", ".xz": "application/x-xz", ".zst": "application/zstd"}
FILE_BYTES_MAX = 64 << 30
SETTINGS_BYTES_MAX = 64 << 10
TAKEN_APART = (*names.BINARY_ENDINGS, ".dsc", ".changes")
MEMBERS = re.compile(r".*(\.tar\.(gz|xz|bz2|zst|lzma)|\.diff\.gz|\.asc|\.buildinfo|\.sig)")
OURS_ALONE = ("upload", "incoming", "distributions", "-")
FOREIGN_DIRECTORIES = ("i18n", "dep11", "cnf", "by-hash")
_READS = ("GET", "HEAD")
_HASH = re.compile("[0-9a-f]{64}")


ROUTES: tuple[Declared, ...] = (
    *reads(
        "dists/<path:distribution>/InRelease", "dists/<path:distribution>/<component>/binary-<architecture>/Packages"
    ),
    *reads("pool/<package>/<file>", "key.asc", "key.gpg", "distributions/", "distributions/<path:distribution>"),
    writes("pool/<package>/<file>", "DELETE"),
    writes("upload/<path:distribution>/<component>/<file>", "PUT"),
    writes("incoming/<file>", "PUT"),
    writes("distributions/<path:distribution>", "PUT"),
    *reads("<path:file>"),
)
"""Every address of this room."""


def right(ask: Ask) -> Literal["read", "write"]:
    """Reads are reads, whatever else is a write."""
    return "read" if ask.method in _READS else "write"


def read(ask: Ask) -> Plan:
    """The Plan of a request. Raises Absent, Invalid, MethodRefused."""
    match ask.path.split("/"):
        case ["dists", *rest] if len(rest) > 1:
            _only(ask, *_READS)
            return _of_distribution(ask, rest)
        case ["pool", package, file] if _is_ours(package, file) or ask.method not in _READS:
            return _file(ask, package, file)
        case ["upload", *distribution, component, file] if distribution:
            _only(ask, "PUT")
            return _upload(ask, file, names.distribution("/".join(distribution)), names.component(component))
        case ["incoming", file]:
            _only(ask, "PUT")
            return _upload(ask, file, "", "")
        case [key] if key in KEYS:
            _only(ask, *_READS)
            return KEYS[key]
        case ["distributions", *rest] if rest:
            return _distribution(ask, "/".join(rest))
    if ask.path and ask.path.partition("/")[0] not in OURS_ALONE:
        _only(ask, *_READS)
        return elsewhere(ask.path)
    raise Absent("There is nothing here.", "Distributions are at dists/, uploads go to upload/DISTRIBUTION/COMPONENT/.")


def elsewhere(path: str, distribution: str = "") -> Serve:
    """A file of an upstream's, wherever it lies there. Its package is never ours, but for a distribution's name: once
    that was published here, nothing of it comes from elsewhere (THREATS C14)."""
    package = names.DISTRIBUTION + distribution if distribution else "u/"
    return Serve(package, path)


def _only(ask: Ask, *methods: str) -> None:
    if ask.method not in methods:
        raise MethodRefused(f"{ask.method[:16]!a} is not possible here.", f"Use {' or '.join(methods)}.")


# ---------------------------------------------------------------- reads


def _of_distribution(ask: Ask, rest: list[str]) -> Manifest | Listed | Serve:
    *places, last = rest
    if last in SEALS:
        distribution = _distribution_of("/".join(places))
        return Manifest(distribution, "text/plain", SEALS[last], elsewhere(ask.path, distribution))
    by_hash = len(places) > 2 and places[-2] == "by-hash"
    distribution, inner = _split(places[:-2] if by_hash else places)
    if not inner:
        return elsewhere(ask.path, distribution)
    otherwise = elsewhere(ask.path, distribution)
    if by_hash and places[-1] == "SHA256":
        if not _HASH.fullmatch(last):
            raise Absent("There is no such index.")
        return Listed(distribution, "application/octet-stream", sha256=last, otherwise=otherwise)
    ending = next((ending for ending in MEDIA if last.endswith(ending)), "")
    return Listed(distribution, MEDIA.get(ending, "text/plain"), path=f"{inner}/{last}", otherwise=otherwise)


def _split(places: list[str]) -> tuple[str, str]:
    """A distribution's name, and the directory within it: a component is one word. An upstream may have other files
    beside its manifest: then the directory is "", and the name is the first word."""
    depth = 1
    if places[-1].startswith("binary-"):
        depth = 3 if places[-2:-1] == ["debian-installer"] else 2
    elif places[-1] in ("source", *FOREIGN_DIRECTORIES):
        depth = 2
    if len(places) <= depth:
        return _distribution_of(places[0]), ""
    return _distribution_of("/".join(places[:-depth])), "/".join(places[-depth:])


def _distribution_of(name: str) -> str:
    try:
        return names.distribution(name)
    except Invalid:
        raise Absent("There is no such distribution.") from None


def _is_ours(package: str, file: str) -> bool:
    """Can this be the address of a file in our own pool?"""
    try:
        return names.owner(file) == names.package(package)
    except Invalid:
        return False


def _file(ask: Ask, package: str, file: str) -> Plan:
    _only(ask, *_READS, "DELETE")
    if not _is_ours(package, file):
        raise Absent("There is no such file.")
    if ask.method == "DELETE":
        told = {name: ask.argument(name) for name in ("distribution", "component")}
        return Amend(1024, context={"action": "delete", "file": file, **told})
    return Serve((names.BINARY if file.endswith(names.BINARY_ENDINGS) else names.SOURCE) + package, file)


def _distribution(ask: Ask, name: str) -> Plan:
    _only(ask, *_READS, "PUT")
    if ask.method == "PUT":
        _whole(ask)
        context = {"action": "settings", "distribution": names.distribution(name)}
        return Amend(SETTINGS_BYTES_MAX, context=context)
    # Of no one package: a list of them, and what one page says changes with packages in it.
    return Show("distribution", "application/json", argument=_distribution_of(name) if name else "")


# ---------------------------------------------------------------- writes


def _whole(ask: Ask) -> None:
    """Raises Invalid, Unsupported for a body that is not the file itself (RFC 9110, 8.4 and 14.5)."""
    if ask.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise Unsupported("A compressed body is not taken here.", "Send it without Content-Encoding.")
    if "content-range" in ask.headers:
        raise Invalid("A part of a file is not taken here.", "Send the whole file, without Content-Range.")


def _upload(ask: Ask, file: str, distribution: str, component: str) -> Accept:
    _whole(ask)
    names.file(file)
    if file.endswith(TAKEN_APART):
        context = {"action": "publish", "file": file, "distribution": distribution, "component": component}
        return Accept("raw", bytes_max=FILE_BYTES_MAX, context=context)
    if not MEMBERS.fullmatch(file):
        raise Invalid(
            f"{names.shown(file)} is no file of a package by its name.",
            "Send .deb, .udeb, .dsc, .changes, and what a .dsc or .changes names.",
        )
    names.owner(file)
    return Accept("raw", bytes_max=FILE_BYTES_MAX, unpack=False, context={"action": "member", "file": file})


def refuse(ask: Ask, problem: Problem) -> Reply:
    """A line of text: apt and dput show the status, and scripts show the body."""
    return line(problem, _allowed(ask))


def _allowed(ask: Ask) -> str:
    place = ask.path.partition("/")[0]
    return {"upload": "PUT", "incoming": "PUT", "pool": "GET, HEAD, DELETE", "distributions": "GET, HEAD, PUT"}.get(
        place, "GET, HEAD"
    )
