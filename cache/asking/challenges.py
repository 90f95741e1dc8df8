"""How is a registry asked that wants a pass of its own issuing with each request (Docker's token authentication)?

It answers 401 and names a realm, where a pass for a scope is to be had. The realm is hostile input: it is judged like
every other address, must be https where the registry is, and is shown a credential only when it belongs to the same
site. Passes are remembered until shortly before they end, so that the 401 is not met again with every layer.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import msgspec

from cache.asking.addresses import Place, place
from storage.errors import Invalid, UpstreamFailed

PASSES_MAX = 1_000
PASS_BYTES_MAX = 64 << 10
PASS_CHARS_MAX = 12 << 10
SECONDS_DEFAULT = 60.0
SECONDS_MAX = 3600.0
EARLY_SECONDS = 10.0
"""A pass is let go this long before it ends."""

_PARAMETER = re.compile(r'([a-z]{1,20})="([^"\\]{0,2000})"')
_IMAGE = re.compile(r"(/v2/.+?)/(?:manifests|blobs|tags|referrers)/")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Where a pass is to be had, and for what."""

    realm: Place
    service: str
    scope: str

    @property
    def url(self) -> str:
        query = urlencode({name: value for name, value in (("service", self.service), ("scope", self.scope)) if value})
        mark = "&" if "?" in self.realm.url else "?"
        return self.realm.url + (mark + query if query else "")


class _Answer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float = SECONDS_DEFAULT


@dataclass(slots=True)
class Passes:
    """Passes by registry, credential and image. Thread-safe."""

    clock: Callable[[], float] = time.monotonic
    _known: dict[tuple[object, ...], tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def for_(self, where: Place, credential: str) -> str:
        """A pass that is good there, "" where none is known."""
        with self._lock:
            text, until_s = self._known.get(_key(where, credential), ("", 0.0))
        return text if self.clock() < until_s else ""

    def keep(self, where: Place, credential: str, text: str, seconds: float) -> None:
        until_s = self.clock() + min(seconds, SECONDS_MAX) - EARLY_SECONDS
        with self._lock:
            if len(self._known) >= PASSES_MAX:
                self._known.clear()
            self._known[_key(where, credential)] = (text, until_s)

    def forget(self, where: Place, credential: str) -> None:
        with self._lock:
            self._known.pop(_key(where, credential), None)


def _key(where: Place, credential: str) -> tuple[object, ...]:
    image = _IMAGE.match(where.target)
    return (*where.origin, credential, image[1] if image else where.target)


def challenge_of(where: Place, headers: Mapping[str, str]) -> Challenge | None:
    """What a 401 of `where` asks for; None where it is not this scheme, or a realm that is not to be asked."""
    told = headers.get("www-authenticate", "").strip()
    if told[:7].lower() != "bearer ":
        return None
    said = dict(_PARAMETER.findall(told[7:8000]))
    try:
        realm = place(said.get("realm", ""))
    except Invalid:
        return None
    if where.scheme == "https" and realm.scheme != "https":
        return None
    return Challenge(realm, said.get("service", ""), said.get("scope", ""))


def may_show(where: Place, realm: Place) -> bool:
    """Does the realm belong to the registry's own site, so that it may see the registry's credential?"""
    if where.host == realm.host:
        return True
    ours, theirs = where.host.split("."), realm.host.split(".")
    named = not (where.host.replace(".", "").isdigit() or ":" in where.host)
    return named and len(ours) > 2 and min(len(ours), len(theirs)) >= 2 and ours[-2:] == theirs[-2:]


def pass_of(body: bytes, who: str) -> tuple[str, float]:
    """(pass, seconds) out of a realm's answer. Raises UpstreamFailed."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamFailed(f"{who} gives no pass.", "Check the upstream's credential.") from None
    text = answer.token or answer.access_token
    if not text or len(text) > PASS_CHARS_MAX or not (text.isascii() and text.isprintable()) or " " in text:
        raise UpstreamFailed(f"{who} gives no pass.", "Check the upstream's credential.")
    return text, answer.expires_in if answer.expires_in > 0 else SECONDS_DEFAULT
