"""Of which packages of foreign registries has this node heard? By name, so that a search finds them too.

A record for each package that an upstream was asked for and knows, beside what is known of it
(cache.foreign.knowledge), and as forgettable. It names the upstreams that it may come from and the versions that
there were.
"""

from collections.abc import Iterator, Sequence

import msgspec

from cache.keeping.shelf import Shelf

KIND = "foreign-name"
VERSIONS_MAX = 1_000
"""So many versions are kept by name, the last that are told."""
READ_AT_ONCE = 1_000


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """`since` is the Serial of the place's last purge when it was heard, 0 = none."""

    upstreams: tuple[str, ...]
    versions: tuple[str, ...]
    at_ms: int
    since: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Noted).decode


def note(shelf: Shelf, place: Sequence[str], noted: Noted) -> None:
    """`place`: workspace, repository, format, package."""
    kept = msgspec.structs.replace(noted, versions=noted.versions[-VERSIONS_MAX:])
    shelf.put(KIND, _key(place), _encode(kept))


def forget(shelf: Shelf, place: Sequence[str], upstreams: Sequence[str]) -> None:
    """These upstreams do not have it (any more). What was heard of it from another one stays."""
    raw = shelf.get(KIND, _key(place))
    if raw is not None and set(_decode(raw).upstreams) <= set(upstreams):
        shelf.drop(KIND, _key(place))


def noted_in(shelf: Shelf, place: Sequence[str], prefix: str = "", after: str = "") -> Iterator[tuple[str, Noted]]:
    """What was heard of in one format of a Repository, by name: what begins with `prefix` and is behind `after`.

    `place`: workspace, repository, format. Some are read at a time, and no more than are asked for; each time blocks.
    """
    within = _key(place) + b"\0"
    last = within + after.encode() if after else b""
    while True:
        some = shelf.scan(KIND, within + prefix.encode(), after=last, most=READ_AT_ONCE)
        for key, value in some:
            yield key[len(within) :].decode(), _decode(value)
        if len(some) < READ_AT_ONCE:
            return
        last = some[-1][0]


def _key(place: Sequence[str]) -> bytes:
    return "\0".join(place).encode()
