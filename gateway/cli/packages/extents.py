"""Where on this disk do the bytes of an image's parts lie: in a layout's directory, or within an archive?

Nothing is unpacked: a part of an archive is read where it lies. Archives are walked as those of strangers are, since
who pushes one has often only downloaded it: bounded in entries and headers, links followed by name within the archive.
"""

import hashlib
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from formats.kit.tars import Header
from gateway.cli.terminal.output import Usage
from storage.errors import Invalid

ENTRIES_MAX = 100_000
CHUNK_BYTES = 1 << 20
_PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


class Extent(NamedTuple):
    """`size` bytes of a file, from `begin` on."""

    file: Path
    begin: int
    size: int

    def pieces(self, at: int = 0) -> Iterator[bytes]:
        """The bytes from `at` on. Raises Invalid for a file that became shorter meanwhile."""
        with self.file.open("rb") as content:
            content.seek(self.begin + at)
            while at < self.size:
                data = content.read(min(CHUNK_BYTES, self.size - at))
                if not data:
                    raise Invalid(f"{self.file} became shorter while it was read.", "Push it when it is whole.")
                at += len(data)
                yield data

    def digest(self, algorithm: str = "sha256") -> str:
        state = hashlib.new(algorithm)
        for piece in self.pieces():
            state.update(piece)
        return f"{algorithm}:{state.hexdigest()}"

    def read(self, bytes_max: int) -> bytes:
        """All of it. Raises Usage where it is larger."""
        if self.size > bytes_max:
            raise Usage(f"A document in {self.file} has {self.size} bytes, over {bytes_max}.", "Is it an image?")
        return b"".join(self.pieces())


Find = Callable[[str], Extent | None]
"""The bytes under a name, its parts divided by slashes; None where there are none."""


def in_folder(folder: Path) -> Find:
    """Names are paths below the folder. Those that links lead out of it are refused."""
    root = folder.resolve()

    def find(name: str) -> Extent | None:
        path = root / name
        if not path.resolve().is_relative_to(root):
            raise Usage(f"{folder}/{name} leads out of the directory.", "Put the file itself there, not a link.")
        return Extent(path, 0, path.stat().st_size) if path.is_file() else None

    return find


def in_archive(file: Path) -> Find:
    """Names are those of the entries, each once. Raises Usage for what is no plain, whole tar archive."""
    with file.open("rb") as content:
        if packed := _PACKED.get(content.read(2)):
            raise Usage(f"{file} is compressed by {packed}.", "Unpack it once: the layers inside stay as they are.")
    found: dict[str, Extent] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(file, "r:", tarinfo=Header, encoding="utf-8") as archive:
            archive.stream = True  # tarfile then keeps no list of what it has passed
            _walk(file, archive, found, links)
    except Invalid as problem:
        raise Usage(f"{file} is no good archive. {problem.message}", problem.remedy) from None
    except (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, LookupError) as error:
        raise Usage(f"{file} is no tar archive, or a damaged one.", str(error)) from error
    return lambda name: found.get(links.get(name, name))


def _walk(file: Path, archive: tarfile.TarFile, found: dict[str, Extent], links: dict[str, str]) -> None:
    total = file.stat().st_size
    for number, entry in enumerate(archive):
        if number >= ENTRIES_MAX:
            raise Usage(f"{file} has more than {ENTRIES_MAX} entries.", "Is it an image?")
        name = posixpath.normpath(entry.name)
        if entry.isdir():
            continue
        if name in found or name in links:
            raise Usage(f"{file} has {name} twice.", "Make it anew: readers would differ in which one they take.")
        if entry.issym() or entry.islnk():
            beside = posixpath.dirname(name) if entry.issym() else ""
            links[name] = posixpath.normpath(posixpath.join(beside, entry.linkname))
            continue
        is_sparse = entry.issparse() or any(key.startswith("GNU.sparse.") for key in entry.pax_headers)
        if not entry.isreg() or is_sparse:
            raise Usage(f"{file} has an entry {name} that is neither a file nor a directory.", "Make it anew.")
        if entry.offset_data + entry.size > total:
            raise Usage(f"{file} is cut short in {name}.", "Get or make it anew.")
        found[name] = Extent(file, entry.offset_data, entry.size)
