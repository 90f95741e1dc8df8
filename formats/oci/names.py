"""What may things be called in an OCI registry, and under which names does the catalog know them?

A Package is an image name, the part of its address behind /v2/{workspace}/{repository}/. Its Files are `b/DIGEST` (a
blob that is linked here) and `m/DIGEST` (a manifest); each manifest is also a Version called DIGEST, which Tags point
to. What refers to a subject is a Version of a second Package, `NAME@DIGEST` of the subject, so that a list of referrers
is looked up and renewed by itself; no image can be called so. Digests stand as the client named them: bytes that came
under their sha512 are found under it.
"""

import re

from storage.errors import Invalid

FORMAT = "oci"
ALGORITHMS = {"sha256": 64, "sha512": 128}
"""Digest algorithms, and how many hex digits they have."""

NAME_CHARS_MAX = 255
TAGS_IN_ADDRESS_MAX = 32

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
_HEX = re.compile(r"[0-9a-f]+")
_ABOUT = re.compile(r"[a-z0-9]+-[0-9a-f]{64,128}(?:\.(?:sig|att|sbom))?")


class NameInvalid(Invalid):
    """No image can be called so."""

    code = "NAME_INVALID"


class DigestInvalid(Invalid):
    """A digest that cannot be read, or that other bytes have."""

    code = "DIGEST_INVALID"


class TagInvalid(Invalid):
    """No tag can be called so."""

    code = "TAG_INVALID"


def image_name(text: str) -> str:
    """`text`, if it can name an image. Raises NameInvalid."""
    if len(text) > NAME_CHARS_MAX or _NAME.fullmatch(text) is None:
        raise NameInvalid(
            "An image cannot have this name.",
            f"Use lower case letters, digits and single . _ - between them, / between parts, {NAME_CHARS_MAX} at most.",
        )
    return text


def is_name(text: str) -> bool:
    return len(text) <= NAME_CHARS_MAX and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def tag(text: str) -> str:
    """`text`, if it can be a tag. Raises TagInvalid."""
    if not is_tag(text):
        raise TagInvalid("This is neither a tag nor a digest.", "A tag has 1 to 128 letters, digits, '_', '.' and '-'.")
    return text


def is_digest(text: str) -> bool:
    """Is it a digest of an algorithm that is spoken here, in its one spelling?"""
    algorithm, _, value = text.partition(":")
    return ALGORITHMS.get(algorithm) == len(value) and _HEX.fullmatch(value) is not None


def digest(text: str) -> str:
    """`text`, if it is a digest that is spoken here. Raises DigestInvalid."""
    if is_digest(text):
        return text
    if _DIGEST.fullmatch(text) is not None and text.partition(":")[0] not in ALGORITHMS:
        raise DigestInvalid("Digests of this algorithm are not known here.", "Use sha256 or sha512.")
    raise DigestInvalid("This is no digest.", "Send sha256: and 64, or sha512: and 128 lower case hex digits.")


def algorithm_of(digest: str) -> str:
    return digest.partition(":")[0]


def blob_file(digest: str) -> str:
    """The File of a blob."""
    return f"b/{digest}"


def manifest_file(digest: str) -> str:
    """The File of a manifest."""
    return f"m/{digest}"


MANIFESTS = "m/"
"""What the File of a manifest is called ahead of its digest."""


def address(image: str, file: str) -> str:
    """Where a blob or a manifest is read, by its digest."""
    kind, _, digest = file.partition("/")
    return f"{image}/{'manifests' if kind + '/' == MANIFESTS else 'blobs'}/{digest}"


def image_of(package: str) -> str:
    """The image that a Package of the View belongs to: its own, or that of what it refers to."""
    return package.partition("@")[0]


def tags_about(digest: str) -> tuple[str, ...]:
    """The tags by which tools without referrers find signatures, attestations and bills of materials of a manifest
    (cosign's tag scheme, and the fallback tag of OCI distribution 1.1)."""
    plain = digest.replace(":", "-")
    return (plain, *(f"{plain}.{kind}" for kind in ("sig", "att", "sbom")))


def is_about(tag: str) -> bool:
    """Is it one of those?"""
    return _ABOUT.fullmatch(tag) is not None


def referrers_of(name: str, subject: str) -> str:
    """The Package whose Versions are the manifests that refer to `subject`."""
    return f"{name}@{subject}"
