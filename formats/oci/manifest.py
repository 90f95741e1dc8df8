"""What does a manifest say of itself and of what it is made of?

Read strictly, since others read it too: a document that two readers could take for two things is refused
(CVE-2021-41190): its own `mediaType`, where it has one, is its Content-Type; an image has no `manifests`, an index
has no `layers`, and no member stands there twice. What is kept is the graph; the bytes stay as they came.
"""

import json
from typing import Any

import msgspec

from formats.oci import names
from storage.errors import Invalid, TooLarge

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
INDEXES = frozenset((OCI_INDEX, DOCKER_LIST))
MEDIA = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT)

MANIFEST_BYTES_MAX = 4 << 20
REFERENCES_MAX = 10_000
MEDIA_CHARS_MAX = 255
ARCHITECTURE_CHARS_MAX = 50

_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)
"""Media types of layers that need not be here: their bytes are fetched from the addresses that the manifest gives."""


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a manifest: `blobs` and `manifests` are the digests it needs here, in order. `annotations` is
    the JSON object as it stands there, b"" for none. `artifact` is the type that lists of referrers filter by."""

    media: str
    size: int
    blobs: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    subject: str = ""
    artifact: str = ""
    annotations: bytes = b""
    architectures: tuple[str, ...] = ()
    """Those that an index says its manifests are for."""


def packed(manifest: Manifest) -> bytes:
    return msgspec.msgpack.encode(manifest)


_decoder = msgspec.msgpack.Decoder(Manifest)


def unpacked(facts: bytes) -> Manifest:
    return _decoder.decode(facts)


def media_of(content_type: str) -> str:
    """A Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse(raw: bytes, content_type: str) -> Manifest:
    """The graph of a manifest of up to MANIFEST_BYTES_MAX bytes. Raises Invalid, TooLarge."""
    document = _document(raw)
    media = _media(document, media_of(content_type))
    if media in INDEXES:
        _without(document, "config", "layers", "blobs", "fsLayers")
        children = _descriptors(document, "manifests")
        found = Manifest(
            media, len(raw), (), tuple(digest for digest, _ in children), architectures=_architectures(document)
        )
    elif media == OCI_ARTIFACT:
        _without(document, "config", "layers", "manifests", "fsLayers")
        found = Manifest(media, len(raw), _here(_descriptors(document, "blobs")))
    else:
        _without(document, "manifests", "blobs", "fsLayers")
        config = _descriptor(document.get("config"), "config")
        found = Manifest(media, len(raw), (config[0], *_here(_descriptors(document, "layers"))))
    if len(found.blobs) + len(found.manifests) > REFERENCES_MAX:
        raise TooLarge(f"A manifest refers to at most {REFERENCES_MAX} things here.", "Split it with an index.")
    subject = document.get("subject")
    return msgspec.structs.replace(
        found,
        subject=_descriptor(subject, "subject")[0] if subject is not None else "",
        artifact=_artifact(document, media),
        annotations=_annotations(document),
    )


def _document(raw: bytes) -> dict[str, Any]:
    if len(raw) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"A manifest has at most {MANIFEST_BYTES_MAX} bytes.", "Store large data as a blob.")
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_members, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise Invalid(
            "The manifest is no JSON that every reader would read alike.", "Is it sent as it was made?"
        ) from None
    if not isinstance(document, dict):
        raise Invalid("The manifest is no JSON object.", "Send an image manifest or an index.")
    if document.get("schemaVersion") != 2 and "schemaVersion" in document:
        raise Invalid("The manifest's schemaVersion is not 2.", "Push the image with a client of this decade.")
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _media(document: dict[str, Any], sent: str) -> str:
    own = document.get("mediaType", "")
    if not isinstance(own, str):
        raise Invalid("The manifest's mediaType is no text.")
    if own and sent and own != sent:
        raise Invalid("The manifest says another mediaType than its Content-Type.", "Send it with its own mediaType.")
    media = own or sent
    if media not in MEDIA:
        raise Invalid("Manifests of this media type are not known here.", f"Known: {', '.join(MEDIA)}.")
    return media


def _without(document: dict[str, Any], *members: str) -> None:
    for member in members:
        if member in document:
            raise Invalid(f"A manifest of this media type has no {member}.", "A manifest is one thing, not two.")


def _descriptors(document: dict[str, Any], member: str) -> list[tuple[str, str]]:
    found = document.get(member)
    if found is None:
        found = []
    if not isinstance(found, list):
        raise Invalid(f"The manifest's {member} are no list.")
    return [_descriptor(one, member) for one in found]


def _descriptor(one: object, where: str) -> tuple[str, str]:
    """(digest, media type) of a descriptor."""
    if not isinstance(one, dict):
        raise Invalid(f"The manifest's {where} is no descriptor.", "It needs mediaType, digest and size.")
    digest, media, size = one.get("digest"), one.get("mediaType", ""), one.get("size")
    if not isinstance(digest, str) or not names.is_digest(digest):
        raise Invalid(f"A descriptor in {where} has no digest that is known here.", "Use sha256 or sha512.")
    if not isinstance(media, str) or len(media) > MEDIA_CHARS_MAX:
        raise Invalid(f"A descriptor in {where} has no good mediaType.")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid(f"A descriptor in {where} has no size.")
    return digest, media


def _here(descriptors: list[tuple[str, str]]) -> tuple[str, ...]:
    """The digests of what must be here."""
    return tuple(digest for digest, media in descriptors if not media.startswith(_ELSEWHERE))


def _architectures(document: dict[str, Any]) -> tuple[str, ...]:
    """What an index says of them, each once; what makes no sense is left out (image-spec, image-index.md)."""
    found = set()
    for one in document.get("manifests") or ():
        platform = one.get("platform")
        said = platform.get("architecture") if isinstance(platform, dict) else None
        if isinstance(said, str) and 0 < len(said) <= ARCHITECTURE_CHARS_MAX and said.isprintable():
            found.add(said)
    return tuple(sorted(found - {"unknown"}))


def _artifact(document: dict[str, Any], media: str) -> str:
    """The artifactType, or the config's media type, which older clients use for it."""
    own = document.get("artifactType", "")
    if own is None or own == "":
        config = document.get("config")
        own = config.get("mediaType", "") if media in IMAGES and isinstance(config, dict) else ""
    if not isinstance(own, str) or len(own) > MEDIA_CHARS_MAX:
        raise Invalid("The manifest's artifactType is no media type.")
    return own


def _annotations(document: dict[str, Any]) -> bytes:
    found = document.get("annotations")
    if not found:
        return b""
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Invalid("The manifest's annotations are not texts by name.")
    return msgspec.json.encode(found)
