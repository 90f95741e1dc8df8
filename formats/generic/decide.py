"""What does a file that arrived, or a deletion, change?

A path never changes its bytes by accident: other bytes over an existing path need If-Match, or a deletion before. A
path that is a directory of other files is no file, and the other way round, so that a tree always fits on a disk.
"""

import hmac

import msgspec

from formats.generic import checks, wire
from formats.generic.wire import NAME, Wish
from formats.kit.contract import Ask, Blob, Decision, Finds, Reply
from storage.errors import Absent, Conflict, Invalid
from storage.nouns import DropFile, DropPackage, File, Package, PutFile, PutPackage, View


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """The Decision for an upload or a deletion, as its `context` has it.

    Raises Invalid (digests), PreconditionFailed, Conflict, Absent; then nothing is stored.
    """
    wish = msgspec.convert(finds.context, Wish)
    there = view.file(wish.path, wire.last(wish.path))
    checks.require(wire.entity_tag(there.sha256) if there else "", wish.if_match, wish.if_none_match)
    if wish.do == "delete":
        return _delete(wish, there)
    blob = finds.blobs["file"]
    _compare(wish, blob)
    return _put(ask, wish, blob, there, view)


def _compare(wish: Wish, blob: Blob) -> None:
    """Raises Invalid unless the bytes that came are the bytes that were announced."""
    came = {**blob.digests, "sha256": blob.sha256.hex()}
    for algorithm, announced in wish.expect.items():
        if algorithm not in came:
            raise Invalid(f"The {algorithm} of this upload cannot be checked here.", "Announce its sha-256 instead.")
        if not hmac.compare_digest(came[algorithm], announced):
            raise Invalid(
                f"The bytes that arrived have the {algorithm} {came[algorithm]}, not the announced {announced}.",
                "Nothing was kept: send the file again.",
            )


def _put(ask: Ask, wish: Wish, blob: Blob, there: File | None, view: View) -> Decision:
    if there is not None and there.sha256 == blob.sha256:
        return Decision("publish", (), _said(ask, wish, 200, there))
    if there is not None and wish.if_match is None:
        raise Conflict(
            f"There is a file with other bytes at {wish.path}.",
            f"Delete it first, or send If-Match: {wire.entity_tag(there.sha256)} to replace it.",
        )
    if there is None:
        fits(wish.path, view)
    file = File(
        name=wire.last(wish.path),
        version="",
        sha256=blob.sha256,
        size=blob.size,
        media=wish.media,
        at_ms=ask.at_ms,
        digests={name: text for name, text in blob.digests.items() if name != "sha256"},
    )
    if there is not None:
        return Decision("replace", (PutFile(NAME, wish.path, file),), _said(ask, wish, 200, file))
    package = PutPackage(NAME, Package(wish.path, ask.at_ms))
    return Decision("publish", (package, PutFile(NAME, wish.path, file)), _said(ask, wish, 201, file))


def fits(path: str, view: View) -> None:
    """Raises Conflict where a new file would lie in a file, or on a directory."""
    for at, character in enumerate(path):
        if character == "/" and view.package(path[:at]) is not None:
            raise Conflict(
                f"{path[:at]} is a file, so nothing can lie in it.", "Choose another path, or delete that file."
            )
    if next(iter(view.packages(prefix=path + "/")), None) is not None:
        raise Conflict(f"{path} is a directory of other files.", "Choose another path, or delete those files.")


def _delete(wish: Wish, there: File | None) -> Decision:
    if there is None:
        raise Absent(f"There is no file at {wish.path}.", "A directory goes away with its last file.")
    changes = (DropFile(NAME, wish.path, there.name, forget=True), DropPackage(NAME, wish.path))
    return Decision("delete", changes, Reply(204))


def _said(ask: Ask, wish: Wish, status: int, file: File) -> Reply:
    headers = [
        ("Location", wire.address(ask.base, wish.path)),
        ("ETag", wire.entity_tag(file.sha256)),
        ("Repr-Digest", wire.repr_digest(file.sha256)),
    ]
    if ask.method == "PATCH":
        headers.append(("Upload-Complete", "?1"))
    body = msgspec.json.encode({"path": wish.path, "size": file.size, "sha256": file.sha256.hex()})
    return Reply(status, body + b"\n", "application/json", tuple(headers))
