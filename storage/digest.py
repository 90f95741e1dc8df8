"""How do bytes get their identity? sha256 always, in one pass with every other digest that a format asks for."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

ALGORITHMS = ("sha256", "sha512", "sha1", "md5", "blake2b_256")


class Running(Protocol):
    """A hash being computed."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


def new(algorithm: str) -> Running:
    """A fresh hash object of one of ALGORITHMS. md5 and sha1 identify nothing here: old clients compare them."""
    if algorithm == "blake2b_256":
        return hashlib.blake2b(digest_size=32)
    if algorithm not in ALGORITHMS:
        raise ValueError(f"no such digest: {algorithm}")
    return hashlib.new(algorithm, usedforsecurity=False)


class Hasher:
    """sha256 and `also` over the same bytes; feed with `update`, read `sha256` (32 bytes) and `others` (hex)."""

    def __init__(self, also: Iterable[str] = ()) -> None:
        self._identity = hashlib.sha256()
        self._also = {name: new(name) for name in also if name != "sha256"}
        self.size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._identity.update(data)
        for one in self._also.values():
            one.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> bytes:
        return self._identity.digest()

    @property
    def others(self) -> dict[str, str]:
        return {name: one.hexdigest() for name, one in self._also.items()}


def sha256(data: bytes) -> bytes:
    """The 32 byte identity of `data`."""
    return hashlib.sha256(data).digest()
