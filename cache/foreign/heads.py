"""What does the head of a foreign registry's answer tell of a file, and may it be one? (pure)"""

import re
from collections.abc import Mapping
from typing import Protocol

from cache.asking.bodies import Source
from storage.errors import UpstreamFailed

_HEADER_CHARACTERS_MAX = 2000
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}(?:; ?[a-z0-9-]{1,20}=[a-z0-9._-]{1,60})?")
_HEX = re.compile(r"[0-9a-f]+")
_HEX_CHARACTERS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


class Wanted(Protocol):
    """A file as its room asks for it (formats.kit.contract.Pull)."""

    @property
    def path(self) -> str: ...
    @property
    def accept(self) -> str: ...
    @property
    def immutable(self) -> bool: ...
    @property
    def bytes_max(self) -> int: ...
    @property
    def digests(self) -> dict[str, str]: ...
    @property
    def announced(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def also(self) -> tuple[str, ...]: ...
    @property
    def headers(self) -> tuple[str, ...]: ...
    @property
    def looked(self) -> str: ...
    @property
    def lies_at(self) -> str: ...


def check(source: Source, wanted: Wanted) -> None:
    """Raises UpstreamFailed for a web page where a file was meant, and for what is too large."""
    media = source.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = wanted.path.partition("?")[0].rpartition("/")[2]
    if media == "text/html" and "html" not in wanted.accept and not name.endswith((".html", ".htm")):
        raise UpstreamFailed("The upstream answers with a web page.", "It may want a credential.")
    if source.length > wanted.bytes_max:
        raise UpstreamFailed(f"The upstream's file has more than {wanted.bytes_max} bytes.")


def media_of(headers: Mapping[str, str]) -> str:
    """The media type of an answer, as far as it may be passed on."""
    media = headers.get("content-type", "").strip()
    return media if _MEDIA.fullmatch(media.lower()) else "application/octet-stream"


def passed_on(wanted: Wanted, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers that a room wants kept, as far as they are fit to be."""
    kept = ((name, _kept(headers[name])) for name in wanted.headers if name in headers)
    return tuple((name, value) for name, value in kept if value)


def announced(wanted: Wanted, headers: Mapping[str, str]) -> dict[str, str]:
    """The digests that an answer's own headers announce, as far as they are digests."""
    told: dict[str, str] = {}
    for header, algorithm in wanted.announced:
        value = headers.get(header, "").strip().lower().removeprefix(algorithm + ":")
        if len(value) == _HEX_CHARACTERS.get(algorithm) and _HEX.fullmatch(value):
            told[algorithm] = value
    return told


def _kept(value: str) -> str:
    """A header's value that may be passed on, "" for one that may not."""
    fit = len(value) <= _HEADER_CHARACTERS_MAX and value.isascii() and value.isprintable()
    return value if fit else ""
