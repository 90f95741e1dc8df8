"""Do bytes come to the place where they are to be, in however many pieces?"""

import os
from pathlib import Path

import pytest

from storage import disk

SMALL, LARGE = disk.PART_BYTES_MIN - 1, disk.PART_BYTES_MIN
LENGTHS = [(), (3,), (LARGE,), (1, LARGE, 1), (LARGE, LARGE + 7, 5), (SMALL, SMALL, LARGE, 0, SMALL), (LARGE, 2, 2, 2)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: "-".join(map(str, lengths)) or "nothing")
@pytest.mark.parametrize("at_most", [1 << 30, 50_001], ids=["at once", "short writes"])
def test_parts_lie_one_behind_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: tuple[int, ...], at_most: int
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:at_most], at))
    parts = [os.urandom(length) for length in lengths]
    path = tmp_path / "pack"
    with path.open("w+b") as file:
        file.write(b"before")
        file.flush()
        disk.write_parts(file.fileno(), parts, 6)
    assert path.read_bytes() == b"before" + b"".join(parts)
