"""Which images does an OCI image layout hold, or what `docker save` wrote, and what is each made of?

A layout (image-spec, image-layout.md) is a directory or a tar archive of one. An archive of docker's own form has a
`manifest.json` instead and no manifests: one is made for it, of the config and the layers as they lie there, so the
image keeps its id. Documents are read by the rules of the node, and their digests compared before anything is sent.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from formats.oci import manifest, names
from gateway.cli.packages.extents import Extent, Find, in_archive, in_folder
from gateway.cli.terminal.output import Usage
from storage.errors import Problem

DEPTH_MAX = 8
DOCUMENTS_MAX = 10_000
IMAGES_MAX = 1_000
BYTES_MAX = manifest.MANIFEST_BYTES_MAX
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"


class Document(NamedTuple):
    """A manifest or an index, as its bytes are."""

    digest: str
    media: str
    raw: bytes


class Image(NamedTuple):
    """One that a layout lists: its documents with what they need ahead of them, and the sizes of its blobs by digest.
    `name` is what it is called there, without registry and tag; both may be nothing."""

    name: str
    tag: str
    documents: tuple[Document, ...]
    blobs: dict[str, int]

    @property
    def digest(self) -> str:
        return self.documents[-1].digest


class Layout(NamedTuple):
    """The images of one directory or archive; `find` gives the bytes of a digest, if they are there."""

    images: list[Image]
    find: Find


def is_layout(path: Path) -> bool:
    """Does the path say itself that it is of images? Archives that cannot be read are none."""
    if path.is_dir():
        return (path / "oci-layout").is_file() and (path / "index.json").is_file()
    if path.suffix != ".tar":
        return False
    try:
        find = in_archive(path)
    except Problem:
        return False
    return _is_oci(find) or find("manifest.json") is not None


def _is_oci(find: Find) -> bool:
    return find("oci-layout") is not None and find("index.json") is not None


def layout_at(path: Path, platform: str) -> Layout:
    """Raises Usage for what cannot be pushed. With `platform`, OS/ARCHITECTURE[/VARIANT], of an index only that."""
    find = in_folder(path) if path.is_dir() else in_archive(path)
    if _is_oci(find):
        return _Reader(path, find, platform).layout()
    if (listed := find("manifest.json")) is not None:
        return _saved(path, find, listed, platform)
    raise Usage(
        f"{path} is no image layout, and no archive of images.",
        "Make one with: skopeo copy SOURCE oci-archive:FILE:TAG, podman save, or docker save.",
    )


def json_of(path: Path, raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Usage(f"{path} holds a document that is no JSON.", str(error)) from error


# ---------------------------------------------------------------- a layout


class _Reader:
    """Reads one layout: `path` is for messages."""

    def __init__(self, path: Path, find: Find, platform: str) -> None:
        self._path, self._find, self._platform = path, find, platform
        self._read = 0

    def layout(self) -> Layout:
        listed = self._find("index.json")
        assert listed is not None
        raw = listed.read(BYTES_MAX)
        self._parsed(Document("", manifest.OCI_INDEX, raw))
        images = [self._image(one) for one in json_of(self._path, raw).get("manifests") or ()]
        if len(images) > IMAGES_MAX:
            raise Usage(f"{self._path} lists more than {IMAGES_MAX} images.", "Push them from several.")
        return Layout(images, self._blob)

    def _blob(self, digest: str) -> Extent | None:
        return self._find(f"blobs/{digest.replace(':', '/')}")

    def _image(self, described: dict[str, Any]) -> Image:
        notes = described.get("annotations")
        notes = notes if isinstance(notes, dict) else {}
        name, tag = name_and_tag(str(notes.get(_FULL_NAME) or notes.get(_REF_NAME) or ""))
        documents: dict[str, Document] = {}
        blobs: dict[str, int] = {}
        self._take(self._chosen(described), documents, blobs, 0)
        return Image(name, tag, tuple(documents.values()), blobs)

    def _take(self, one: dict[str, Any], documents: dict[str, Document], blobs: dict[str, int], depth: int) -> None:
        """A document and all below it, those first."""
        digest = str(one["digest"])
        if digest in documents:
            return
        if depth > DEPTH_MAX:
            raise Usage(f"{self._path} has indexes within indexes, over {DEPTH_MAX} deep.", "Is it an image?")
        document = self._document(one)
        parsed = self._parsed(document)
        document = document._replace(media=parsed.media)
        described = {str(below["digest"]): below for below in _described(json_of(self._path, document.raw))}
        for below in parsed.manifests:
            self._take(described[below], documents, blobs, depth + 1)
        blobs.update({below: described[below]["size"] for below in parsed.blobs})
        documents[digest] = document

    def _document(self, one: dict[str, Any]) -> Document:
        digest = str(one["digest"])
        self._read += 1
        if self._read > DOCUMENTS_MAX:
            raise Usage(f"{self._path} has more than {DOCUMENTS_MAX} manifests.", "Push them from several.")
        extent = self._blob(digest)
        if extent is None:
            what = f"The image for {_platform_of(one)}" if one.get("platform") else "The manifest"
            raise Usage(
                f"{what}, {digest}, is not in {self._path}.",
                "Push one that is there with --platform OS/ARCHITECTURE, or make the layout with all of it.",
            )
        raw = extent.read(BYTES_MAX)
        algorithm = names.algorithm_of(digest)
        if f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}" != digest:
            raise Usage(f"{self._path} holds other bytes under {digest}.", "It is damaged: get or make it anew.")
        return Document(digest, str(one.get("mediaType", "")), raw)

    def _parsed(self, document: Document) -> manifest.Manifest:
        try:
            return manifest.parse(document.raw, document.media)
        except Problem as problem:
            where = document.digest or "index.json"
            raise Usage(f"{where} in {self._path} is refused: {problem.message}", problem.remedy) from problem

    def _chosen(self, root: dict[str, Any]) -> dict[str, Any]:
        """The one of the platform that is asked for, in the place of its index."""
        if not self._platform:
            return root
        document = self._document(root)
        parsed = self._parsed(document)
        content = json_of(self._path, document.raw)
        if parsed.media in manifest.INDEXES:
            there = {_platform_of(one): one for one in _described(content)}
        else:
            config = self._blob(parsed.blobs[0]) if parsed.blobs else None
            there = {_platform_of({"platform": json_of(self._path, config.read(BYTES_MAX))} if config else {}): root}
        for platform, one in there.items():
            if platform == self._platform or platform.startswith(f"{self._platform}/"):
                return one
        raise Usage(f"{self._path} has no image for {self._platform}.", f"It has: {', '.join(there) or 'none'}.")


def _described(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The descriptors of a document that was parsed."""
    if content.get("config"):
        yield content["config"]
    for member in ("layers", "blobs", "manifests"):
        yield from content.get(member) or ()


def _platform_of(one: dict[str, Any]) -> str:
    platform = one.get("platform")
    if not isinstance(platform, dict):
        return "unknown"
    parts = (platform.get(part) for part in ("os", "architecture", "variant"))
    return "/".join(str(part) for part in parts if part) or "unknown"


def name_and_tag(reference: str) -> tuple[str, str]:
    """What an image is called, without the registry that it came from; a reference may be a tag alone."""
    if names.is_tag(reference):
        return "", reference
    reference = reference.partition("@")[0]
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        name, tag = reference, ""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        name = rest
    return (name if names.is_name(name) else ""), (tag if names.is_tag(tag) else "")


# ---------------------------------------------------------------- what docker save wrote


def _saved(path: Path, find: Find, listed: Extent, platform: str) -> Layout:
    if platform:
        raise Usage(f"{path} is an archive of one platform.", "Leave --platform out.")
    entries = json_of(path, listed.read(BYTES_MAX))
    if not isinstance(entries, list) or not entries or len(entries) > IMAGES_MAX:
        raise Usage(f"{path} has a manifest.json that lists no images.", "Make it with: docker save.")
    where: dict[str, Extent] = {}
    images: list[Image] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise Usage(f"{path} has a manifest.json that is not understood.", "Make it with: docker save.")
        document, blobs = _made(path, find, entry, where)
        for reference in entry.get("RepoTags") or ("",):
            images.append(Image(*name_and_tag(str(reference)), (document,), blobs))
    return Layout(images, where.get)


def _made(path: Path, find: Find, entry: dict[str, Any], where: dict[str, Extent]) -> tuple[Document, dict[str, int]]:
    """The manifest of one image, and its blobs; `where` gets their extents."""
    config = _member(path, find, entry.get("Config"))
    described = json_of(path, config.read(BYTES_MAX))
    rootfs = described.get("rootfs") if isinstance(described, dict) else None
    digests = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    layers = entry.get("Layers") or []
    if not isinstance(digests, list) or not isinstance(layers, list) or len(digests) != len(layers):
        raise Usage(f"{path} has an image whose config tells of other layers than it has.", "Make it anew.")
    blobs: dict[str, int] = {}

    def put(extent: Extent, digest: str, media: str) -> dict[str, Any]:
        where[digest], blobs[digest] = extent, extent.size
        return {"mediaType": media, "size": extent.size, "digest": digest}

    content: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.DOCKER_MANIFEST}
    content["config"] = put(config, config.digest(), _DOCKER_CONFIG)
    content["layers"] = []
    for name, plain in zip(layers, digests, strict=True):
        extent = _member(path, find, name)
        magic = next(extent.pieces(), b"")[:4]
        if magic == b"\x28\xb5\x2f\xfd":
            raise Usage(f"{path} has a layer in zstd, which docker's form has no name for.", "Save it as oci-archive.")
        is_packed = magic[:2] == b"\x1f\x8b"
        if not is_packed and not (isinstance(plain, str) and names.is_digest(plain)):
            raise Usage(f"{path} has an image whose config has a bad digest of a layer.", "Make it anew.")
        digest = extent.digest() if is_packed else plain  # which is compared before it is sent
        content["layers"].append(put(extent, digest, _DOCKER_LAYER + (".gzip" if is_packed else "")))
    raw = msgspec.json.encode(content)
    return Document(f"sha256:{hashlib.sha256(raw).hexdigest()}", manifest.DOCKER_MANIFEST, raw), blobs


def _member(path: Path, find: Find, name: object) -> Extent:
    extent = find(name) if isinstance(name, str) else None
    if extent is None:
        raise Usage(f"{path} lacks {name}, which its manifest.json lists.", "It is damaged: get or make it anew.")
    return extent
