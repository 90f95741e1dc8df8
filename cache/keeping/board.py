"""How does the one process of a node that does something let the others see how far it is? By a small file of JSON."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec


class Board[Row: msgspec.Struct]:
    """Rows of one kind, which one process writes and any reads."""

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._told = b""

    def read(self) -> list[Row]:
        """The rows as they were last written, none where they never were."""
        with suppress(OSError, msgspec.MsgspecError):
            return self._decoder.decode(self.path.read_bytes())
        return []

    def write(self, rows: Sequence[Row]) -> None:
        """A full disk loses it, nothing else."""
        told = msgspec.json.encode(rows)
        if told != self._told:
            with suppress(OSError):
                fresh = self.path.with_suffix(".new")
                fresh.write_bytes(told)
                os.replace(fresh, self.path)
                self._told = told
