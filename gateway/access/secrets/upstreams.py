"""Where does an origin keep the credentials of its upstreams?

In `secrets.json` (0600) in its data directory, and nowhere else: the journal goes to every edge, and upstream
credentials must not. The file is small, replaced as a whole by rename, and written under a lock, so any worker may
change it and every worker sees the change at its next look.

A Credential is bound to the address it was given for: an upstream that is made again under the same name with another
url never gets the old one's secret.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.access.secrets.secretfile import IsThere, SecretFile

FILE_NAME = "secrets.json"


class Place(NamedTuple):
    """Which upstream a Credential is for. No part holds a slash."""

    workspace: str
    repository: str
    format: str
    name: str

    def key(self) -> str:
        return "/".join(self)


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is shown to one upstream: Basic with a `username`, Bearer without."""

    url: str
    password: str
    username: str = ""

    def authorization(self) -> str:
        """The value of the Authorization header."""
        if not self.username:
            return f"Bearer {self.password}"
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    def __repr__(self) -> str:
        return f"Credential(url={self.url!r}, password=hidden)"


_Known = dict[str, Credential]


class Secrets:
    """The credentials in `path`. Calls are synchronous; `set` and `remove` wait for the disk."""

    def __init__(self, path: Path) -> None:
        self._file = SecretFile(path, _Known)

    def get(self, place: Place, url: str) -> Credential | None:
        """The Credential of an upstream whose address is `url` now; None where none was given for that address.

        Raises Damaged where the file cannot be trusted.
        """
        found = self._current().get(place.key())
        return found if found is not None and found.url == url else None

    def set(self, place: Place, credential: Credential) -> None:
        """Keep a Credential, in place of what was there. Raises Full, Damaged."""
        self._change(lambda known: known | {place.key(): credential})

    def remove(self, place: Place) -> None:
        """Forget the Credential of one upstream; nothing happens where there is none."""
        self._change(lambda known: {key: value for key, value in known.items() if key != place.key()})

    def remove_repository(self, workspace: str, repository: str) -> None:
        """Forget the Credentials of all upstreams of a Repository."""
        gone = f"{workspace}/{repository}/"
        self._change(lambda known: {key: value for key, value in known.items() if not key.startswith(gone)})

    def remove_workspace(self, workspace: str) -> None:
        """Forget the Credentials of all upstreams of a Workspace."""
        self.retain(lambda at, _: at != workspace)

    def retain(self, wanted: IsThere) -> None:
        """Forget those of every Repository that is not `wanted` (workspace, repository), asked under the lock."""

        def is_wanted(key: str) -> bool:
            workspace, repository, *_ = key.split("/")
            return wanted(workspace, repository)

        if not all(map(is_wanted, self._current())):
            self._change(lambda known: {key: value for key, value in known.items() if is_wanted(key)})

    def _current(self) -> _Known:
        return self._file.read()

    def _change(self, edit: Callable[[_Known], _Known]) -> None:
        self._file.change(edit)
