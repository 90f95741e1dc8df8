"""What does a request of pip, uv, twine and their kin mean?

GET simple/                        all projects             PEP 503, 691
GET simple/NAME/                   the files of a project
GET files/NAME/FILE[.metadata]     a file, its core metadata (PEP 658)
GET integrity/NAME/VERSION/FILE/provenance                  PEP 740
POST legacy/                       upload; yank, unyank, status by the field :action
DELETE files/NAME/FILE             remove a file
"""

from typing import Literal
from urllib.parse import quote

from formats.kit.accept import choose
from formats.kit.contract import Accept, Amend, Ask, Plan, Reply, Serve, Show
from formats.kit.refusals import line
from formats.kit.routes import Declared, reads, writes
from formats.pypi import names
from formats.pypi.facts import METADATA, PROVENANCE
from storage.errors import Absent, Forbidden, Invalid, MethodRefused, OverQuota, Problem, Unsupported

JSON = "application/vnd.pypi.simple.v1+json"
HTML1 = "application/vnd.pypi.simple.v1+html"
HTML = "text/html"
_LATEST = {"application/vnd.pypi.simple.latest+json": JSON, "application/vnd.pypi.simple.latest+html": HTML1}
_OFFERED = (JSON, HTML1, HTML, *_LATEST)
_READS = ("GET", "HEAD")
_PARTS_MAX = 6
FORM_BYTES_MAX = 64 << 10


ROUTES: tuple[Declared, ...] = (
    *reads("simple/", "simple/<package>/", "files/<package>/<file>"),
    *reads("integrity/<package>/<version>/<file>/provenance"),
    writes("legacy/", "POST"),
    writes("files/<package>/<file>", "DELETE"),
)
"""Every address of this room."""


def right(ask: Ask) -> Literal["read", "write"]:
    """Reads are reads, whatever else is a write."""
    return "read" if ask.method in _READS else "write"


def read(ask: Ask) -> Plan:
    """The Plan of a request. Raises Absent, MethodRefused, Unsupported."""
    match ask.path.split("/", _PARTS_MAX):
        case ["simple"]:
            return _moved(ask, "simple/")
        case ["simple", ""]:
            return _page(ask, "root", "")
        case ["simple", name]:
            return _moved(ask, f"{names.known(name)}/")
        case ["simple", name, ""]:
            if names.known(name) != name:
                return _moved(ask, f"../{names.known(name)}/")
            return _page(ask, "project", name)
        case ["legacy"] | ["legacy", ""]:
            return _legacy(ask)
        case ["files", name, file]:
            return _file(ask, name, file)
        case ["integrity", name, version, file, "provenance"]:
            return _provenance(ask, name, version, file)
    raise Absent("There is nothing here.", "The index is at simple/, uploads go to legacy/.")


def _only(ask: Ask, *methods: str) -> None:
    if ask.method not in methods:
        remedy = "Upload to legacy/." if ask.method in ("POST", "PUT") else ""
        raise MethodRefused(f"{ask.method[:16]} is not possible here.", remedy)


def _moved(ask: Ask, place: str) -> Reply:
    """To the one right spelling, relative, so that it holds under every host name."""
    _only(ask, *_READS)
    return Reply(301, headers=(("Location", place),))


def _page(ask: Ask, page: str, package: str) -> Plan:
    _only(ask, *_READS)
    media = choose(ask.headers.get("accept"), _OFFERED, HTML)
    if media is None:
        text = f"None of the accepted types is offered. There are {JSON}, {HTML1} and {HTML}.\n"
        return Reply(406, text.encode(), headers=(("Vary", "Accept"),))
    media = _LATEST.get(media, media)
    kind = "json" if media == JSON else "html"
    shown = f"{media}; charset=utf-8" if media == HTML else media
    return Show(f"{page}.{kind}", shown, package=package, foreign=bool(package), vary=True)


def _file(ask: Ask, name: str, file: str) -> Plan:
    if not file or file.startswith("."):
        raise Absent("There is no such file.")
    _only(ask, *_READS, "DELETE")
    project = names.known(name)
    if ask.method == "DELETE":
        return Amend(1024, context={"action": "delete", "name": project, "file": file})
    if project != name:
        return _moved(ask, f"../{project}/{quote(file)}")
    if file.endswith(PROVENANCE):
        raise Absent("There is no such file.")
    return Serve(project, file)


def address(project: str, file: str) -> str:
    """Where a published file is read: beside the others, but for what proves where one came from."""
    if not file.endswith(PROVENANCE):
        return f"files/{project}/{file}"
    about = file.removesuffix(PROVENANCE)
    return f"integrity/{project}/{names.version_of(project, about)}/{about}/provenance"


def _provenance(ask: Ask, name: str, version: str, file: str) -> Plan:
    _only(ask, *_READS)
    project = names.known(name)
    told = names.version_of(project, file)
    if project != name or not told or not names.same_version(told, version) or file.endswith(METADATA):
        raise Absent("There is no such provenance.")
    return Serve(project, file + PROVENANCE)


def _legacy(ask: Ask) -> Plan:
    _only(ask, "POST")
    media = ask.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "multipart/form-data":
        return Accept("multipart", "content")
    if media == "application/x-www-form-urlencoded":
        return Amend(FORM_BYTES_MAX, context={"action": "form"})
    raise Unsupported("An upload is a form.", "Send multipart/form-data, as twine and uv do.")


def refuse(ask: Ask, problem: Problem) -> Reply:
    """These clients show the body: a line of text. 409 is left to others, since twine would take it for "is there"."""
    status = Invalid.status if problem.status == 409 else problem.status
    if isinstance(problem, OverQuota):
        status = Forbidden.status  # after a 5xx twine would send all of it again, five times
    return line(problem, _allowed(ask), status)


def _allowed(ask: Ask) -> str:
    place = ask.path.partition("/")[0]
    return {"legacy": "POST", "files": "GET, HEAD, DELETE"}.get(place, "GET, HEAD")
