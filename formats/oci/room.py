"""The OCI registry protocol as one room: every question of the contract, answered by the module that knows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from formats.kit.contract import (
    Ask,
    Borrow,
    Decision,
    Document,
    Fetch,
    Finds,
    Foreign,
    Plan,
    Progress,
    Received,
    Reply,
    Resume,
    Serve,
    Show,
)
from formats.kit.handling import Wanted
from formats.kit.traits import Traits
from formats.oci import handling, names, pages, setup, uploads, upstream, wire
from formats.oci.decide import decide
from formats.oci.manifest import MANIFEST_BYTES_MAX, packed, parse, unpacked
from formats.oci.names import FORMAT
from formats.oci.traits import traits
from storage.errors import Problem
from storage.nouns import AnyChange, File, Package, Version, View


class Oci:
    """formats.kit.contract.Room, Resumable and Scoped for docker, podman, skopeo, crane, oras and their kin."""

    name = FORMAT
    escaped_slash = False
    draws = True
    beginning = "v2/"
    """Where clients ask a registry first."""
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        """Image names have one spelling. Raises Invalid."""
        return names.image_name(package)

    def governed(self, package: str) -> str:
        """What refers to an image belongs to it."""
        return names.image_of(package)

    def needs(self, facts: bytes) -> tuple[str, ...]:
        """Its layers, and the manifests that it is an index of."""
        found = unpacked(facts)
        blobs = (names.blob_file(one) for one in found.blobs)
        return (*blobs, *(names.manifest_file(one) for one in found.manifests))

    def traits(self, version: Version, files: Sequence[File]) -> Traits:
        return traits(version)

    def consists(self, version: Version, files: Mapping[str, File]) -> Iterable[str]:
        """An image is its layers too, an index its images."""
        return self.needs(version.facts) if version.facts else ()

    def version_of(self, serve: Serve, sha256: bytes) -> str:
        """A manifest is one, a blob belongs to those that need it, and a tag for a signature means no image."""
        if serve.tag:
            return "" if names.is_about(serve.tag) else f"sha256:{sha256.hex()}"
        return serve.file.removeprefix(names.MANIFESTS) if serve.file.startswith(names.MANIFESTS) else ""

    def followers(self, package: str, version: str, view: View) -> tuple[str, ...]:
        """What refers to it, and what is tagged with its digest, as older clients keep signatures."""
        referring = (one.name for one in view.versions(names.referrers_of(package, version)))
        tagged = (view.tag(package, one) for one in names.tags_about(version))
        return tuple(dict.fromkeys((*referring, *(one for one in tagged if one))))

    def address(self, package: str, file: str) -> str:
        return names.address(package, file)

    def withheld(self, package: Package) -> str:
        return ""

    def right(self, ask: Ask) -> Literal["read", "write"]:
        return wire.right(ask)

    def resource(self, ask: Ask) -> str:
        return wire.resource(ask)

    def borrowed(self, plan: Borrow) -> str:
        return f"{plan.workspace}/{plan.repository}/{plan.package}"

    def read(self, ask: Ask) -> Plan:
        return wire.read(ask)

    def unpack(self, ask: Ask, received: Received) -> Finds:
        """Only manifests are looked into; layers are whatever their manifest says."""
        with open(received.descriptor, "rb", closefd=False) as file:
            file.seek(received.start)
            raw = file.read(MANIFEST_BYTES_MAX + 1)
        return Finds(packed(parse(raw, received.context["media"])), context=received.context)

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        return decide(ask, finds, view)

    def render(self, show: Show, view: View, base: str) -> Document:
        return pages.render(show, view)

    def progress(self, ask: Ask, plan: Resume, at: Progress) -> Reply:
        return uploads.progress(ask, plan, at)

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return upstream.fetch(ask, plan)

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        return upstream.learn(package, raw)

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    # ------------------------------------------------------------ by name (formats.kit.handling.Handled)

    def home(self, package: str) -> str:
        return names.image_of(package)

    def fixed(self, package: str, file: File) -> bool:
        return True

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.remove(package, version, view)

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.bring(wanted, source, target)

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.retag(package, tag, version, view)
