"""Is a file that was joined from pieces the file that its readers expect? Read by zlib, liblzma, zstd and the tools."""

import gzip
import io
import lzma
import subprocess
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from formats.kit.pieces import FORMS, Piece, combined, join, piece
from tests.harness.clients import program
from tests.harness.untimed import untimed

RUNS = st.lists(st.binary(min_size=1, max_size=3000), max_size=6)


def joined(form: str, runs: list[bytes]) -> bytes:
    made = [piece(form, run) for run in runs]
    facts = [Piece(len(run), zlib.crc32(run), unpadded) for run, (_, unpadded) in zip(runs, made, strict=True)]
    head, tail = join(form, facts)
    return head + b"".join(data for data, _ in made) + tail


def read(form: str, data: bytes) -> bytes:
    if form == "gzip":
        reader = zlib.decompressobj(31)  # one member and not one byte more
        plain = reader.decompress(data)
        assert reader.eof
        assert reader.unused_data == b""
        assert gzip.decompress(data) == plain
        return plain
    if form == "xz":
        reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)  # one stream and not one byte more
        plain = reader.decompress(data)
        assert reader.eof
        assert reader.unused_data == b""
        return plain
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


@pytest.mark.parametrize("form", FORMS)
@given(runs=RUNS)
@untimed
def test_pieces_join_to_one_file(form: str, runs: list[bytes]) -> None:
    assert read(form, joined(form, runs)) == b"".join(runs)


@given(st.binary(max_size=400), st.binary(max_size=400))
@untimed
def test_checksums_combine(first: bytes, second: bytes) -> None:
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_checksums_combine_over_long_runs() -> None:
    second = bytes(70_000_001)
    assert combined(zlib.crc32(b"x"), zlib.crc32(second), len(second)) == zlib.crc32(b"x" + second)


@pytest.mark.parametrize(("form", "tool"), [("gzip", "gzip"), ("xz", "xz")])
def test_the_tool_itself_finds_it_sound(form: str, tool: str) -> None:
    data = joined(form, [b"Package: a\n" * 500, b"Package: b\n" * 5000, b"\n"])
    done = subprocess.run([program(tool), "-dc"], input=data, capture_output=True, check=True)
    assert done.stdout == b"Package: a\n" * 500 + b"Package: b\n" * 5000 + b"\n"
    assert done.stderr == b""
