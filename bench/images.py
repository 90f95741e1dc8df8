"""Which image is pulled? One of real files of this machine, in layers as registries hold them: gzip, zstd and plain.

umoci makes it, once, into the bench's own folder: it takes a minute of two cores, which no measurement should pay.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import Skipped, need

PLACE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrepot-bench" / "images"
TREES = ("usr/lib", "usr/share", "usr/bin", "usr/local")
TAG = "v1"
FILE_BYTES_MAX = 64 << 20
LAYERS_MAX = 40
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """An OCI layout with one image: `blobs` are the sizes of config and layers by digest."""

    layout: Path
    digest: str
    blobs: dict[str, int]

    @property
    def size(self) -> int:
        return sum(self.blobs.values())

    def path(self, digest: str) -> Path:
        """Where a blob lies in the layout."""
        return _blob(self.layout, digest)


def image(size: int) -> Image:
    """An image of at least `size` bytes as they travel. Made where it is not there yet.

    Raises Skipped where a tool is missing or the machine has too few files.
    """
    need("umoci", "tar", "zstd")
    layout = PLACE / f"{size >> 20}M"
    if not (layout / "made").exists():
        shutil.rmtree(layout, ignore_errors=True)
        layout.parent.mkdir(parents=True, exist_ok=True)
        _make(layout, size)
        (layout / "made").touch()
    return _read(layout)


def _read(layout: Path) -> Image:
    descriptor = json.loads((layout / "index.json").read_text())["manifests"][0]
    manifest = json.loads(_blob(layout, descriptor["digest"]).read_text())
    parts = [manifest["config"], *manifest["layers"]]
    return Image(layout, descriptor["digest"], {part["digest"]: part["size"] for part in parts})


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


# ---------------------------------------------------------------- how it is made


def _make(layout: Path, size: int) -> None:
    """Layer by layer, each of an eighth of what is wanted before it is packed, until it is large enough."""
    _run("umoci", "init", "--layout", str(layout))
    _run("umoci", "new", "--image", f"{layout}:{TAG}")
    archive = layout / "layer.tar"
    for number, paths in enumerate(_groups(max(size // 4, 1 << 20))):
        listed = "".join(f"{path}\0" for path in paths).encode()
        command = ["tar", "-cf", str(archive), "-C", "/", "--null", "--no-recursion", "-T", "-"]
        subprocess.run(command, input=listed, check=True, capture_output=True)
        _run("umoci", "raw", "add-layer", "--image", f"{layout}:{TAG}", str(archive))
        if number == 2:
            _repack(layout)
        if number >= 2 and _read(layout).size >= size:
            break
    else:
        raise Skipped(f"this machine has too few files for an image of {size} bytes")
    archive.unlink()
    _run("umoci", "gc", "--layout", str(layout))


def _groups(size: int) -> Iterator[list[str]]:
    """Regular files of the trees in their order, so many that each group has about `size` bytes."""
    found: list[str] = []
    total = groups = 0
    for path in _files():
        found.append(str(path.relative_to("/")))
        total += path.stat().st_size
        if total >= size:
            yield found
            found, total, groups = [], 0, groups + 1
            if groups == LAYERS_MAX:
                return


def _files() -> Iterator[Path]:
    for tree in TREES:
        for folder, below, names in os.walk(Path("/") / tree):
            below.sort()
            for name in sorted(names):
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= FILE_BYTES_MAX:
                    yield path


def _repack(layout: Path) -> None:
    """The second layer as zstd, the third as a plain tar: umoci itself packs all with gzip."""
    index = json.loads((layout / "index.json").read_text())
    descriptor = index["manifests"][0]
    manifest = json.loads(_blob(layout, descriptor["digest"]).read_text())
    manifest["layers"][1] = _packed(layout, manifest["layers"][1], "+zstd")
    manifest["layers"][2] = _packed(layout, manifest["layers"][2], "")
    raw = json.dumps(manifest).encode()
    descriptor |= {"digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw)}
    _blob(layout, descriptor["digest"]).write_bytes(raw)
    (layout / "index.json").write_text(json.dumps(index))


def _packed(layout: Path, layer: dict[str, Any], packing: str) -> dict[str, Any]:
    """The same layer in another packing, as a descriptor."""
    made = layout / "repacked"
    with gzip.open(_blob(layout, layer["digest"])) as plain, made.open("wb") as file:
        shutil.copyfileobj(plain, file, _PIECE_BYTES)
    if packing == "+zstd":
        _run("zstd", "-q", "--rm", "-f", str(made), "-o", f"{made}.zst")
        made = made.with_name("repacked.zst")
    with made.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    size = made.stat().st_size
    made.rename(_blob(layout, digest))
    return {"mediaType": _LAYER + packing, "digest": digest, "size": size}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"{' '.join(command[:3])} failed: {done.stderr[-300:]}")
