"""How does a node tell another of which chunks a file consists, and send only those that it asks for?

    GET /-/peer/recipe/{the file's own path}?piece-sha256=..&piece-at=OFFSET
    GET /-/peer/pieces/{the file's own path}?piece-sha256=..&piece-ranges=OFFSET-LENGTH,..

Both are admitted as a read of that path by that peer is, so nothing leaves here that the same peer could not fetch as
a whole. Where the file is not here, is another one by now or was never cut, there is nothing at the address, and the
peer fetches the whole.
"""

from collections.abc import Callable

import trio
import zstandard

from cache.fills.pieces import BATCH_BYTES_MAX, CODING, ZSTD, parse_ranges
from formats.kit.contract import Serve
from gateway.delivery.messages.answers import Answer, Extents
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front.leave import Leave
from gateway.front.naming import place_named
from gateway.front.peers.peering import asking_of
from gateway.front.reads.admitted import Admitted
from gateway.front.reads.reading import Reads
from gateway.front.routes import Place, place_of
from storage import disk
from storage.blobs.chunker import Cut
from storage.blobs.recipes import window
from storage.blobs.shelf import Located
from storage.errors import Absent, Damaged, Invalid
from storage.index.catalog import Catalog, Reading

KINDS = ("recipe", "pieces")
RECIPE_MEDIA = "application/vnd.entrepot.recipe"
PIECES_MEDIA = "application/vnd.entrepot.pieces"
COMPRESSED_BYTES_MAX = BATCH_BYTES_MAX + (1 << 20)
SAMPLE_BYTES = 64 << 10
GAIN_SHARE_MIN = 0.1
"""What compressing must take off a sample of the pieces to be worth its time."""
_LEVEL = 1
_OURS = "piece-"

Admit = Callable[[Reading, Head, Place], Admitted]
AdmitNamed = Callable[[Reading, Head], Admitted]


class Piecing:
    """Recipes and pieces for peers."""

    def __init__(self, catalog: Catalog, reads: Reads, running_max: int = 4) -> None:
        self._catalog = catalog
        self._reads = reads
        self._threads = trio.CapacityLimiter(running_max)

    async def handle(self, request: Request, admit: Admit, admit_named: AdmitNamed) -> None:
        """Serve one. Raises Absent, Unauthenticated, Invalid, and what a read of the path raises."""
        located, leave = self._leave(request, admit, admit_named)
        if request.head.segments[2] == "recipe":
            await self._recipe(request, located)
        else:
            await self._pieces(request, located, leave)

    def _leave(self, request: Request, admit: Admit, admit_named: AdmitNamed) -> tuple[Located, Leave]:
        """The bytes of the file, with the peer's leave to read it."""
        head = request.head
        wanted = head.argument("piece-sha256")
        inner = inner_head(head)
        place = place_named(inner) or place_of(inner)
        with self._catalog.read() as reading:
            asking = asking_of(reading, head)
            if place is None or head.method != "GET" or not asking.sees(place.workspace):
                raise Absent("There is nothing at this address.")
            request.principal = asking.principal.name
            request.repository = f"{place.workspace}/{place.repository}"
            admitted = admit_named(reading, inner) if place_named(inner) else admit(reading, inner, place)
            found = None
            if isinstance(admitted.plan, Serve):
                found = self._reads.resolve(reading, admitted.scope, admitted.ask, admitted.room, admitted.plan)
        leave = found.lease if isinstance(found, Answer) else None
        located = self._reads.cut(leave.held) if isinstance(leave, Leave) else None
        if located is None or located.sha256.hex() != wanted:
            raise Absent("This file is not here in pieces.", "Ask for the whole.")
        assert isinstance(leave, Leave)
        return located, Leave(leave.subject, located)

    async def _recipe(self, request: Request, located: Located) -> None:
        offset = request.head.argument("piece-at", "0")
        if not (offset.isascii() and offset.isdigit() and len(offset) < 18 and int(offset) < located.size):
            raise Invalid("There is no such place in this file.")
        assert located.recipe is not None
        fd, start, _ = located.recipe

        def read() -> bytes:
            return window(lambda at, length: disk.read_all(fd, length, start + at), int(offset))

        body = await trio.to_thread.run_sync(read, limiter=self._threads)
        await request.reply(200, (("Content-Type", RECIPE_MEDIA),), body)

    async def _pieces(self, request: Request, located: Located, leave: Leave) -> None:
        try:
            ranges = parse_ranges(request.head.argument("piece-ranges"), located.size)
        except Damaged as problem:
            raise Invalid(problem.message) from None
        extents = tuple(one for offset, length in ranges for one in located.extents.slice(offset, offset + length))
        size = sum(length for _, length in ranges)
        if located.cut in (Cut.ENTRIES, Cut.CONTENT) and request.head.headers.get(CODING) == ZSTD:
            packed = await trio.to_thread.run_sync(compressed, extents, size, limiter=self._threads)
            if packed is not None:
                await request.reply(200, (("Content-Type", PIECES_MEDIA), (CODING, ZSTD)), packed)
                return
        await request.answer(Answer(media=PIECES_MEDIA, size=size, extents=extents, lease=leave))


def inner_head(head: Head) -> Head:
    """The read of the file itself that stands for a peer's request: the same asker, the path behind ours."""
    raw = head.raw_path.split("/", 4)
    query = tuple((name, value) for name, value in head.query if not name.startswith(_OURS))
    return Head(
        "GET",
        f"/{raw[4]}" if len(raw) > 4 else "/",
        segments=head.segments[3:] or ("",),
        query=query,
        headers={name: value for name, value in head.headers.items() if name != "range" and not name.startswith("if-")},
        host=head.host,
        secret=head.secret,
        peer=head.peer,
        scheme=head.scheme,
        key=head.key,
    )


def compressed(extents: Extents, size: int) -> bytes | None:
    """These bytes as one zstd frame; None where a sample of them says that it is not worth it."""
    if size > COMPRESSED_BYTES_MAX:
        return None
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    descriptor, offset, length = max(extents, key=lambda one: one[2])
    sample = disk.read_all(descriptor, min(length, SAMPLE_BYTES), offset + max(0, length - SAMPLE_BYTES) // 2)
    if len(packer.compress(sample)) > (1 - GAIN_SHARE_MIN) * len(sample):
        return None
    packed = packer.compress(b"".join(disk.read_all(fd, held, at) for fd, at, held in extents))
    return packed if len(packed) < size else None
