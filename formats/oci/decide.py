"""What does a blob, a manifest or a deletion change?

A manifest is taken only when all that it needs is linked under the same name: whoever pulls it gets all of it, and
nobody gets at bytes by naming the digest of something that another image has (C2). What names a subject is listed with
it from then on, whether the subject is here or not.
"""

import hmac
from typing import Any

from formats.kit.contract import Ask, Blob, Decision, Finds, Reply
from formats.oci import names, wire
from formats.oci.manifest import Manifest, packed, unpacked
from formats.oci.names import FORMAT
from storage.errors import Absent
from storage.nouns import (
    AnyChange,
    DropFile,
    DropTag,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)


class PartUnknown(Absent):
    """A manifest refers to something that is not here."""

    code = "MANIFEST_BLOB_UNKNOWN"


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """Raises DigestInvalid, PartUnknown, Absent; then nothing is stored."""
    wish = finds.context
    match wish["do"]:
        case "blob":
            return _blob(ask, wish, finds.blobs["file"], view)
        case "manifest":
            return _manifest(ask, wish, finds, view)
        case "delete-tag":
            return _delete_tag(wish, view)
        case "delete-manifest":
            return _delete_manifest(wish, view)
    return _delete_blob(wish, view)


# ---------------------------------------------------------------- what comes


def _blob(ask: Ask, wish: dict[str, Any], blob: Blob, view: View) -> Decision:
    name = wish["name"]
    borrowed = wish.get("digest", "")
    digest = borrowed or ask.argument("digest")
    if not borrowed:
        _compare(digest, blob)
    location = ("Location", f"{ask.home}/{name}/blobs/{digest}")
    reply = Reply(201, headers=(location, (wire.DIGEST_HEADER, digest)))
    if view.file(name, names.blob_file(digest)) is not None:
        return Decision("publish", (), reply)
    file = File(names.blob_file(digest), "", blob.sha256, blob.size, at_ms=ask.at_ms, digests=_others(blob))
    return Decision("publish", (*_package(ask, name, view), PutFile(FORMAT, name, file)), reply)


def _manifest(ask: Ask, wish: dict[str, Any], finds: Finds, view: View) -> Decision:
    name, blob = wish["name"], finds.blobs["file"]
    digest = wish["digest"] or f"sha256:{blob.sha256.hex()}"
    _compare(digest, blob)
    manifest = unpacked(finds.facts)
    _whole(name, manifest, view)
    changes: list[AnyChange] = []
    there = view.file(name, names.manifest_file(digest))
    if there is None or there.media != manifest.media:
        file = File(
            names.manifest_file(digest), digest, blob.sha256, blob.size, manifest.media, ask.at_ms, _others(blob)
        )
        version = Version(digest, ask.at_ms, packed(manifest))
        changes += [*_package(ask, name, view), PutVersion(FORMAT, name, version), PutFile(FORMAT, name, file)]
        if manifest.subject:
            changes.append(PutVersion(FORMAT, names.referrers_of(name, manifest.subject), version))
    changes += [PutTag(FORMAT, name, tag, digest) for tag in wish["tags"] if view.tag(name, tag) != digest]
    headers = [("Location", f"{ask.home}/{name}/manifests/{digest}"), (wire.DIGEST_HEADER, digest)]
    if manifest.subject:
        headers.append(("OCI-Subject", manifest.subject))
    headers += [("OCI-Tag", tag) for key, tag in ask.query if key == "tag"]
    return Decision("publish", tuple(changes), Reply(201, headers=tuple(headers)))


def _compare(digest: str, blob: Blob) -> None:
    """Raises DigestInvalid unless the bytes that came have this digest."""
    algorithm, _, announced = digest.partition(":")
    came = blob.sha256.hex() if algorithm == "sha256" else blob.digests.get(algorithm, "")
    if not hmac.compare_digest(came, announced):
        raise names.DigestInvalid(
            f"The bytes that arrived have the digest {algorithm}:{came}, not the announced {digest}.",
            "Nothing was kept: send them again.",
        )


def _whole(name: str, manifest: Manifest, view: View) -> None:
    """Raises PartUnknown where something that the manifest needs is not linked here."""
    for digest in manifest.blobs:
        if view.file(name, names.blob_file(digest)) is None:
            raise PartUnknown(f"The blob {digest} is not in {name}.", "Push it first, or mount it from where it is.")
    for digest in manifest.manifests:
        if view.file(name, names.manifest_file(digest)) is None:
            raise PartUnknown(f"The manifest {digest} is not in {name}.", "Push what an index lists before the index.")


def _package(ask: Ask, name: str, view: View) -> tuple[AnyChange, ...]:
    return () if view.package(name) is not None else (PutPackage(FORMAT, Package(name, ask.at_ms)),)


def _others(blob: Blob) -> dict[str, str]:
    return {algorithm: text for algorithm, text in blob.digests.items() if algorithm != "sha256"}


# ---------------------------------------------------------------- what goes


def _delete_tag(wish: dict[str, Any], view: View) -> Decision:
    """The manifest stays, under its digest and its other tags."""
    if view.tag(wish["name"], wish["at"]) is None:
        raise Absent(f"There is no tag {wish['at']} here.")
    return Decision("untag", (DropTag(FORMAT, wish["name"], wish["at"]),), Reply(202))


def _delete_manifest(wish: dict[str, Any], view: View) -> Decision:
    """With all its tags, and out of its subject's referrers. A digest always has the same bytes, so nothing need be
    remembered of it: it may come again."""
    name, digest = wish["name"], wish["at"]
    version = view.version(name, digest)
    if version is None:
        raise Absent("There is no such manifest here.")
    changes: list[AnyChange] = [
        DropFile(FORMAT, name, names.manifest_file(digest), forget=True),
        DropVersion(FORMAT, name, digest),
    ]
    if subject := unpacked(version.facts).subject:
        changes.append(DropVersion(FORMAT, names.referrers_of(name, subject), digest))
    return Decision("delete", tuple(changes), Reply(202))


def _delete_blob(wish: dict[str, Any], view: View) -> Decision:
    file = names.blob_file(wish["at"])
    if view.file(wish["name"], file) is None:
        raise Absent("There is no such blob here.")
    return Decision("delete", (DropFile(FORMAT, wish["name"], file, forget=True),), Reply(202))
