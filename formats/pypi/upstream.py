"""What does a foreign index tell of a project, in our own nouns?

Asked for JSON, since only that tells sizes, times and versions; HTML is read where an index has nothing else. Entries
are judged one by one: one that makes no sense, or belongs to another project, is left out; a page that makes no sense
as a whole is UpstreamFailed.
"""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from formats.kit.contract import Foreign, Learn
from formats.pypi import names
from formats.pypi.facts import ACTIVE, METADATA, STATUSES, FileFacts, ProjectFacts, is_sibling, packed
from formats.pypi.wire import HTML, HTML1, JSON
from storage.errors import Invalid, UpstreamFailed
from storage.nouns import File, Package, Version

FILES_MAX = 100_000
URL_CHARACTERS_MAX = 4096
_LENGTHS = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "blake2b_256": 64}
_HEX = re.compile(r"[0-9a-f]+")
_SPACE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_SIZE_MAX = 1 << 53
_ACCEPT = f"{JSON}, {HTML1};q=0.2, {HTML};q=0.01"


class _Link(msgspec.Struct, rename="kebab"):
    """A file as a foreign page tells it."""

    filename: str
    url: str
    hashes: dict[str, Any] = {}
    requires_python: str | None = None
    size: int | None = None
    upload_time: str | None = None
    yanked: bool | str | None = False
    core_metadata: Any = None
    dist_info_metadata: Any = None
    provenance: str | None = None


class _Status(msgspec.Struct):
    status: Any = ACTIVE
    reason: Any = None


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: str = "1.0"
    project_status: Any = None
    project_status_reason: Any = None


class _Page(msgspec.Struct, rename="kebab"):
    files: list[msgspec.Raw]
    name: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)
    versions: list[str] = []
    project_status: _Status | None = None


INSTANT_MS_MAX = 253_402_300_799_999
"""The end of the year 9999: an instant just before it, in a time zone to the west, is none that can be shown."""

_page = msgspec.json.Decoder(_Page)
_link = msgspec.json.Decoder(_Link)
_DECODING = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def fetch(package: str) -> Learn | None:
    """How to ask for a project; the list of all projects is not asked for."""
    return Learn(f"{package}/", _ACCEPT, 64 << 20) if package else None


def learn(package: str, raw: bytes, url: str) -> Foreign:
    """Translate a page fetched at `url`. Raises UpstreamFailed."""
    text = raw.lstrip()
    links, facts, versions = _from_json(package, text) if text[:1] == b"{" else _from_html(text, url)
    if len(links) > FILES_MAX or len(versions) > FILES_MAX:
        raise UpstreamFailed(f"The upstream lists more than {FILES_MAX} files or versions of {package}.")
    seen: dict[str, str] = {}
    files: dict[str, File] = {}
    for link in links:
        for file in _files(package, link, url, seen):
            files.setdefault(file.name, file)
    known = dict.fromkeys(_readable(versions))
    known.update(dict.fromkeys(file.version for file in files.values() if file.version))
    return Foreign(
        Package(package, facts=packed(facts)),
        tuple(Version(one) for one in sorted(known)),
        tuple(files[name] for name in sorted(files)),
    )


def _readable(versions: list[str]) -> list[str]:
    found = []
    for one in versions:
        try:
            found.append(str(names.version(one)))
        except Invalid:
            continue
    return found


def _strange(package: str) -> UpstreamFailed:
    return UpstreamFailed(f"The upstream's page of {package} is not an index page.", "Check the upstream's address.")


# ---------------------------------------------------------------- one page


def _from_json(package: str, text: bytes) -> tuple[list[_Link], ProjectFacts, list[str]]:
    try:
        page = _page.decode(text)
    except _DECODING:
        raise _strange(package) from None
    _check_api(page.meta.api_version)
    display = page.name or package
    try:
        if names.normalised(display) != package:
            raise UpstreamFailed(f"The upstream was asked for {package} and told of another project.")
    except Invalid:
        raise _strange(package) from None
    if len(page.files) > FILES_MAX:
        raise UpstreamFailed(f"The upstream lists more than {FILES_MAX} files of {package}.")
    links = []
    for raw in page.files:
        try:
            links.append(_link.decode(raw))
        except _DECODING:
            continue
    # The standard has it as a key of its own; an early form of its text had it in meta.
    told = page.project_status or _Status(page.meta.project_status, page.meta.project_status_reason)
    return links, _facts(display, told), page.versions


def _facts(display: str, told: _Status) -> ProjectFacts:
    status = told.status if isinstance(told.status, str) and told.status in STATUSES else ACTIVE
    return ProjectFacts(display, status, names.clean(told.reason) if isinstance(told.reason, str) else "")


def _check_api(version: str) -> None:
    """PEP 629: another major version is not understood."""
    if version.partition(".")[0] != "1":
        raise UpstreamFailed(f"The upstream speaks version {names.clean(version, 20)} of the simple API.")


class _Reader(HTMLParser):
    """The anchors of a page in HTML, with what they and the page's meta tags tell."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.meta: dict[str, str] = {}
        self.anchors: list[dict[str, str]] = []
        self.forms = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told: dict[str, str] = {}
        for name, value in attrs:
            told.setdefault(name, value or "")
        if tag == "a" and "href" in told:
            if len(self.anchors) > FILES_MAX:
                raise UpstreamFailed(f"The upstream lists more than {FILES_MAX} files.")
            self.anchors.append(told)
        elif tag == "base" and self.base is None and "href" in told:
            self.base = told["href"]
        elif tag == "meta" and told.get("name", "").startswith("pypi:"):
            self.meta.setdefault(told["name"], told.get("content", ""))
        elif tag == "form":
            self.forms += 1


def _from_html(text: bytes, url: str) -> tuple[list[_Link], ProjectFacts, list[str]]:
    reader = _Reader()
    try:
        reader.feed(text.decode("utf-8", "replace"))
        reader.close()
        base = urljoin(url, reader.base) if reader.base else url
        links = [link for one in reader.anchors if (link := _anchor(one, base)) is not None]
    except (AssertionError, ValueError, RecursionError):
        raise UpstreamFailed("The upstream's page cannot be read.") from None
    _check_api(reader.meta.get("pypi:repository-version", "1.0"))
    if not links and (reader.forms or not text[:1] == b"<"):
        raise UpstreamFailed("The upstream answered with a page that is no index page, perhaps to log in.")
    told = _Status(reader.meta.get("pypi:project-status"), reader.meta.get("pypi:project-status-reason"))
    return links, _facts("", told), []


def _anchor(told: dict[str, str], base: str) -> _Link | None:
    try:
        address, fragment = urldefrag(urljoin(base, told["href"]))
        filename = unquote(urlsplit(address).path.rpartition("/")[2])
    except ValueError:
        return None
    algorithm, _, value = fragment.partition("=")
    metadata = told.get("data-core-metadata", told.get("data-dist-info-metadata", ""))
    kind, _, known = metadata.partition("=")
    return _Link(
        filename,
        address,
        {algorithm: value.partition("&")[0]} if value else {},
        told.get("data-requires-python"),
        yanked=(told["data-yanked"] or True) if "data-yanked" in told else False,
        core_metadata={kind: known} if known else None,
        provenance=told.get("data-provenance"),
    )


# ---------------------------------------------------------------- one file


def _files(package: str, link: _Link, url: str, seen: dict[str, str]) -> list[File]:
    """The file, and its metadata where it can be verified; [] for what is not to be had. `seen` shortens versions."""
    source = _address(link.url, url)
    if source is None or is_sibling(link.filename):
        return []
    version = names.version_of(package, link.filename)
    digests = _digests(link.hashes)
    if version is None or digests is None:
        return []
    version = seen.setdefault(version, version)
    told = link.core_metadata if isinstance(link.core_metadata, dict) else link.dist_info_metadata
    about = (_digests(told) if isinstance(told, dict) else None) or {}
    facts = FileFacts(
        names.clean(link.requires_python or "", 500),
        _yanked(link.yanked),
        about.get("sha256", ""),
        provenance_url=_address(link.provenance or "", url) or "",
    )
    size = link.size if link.size is not None and 0 <= link.size <= _SIZE_MAX else -1
    at_ms = _instant(link.upload_time)
    files = [File(link.filename, version, b"", size, at_ms=at_ms, digests=digests, facts=packed(facts), source=source)]
    if "sha256" in about:
        beside = source + METADATA
        files.append(File(link.filename + METADATA, version, b"", -1, at_ms=at_ms, digests=about, source=beside))
    return files


def _address(told: str, url: str) -> str | None:
    """An absolute http address without fragment or credential, or None."""
    if not told or len(told) > URL_CHARACTERS_MAX or _SPACE.search(told):
        return None
    try:
        address = urldefrag(urljoin(url, told)).url
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and address.isascii()
    return address if good else None


def _digests(hashes: dict[str, Any]) -> dict[str, str] | None:
    """The digests that we know, in lower case; None where one of them cannot be one (THREATS D3)."""
    found = {}
    for name, value in hashes.items():
        key = "blake2b_256" if name == "blake2b" else name
        if key in _LENGTHS:
            if not isinstance(value, str) or len(value) != _LENGTHS[key] or not _HEX.fullmatch(value.lower()):
                return None
            found[key] = value.lower()
    return found


def _yanked(told: bool | str | None) -> str | None:
    if isinstance(told, str):
        # An empty reason in JSON is "not yanked"; HTML's empty attribute arrives here as True.
        return names.clean(told) if told else None
    return "" if told else None


def _instant(told: str | None) -> int:
    try:
        moment = datetime.fromisoformat(told) if told else None
        if moment is None:
            return 0
        at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        return at_ms if 0 <= at_ms <= INSTANT_MS_MAX else 0
    except (ValueError, OverflowError):
        return 0
