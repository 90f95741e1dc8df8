"""How does a test get an image that container tools take for one? Written as an OCI layout, layer by layer."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.harness import images


def layer(files: dict[str, bytes]) -> bytes:
    """An uncompressed layer, the same for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def write(folder: Path, tag: str, *layers: dict[str, bytes]) -> str:
    """An image of these layers, tagged in a layout in `folder`; its digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, media: str) -> dict[str, Any]:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return images.descriptor(data, media)

    plain = [layer(files) for files in layers]
    packed = [put(gzip.compress(one, mtime=0), images.LAYER + "+gzip") for one in plain]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [images.digest_of(one) for one in plain]},
    }
    described = put(json.dumps(config).encode(), images.CONFIG)
    document = {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": described, "layers": packed}
    manifest = put(json.dumps(document).encode(), images.MANIFEST)
    listed = {**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(manifest["digest"])
