"""What do requests ask of documents that cover a whole repository, and of sets of them that are signed as one?

`gateway.indexes` makes them; here is only what the way of a request knows of it.
"""

from typing import Protocol

import msgspec

from formats.kit.contract import Room
from gateway.delivery.messages.answers import Answer
from gateway.delivery.requests.request import Request
from gateway.front.reads.admitted import Admitted
from storage.index.catalog import Reading


class Place(msgspec.Struct, frozen=True):
    """Which set: of one format in one Repository."""

    workspace: str
    repository: str
    format: str
    set: str

    def key(self) -> bytes:
        return "\0".join((self.workspace, self.repository, self.format, self.set)).encode()


class Signed(Protocol):
    """Clients' questions (`resolve`, `answer`) and those of edges (`tell`, `tell_certificates`)."""

    def resolve(self, reading: Reading, admitted: Admitted) -> Answer | None:
        """The answer, where it needs no more than what is here."""
        ...

    async def answer(self, request: Request, admitted: Admitted) -> None:
        """Whatever it takes."""
        ...

    async def tell(self, request: Request, rooms: dict[str, Room], place: Place, sha256: str) -> None:
        """A set, or one of its documents, to an edge."""
        ...

    async def tell_certificates(self, request: Request, workspace: str, name: str) -> None:
        """The public keys of a Repository, to an edge."""
        ...
