"""What does a small image look like, made from nothing but bytes?"""

import hashlib
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(data: bytes, media: str) -> dict[str, Any]:
    return {"mediaType": media, "digest": digest_of(data), "size": len(data)}


def manifest(
    config: bytes, *layers: bytes, subject: bytes | None = None, artifact: str = "", notes: dict[str, str] | None = None
) -> dict[str, Any]:
    """An image manifest; `subject` is the bytes of the manifest that it is about."""
    found: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST}
    if artifact:
        found["artifactType"] = artifact
    found |= {"config": descriptor(config, CONFIG), "layers": [descriptor(layer, LAYER) for layer in layers]}
    return found | _rest(subject, notes)


def index(*manifests: bytes, subject: bytes | None = None, notes: dict[str, str] | None = None) -> dict[str, Any]:
    listed = [descriptor(one, MANIFEST) for one in manifests]
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed} | _rest(subject, notes)


def _rest(subject: bytes | None, notes: dict[str, str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if subject is not None:
        found["subject"] = descriptor(subject, MANIFEST)
    if notes:
        found["annotations"] = notes
    return found
