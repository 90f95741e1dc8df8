"""What do a manifest's annotations say of licenses, and its index of architectures?"""

import msgspec

from formats.kit.traits import NONE, Traits, license_said
from formats.oci.manifest import unpacked
from storage.nouns import Version

LICENSES = "org.opencontainers.image.licenses"
"""An SPDX expression (OCI image-spec, annotations.md)."""


def traits(version: Version) -> Traits:
    if not version.facts:
        return NONE
    manifest = unpacked(version.facts)
    annotations = msgspec.json.decode(manifest.annotations, type=dict[str, str]) if manifest.annotations else {}
    said = license_said(annotations.get(LICENSES, ""))
    return Traits((said,) if said else (), manifest.architectures)
