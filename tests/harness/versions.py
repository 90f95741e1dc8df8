"""Blobs that resemble their former versions, as the chunker meets them: models, wheels, layers. Seeded."""

import io
import random
import tarfile
import zipfile

MODEL_BYTES = 17 << 20


def model(seed: int = 1, size: int = MODEL_BYTES) -> bytes:
    """Bytes as of weights: nothing compresses, nothing repeats."""
    return random.Random(seed).randbytes(size)


def edited(data: bytes, at: int, length: int, seed: int = 2) -> bytes:
    """The next version: a stretch is other bytes, and a little was put in ahead of all."""
    return b"a longer header" + data[:at] + random.Random(seed).randbytes(length) + data[at + length :]


def wheel(seeds: list[int], member_bytes: int = 400_000, comment: bytes = b"") -> bytes:
    """A native wheel: one shared object a seed, which does not compress, and small files between."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for number, seed in enumerate(seeds):
            archive.writestr(zipfile.ZipInfo(f"pkg/part{number}.so"), random.Random(seed).randbytes(member_bytes))
            archive.writestr(zipfile.ZipInfo(f"pkg/part{number}.py"), f"# {seed}\n" * 40)
    return out.getvalue()


def layer(seeds: list[int], member_bytes: int = 300_000, mtime: int = 0, format: int = tarfile.PAX_FORMAT) -> bytes:
    """An uncompressed layer; `mtime` alone changes every header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for number, seed in enumerate(seeds):
            info = tarfile.TarInfo(f"usr/lib/part{number}.so")
            info.size, info.mtime = member_bytes, mtime
            archive.addfile(info, io.BytesIO(random.Random(seed).randbytes(member_bytes)))
    return out.getvalue()
