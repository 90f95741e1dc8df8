"""What do a manifest's annotations say of licenses, and its index of architectures, and what kind of thing is it?"""

import msgspec

from formats.kit.traits import NONE, Traits, license_said
from formats.oci.manifest import IMAGES, INDEXES, Manifest, unpacked
from storage.nouns import Version

LICENSES = "org.opencontainers.image.licenses"
"""An SPDX expression (OCI image-spec, annotations.md)."""


CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def traits(version: Version) -> Traits:
    if not version.facts:
        return NONE
    manifest = unpacked(version.facts)
    annotations = msgspec.json.decode(manifest.annotations, type=dict[str, str]) if manifest.annotations else {}
    said = license_said(annotations.get(LICENSES, ""))
    types = ["index" if manifest.media in INDEXES else "image" if _is_image(manifest) else "artifact"]
    types += [one for one in (manifest.media, manifest.artifact) if one]
    return Traits((said,) if said else (), manifest.architectures, types=tuple(dict.fromkeys(types)))


def _is_image(manifest: Manifest) -> bool:
    """Something to run, which its config says (image-spec, manifest.md)."""
    return manifest.media in IMAGES and manifest.artifact in ("", *CONFIGS)
