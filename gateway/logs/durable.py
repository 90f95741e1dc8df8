"""How is a file on the disk for good, its name included? Written beside, synced, named, and the folder synced."""

import os
from pathlib import Path
from threading import get_native_id

NEW = ".new"
"""The end of the name of what is being written."""


def write_durably(path: Path, data: bytes) -> None:
    """All of it, or what was there before."""
    new = path.with_name(f"{path.name}.{get_native_id()}{NEW}")
    write_settled(new, data)
    moved(new, path)


def moved(fresh: Path, path: Path) -> None:
    """Give what is written and settled its name, on the disk when this returns."""
    fresh.replace(path)
    settle(path.parent)


def settle(folder: Path) -> None:
    """The names in a folder are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_settled(path: Path, data: bytes) -> None:
    """On the disk when this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
