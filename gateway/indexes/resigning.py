"""How does an upstream's manifest come to be signed by our own keys?

It is asked for, verified with the certificates that were given for its owner, looked through by the room (which set
is it of, until when is it valid, is it older than the one before?), and its text is sealed anew as it stands. What it
lists is not looked at: the digests that it gives are what client and room hold each document against.

Everything here is blocking.
"""

from collections.abc import Callable
from typing import cast

import msgspec

from cache.asking.upstream import Remote
from formats.kit.contract import Indexed, Resigned, Room
from gateway.access.secrets.signing import SigningKeys, opened
from gateway.front.reads.needs import upstreams_of
from gateway.front.reads.signed import Place
from gateway.indexes.generations import Generation, Generations, serials_of
from storage.errors import Absent, UpstreamFailed
from storage.index.catalog import Catalog, Reading
from storage.nouns import Repository, Upstream, View
from storage.spans import stepped

_GONE = (404, 410)


class Resigning:
    """An origin's. `secret_of` gives the Authorization value for an upstream."""

    def __init__(
        self,
        catalog: Catalog,
        generations: Generations,
        signing: SigningKeys,
        remote: Remote,
        secret_of: Callable[[str, str, Upstream], str],
        now_ms: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._generations = generations
        self._signing = signing
        self._remote = remote
        self._secret_of = secret_of
        self._now_ms = now_ms

    @stepped("sign generation anew")
    def bring(self, place: Place, room: Indexed) -> Generation:
        """A generation of an upstream's text. Raises Absent, UpstreamFailed."""
        resigned = cast("Resigned", room)
        with self._catalog.read() as reading:
            repository = reading.repository(place.workspace, place.repository)
            view = reading.view(place.workspace, place.repository, place.format)
            serials = serials_of(reading, place)
            upstreams = signing_upstreams(repository, view, room, resigned.claim(place.set)) if repository else ()
        if repository is None or not upstreams:
            raise Absent("There is no such set.")
        held = self._generations.held(place)
        if held is not None and held.rows:
            held = None  # of a time when it was published here
        at_ms = self._now_ms()
        upstream, body = self._asked(place, resigned, upstreams)
        valid_s = resigned.believed(body, place.set, held.body if held else b"", at_ms)
        fresh_s = min(upstream.fresh_s, valid_s) if valid_s else upstream.fresh_s
        fresh_until_ms, until_ms = at_ms + max(1, fresh_s) * 1000, at_ms + valid_s * 1000 if valid_s else 0
        if held is not None and held.body == body and held.serials.repository == serials.repository:
            made = msgspec.structs.replace(held, serials=serials, fresh_until_ms=fresh_until_ms)
        else:
            before = self._generations.held(place)
            modified_s = max(at_ms // 1000, before.modified_s + 1 if before else 0)
            seals = self._signing.seals(place.workspace, place.repository, body, repository.certificates)
            made = Generation(serials, at_ms, modified_s, fresh_until_ms, body, seals, (), (), until_ms)
        self._generations.keep(place, made)
        return made

    def _asked(self, place: Place, room: Resigned, upstreams: tuple[Upstream, ...]) -> tuple[Upstream, bytes]:
        """The first upstream that has the set, and its text, verified."""
        failure: UpstreamFailed | None = None
        for upstream in upstreams:
            pull = room.theirs(place.set)
            secret = self._secret_of(place.workspace, place.repository, upstream)
            try:
                answer = self._remote.fetch_document(
                    upstream.url + pull.path,
                    {"authorization": secret} if secret else {},
                    bytes_max=pull.bytes_max,
                    private_network=upstream.private_network,
                )
                if answer.status in _GONE:
                    continue
                if answer.status != 200:
                    raise UpstreamFailed(f"The upstream answered {answer.status}.", "Try again.")
                return upstream, opened(answer.body, upstream.signed_by)
            except UpstreamFailed as problem:
                failure = failure or problem
        raise failure or Absent("No upstream has this set.")


def signing_upstreams(repository: Repository, view: View, room: Indexed, claim: str) -> tuple[Upstream, ...]:
    """The upstreams whose manifests are signed anew: others are passed on as they are, and not mixed with these."""
    found = upstreams_of(repository, view, cast("Room", room), claim)
    return tuple(one for one in found if one.signed_by)


def signed_anew(reading: Reading, place: Place, room: Room | None) -> bool:
    """Is the manifest of this set an upstream's, under our keys?"""
    repository = reading.repository(place.workspace, place.repository)
    if repository is None or room is None or not hasattr(room, "claim"):
        return False
    view = reading.view(place.workspace, place.repository, place.format)
    return bool(signing_upstreams(repository, view, cast("Indexed", room), cast("Resigned", room).claim(place.set)))
