"""How are sizes and numbers of things spelt, to people and by them?"""

import re

from gateway.cli.terminal.output import Usage

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def size_of(count: float) -> str:
    """Bytes for people."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def count_of(count: int, one: str, many: str = "") -> str:
    """So many things for people: 1 file, 2 files, 1,000 files; `many` where that is not `one` and an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def bytes_of(text: str) -> int:
    """A size as people write it. Raises Usage."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Usage(f'"{text}" is no size.', "Write bytes, or a number with K, M, G or T behind it.")
    return int(match[1]) << _POWERS[match[2].upper()]
