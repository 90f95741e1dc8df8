"""Given a resource and what the client asks of it, which bytes go on the wire?

Pure. `plan` decides variant, conditions and range (RFC 9110 sections 12-14), in this order: variant by Accept-Encoding,
If-Match / If-Unmodified-Since, If-None-Match, If-Modified-Since, If-Range, Range. The Date is not part of a Wire: the
sender puts status line and date before it, so that a Wire can be sent again at any time.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from math import inf
from time import gmtime
from typing import Protocol

from gateway.delivery.messages.heads import Head
from storage.blobs.shelf import Laid

Extents = tuple[tuple[int, int, int], ...]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_FIELDS = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [\x20-\x7e\x80-\xff\t]*+\r\n)*+")
_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*")
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PREFERRED = ("zstd", "gzip")
_BODILESS = (204, 304)
_OFF_304 = frozenset(("content-disposition", "content-language", "content-range", "content-type", "content-length"))

REASONS = {int(status): status.phrase for status in HTTPStatus}


class Toll(Protocol):
    """Charges one answer each time that it is sent. Until `until_s` on the monotonic clock it may go `paid` times more,
    each of which whoever sends it takes away; else `pay` says whether it may, and charges for so many bytes."""

    paid: int
    until_s: float

    def pay(self, size: int) -> bool:
        """False = it cannot be told at once."""
        ...


class Answer:
    """A resource ready to be sent any number of times, from memory (`body`) or from packs (`extents`).

    `etag` is quoted, "" for none; `modified_s` unix seconds, 0 for none. `size` is that of the whole body; where it is
    not given it is computed. `lease` is kept referenced while bytes are being sent. `variants` are the same resource
    under a content-encoding. `depends` are the labels (and their values) this was made from; `until_s` a deadline on
    the clock of time.monotonic. `principal` (an id), `about` (see
    insight/requestlog) and `version`, that of the file, are for the access log. `forgettable` are the identities of
    cached blobs that it is sent from. `by_address`: it hangs on where the client is, too. `toll` charges who asks,
    this answer alone.
    """

    __slots__ = (
        "about",
        "body",
        "by_address",
        "depends",
        "etag",
        "extents",
        "forgettable",
        "headers",
        "lease",
        "media",
        "modified_s",
        "outcome",
        "principal",
        "private",
        "repository",
        "size",
        "status",
        "toll",
        "until_s",
        "variants",
        "version",
    )

    def __init__(
        self,
        status: int = 200,
        *,
        media: str = "",
        etag: str = "",
        modified_s: int = 0,
        size: int = -1,
        body: bytes | None = None,
        extents: Extents = (),
        lease: object = None,
        headers: tuple[tuple[str, str], ...] = (),
        variants: Mapping[str, "Answer"] | None = None,
        outcome: str = "",
        depends: tuple[tuple[bytes, int], ...] = (),
        until_s: float = inf,
        repository: str = "",
        private: bool = False,
        principal: str = "",
        forgettable: tuple[bytes, ...] = (),
        version: str = "",
    ) -> None:
        self.about: tuple[str, ...] = ()
        self.by_address = False
        self.toll: Toll | None = None
        self.version = version
        self.status = status
        self.forgettable = forgettable
        self.media = media
        self.etag = etag
        self.modified_s = modified_s
        self.body = body
        self.extents = extents
        self.size = size if size >= 0 else len(body) if body is not None else sum(part[2] for part in extents)
        self.lease = lease
        self.headers = headers
        self.variants: Mapping[str, Answer] = variants or {}
        self.outcome = outcome
        self.depends = depends
        self.until_s = until_s
        self.repository = repository
        self.private = private
        self.principal = principal


class Wire:
    """What goes out: `rest` is the head after status line and Date, with its empty line; then `body`, then `extents`.

    `size` counts the body's bytes. `close` tells that the connection ends after it. `lease` must outlive the sending.
    """

    __slots__ = ("body", "close", "extents", "lease", "rest", "size", "status")

    def __init__(
        self, status: int, rest: bytes, body: bytes, extents: Extents, size: int, close: bool, lease: object = None
    ) -> None:
        self.status = status
        self.rest = rest
        self.body = body
        self.extents = extents
        self.size = size
        self.close = close
        self.lease = lease


def status_line(status: int) -> bytes:
    """b"HTTP/1.1 200 OK\\r\\n"."""
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Answer')}\r\n".encode()


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """An IMF-fixdate, such as "Tue, 24 Nov 2026 08:00:00 GMT"."""
    t = gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


def date_seconds(text: str) -> int | None:
    """Unix seconds of an IMF-fixdate; None for anything else (a condition that cannot be read is no condition)."""
    match = _DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(match[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def field_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, each ended by CR LF. ValueError for a name or value that could end a line (THREATS A5)."""
    fields = list(headers)
    text = "".join([f"{name}: {value}\r\n" for name, value in fields])
    if _FIELDS.fullmatch(text) is None or text.count("\n") != len(fields):
        bad = next((name for name, value in fields if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value))), "")
        raise ValueError(f"the header field {bad!r} cannot be sent as it is")
    return text.encode("latin-1")


def connection_lines(head: Head, keep: bool) -> tuple[tuple[str, str], ...]:
    """The Connection field where the default of the client's version does not say it already."""
    if not keep:
        return (("Connection", "close"),)
    return (("Connection", "keep-alive"),) if head.version == 0 else ()


def plan(answer: Answer, head: Head, keep: bool | None = None) -> Wire:
    """How `answer` goes out to the client that sent `head`. `keep` overrides what the head asks of the connection."""
    keep = head.keep if keep is None else keep
    reading = head.method in ("GET", "HEAD")
    coding, chosen = choose(answer, head.headers.get("accept-encoding", "")) if reading else ("", answer)
    etag = _etag_of(answer, coding, chosen)
    fields: list[tuple[str, str]] = []
    if etag:
        fields.append(("ETag", etag))
    if answer.modified_s:
        fields.append(("Last-Modified", http_date(answer.modified_s)))
    fields.extend(answer.headers)
    if answer.variants:
        _add_vary(fields)
    if answer.outcome:
        fields.append(("Entrepot-Outcome", answer.outcome))
    status, start, end = answer.status, 0, chosen.size
    if reading and status == 200:
        status, start, end = _judge(head, etag, answer.modified_s, chosen.size)
    if status in (304, 412, 416):
        return _empty(status, fields, head, keep, chosen.size)
    if answer.media:
        fields.insert(0, ("Content-Type", answer.media))
    if coding:
        fields.append(("Content-Encoding", coding))
    if reading and answer.status == 200:
        fields.append(("Accept-Ranges", "bytes"))
    if status == 206:
        fields.append(("Content-Range", f"bytes {start}-{end - 1}/{chosen.size}"))
    bodiless = status in _BODILESS or status < 200
    if not bodiless:
        fields.append(("Content-Length", str(end - start)))
    fields.extend(connection_lines(head, keep))
    rest = field_lines(fields) + b"\r\n"
    if bodiless or head.method == "HEAD":
        return Wire(status, rest, b"", (), 0, not keep)
    if chosen.body is not None:
        body = chosen.body if end - start == len(chosen.body) else chosen.body[start:end]
        return Wire(status, rest, body, (), len(body), not keep)
    extents = cut(chosen.extents, start, end) if end > start else ()
    return Wire(status, rest, b"", extents, end - start, not keep, chosen.lease or answer.lease)


def _empty(status: int, fields: list[tuple[str, str]], head: Head, keep: bool, size: int) -> Wire:
    """304, 412 and 416: validators and no body. A 416 names the size and is not to be stored."""
    fields = [field for field in fields if field[0].lower() not in _OFF_304]
    if status == 416:
        fields = [field for field in fields if field[0].lower() != "cache-control"]
        fields += [("Content-Range", f"bytes */{size}"), ("Cache-Control", "no-store")]
    if status != 304:
        fields.append(("Content-Length", "0"))
    fields.extend(connection_lines(head, keep))
    return Wire(status, field_lines(fields) + b"\r\n", b"", (), 0, not keep)


def cut(extents: Extents, start: int, end: int) -> Extents:
    """The extents of bytes start..end of what `extents` hold, in order."""
    if isinstance(extents, Laid):
        return extents.slice(start, end)
    if start == 0 and end == sum(part[2] for part in extents):
        return extents
    out, at = [], 0
    for descriptor, offset, length in extents:
        low, high = max(start, at), min(end, at + length)
        if low < high:
            out.append((descriptor, offset + low - at, high - low))
        at += length
    return tuple(out)


# ---------------------------------------------------------------- variants


def choose(answer: Answer, accepted: str) -> tuple[str, Answer]:
    """(content-encoding, representation): the best variant the client takes, ("", answer) where it takes none."""
    if not answer.variants or not accepted:
        return "", answer
    weights = _weights(accepted)
    best, best_weight = "", 0.0
    for coding in _PREFERRED:
        weight = weights.get(coding, weights.get("*", 0.0))
        if coding in answer.variants and weight > best_weight:
            best, best_weight = coding, weight
    return (best, answer.variants[best]) if best else ("", answer)


@lru_cache(maxsize=1024)
def _weights(accepted: str) -> Mapping[str, float]:
    weights = {}
    for item in accepted.split(",")[:32]:
        name, _, parameter = item.partition(";")
        key, _, value = parameter.strip().partition("=")
        weight = 1.0
        if key.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
            weight = weight if 0.0 <= weight <= 1.0 else 0.0
        weights[name.strip().lower()] = weight
    return weights


def _etag_of(answer: Answer, coding: str, chosen: Answer) -> str:
    if not coding:
        return answer.etag
    if chosen.etag and chosen.etag != answer.etag:
        return chosen.etag
    return f'{answer.etag[:-1]}-{coding}"' if answer.etag else ""


def _add_vary(fields: list[tuple[str, str]]) -> None:
    for at, (name, value) in enumerate(fields):
        if name.lower() == "vary":
            if "accept-encoding" not in value.lower() and value.strip() != "*":
                fields[at] = (name, f"{value}, Accept-Encoding")
            return
    fields.append(("Vary", "Accept-Encoding"))


# ---------------------------------------------------------------- conditions and ranges


def _judge(head: Head, etag: str, modified_s: int, size: int) -> tuple[int, int, int]:
    """(status, start, end) of a read: 200 whole, 206 a part, 304, 412 or 416 nothing."""
    ask = head.headers
    if_match, if_none = ask.get("if-match"), ask.get("if-none-match")
    if if_match is not None:
        if not names(if_match, etag, weak=False):
            return 412, 0, 0
    elif modified_s and (text := ask.get("if-unmodified-since")) is not None:
        limit = date_seconds(text)
        if limit is not None and modified_s > limit:
            return 412, 0, 0
    if if_none is not None:
        if names(if_none, etag, weak=True):
            return 304, 0, 0
    elif modified_s and (text := ask.get("if-modified-since")) is not None:
        since = date_seconds(text)
        if since is not None and modified_s <= since:
            return 304, 0, 0
    wanted = ask.get("range")
    if wanted is None or head.method != "GET" or not _range_holds(ask.get("if-range"), etag, modified_s):
        return 200, 0, size
    return part_of(wanted, size)


def names(listed: str, etag: str, *, weak: bool) -> bool:
    """Does an If-Match or If-None-Match list name this tag? `*` names whatever is there."""
    if listed.strip() == "*":
        return True
    if not etag:
        return False
    ours_weak, ours = etag.startswith("W/"), etag.removeprefix("W/")
    return any(tag == ours and (weak or not (mark or ours_weak)) for mark, tag in _TAG.findall(listed))


def _range_holds(condition: str | None, etag: str, modified_s: int) -> bool:
    """If-Range: strong equality of the tag, or exactly the date that was told."""
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == etag
    return bool(modified_s) and date_seconds(condition) == modified_s


def part_of(wanted: str, size: int) -> tuple[int, int, int]:
    """(206, start, end), or (416, 0, 0) where nothing of the range is there, or (200, 0, size) for several ranges and
    for what is no byte range at all."""
    match = _RANGE.fullmatch(wanted)
    if match is None or not (match[1] or match[2]):
        return 200, 0, size
    if not match[1]:
        last = _bounded(match[2], size)
        return (206, size - last, size) if last else (416, 0, 0)
    start = _bounded(match[1], size)
    if match[2] and _bounded(match[2], LAST) < _bounded(match[1], LAST):
        return 200, 0, size
    if start >= size:
        return 416, 0, 0
    return 206, start, min(_bounded(match[2], size) + 1, size) if match[2] else size


LAST = 1 << 63


def _bounded(digits: str, limit: int) -> int:
    """The number, at most `limit`; a long run of digits is not converted at all."""
    digits = digits.lstrip("0")
    return limit if len(digits) > 19 else min(int(digits or "0"), limit)
