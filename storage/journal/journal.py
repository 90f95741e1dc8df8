"""What happened, in which order, and how is that kept?

Segments `NNNNNNNN.seg` of frames (frames.py), shared by every worker process of an origin. Whoever holds the
write lock (the write transaction of the index) may append; the index records how far the journal counts, its End.
Bytes beyond the End were written by a process that did not live to commit them: the next holder of the lock reads
them with `tail`, applies what is whole and cuts what is torn. Readers never look beyond the End.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from storage import alarm, disk
from storage.errors import Damaged
from storage.journal import frames
from storage.journal.frames import HEADER_BYTES, Header

SEGMENT_BYTES_MAX = 64 << 20
READ_BYTES = 1 << 20


class End(NamedTuple):
    """A place in the journal: segment number (from 1) and byte offset."""

    segment: int
    offset: int


class Stray(NamedTuple):
    """What lies beyond the End: whole frames with their places, where they stop, and whether torn bytes follow."""

    frames: list[tuple[End, bytes]]
    stop: End
    torn: bool


class EntryHead(msgspec.Struct, frozen=True, array_like=True):
    """The first fields of an Entry: enough to place it."""

    epoch: int
    workspace: str
    serial: int
    previous: bytes


HEAD_DECODER = msgspec.msgpack.Decoder(EntryHead)


class Places(Protocol):
    """What a reader needs of the index: how far the journal counts, and where to begin."""

    def committed(self) -> End: ...
    def start(self, after: dict[str, int], wanted: Callable[[str], bool] | None = None) -> End | None:
        """The place of the first entry behind `after` of the `wanted` workspaces, None when there is none.

        Conflict when `after` is ahead, or names a workspace that is not there.
        """
        ...


class Journal:
    """The segments of one store. Methods that write are for the holder of the write lock."""

    def __init__(
        self, root: Path, epoch: int, store: bytes, places: Places, *, segment_bytes_max: int = SEGMENT_BYTES_MAX
    ) -> None:
        self.root = root
        self.epoch = epoch
        self._store = store
        self._places = places
        self._segment_bytes_max = segment_bytes_max
        self._open: tuple[int, int] | None = None

    # ------------------------------------------------------------ segments

    def path(self, segment: int) -> Path:
        return self.root / f"{segment:08d}.seg"

    def segments(self) -> list[int]:
        """The numbers of the segments there are. Raises Damaged where one is missing in between."""
        found = segments_in(self.root)
        if found and found != list(range(found[0], found[0] + len(found))):
            raise Damaged("A segment of the journal is missing.", "Restore it from a copy before starting.")
        return found

    def _segment(self, number: int) -> int:
        """A descriptor of an existing segment for writing. One that another process has since cut away is let go."""
        if self._open is not None:
            if self._open[0] == number and os.fstat(self._open[1]).st_nlink:
                return self._open[1]
            self.close()
        fd = os.open(self.path(number), os.O_RDWR | os.O_CLOEXEC)
        self._open = (number, fd)
        return fd

    def _begin(self, number: int) -> int:
        """A descriptor of a segment that starts here, with its header written anew; not yet durable."""
        self.close()
        fd = os.open(self.path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open = (number, fd)
        disk.write_all(fd, frames.pack_header(Header(number, self.epoch, self._store)), 0)
        return fd

    def check_header(self, data: bytes, segment: int) -> None:
        """Raises Damaged unless these are the first bytes of that segment of this store."""
        header = frames.parse_header(data)
        if header is None or header.number != segment or header.store != self._store:
            raise Damaged(
                f"Segment {segment} of the journal does not begin as it should.",
                "Restore it from a copy; it may belong to another store.",
            )

    # ------------------------------------------------------------ writing

    def place(self, end: End) -> End:
        """Where the next frames go: at the End, or at the start of a new segment when this one is long enough."""
        if end.offset >= self._segment_bytes_max:
            return End(end.segment + 1, HEADER_BYTES)
        return end

    def append(self, at: End, data: bytes) -> End:
        """Write whole frames at `at` and make them durable; returns the place behind them.

        Raises OSError where they cannot be written (the caller cuts); ends the process where they cannot be synced.
        """
        fresh = at.offset == HEADER_BYTES
        fd = self._begin(at.segment) if fresh else self._segment(at.segment)
        disk.write_all(fd, data, at.offset)
        disk.settle(fd, "the journal")
        if fresh:
            disk.settle_directory(self.root)
        return End(at.segment, at.offset + len(data))

    def cut(self, end: End) -> None:
        """Forget everything beyond `end`, durably. A cut that fails ends the process: the rest might come alive."""
        try:
            later = [number for number in self.segments() if number > end.segment]
            for number in reversed(later):
                self.path(number).unlink()
            fd = self._begin(end.segment) if end.offset == HEADER_BYTES else self._segment(end.segment)
            os.ftruncate(fd, end.offset)
        except OSError as error:
            disk.die(f"the journal could not be cut back ({error.strerror}); stopping")
        disk.settle(fd, "the journal")
        disk.settle_directory(self.root)

    def is_ragged(self, end: End) -> bool:
        """Does anything stand beyond `end`? Raises Damaged where the journal is shorter than the index says."""
        try:
            size = os.fstat(self._segment(end.segment)).st_size
        except FileNotFoundError:
            size = 0
        if size < end.offset:
            raise Damaged(
                "The journal is shorter than the index says.", "Restore the journal from a copy, or from an edge."
            )
        return size > end.offset or self.path(end.segment + 1).exists()

    def stray(self, end: End) -> Stray:
        """What stands beyond `end`. Raises Damaged where a broken frame is followed by a whole one in mid-journal."""
        found: list[tuple[End, bytes]] = []
        stop = end
        last = self.segments()[-1]
        for number in range(end.segment, last + 1):
            data = self.path(number).read_bytes()
            start = end.offset if number == end.segment else HEADER_BYTES
            if number > end.segment and frames.parse_header(data) is None:
                return Stray(found, stop, torn=True)  # its header was never synced, so nothing in it was acknowledged
            parsed = frames.parse(data, start)
            found += [(End(number, offset), body) for offset, body in parsed.frames]
            stop = End(number, parsed.stop)
            if parsed.stop < len(data):
                return Stray(found, stop, torn=True)
        return Stray(found, stop, torn=False)

    def settle(self, start: End, stop: End) -> None:
        """Make the segments between two places durable, which another process wrote and may not have synced."""
        for number in range(start.segment, stop.segment + 1):
            disk.settle(self._segment(number), "the journal")
        disk.settle_directory(self.root)

    # ------------------------------------------------------------ reading

    def walk(self) -> Iterator[tuple[End, bytes]]:
        """Every frame of the journal with its place, for a rebuild. Ends at a torn tail of the last segment.

        Raises Damaged for anything else that does not parse: nothing whole may stand behind what is broken.
        """
        numbers = self.segments()
        for number in numbers:
            data = self.path(number).read_bytes()
            if number == numbers[-1] and frames.is_unborn(data):
                return
            self.check_header(data, number)
            parsed = frames.parse(data, HEADER_BYTES)
            for offset, body in parsed.frames:
                yield End(number, offset), body
            if parsed.stop < len(data) and (number != numbers[-1] or frames.whole_frame_after(data, parsed.stop)):
                raise Damaged(
                    f"Segment {number} of the journal is damaged at byte {parsed.stop}.",
                    "Restore it from a copy, or from an edge that follows this origin.",
                )

    def entry_at(self, at: End) -> bytes:
        """The body of the frame that begins at this place. Raises Damaged."""
        try:
            fd = os.open(self.path(at.segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Damaged(f"Segment {at.segment} of the journal is missing.", "Restore it from a copy.") from None
        try:
            head = os.pread(fd, frames.FRAME_BYTES, at.offset)
            body = frames.at(head + os.pread(fd, frames.length_of(head), at.offset + len(head)), 0)
        finally:
            os.close(fd)
        if body is None:
            alarm.damage.ring()
            raise Damaged(
                f"Segment {at.segment} of the journal is damaged at byte {at.offset}.",
                "Restore it from a copy, or from an edge that follows this origin.",
            )
        return body

    def read(self, start: End, stop: End, bytes_max: int) -> tuple[list[bytes], End]:
        """Bodies of the frames between two places, at least one and about `bytes_max`; and where to go on."""
        at, bodies, size = start, [], 0
        while at < stop and size < bytes_max:
            fd = os.open(self.path(at.segment), os.O_RDONLY | os.O_CLOEXEC)
            try:
                limit = stop.offset if at.segment == stop.segment else os.fstat(fd).st_size
                parsed = self._some_frames(fd, at, limit, bytes_max - size)
            finally:
                os.close(fd)
            bodies += [body for _, body in parsed.frames]
            size += parsed.stop - at.offset
            done = parsed.stop == limit and at.segment < stop.segment
            at = End(at.segment + 1, HEADER_BYTES) if done else End(at.segment, parsed.stop)
        return bodies, at

    def _some_frames(self, fd: int, at: End, limit: int, bytes_max: int) -> frames.Parsed:
        want = min(limit - at.offset, max(bytes_max, READ_BYTES))
        parsed = frames.parse(disk.read_all(fd, want, at.offset))
        if not parsed.frames and want:
            whole = min(limit - at.offset, frames.BODY_BYTES_MAX + frames.FRAME_BYTES)
            parsed = frames.parse(disk.read_all(fd, whole, at.offset))
            if not parsed.frames:
                alarm.damage.ring()
                raise Damaged(
                    f"Segment {at.segment} of the journal is damaged at byte {at.offset}.",
                    "Restore it from a copy, or from an edge that follows this origin.",
                )
        return frames.Parsed(parsed.frames, at.offset + parsed.stop)

    def follow(self, after: dict[str, int], wanted: Callable[[str], bool] | None = None) -> "JournalReader":
        """A reader of everything committed behind these Serials (0 or absent: from the start of that Workspace), of
        the `wanted` workspaces alone."""
        return JournalReader(self, self._places, after, wanted)

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


class JournalReader:
    """Follows the journal in its order; for one reader at a time. Blocking reads: call it in a thread."""

    def __init__(
        self, journal: Journal, places: Places, after: dict[str, int], wanted: Callable[[str], bool] | None = None
    ) -> None:
        self._journal = journal
        self._places = places
        self._wanted = wanted
        self._after = dict(after)
        self._at: End | None = None

    def read(self, bytes_max: int = 1 << 20) -> list[bytes]:
        """The next entry bodies, about `bytes_max` of them; [] when the reader has caught up.

        Raises Conflict at the first read where `after` is ahead of this journal: the follower must start anew.
        """
        stop = self._places.committed()
        if self._at is None:
            self._at = self._places.start(self._after, self._wanted) or stop
        while self._at < stop:
            bodies, self._at = self._journal.read(self._at, stop, bytes_max)
            if fresh := [body for body in bodies if self._is_new(body)]:
                return fresh
        return []

    @property
    def after(self) -> dict[str, int]:
        """The Serials that this reader has given out, or begun behind."""
        return dict(self._after)

    def _is_new(self, body: bytes) -> bool:
        head = HEAD_DECODER.decode(body)
        if head.serial <= self._after.get(head.workspace, 0):
            return False
        if self._wanted is not None and not self._wanted(head.workspace):
            return False
        self._after[head.workspace] = head.serial
        return True


def segments_in(root: Path) -> list[int]:
    """The numbers of the segment files in a directory, in order."""
    return sorted(int(path.stem) for path in root.glob("*.seg") if path.stem.isdigit())
