"""What do tests of the store share? Opening one with small limits, publishing into it, and reading it all back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.commit import Committed, Decided, Room
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Draft, File, Package, PutFile, PutPackage, PutVersion, Version
from storage.open import Store, open_store

NO_ROOM_KEPT = Room(0, 0)


@contextmanager
def opened(root: Path, role: str = "origin", **limits: Any) -> Iterator[Store]:
    """A store for a block; keeps no room free, so that it also runs on a small disk."""
    store = open_store(root, role=role, worker=0, **{"room": NO_ROOM_KEPT, **limits})
    try:
        yield store
    finally:
        store.close()


def draft(*changes: AnyChange, workspace: str = "acme", repository: str = "main", action: str = "test") -> Draft:
    return Draft(workspace, repository, "tester", action, changes)


async def write(store: Store, *changes: AnyChange, workspace: str = "acme", repository: str = "main") -> Committed:
    """Commit changes that bring no bytes."""
    assert store.committer is not None
    wanted = draft(*changes, workspace=workspace, repository=repository)
    return await store.committer.commit(lambda reading: Decided(wanted))


async def publish(store: Store, name: str, data: bytes, *, package: str = "pkg", format: str = "generic") -> Committed:
    """Commit one file with its package and version."""
    assert store.committer is not None
    with store.intake.stage() as staged:
        for at in range(0, len(data), 1 << 16):
            staged.write(data[at : at + (1 << 16)])
        staged.seal()
        wanted = draft(
            PutPackage(format, Package(package)),
            PutVersion(format, package, Version("1")),
            PutFile(format, package, File(name, "1", staged.sha256, staged.size)),
        )
        return await store.committer.commit(lambda reading: Decided(wanted), [staged])


def content(
    store: Store,
    reading: Reading,
    name: str,
    *,
    package: str = "pkg",
    format: str = "generic",
    workspace: str = "acme",
) -> bytes | None:
    """The bytes of a published file; None where there is no such file. Missing bytes are an error."""
    file = reading.view(workspace, "main", format).file(package, name)
    if file is None:
        return None
    located = store.blobs.find(file.sha256)
    assert located is not None, f"{name} has no bytes"
    assert located.size == file.size
    return located.read()
