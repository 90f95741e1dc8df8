"""Where does an origin keep the addresses, signing secrets and headers of webhooks?

In `webhooks.json` (0600) in its data directory, and nowhere else. An entry is under the `revision` that the journal's
noun names: a new one is written before the commit that points to it and the old one is dropped after, so at every
moment, whatever crashes, the noun and what it names belong together, and no change goes without its audit event.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import msgspec

from gateway.access.secrets.secretfile import SecretFile
from storage.errors import Unavailable

FILE_NAME = "webhooks.json"
HIDDEN_CHARS_MIN = 6
"""Shorter texts are in everything."""
ORPHAN_MS = 3600 * 1000


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signing secret, until `until_ms` where another has taken its place; 0 = for good."""

    text: str
    until_ms: int = 0

    def __repr__(self) -> str:
        return "Secret(hidden)"


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What nobody is shown of one revision of a webhook."""

    hook: str
    at_ms: int
    url: str
    secrets: tuple[Secret, ...]
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Sealed({self.hook}, hidden)"

    def good(self, now_ms: int) -> tuple[str, ...]:
        """The secrets that sign now, the newest first."""
        return tuple(one.text for one in self.secrets if not one.until_ms or now_ms < one.until_ms)

    @property
    def hidden(self) -> tuple[str, ...]:
        """What must not be seen anywhere, not even where a receiver sends it back."""
        texts = [one.text for one in self.secrets] + list(self.headers.values())
        texts += [one.text.partition("_")[2] for one in self.secrets]
        path = self.url.partition("://")[2].partition("/")[2]
        texts += [self.url, path]
        for _, value in parse_qsl(urlsplit(self.url).query, keep_blank_values=True):
            texts += [value, quote(value, safe=""), quote_plus(value)]
        known = {one for one in texts if len(one) >= HIDDEN_CHARS_MIN}
        return tuple(sorted(known, key=lambda one: (-len(one), one)))  # what holds another goes first


class Sealing:
    """The file. Calls are synchronous; changes wait for the disk. Raises Full, Damaged."""

    def __init__(self, path: Path) -> None:
        self._file = SecretFile(path, dict[str, Sealed])

    def get(self, revision: str) -> Sealed:
        """Raises Unavailable where it is not there: the file was lost."""
        found = self._file.read().get(revision)
        if found is None:
            raise Unavailable("The webhook's address and secret are lost.", "Give its url anew, and rotate its secret.")
        return found

    def find(self, revision: str) -> Sealed | None:
        return self._file.read().get(revision)

    def put(self, revision: str, sealed: Sealed) -> None:
        self._file.change(lambda known: {**known, revision: sealed})

    def drop(self, revision: str) -> None:
        """What no commit came to name."""
        self._file.change(lambda known: {key: one for key, one in known.items() if key != revision})

    def keep_only(self, hook: str, revision: str) -> None:
        """Drop all other revisions of a webhook; all of them for ""."""
        self._file.change(lambda known: {key: one for key, one in known.items() if one.hook != hook or key == revision})

    def forget(self, living: Mapping[str, str], now_ms: int) -> None:
        """Drop what no webhook names (`living`: revision by id), unless it is so young that one may be about to."""

        def named(key: str, one: Sealed) -> bool:
            return living.get(one.hook) == key or now_ms - one.at_ms < ORPHAN_MS

        self._file.change(lambda known: {key: one for key, one in known.items() if named(key, one)})
