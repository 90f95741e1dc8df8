"""What does a request of mvn, Gradle, sbt, Ivy or their kin mean?

GET, PUT, DELETE  GROUP/ARTIFACT/VERSION/FILE       a file; `.sha1`, `.md5`, `.sha256`, `.sha512` behind it its digest
GET, PUT          .../maven-metadata.xml            of a group, an artifact, or a snapshot; its digests likewise
DELETE            GROUP/ARTIFACT/[VERSION/]         a version, or all of an artifact
"""

from typing import Literal

from formats.kit.contract import Accept, Amend, Ask, Plan, Reply, Serve, Show
from formats.kit.refusals import line
from formats.kit.routes import Declared, reads, writes
from formats.maven.media import TEXT, XML
from formats.maven.names import Route, route
from storage.errors import Absent, Invalid, MethodRefused, Problem

POM_BYTES_MAX = 4 << 20
MODULE_BYTES_MAX = 16 << 20
METADATA_BYTES_MAX = 4 << 20
CHECKSUM_BYTES_MAX = 4096
DIGESTS = ("md5", "sha1", "sha512")
TOLD = (
    ("X-Checksum-Sha1", "sha1", ""),
    ("X-Checksum-Md5", "md5", ""),
    ("X-Checksum-Sha256", "sha256", ""),
    ("X-Checksum-Sha512", "sha512", ""),
)
"""With these on a file its client needs no second request for a checksum."""

SAFE = (("Content-Security-Policy", "default-src 'none'; sandbox"),)


ROUTES: tuple[Declared, ...] = (
    *reads("", "<path:package>/maven-metadata.xml", "<path:package>/<version>/<file>", "<path:file>"),
    writes("<path:package>/<version>/<file>", "PUT", "DELETE"),
    writes("<path:package>/maven-metadata.xml", "PUT"),
    writes("<path:file>", "PUT", "DELETE"),
)
"""Every address of this room."""


def right(ask: Ask) -> Literal["read", "write"]:
    """Reads are reads, whatever else is a write."""
    return "read" if ask.method in ("GET", "HEAD") else "write"


def read(ask: Ask) -> Plan:
    """The Plan of a request. Raises Absent, Invalid, MethodRefused."""
    at = route(ask.path)
    match ask.method:
        case "GET" | "HEAD":
            return _reading(at)
        case "PUT":
            return _put(ask, at)
        case "DELETE" if at.kind == "directory" or (at.kind == "file" and not at.digest):
            return Amend(bytes_max=0)
    raise MethodRefused(f"{ask.method[:16]} is not possible here.", f"There is {allowed(at)}.")


def allowed(at: Route) -> str:
    """The methods of an address, for `Allow`."""
    if at.kind == "root":
        return "GET, HEAD"
    if at.kind == "directory":
        return "DELETE"
    return "GET, HEAD, PUT, DELETE" if at.kind == "file" and not at.digest else "GET, HEAD, PUT"


def _reading(at: Route) -> Plan:
    match at.kind:
        case "root":
            return Reply(200, b"A Maven repository: artifacts are at group/artifact/version/file.\n", TEXT)
        case "directory":
            raise Absent("Directories are not listed here.", "Ask for maven-metadata.xml to see the versions.")
        case "metadata":
            media = TEXT if at.digest else XML
            if at.version:
                return Show("snapshot", media, at.package, f"{at.version} {at.digest}", foreign=True)
            return Show("metadata", media, at.package, at.digest, foreign=True)
    if at.digest:
        return Show("digest", TEXT, at.package, f"{at.digest} {at.file}", foreign=True)
    return Serve(at.package, at.file, headers=SAFE, told=TOLD)


def _put(ask: Ask, at: Route) -> Plan:
    if ask.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise Invalid("The body is sent in a content encoding.", "Send the file's own bytes.")
    if at.kind not in ("file", "metadata"):
        raise MethodRefused("A directory has no bytes of its own.", "Name a file.")
    if at.digest:
        return Amend(bytes_max=CHECKSUM_BYTES_MAX)
    if at.kind == "metadata":
        return Accept("spool", bytes_max=METADATA_BYTES_MAX)
    if at.name.endswith(".pom"):
        return Accept("raw", digests=DIGESTS, bytes_max=POM_BYTES_MAX)
    if at.name.endswith(".module"):
        return Accept("raw", digests=DIGESTS, bytes_max=MODULE_BYTES_MAX)
    return Accept("raw", digests=DIGESTS, unpack=False)


def refuse(ask: Ask, problem: Problem) -> Reply:
    """A line of text, never a page: a client that takes an error for an artifact must at least not find HTML in it."""
    return line(problem, _allowed(ask))


def _allowed(ask: Ask) -> str:
    try:
        return allowed(route(ask.path))
    except Problem:
        return "GET, HEAD"
