"""What does a request to the generic room mean?

`PATH` is a file, `PATH/` (or nothing) a directory, `-/uploads/...` a resumable upload. The last follows
draft-ietf-httpbis-resumable-upload, interop version 8; versions 6 and 7 differ in nothing that is used here.
"""

import base64
import re
import unicodedata
from typing import Literal
from urllib.parse import quote

import msgspec

from formats.generic import checks
from formats.generic.media import media_of
from formats.kit.accept import choose
from formats.kit.contract import Accept, Amend, Ask, Plan, Reply, Resume, Serve, Show
from formats.kit.refusals import line, signals
from formats.kit.routes import Declared, writes
from storage.errors import Invalid, MethodRefused, Problem, Unsupported

NAME = "generic"
UPLOADS = "-/uploads/"
UPLOAD_PARTS = "Entrepot-Upload-Parts"
"""At the start: into how many parts of equal length, but the last, the announced whole is cut. They lie at the upload's
address and /0, /1, ..., and are sent at the same time, each as an upload of its own; then the upload is completed."""
PARTIAL_UPLOAD = "application/partial-upload"
INTEROP_VERSION = "8"
INTEROP_VERSIONS = ("6", "7", INTEROP_VERSION)

SEGMENT_BYTES_MAX = 255
PATH_BYTES_MAX = 400
LISTING_DEFAULT = 1_000
LISTING_MAX = 10_000

SAFE = (("Content-Security-Policy", "default-src 'none'; sandbox"),)
"""For files: whatever their media type, a browser runs nothing of them in the name of this host. The core adds nosniff
to every file and every reply."""
SAFE_PAGE = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "default-src 'none'"))

PART = re.compile(r"[0-9]{1,3}")
SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")
RESIDUE = re.compile(r"%(?:2f|5c|2e|00)", re.IGNORECASE)
DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


ROUTES: tuple[Declared, ...] = (
    Declared(("POST", "GET", "HEAD", "PATCH", "DELETE", "OPTIONS"), "-/uploads/<path:session>", "write"),
    Declared(("GET", "HEAD", "OPTIONS"), ""),
    Declared(("GET", "HEAD", "OPTIONS"), "<path:package>"),
    writes("<path:package>", "PUT", "POST", "DELETE"),
)
"""Every address of this room."""


class Wish(msgspec.Struct, frozen=True):
    """What a writing request wants, in the form that travels as `context`: a resumed upload is decided upon when a
    later request ends it, whose own address and headers say nothing of the file."""

    do: Literal["put", "delete"]
    path: str
    media: str = ""
    expect: dict[str, str] = {}
    if_match: str | None = None
    if_none_match: str | None = None


class Listing(msgspec.Struct, frozen=True, array_like=True):
    """A page of a directory: `directory` is "" or ends with a slash; `after` is the last entry of the page before."""

    directory: str
    limit: int = LISTING_DEFAULT
    after: str = ""


def right(ask: Ask) -> Literal["read", "write"]:
    """Everything about uploads needs the right to write, asking for their state too."""
    if ask.path.startswith(UPLOADS) or ask.method not in ("GET", "HEAD", "OPTIONS"):
        return "write"
    return "read"


def read(ask: Ask) -> Plan:
    """The plan of a request; raises Invalid, MethodRefused, Unsupported."""
    if RESIDUE.search(ask.path) or "%2f" in ask.raw_path.lower():
        raise Invalid(
            "The path holds an encoded slash, dot or zero byte.", "Send the path encoded once, without these."
        )
    if ask.path == "-" or ask.path.startswith("-/"):
        return _upload(ask)
    directory = not ask.path or ask.path.endswith("/")
    if ask.method == "OPTIONS":
        return Reply(204, headers=(("Allow", allowed(ask)), ("Accept-Patch", PARTIAL_UPLOAD)))
    if ask.method in ("GET", "HEAD"):
        return _listing(ask) if directory else _file(ask)
    if directory and ask.method in ("PUT", "POST", "DELETE"):
        raise MethodRefused("A directory has no bytes of its own.", "Name a file: a path without a slash at the end.")
    if ask.method == "DELETE":
        wish = Wish("delete", file_path(ask.path), if_match=ask.headers.get("if-match"))
        return Amend(bytes_max=0, context=msgspec.to_builtins(wish))
    if ask.method == "PUT" or (ask.method == "POST" and "upload-complete" in ask.headers):
        return _put(ask, ask.path)
    raise MethodRefused(f"A file here has no method {ask.method}.", f"It has {allowed(ask)}.")


def allowed(ask: Ask) -> str:
    """The methods of an address, for `Allow`."""
    if ask.path.startswith(UPLOADS):
        return "POST, HEAD, PATCH, DELETE, OPTIONS"
    if not ask.path or ask.path.endswith("/"):
        return "GET, HEAD, OPTIONS"
    return "GET, HEAD, PUT, POST, DELETE, OPTIONS"


def _file(ask: Ask) -> Serve:
    path = file_path(ask.path)
    return Serve(package=path, file=last(path), headers=SAFE)


def _listing(ask: Ask) -> Show:
    directory = ask.path
    if directory:
        file_path(directory[:-1])
    limit_text = ask.argument("limit", str(LISTING_DEFAULT))
    if not re.fullmatch(r"[0-9]{1,6}", limit_text) or not 1 <= int(limit_text) <= LISTING_MAX:
        raise Invalid("The argument limit is out of its bounds.", f"Send a number from 1 to {LISTING_MAX}.")
    after = ask.argument("after")
    if after:
        name = after.removesuffix("/")
        segment(name)
        if "/" in name:
            raise Invalid(
                "The argument after is not a name in this directory.", "Send the name that the page before gave."
            )
        if len((directory + after).encode()) > PATH_BYTES_MAX:
            raise Invalid(
                "The argument after is too long to be a name here.", "Send the name that the page before gave."
            )
    listing = Listing(directory, int(limit_text), after)
    json = choose(ask.headers.get("accept"), ("text/html", "application/json"), "text/html") == "application/json"
    return Show(
        page="directory.json" if json else "directory.html",
        media="application/json" if json else "text/html; charset=utf-8",
        argument=msgspec.json.encode(listing).decode(),
        keep=listing == Listing(directory),
        vary=True,
        headers=SAFE_PAGE,
    )


def _put(ask: Ask, path: str) -> Plan:
    path = file_path(path)
    headers = ask.headers
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise Unsupported("The body is sent in a content encoding.", "Send the file's own bytes.")
    if "content-range" in headers:
        raise Invalid("A part of a file cannot be put in place.", "Send it whole, or as a resumable upload.")
    complete = _complete(ask)
    wish = Wish(
        "put",
        path,
        media=media_of(last(path), headers.get("content-type", "")),
        expect=checks.expected(headers, partial=complete is False),
        if_match=headers.get("if-match"),
        if_none_match=headers.get("if-none-match"),
    )
    digests = tuple(sorted(set(wish.expect) - {"sha256"}))
    context = msgspec.to_builtins(wish)
    if complete is False:
        length = checks.whole_number(headers, "upload-length")
        parts = max(checks.whole_number(headers, UPLOAD_PARTS.lower()), 1)
        return Resume("start", length=length, digests=digests, context=context, parts=parts)
    return Accept("raw", digests=digests, unpack=False, context=context)


def _complete(ask: Ask) -> bool | None:
    """The Upload-Complete of a request, None where it has none. Raises Unsupported for a draft that means other things:
    its client would take a part for the whole, or the other way round."""
    version = ask.headers.get("upload-draft-interop-version", INTEROP_VERSION).strip()
    if version not in INTEROP_VERSIONS or "upload-incomplete" in ask.headers:
        raise Unsupported(
            "Resumable uploads of this draft version are not spoken here.",
            f"Use Upload-Draft-Interop-Version {INTEROP_VERSION}, or send the file whole without it.",
        )
    return checks.boolean(ask.headers, "upload-complete")


def _upload(ask: Ask) -> Plan:
    """A request below `-/`, which is kept for what is not a file."""
    rest = ask.path.removeprefix(UPLOADS)
    if rest == ask.path or not rest:
        raise Invalid("Paths that begin with -/ are reserved.", f"Uploads live at {UPLOADS}, files at any other path.")
    if ask.method == "OPTIONS":
        return Reply(204, headers=(("Allow", allowed(ask)), ("Accept-Patch", PARTIAL_UPLOAD)))
    if ask.method == "POST":
        if "upload-complete" not in ask.headers:
            raise Invalid("It is not said whether the body is the whole file.", "Send Upload-Complete: ?0 or ?1.")
        return _put(ask, rest)
    if ask.method not in ("GET", "HEAD", "PATCH", "DELETE"):
        raise MethodRefused(f"An upload has no method {ask.method}.", f"It has {allowed(ask)}.")
    session, slash, number = rest.partition("/")
    part = int(number) if PART.fullmatch(number) else -1
    if not SESSION.fullmatch(session) or (slash and part < 0):
        raise Invalid("This is not the address of an upload.", "Use the Location that the answer to its start gave.")
    if ask.method == "DELETE":
        return Resume("cancel", session=session)
    if ask.method != "PATCH":
        return Resume("state", session=session, part=part)
    return _append(ask, session, part)


def _append(ask: Ask, session: str, part: int) -> Resume:
    complete = _complete(ask)
    media = ask.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != PARTIAL_UPLOAD:
        raise Unsupported("A part of an upload has its own media type.", f"Send Content-Type: {PARTIAL_UPLOAD}.")
    offset = checks.whole_number(ask.headers, "upload-offset")
    if complete is None or offset < 0:
        raise Invalid("A part needs its place.", "Send Upload-Offset: BYTES and Upload-Complete: ?0 or ?1.")
    length = checks.whole_number(ask.headers, "upload-length")
    if part >= 0 and complete:
        raise Invalid("A part does not complete an upload.", "Send Upload-Complete: ?1 to the upload itself.")
    return Resume("append", session=session, offset=offset, length=length, finish=complete, part=part)


# ---------------------------------------------------------------- names


def file_path(path: str) -> str:
    """`path` itself when it can name a file; raises Invalid otherwise. Names are taken exactly as they are, so two
    different paths are two different files."""
    for one in path.split("/"):
        segment(one)
    if len(path.encode()) > PATH_BYTES_MAX:
        raise Invalid(f"The path is longer than {PATH_BYTES_MAX} bytes.", "Choose a shorter one.")
    if path == "-" or path.startswith("-/"):
        raise Invalid("Paths that begin with -/ are reserved.", "Choose another first segment.")
    return path


def segment(name: str) -> None:
    """Raises Invalid unless `name` can be a segment of a path."""
    if not name:
        raise Invalid("The path has an empty segment.", "Send single slashes, and none in front.")
    if name in (".", ".."):
        raise Invalid("The path has a dot segment.", "Send the path that it stands for.")
    if any(_unfit(character) for character in name):
        raise Invalid(
            "The path holds a backslash, a control character or a mark that turns the direction of writing.",
            "Choose a name without it.",
        )
    if len(name.encode()) > SEGMENT_BYTES_MAX:
        raise Invalid(f"A segment of the path is longer than {SEGMENT_BYTES_MAX} bytes.", "Choose a shorter one.")
    if not unicodedata.is_normalized("NFC", name):
        raise Invalid(
            "The path is not in Unicode's composed form (NFC), so it would look like another name.",
            "Compose the name first, as most systems but macOS's older file system do.",
        )


def _unfit(character: str) -> bool:
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character == "\\"
    return (
        character in DIRECTION_MARKS
        or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )


def last(path: str) -> str:
    """The last segment of a path."""
    return path.rpartition("/")[2]


def address(base: str, path: str) -> str:
    """The absolute address of a file."""
    return f"{base}/{quote(path, safe='/')}"


# ---------------------------------------------------------------- what is said to the client


def entity_tag(sha256: bytes) -> str:
    """The strong entity tag of a file."""
    return f'"{sha256.hex()}"'


def repr_digest(sha256: bytes) -> str:
    """The value of Repr-Digest (RFC 9530) of a file."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def refuse(ask: Ask, problem: Problem) -> Reply:
    """A line of text, or a problem document (RFC 9457) for those who ask for JSON."""
    if "json" in ask.headers.get("accept", ""):
        document = msgspec.json.encode(problem.document())
        return Reply(problem.status, document, "application/problem+json", signals(problem, allowed(ask)))
    return line(problem, allowed(ask))
