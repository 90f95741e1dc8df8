"""Is a zip read as every other reader would, and refused where two readers could differ? (THREATS D4)"""

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.kit.archive import Limits, received_file
from formats.kit.zips import Zip
from storage.errors import Invalid, Problem, TooLarge
from tests.harness.untimed import untimed

ENTRIES = {"a/b.py": b"print()\n" * 50, "a/empty": b"", "ä.txt": b"x"}


class Pipe(io.RawIOBase):
    """A place that cannot seek, so that zipfile writes data descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        self.held += data  # type: ignore[operator]
        return len(memoryview(data))  # type: ignore[arg-type]


def made(entries: dict[str, bytes] = ENTRIES, method: int = zipfile.ZIP_DEFLATED, wide: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            head = zipfile.ZipInfo(name)
            head.compress_type = method
            with archive.open(head, "w", force_zip64=wide) as entry:
                entry.write(data)
    return out.getvalue()


def streamed() -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, data in ENTRIES.items():
            archive.writestr(name, data)
    return bytes(pipe.held)


def opened(data: bytes, limits: Limits | None = None) -> Zip:
    return Zip(io.BytesIO(data), limits)


@pytest.mark.parametrize(
    "data",
    [made(), made(method=zipfile.ZIP_STORED), made(wide=True), streamed(), made({}), made({"d/": b"", "d/f": b"1"})],
)
def test_what_zipfile_writes_is_read_alike(data: bytes) -> None:
    mine = opened(data)
    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        assert sorted(mine.members) == sorted(one.rstrip("/") for one in theirs.namelist())
        for name, member in mine.members.items():
            if member.kind == "file":
                assert mine.read(name, 1 << 20) == theirs.read(name)


def test_a_file_that_begins_later_in_its_descriptor_is_read_alike(tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"h" * 5000 + made())
    with (tmp_path / "pack").open("rb") as pack:
        file = received_file(pack.fileno(), 5000)
        assert Zip(file).read("a/b.py", 1 << 20) == ENTRIES["a/b.py"]
        assert file.seek(-4, io.SEEK_END) == len(made()) - 4
        assert (file.read(), file.tell()) == (made()[-4:], len(made()))
        file.close()
        assert pack.read(1) == b""


def patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """`data` with bytes overwritten at `offset` from the first occurrence of a record's mark."""
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def inserted(data: bytes, junk: bytes) -> bytes:
    """Bytes between the entries and the directory, with the end record corrected."""
    at = data.index(CENTRAL)
    place = struct.unpack_from("<L", data, data.index(END) + 16)[0]
    return patched(data[:at] + junk + data[at:], END, 16, struct.pack("<L", place + len(junk)))


def commented(data: bytes) -> bytes:
    return patched(data, END, 20, struct.pack("<H", 3)) + b"abc"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no zip": lambda: b"x" * 100,
    "prefix": lambda: b"#!/bin/sh\n" + made(),
    "trailer": lambda: made() + b"\0",
    "comment": lambda: commented(made()),
    "second archive": lambda: made() + made({"evil": b"1"}),
    "gap": lambda: inserted(made(), b"junk"),
    "hidden entry": lambda: inserted(made(), made({"evil": b"1"}).split(CENTRAL)[0]),
    "local name": lambda: patched(made({"aa": b"1"}), LOCAL, 30, b"bb"),
    "local method": lambda: patched(made({"aa": b"1"}), LOCAL, 8, b"\0\0"),
    "local size": lambda: patched(made({"aa": b"1"}), LOCAL, 22, b"\2"),
    "local crc": lambda: patched(made({"aa": b"1"}), LOCAL, 14, b"\0\0\0\0"),
    "encrypted": lambda: patched(patched(made({"a": b"1"}), LOCAL, 6, b"\1"), CENTRAL, 8, b"\1"),
    "lzma": lambda: made(method=zipfile.ZIP_LZMA),
    "count": lambda: patched(patched(made(), END, 8, b"\2"), END, 10, b"\2"),
    "volumes": lambda: patched(made(), END, 4, b"\1"),
    "full size without zip64": lambda: patched(made({"a": b"1"}), CENTRAL, 24, b"\xff\xff\xff\xff"),
    "symlink": lambda: patched(made({"a": b"/etc/passwd"}), CENTRAL, 38, struct.pack("<L", 0o120777 << 16)),
    "descriptor": lambda: streamed().replace(b"PK\7\x08", b"PK\7\x09", 1),
    "stored with two sizes": lambda: patched(
        patched(made({"a": b"12"}, zipfile.ZIP_STORED), LOCAL, 22, b"\1"), CENTRAL, 24, b"\1"
    ),
    "latin name": lambda: made({"aa": b"1"}).replace(b"aa", b"\xe4a"),
    "directory with contents": lambda: made({"d/": b"1"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_d4_a_zip_that_reads_in_two_ways_is_refused(kind: str) -> None:
    with pytest.raises(Invalid):
        opened(HOSTILE[kind]())


def test_d4_a_zip64_locator_that_points_elsewhere_is_refused() -> None:
    data = made({"a": b"1"})
    at = data.index(END)
    size, place = struct.unpack_from("<LL", data, at + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, place)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    assert list(opened(data[:at] + record + locator + data[at:]).members) == ["a"]
    for bad in (
        record + struct.pack("<4sLQL", b"PK\6\7", 0, at + 1, 1),
        record + struct.pack("<4sLQL", b"PK\6\7", 0, at, 2),
        struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, place) + locator,
        struct.pack("<4sQ2H2L4Q", b"PK\6\6", 45, 45, 45, 0, 0, 1, 1, size, place) + locator,
    ):
        with pytest.raises(Invalid):
            opened(data[:at] + bad + data[at:])


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../b", "/a", "a//b", "./a", "a/.", "c:x", "a\\b", "a\nb", "a\x7f", "a" * 5000, "..", "a/.."],
)
def test_d4_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        opened(made({name: b"1"}))


def test_d4_nul_in_a_name_is_refused() -> None:
    with pytest.raises(Invalid):
        opened(made({"aXb": b"1"}).replace(b"aXb", b"a\0b"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_d4_a_name_twice_or_as_file_and_directory_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    for data in (out.getvalue(), made({"a": b"1", "a/b": b"2"}), made({"a/b": b"2", "a": b"1"})):
        with pytest.raises(Invalid):
            opened(data)


def test_d4_bombs_are_refused_before_they_are_unpacked() -> None:
    with pytest.raises(TooLarge):
        opened(made({"a": bytes(1 << 20)}), Limits(ratio_from_bytes=1 << 16))
    with pytest.raises(TooLarge):
        opened(made({str(i): b"" for i in range(11)}), Limits(entries_max=10))
    with pytest.raises(TooLarge):
        opened(made({"a": b"x" * 100}), Limits(total_bytes_max=99))
    with pytest.raises(TooLarge):
        opened(made({"a": b"x" * 100})).read("a", 99)


def test_d4_contents_must_be_what_the_directory_says() -> None:
    lying = patched(made({"a": bytes(1 << 20)}), CENTRAL, 24, struct.pack("<L", 10))
    lying = patched(lying, LOCAL, 22, struct.pack("<L", 10))
    wrong = bytearray(made({"a": b"hello"}, zipfile.ZIP_STORED))
    wrong[wrong.index(b"hello")] ^= 1
    for data in (
        lying,
        bytes(wrong),
        made({"a": b"hello" * 99}).replace(made({"a": b"hello" * 99})[31:34], b"\xff" * 3),
    ):
        archive = opened(data)
        with pytest.raises(Invalid):
            archive.read("a", 1 << 21)


@untimed
@given(
    st.integers(0, 10_000), st.binary(min_size=1, max_size=4), st.sampled_from([made(), streamed(), made(wide=True)])
)
def test_d4_a_damaged_zip_raises_problems_only(at: int, noise: bytes, data: bytes) -> None:
    at %= len(data)
    damaged = data[:at] + noise + data[at + len(noise) :]
    with contextlib.suppress(Problem):
        archive = opened(damaged)
        for name, member in archive.members.items():
            if member.kind == "file":
                archive.read(name, 1 << 20)
    with pytest.raises(Problem):
        opened(data[:at])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 7])
def test_a_large_file_comes_in_pieces_that_are_bounded(method: int, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    pieces = list(opened(made({"large": data}, method)).chunks("large"))
    assert b"".join(pieces) == data
    assert all(len(piece) <= 1 << 20 for piece in pieces)


def test_d4_a_piece_too_many_is_seen_before_it_is_given() -> None:
    whole = made({"large": bytes(3 << 20)})
    lying = whole.replace(struct.pack("<L", 3 << 20), struct.pack("<L", (2 << 20) + 1))
    given: list[bytes] = []
    with pytest.raises(Invalid):
        given.extend(opened(lying).chunks("large"))
    assert sum(map(len, given)) <= 2 << 20
