"""How does a client read an object that is still arriving? From the growing file, as far as it is released.

The answer's shape (status, range, validators) is decided by the same pure plan as a hit's, over the size that the fill
announces. A fill that fails ends the client's answer broken: never a short body that looks whole.
"""

import os
from collections.abc import Mapping
from copy import copy
from functools import partial

from cache.fills.flight import Bypass, Fill
from cache.fills.sharing import Shared
from gateway.delivery.messages.answers import Answer, Wire, http_date, plan
from gateway.delivery.requests.request import Request, Stream
from storage.digest import Hasher
from storage.errors import UpstreamFailed

PIECE_BYTES_MAX = 8 << 20
FIRST_BYTES_MAX = 12 << 10
"""What leaves together with the head: about as much as TCP sends at first."""
SHARED_BYTES_MAX = 800
"""The same where several wait: one packet, with the head. More keeps the others waiting."""
CONDITIONS = ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
HELD_BYTES_MAX = 64 << 10
"""The end of an object that is held back until its digest holds."""


class Feed:
    """How a fill is sent to all who asked with the same head: decided once, and read by each at a pace of its own.

    `lines` are what their heads have in common, `size` the bytes that each gets, -1 = not decided yet, from byte `at`
    of the object on; `leave` and `about` as the first of them has them (see Request).
    """

    __slots__ = ("_answer", "_opening", "about", "at", "fill", "leave", "lines", "size", "status")

    def __init__(self, request: Request, fill: Fill, answer: Answer) -> None:
        self.fill = fill
        self.status = self.at = 0
        self.size = -1
        self.lines = b""
        self.leave = request.leave
        self.about = request.about
        self._answer = answer
        self._opening = b""

    @property
    def open(self) -> bool:
        """May another one still take part?"""
        return not self.fill.over and not self.fill.far(self.at)

    @property
    def answer(self) -> Answer:
        """What is known of the object, for one of them."""
        return copy(self._answer)

    def decide(self, request: Request, size: int) -> bool:
        """The object has `size` bytes. False where it is no plain read of some of them that was asked for."""
        answer = self.answer
        answer.size, answer.extents = size, ((-1, 0, size),) if size else ()
        wire = plan(answer, request.head)
        if wire.status not in (200, 206) or request.head.method == "HEAD" or not wire.size:
            return False
        self.status, self.size, self.at = wire.status, wire.size, wire.extents[0][1]
        self.lines = request.lines(_headers(answer, wire, size, self.at), wire.size)
        return True

    def begin(self, request: Request) -> None:
        """The first bytes are here: they leave, with the head, where it is known how much there is."""
        size = self.fill.size
        if self.size < 0 and (size is None or not self.decide(request, size)):
            return
        if not self._opening:  # read once for all
            most = FIRST_BYTES_MAX if self.fill.joined == 1 else SHARED_BYTES_MAX
            ready = min(self.fill.available - self.at, self.size, most)
            self._opening = os.pread(self.fill.descriptor, ready, self.fill.start + self.at)
        request.begin(self.status, self.lines, self.size, self._opening)


def feed_of(request: Request, fill: Fill, answer: Answer, size: int) -> Feed | None:
    """How `fill` answers this request, -1 bytes = that is not known yet. None where more than bytes is asked for."""
    feed = Feed(request, fill, answer)
    if size < 0:
        whole = request.head.method == "GET" and not any(name in request.head.headers for name in CONDITIONS)
        return feed if whole else None
    return feed if feed.decide(request, size) else None


async def stream_feed(request: Request, feed: Feed) -> None:
    """Answer with what others get, too. Raises what the fetch failed with, or what the toll says."""
    fill = feed.fill
    if request.toll is None:
        await fill.first(feed.at, partial(feed.begin, request))
        if not request.answered:  # there is nothing in it, or the source does not tell how much
            await stream_fill(request, fill, feed.answer)
            return
    else:
        await fill.wait(feed.at)
        await request.toll(feed.status, feed.size)
        feed.begin(request)
    stream = await request.begun()
    await _pour(stream, fill, feed.at + stream.written, feed.at + feed.size)
    await stream.finish()


async def stream_fill(request: Request, fill: Fill, answer: Answer) -> None:
    """Answer from `fill`; `answer` tells media, validators and headers, its size and extents are set here."""
    await fill.opened()
    if fill.size is None:
        await _of_unknown_size(request, fill, answer)
        return
    answer.size = fill.size
    feed = feed_of(request, fill, answer, fill.size)
    if feed is None:
        answer.extents = ((fill.descriptor, fill.start, fill.size),) if fill.size else ()
        await request.answer(answer)
    elif not (fill.far(feed.at) and await _by_bypass(request, fill, answer, feed.at)):
        await stream_feed(request, feed)


async def _pour(stream: Stream, fill: Fill, at: int, end: int) -> None:
    while at < end:
        ready = min(await fill.wait(at), end - at, PIECE_BYTES_MAX)
        await stream.sendfile(fill.descriptor, fill.start + at, ready)
        at += ready


async def _of_unknown_size(request: Request, fill: Fill, answer: Answer) -> None:
    """An upstream that does not tell the size: chunked, from the start."""
    at = 0
    stream = await request.start(200, _headers(answer, None, -1, 0), None)
    while request.head.method != "HEAD" and (ready := await fill.wait(at)):
        await stream.sendfile(fill.descriptor, fill.start + at, ready)
        at += ready
    await stream.finish()


async def _by_bypass(request: Request, fill: Fill, answer: Answer, at: int) -> bool:
    """A range far ahead of the fill through a connection of its own; False where there is none to be had."""
    answer.extents = ((-1, 0, answer.size),)
    wire = plan(answer, request.head)
    answer.extents = ()
    bypass = await fill.bypass(at, wire.size)
    if bypass is None:
        return False
    await stream_bypass(request, bypass, answer, wire, at)
    return True


async def stream_bypass(request: Request, bypass: Bypass | Shared, answer: Answer, wire: Wire, at: int) -> None:
    """Answer with a range that goes past the cache; `answer` tells the size of the whole."""
    async with bypass:
        request.outcome = "BYPASS"
        data = await bypass.read(wire.size)
        headers = _headers(answer, wire, answer.size, at)
        stream = await request.start(wire.status, headers, wire.size, opening=data)
        left = wire.size - len(data)
        while left:
            data = await bypass.read(left)
            left -= len(data)
            await stream.write(data)
        await stream.finish()


async def stream_whole_past(
    request: Request, bypass: Bypass | Shared, answer: Answer, digests: Mapping[str, str]
) -> None:
    """An object whose size its source tells, past the cache; a range of it is the whole with its ends left off. One
    whose size it does not tell goes as a whole."""
    if bypass.length < 0:
        await _unsized_past(request, bypass, answer, digests)
        return
    answer.size, answer.extents = bypass.length, ((-1, 0, bypass.length),)
    wire = plan(answer, request.head)
    answer.extents = ()
    if wire.status == 200 and request.head.method != "HEAD":
        await stream_past(request, bypass, answer, wire, 0, digests)
        return
    async with bypass:
        if wire.status != 206 or request.head.method == "HEAD":
            await request.answer(answer)
            return
        left = wire.extents[0][1]
        while left:
            left -= len(await bypass.read(left))
        await stream_bypass(request, bypass, answer, wire, wire.extents[0][1])


async def stream_past(
    request: Request, bypass: Bypass | Shared, answer: Answer, wire: Wire, at: int, digests: Mapping[str, str]
) -> None:
    """As `stream_bypass`; of a whole object the last bytes leave only when its digests (hex) hold. Raises
    UpstreamFailed."""
    if wire.size != answer.size:
        await stream_bypass(request, bypass, answer, wire, at)
        return
    async with bypass:
        request.outcome = "BYPASS"
        stream = await request.start(wire.status, _headers(answer, wire, answer.size, at), wire.size)
        await _judged(stream, bypass, digests)


async def _unsized_past(request: Request, bypass: Bypass | Shared, answer: Answer, digests: Mapping[str, str]) -> None:
    """Chunked, from the start. Where its source breaks off the answer does, too. Raises UpstreamFailed."""
    async with bypass:
        request.outcome = "BYPASS"
        stream = await request.start(200, _headers(answer, None, -1, 0), None)
        if request.head.method == "HEAD":
            await stream.finish()
        else:
            await _judged(stream, bypass, digests)


async def _judged(stream: Stream, bypass: Bypass | Shared, digests: Mapping[str, str]) -> None:
    """All of it, the last bytes when the digests (hex) hold. Raises UpstreamFailed."""
    hasher, held = Hasher(digests), b""
    while data := await bypass.read(PIECE_BYTES_MAX):
        hasher.update(data)
        held += data
        if (ready := len(held) - HELD_BYTES_MAX) > 0:
            await stream.write(held[:ready])
            held = held[ready:]
    found = hasher.others | {"sha256": hasher.sha256.hex()}
    if any(found[name] != value for name, value in digests.items()):
        raise UpstreamFailed("What was sent is not what was announced.", "Try again.")
    await stream.write(held)
    await stream.finish()


def _headers(answer: Answer, wire: Wire | None, size: int, at: int) -> list[tuple[str, str]]:
    headers = [("Content-Type", answer.media), *answer.headers]
    if answer.etag:
        headers.append(("ETag", answer.etag))
    if answer.modified_s:
        headers.append(("Last-Modified", http_date(answer.modified_s)))
    if wire is not None:
        headers.append(("Accept-Ranges", "bytes"))
        if wire.status == 206:
            headers.append(("Content-Range", f"bytes {at}-{at + wire.size - 1}/{size}"))
    return headers
