"""How is an image pushed: which of its parts are sent, in which order, and under which tag?

First all that a layout holds is read, and the node asked for each blob by HEAD. What it lacks is compared with its
digest, then sent at the same time, in the lanes of all that is pushed; manifests go behind what they name, tags last.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from formats.oci import names
from gateway.cli.packages.blobs import again, is_there, send_blob
from gateway.cli.packages.lanes import Lanes
from gateway.cli.packages.layouts import Document, Image, Layout, layout_at
from gateway.cli.packages.uploading import Advance
from gateway.cli.terminal.client import Client
from gateway.cli.terminal.output import Usage
from gateway.cli.terminal.words import Place
from storage.errors import Problem

Shown = Callable[[str, int], Advance]
"""Begin to show how far something is, of so many bytes; what to tell of more."""


class Going(NamedTuple):
    """An image and where it goes: `address` is /v2/WORKSPACE/REPOSITORY/NAME, `tag` may be nothing."""

    image: Image
    address: str
    tag: str

    def fact(self, file: Path, url: str) -> dict[str, Any]:
        """What is said of it, whether it is sent or only would be."""
        reference = self.tag or self.image.digest
        blobs = self.image.blobs.values()
        return {
            "file": str(file),
            "format": "oci",
            "url": f"{url}{self.address}/manifests/{reference}",
            "size_bytes": sum(blobs) + sum(len(one.raw) for one in self.image.documents),
            "digest": self.image.digest,
            "tag": self.tag,
            "manifests": len(self.image.documents),
            "blobs": len(blobs),
        }


def planned(path: Path, place: Place, named: str, tag: str, platform: str) -> tuple[list[Going], Layout]:
    """The images at `path` and where each goes; `named` is NAME[:TAG], or nothing. Raises Usage."""
    layout = layout_at(path, platform)
    name, _, spelt = named.strip("/").partition(":")
    if tag and spelt and tag != spelt:
        raise Usage("Two tags are given.", f'Leave out --tag {tag}, or ":{spelt}".')
    tag = tag or spelt
    if tag and not names.is_tag(tag):
        raise Usage(f'"{tag}" cannot be a tag.', "A tag has 1 to 128 letters, digits, '_', '.' and '-'.")
    if name and not names.is_name(name):
        raise Usage(
            f'No image can be called "{name}".', "Use lower case letters, digits and single . _ - between them."
        )
    images = _wanted(path, layout.images, tag)
    found = [Going(one, _address(path, place, name or one.name), tag or one.tag) for one in images]
    if not any(one.tag for one in found):
        raise Usage(f"{path} names no tag.", "Add --tag TAG, or write the place as demo/main/oci/NAME:TAG.")
    return found, layout


def _wanted(path: Path, images: list[Image], tag: str) -> list[Image]:
    """With a tag: the only image that there is, whatever it is called, or the one of that tag."""
    if not images:
        raise Usage(f"{path} holds no image.", "Its index.json lists none.")
    if not tag or len({one.digest for one in images}) == 1:
        return images[:1] if tag else images
    found = [one for one in images if one.tag == tag]
    if len(found) != 1:
        there = ", ".join(sorted({one.tag for one in images if one.tag})) or "none"
        raise Usage(f'{path} holds several images, and not one called "{tag}".', f"Its tags: {there}.")
    return found


def _address(path: Path, place: Place, name: str) -> str:
    if not name:
        raise Usage(f"It is not said what the image in {path} is called.", "Write the place as demo/main/oci/NAME.")
    return f"/v2/{place}/{name}"


def push_images(
    node: Client, path: Path, found: list[Going], layout: Layout, lanes: Lanes, shown: Shown
) -> list[dict[str, Any]]:
    """Send what the node lacks of each; what is said of them. Raises Usage before anything is sent, Problem."""
    facts = []
    for one in found:
        missing = _missing(node, one, layout, lanes)
        _compare(path, missing, one, layout, lanes)

        def send(digest: str, one: Going = one) -> None:
            extent = layout.find(digest)
            assert extent is not None
            send_blob(node, one.address, digest, extent, shown(digest[:19], extent.size))

        lanes.parts(send, missing)
        with lanes.lane():
            for document in one.image.documents:
                _put(node, one, document)
        sent = {"blobs_sent": len(missing), "bytes_sent": sum(one.image.blobs[digest] for digest in missing)}
        facts.append(one.fact(path, node.url) | sent)
    return facts


def _missing(node: Client, one: Going, layout: Layout, lanes: Lanes) -> list[str]:
    """The digests that the node lacks, the largest first, so that none is left alone at the end."""
    lacking: list[str] = []

    def ask(digest: str) -> None:
        if not is_there(node, f"{one.address}/blobs/{digest}"):
            lacking.append(digest)

    lanes.parts(ask, one.image.blobs)
    return sorted(lacking, key=lambda digest: (-one.image.blobs[digest], digest))


def _compare(path: Path, missing: list[str], one: Going, layout: Layout, lanes: Lanes) -> None:
    """Nothing of an image is sent where a part of it is lacking, or not what it is called."""
    for digest in missing:
        extent = layout.find(digest)
        if extent is None:
            raise Usage(f"{path} lacks the blob {digest}, and so does the node.", "Make it anew, with all layers.")
        if extent.size != one.image.blobs[digest]:
            told = f"{extent.size} bytes, and its manifest says {one.image.blobs[digest]}"
            raise Usage(f"The blob {digest} in {path} has {told}.", "It is damaged: get or make it anew.")

    def compare(digest: str) -> None:
        extent = layout.find(digest)
        if extent is not None and extent.digest(names.algorithm_of(digest)) != digest:
            raise Usage(f"{path} holds other bytes under {digest}.", "It is damaged: get or make it anew.")

    lanes.parts(compare, missing)


def _put(node: Client, one: Going, document: Document) -> None:
    """A manifest under its digest, the image's own under its tag."""
    is_image = document.digest == one.image.digest
    if not (is_image and one.tag) and is_there(node, f"{one.address}/manifests/{document.digest}"):
        return
    reference = one.tag if is_image and one.tag else document.digest
    address = f"{one.address}/manifests/{reference}"
    answer = again(lambda: node.send("PUT", address, content=document.raw, headers={"Content-Type": document.media}))
    told = answer.headers.get("docker-content-digest", document.digest)
    if told != document.digest and names.algorithm_of(told) == names.algorithm_of(document.digest):
        raise Problem(f"The node took {document.digest} for {told}.", "What stands between changes what is sent.")
