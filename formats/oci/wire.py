"""What does a request to an OCI registry mean, and how does this protocol say no?

Addresses are read from their end, since an image name may hold any number of slashes, and words like `blobs` too.
"""

import re
from typing import Literal

import msgspec

from formats.kit.contract import Accept, Amend, Ask, Borrow, Plan, Reply, Resume, Serve, Show
from formats.kit.routes import Declared, reads, writes
from formats.oci import names
from formats.oci.manifest import MANIFEST_BYTES_MAX, OCI_INDEX
from storage.errors import Absent, Invalid, MethodRefused, OverQuota, Problem

DIGEST_HEADER = "Docker-Content-Digest"
PAGE_MAX = 1_000
"""Tags in one answer; more come in pages, whatever `n` says (CVE-2023-2253)."""

_CHUNK = re.compile(r"(?:bytes[ =])?([0-9]{1,15})-([0-9]{1,15})(?:/(?:[0-9]+|\*))?")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")
_COUNT = re.compile(r"[0-9]{1,18}")
_PLAIN = re.compile(r"[a-z0-9._/-]+")

JSON = "application/json"


ROUTES: tuple[Declared, ...] = (
    *reads("<path:package>/manifests/<reference>", "<path:package>/tags/list", "<path:package>/referrers/<digest>"),
    writes("<path:package>/manifests/<reference>", "PUT", "DELETE"),
    writes("<path:package>/blobs/uploads/", "POST"),
    writes("<path:package>/blobs/uploads/<session>", "GET", "HEAD", "PATCH", "PUT", "DELETE"),
    *reads("<path:package>/blobs/<digest>"),
    writes("<path:package>/blobs/<digest>", "DELETE"),
)
"""Every address of this room."""


class Route(msgspec.Struct, frozen=True):
    """An address taken apart: `name` is the image's, `detail` the digest, tag or upload that it ends with."""

    kind: Literal["manifest", "blob", "uploads", "upload", "tags", "referrers"]
    name: str
    detail: str = ""


class TagPage(msgspec.Struct, frozen=True, array_like=True):
    """Which part of a list of tags: `image` is its whole name, `limit` -1 as many as there may be."""

    image: str
    limit: int = -1
    last: str = ""


class ReferrersPage(msgspec.Struct, frozen=True, array_like=True):
    """Which part of a list of referrers; `image` is the whole name of the subject's image."""

    image: str
    subject: str
    artifact: str = ""
    last: str = ""


def route(ask: Ask) -> Route:
    """Raises Absent for what is no address of this protocol, and what names raises."""
    match ask.path.split("/"):
        case [*name, "manifests", reference]:
            return Route("manifest", _name(name), reference)
        case [*name, "tags", "list"]:
            return Route("tags", _name(name))
        case [*name, "referrers", digest]:
            return Route("referrers", _name(name), names.digest(digest))
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return Route("uploads", _name(name))
        case [*name, "blobs", "uploads", session]:
            return Route("upload", _name(name), session)
        case [*name, "blobs", digest]:
            return Route("blob", _name(name), names.digest(digest))
    raise Absent("There is nothing at this address.", "Images are at /v2/WORKSPACE/REPOSITORY/NAME/.")


def _name(parts: list[str]) -> str:
    return names.image_name("/".join(parts))


def right(ask: Ask) -> Literal["read", "write"]:
    """Everything about uploads needs the right to write, asking for their state too."""
    if ask.method not in ("GET", "HEAD", "OPTIONS"):
        return "write"
    try:
        return "write" if route(ask).kind in ("upload", "uploads") else "read"
    except Problem:
        return "read"


def resource(ask: Ask) -> str:
    """How passes call the image, whatever its host implies."""
    try:
        return f"{ask.workspace}/{ask.repository}/{route(ask).name}"
    except Problem:
        return ""


def image_of(ask: Ask, name: str) -> str:
    """The name of an image as its clients know it: without what their host implies."""
    return "/".join((*ask.home.split("/")[2:], name))


def read(ask: Ask) -> Plan:
    """The plan of a request; raises Invalid, Absent, MethodRefused."""
    at = route(ask)
    plan: Plan | None
    match at.kind:
        case "manifest":
            plan = _manifest(ask, at)
        case "blob":
            plan = _blob(ask, at)
        case "uploads":
            plan = _start(ask, at) if ask.method == "POST" else None
        case "upload":
            plan = _upload(ask, at)
        case "tags":
            plan = _tags(ask, at) if ask.method in ("GET", "HEAD") else None
        case _:
            plan = _referrers(ask, at) if ask.method in ("GET", "HEAD") else None
    if plan is None:
        raise MethodRefused(f"{ask.method} does nothing at this address.", f"It has {allowed(at)}.")
    return plan


def allowed(at: Route) -> str:
    """The methods of an address, for `Allow`."""
    return {
        "manifest": "GET, HEAD, PUT, DELETE",
        "blob": "GET, HEAD, DELETE",
        "uploads": "POST",
        "upload": "GET, HEAD, PATCH, PUT, DELETE",
    }.get(at.kind, "GET, HEAD")


# ---------------------------------------------------------------- manifests and blobs


def _manifest(ask: Ask, at: Route) -> Plan | None:
    by_digest = ":" in at.detail
    if by_digest:
        names.digest(at.detail)
    else:
        names.tag(at.detail)
    match ask.method:
        case "GET" | "HEAD" if by_digest:
            return _served(at.name, names.manifest_file(at.detail))
        case "GET" | "HEAD":
            return Serve(at.name, names.MANIFESTS, told=_told("sha256"), tag=at.detail, name_header=DIGEST_HEADER)
        case "PUT":
            return _put_manifest(ask, at, by_digest)
        case "DELETE":
            return Amend(0, {"do": "delete-manifest" if by_digest else "delete-tag", "name": at.name, "at": at.detail})
    return None


def _put_manifest(ask: Ask, at: Route, by_digest: bool) -> Accept:
    tags = [names.tag(value) for key, value in ask.query if key == "tag"]
    if len(tags) > names.TAGS_IN_ADDRESS_MAX:
        raise Invalid(f"A manifest gets at most {names.TAGS_IN_ADDRESS_MAX} tags at once.", "Push it again for more.")
    if not by_digest:
        tags.insert(0, at.detail)
    algorithm = names.algorithm_of(at.detail) if by_digest else "sha256"
    context = {
        "do": "manifest",
        "name": at.name,
        "digest": at.detail if by_digest else "",
        "tags": list(dict.fromkeys(tags)),
        "media": ask.headers.get("content-type", ""),
    }
    return Accept("raw", digests=(algorithm,), bytes_max=MANIFEST_BYTES_MAX, context=context)


def _blob(ask: Ask, at: Route) -> Plan | None:
    match ask.method:
        case "GET" | "HEAD":
            return _served(at.name, names.blob_file(at.detail))
        case "DELETE":
            return Amend(0, {"do": "delete-blob", "name": at.name, "at": at.detail})
    return None


def _served(name: str, file: str) -> Serve:
    return Serve(name, file, told=_told(names.algorithm_of(file.partition("/")[2])), name_header=DIGEST_HEADER)


def _told(algorithm: str) -> tuple[tuple[str, str, str], ...]:
    return ((DIGEST_HEADER, algorithm, f"{algorithm}:"),)


# ---------------------------------------------------------------- uploads


def _start(ask: Ask, at: Route) -> Plan:
    """A new upload: whole in this body, borrowed from another image, or in parts that follow."""
    context = {"do": "blob", "name": at.name}
    if digest := ask.argument("digest"):
        names.digest(digest)
        return Accept("raw", digests=(names.algorithm_of(digest),), unpack=False, context=context)
    start = Resume("start", digests=_wanted(ask.argument("digest-algorithm")), context=context)
    mount = ask.argument("mount")
    if not mount:
        return start
    source = ask.argument("from").split("/", 2)
    if not names.is_digest(mount) or len(source) != 3 or not names.is_name(source[2]):
        return start
    workspace, repository, name = source
    return Borrow(workspace, repository, name, names.blob_file(mount), start, context | {"digest": mount})


def _wanted(algorithm: str) -> tuple[str, ...]:
    if not algorithm:
        return ()
    if algorithm not in names.ALGORITHMS:
        raise names.DigestInvalid("Digests of this algorithm are not known here.", "Use sha256 or sha512.")
    return (algorithm,)


def _upload(ask: Ask, at: Route) -> Plan | None:
    if not _SESSION.fullmatch(at.detail):
        raise Absent("This is not the address of an upload.", "Use the Location that the answer to its start gave.")
    context = {"do": "blob", "name": at.name}
    match ask.method:
        case "GET" | "HEAD":
            return Resume("state", at.detail, context=context)
        case "DELETE":
            return Resume("cancel", at.detail, context=context)
        case "PATCH":
            return Resume("append", at.detail, _offset(ask), context=context)
        case "PUT":
            digest = names.digest(ask.argument("digest"))
            wanted = (names.algorithm_of(digest),)
            return Resume("append", at.detail, _offset(ask), finish=True, digests=wanted, context=context)
    return None


def _offset(ask: Ask) -> int:
    """Where a part goes: -1, behind what is there, for those who do not say (docker streams so)."""
    text = ask.headers.get("content-range", "")
    if not text:
        return -1
    match = _CHUNK.fullmatch(text)
    length = ask.headers.get("content-length", "")
    if match is None or int(match[2]) + 1 < int(match[1]):
        raise Invalid("The Content-Range of this part cannot be read.", "Send it as FIRST-LAST, both counted from 0.")
    if length.isdigit() and int(length) != int(match[2]) + 1 - int(match[1]):
        raise Invalid("The Content-Range of this part has another length than the part.", "Send FIRST-LAST.")
    return int(match[1])


def upload_address(ask: Ask, name: str, session: str) -> str:
    return f"{ask.home}/{name}/blobs/uploads/{session}"


# ---------------------------------------------------------------- lists


def _tags(ask: Ask, at: Route) -> Show:
    page = TagPage(image_of(ask, at.name), _count(ask), ask.argument("last"))
    if len(page.last) > 128:
        raise Invalid("The argument last is no tag.", "Send the last tag of the page before.")
    argument = msgspec.json.encode(page).decode()
    return Show("tags", JSON, at.name, argument, foreign=True, keep=page.limit < 0 and not page.last)


def _count(ask: Ask) -> int:
    text = ask.argument("n")
    if not text:
        return -1
    if not _COUNT.fullmatch(text):
        raise Invalid("The argument n is no number.", f"Send one from 0 to {PAGE_MAX}.")
    return int(text)


def _referrers(ask: Ask, at: Route) -> Show:
    artifact = ask.argument("artifactType")
    if len(artifact) > 255:
        raise Invalid("The argument artifactType is no media type.")
    last = ask.argument("last")
    if last:
        names.digest(last)
    page = ReferrersPage(image_of(ask, at.name), at.detail, artifact, last)
    argument = msgspec.json.encode(page).decode()
    headers = (("OCI-Filters-Applied", "artifactType"),) if artifact else ()
    package = names.referrers_of(at.name, at.detail)
    keep = not artifact and not last
    return Show("referrers", OCI_INDEX, package, argument, True, keep=keep, headers=headers, claim=at.name)


# ---------------------------------------------------------------- refusals

_UNKNOWN = {
    "manifest": "MANIFEST_UNKNOWN",
    "blob": "BLOB_UNKNOWN",
    "uploads": "NAME_UNKNOWN",
    "upload": "BLOB_UPLOAD_UNKNOWN",
}
_INVALID = {"manifest": "MANIFEST_INVALID", "upload": "BLOB_UPLOAD_INVALID", "uploads": "BLOB_UPLOAD_INVALID"}
_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    405: "UNSUPPORTED",
    413: "SIZE_INVALID",
    415: "UNSUPPORTED",
    416: "BLOB_UPLOAD_INVALID",
    429: "TOOMANYREQUESTS",
}


def refuse(ask: Ask, problem: Problem) -> Reply:
    """The errors document; for who shows no good credential, where to fetch one and for which scope."""
    try:
        at = route(ask)
    except Problem:
        at = None
    headers: list[tuple[str, str]] = []
    if problem.status == 401:
        image = image_of(ask, at.name) if at is not None else ""
        scope = f"repository:{image}:{actions(ask)}" if _PLAIN.fullmatch(image) else ""
        headers.append(("WWW-Authenticate", challenge(ask.base, scope)))
    if problem.status == 405:
        headers.append(("Allow", allowed(at) if at is not None else "GET, HEAD"))
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    if isinstance(problem, OverQuota):  # 403: these clients would push all of it again and again after a 5xx
        return errors(problem, "DENIED", headers, status=403)
    return errors(problem, code_of(problem, at.kind if at is not None else ""), headers)


def actions(ask: Ask) -> str:
    """What a scope must allow for this request."""
    if ask.method == "DELETE" and "/blobs/uploads/" not in ask.path:
        return "delete"
    return "pull" if right(ask) == "read" else "pull,push"


def code_of(problem: Problem, kind: str) -> str:
    if problem.code.isupper():
        return problem.code
    if problem.status == 404:
        return _UNKNOWN.get(kind, "NAME_UNKNOWN")
    if problem.status in (400, 409, 412):
        return _INVALID.get(kind, "UNSUPPORTED")
    return _CODES.get(problem.status, "UNKNOWN" if problem.status < 500 else "UNAVAILABLE")


def challenge(base: str, scope: str = "") -> str:
    """Where to fetch a pass. `base` is any address of ours."""
    scheme, _, host, *_ = base.split("/", 3)
    more = f',scope="{scope}"' if scope else ""
    return f'Bearer realm="{scheme}//{host}{PASSES_PATH}",service="{host}"{more}'


PASSES_PATH = "/v2/-/token"
VERSION = ("Docker-Distribution-API-Version", "registry/2.0")


def errors(problem: Problem, code: str, headers: list[tuple[str, str]], *, status: int = 0) -> Reply:
    """The errors document of this protocol."""
    one = {"code": code, "message": problem.text(), "detail": None}
    return Reply(status or problem.status, msgspec.json.encode({"errors": [one]}), JSON, (*headers, VERSION))
