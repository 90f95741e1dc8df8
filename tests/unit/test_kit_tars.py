"""Is a tar read as every other reader would, and refused where two readers could differ? (THREATS D4)"""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from formats.kit.archive import Limits, stays_inside
from formats.kit.tars import Tar, scan_tar
from storage.errors import Invalid, Problem, TooLarge
from tests.harness.untimed import untimed

FILES = {"p-1/PKG-INFO": b"Name: p\n", "p-1/" + "long/" * 40 + "ä.py": b"x" * 2000, "p-1/empty": b""}


def info(name: str, size: int = 0, **more: object) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.size = size
    for key, value in more.items():
        setattr(one, key, value)
    return one


def made(files: dict[str, bytes] = FILES, *extra: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in files.items():
            archive.addfile(info(name, len(data)), io.BytesIO(data))
        for one in extra:
            archive.addfile(one, io.BytesIO(bytes(one.size)))
    return out.getvalue()


def scan(data: bytes, limits: Limits | None = None, want: Callable[[str], bool] = lambda name: True) -> Tar:
    return scan_tar(io.BytesIO(data), want, 1 << 20, limits)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_what_tarfile_writes_is_read_back(packer: str, format: int) -> None:
    big = {"big": bytes(3 << 20), **FILES}
    found = scan(PACKERS[packer](made(big, format=format)), want=lambda name: name != "big")
    assert found.contents == FILES
    assert [one.size for one in found.members.values()] == [len(one) for one in big.values()]


def test_leading_dots_directories_and_inner_links_are_fine() -> None:
    data = made(
        {"./p/a": b"1"},
        info(".", type=tarfile.DIRTYPE),
        info("./p/", type=tarfile.DIRTYPE),
        info("p/b", type=tarfile.SYMTYPE, linkname="../p/a"),
        info("p/c", type=tarfile.LNKTYPE, linkname="p/a"),
    )
    assert {name: one.kind for name, one in scan(data).members.items()} == {
        "p/a": "file",
        "p": "directory",
        "p/b": "link",
        "p/c": "link",
    }


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no tar": lambda: b"x" * 5000,
    "up": lambda: made({"../a": b"1"}),
    "inner up": lambda: made({"a/../../b": b"1"}),
    "absolute": lambda: made({"/a": b"1"}),
    "backslash": lambda: made({"a\\b": b"1"}),
    "drive": lambda: made({"c:b": b"1"}),
    "newline": lambda: made({"a\nb": b"1"}),
    "twice": lambda: made({"a": b"1", "./a": b"2"}),
    "file and directory": lambda: made({"a": b"1", "a/b": b"2"}),
    "through a link": lambda: made({}, info("a", type=tarfile.SYMTYPE, linkname="b"), info("a/c")),
    "link out": lambda: made({}, info("a", type=tarfile.SYMTYPE, linkname="../b")),
    "absolute link": lambda: made({}, info("a", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "hard link out": lambda: made({}, info("x/a", type=tarfile.LNKTYPE, linkname="../b")),
    "device": lambda: made({}, info("a", type=tarfile.CHRTYPE)),
    "pipe": lambda: made({}, info("a", type=tarfile.FIFOTYPE)),
    "two sizes": lambda: made({}, info("a", 4, pax_headers={"size": "1024"})),
    "behind the end": lambda: made() + made({"evil": b"1"}),
    "junk behind the end": lambda: made() + b"x" * 512,
    "damaged header": lambda: made({"a": b"1"})[:1024] + b"x" * 512 + made({"b": b"1"}),
    "cut": lambda: made({"a": b"1" * 5000})[:2000],
    "gzip cut": lambda: gzip.compress(made())[:-9],
    "gzip trailer": lambda: gzip.compress(made()) + b"\0",
    "two gzip members": lambda: gzip.compress(made()) + gzip.compress(b""),
    "bz2 trailer": lambda: bz2.compress(made()) + b"x",
    "xz trailer": lambda: lzma.compress(made()) + b"x",
    "zst trailer": lambda: zstandard.compress(made()) + b"xxxxxx",
    "long header": lambda: made({}, info("a", pax_headers={"comment": "x" * (2 << 20)})),
    "latin name": lambda: made({"a" * 7: b"1"}, format=tarfile.USTAR_FORMAT).replace(b"a" * 7, b"\xe4" * 7),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_d4_a_tar_that_is_unsafe_or_unclear_is_refused(kind: str) -> None:
    with pytest.raises(Invalid):
        scan(HOSTILE[kind]())


@pytest.mark.parametrize("packer", ["gz", "bz2", "xz", "zst"])
def test_d4_bombs_are_refused_while_they_unpack(packer: str) -> None:
    bomb = PACKERS[packer](made({"a": bytes(4 << 20)}))
    with pytest.raises(TooLarge):
        scan(bomb, Limits(ratio_from_bytes=1 << 20), want=lambda name: False)
    with pytest.raises(TooLarge):
        scan(bomb, Limits(total_bytes_max=1 << 20), want=lambda name: False)


def test_d4_counts_and_wanted_sizes_are_bounded() -> None:
    with pytest.raises(TooLarge):
        scan(made({str(i): b"" for i in range(11)}), Limits(entries_max=10))
    with pytest.raises(TooLarge):
        scan(made({"a": bytes((1 << 20) + 1)}))


def test_d4_a_window_beyond_reason_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, enable_ldm=True, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Invalid):
        scan(packer.compress(made({"a": bytes(20 << 20)})) + packer.flush())


@untimed
@given(st.integers(0, 20_000), st.binary(min_size=1, max_size=20))
def test_d4_a_damaged_tar_raises_problems_only(at: int, noise: bytes) -> None:
    for data in (made(), gzip.compress(made(), mtime=0)):
        place = at % len(data)
        with contextlib.suppress(Problem):
            scan(data[:place] + noise + data[place + len(noise) :])


def test_links_stay_inside_or_not() -> None:
    assert stays_inside("a/b/c", "../../d")
    assert stays_inside("a/b", ".")
    assert not stays_inside("a", "../d")
    assert not stays_inside("a/b", "../x/../../d")
    assert not stays_inside("a/b", "")
