"""How is a package shown: the full document, the abbreviated one, one version, the tags?

A page is put together from the JSON that was kept at publish or learnt from upstream. What the page says itself (dist,
deprecated, times) comes from the index and from the file's own digests.
"""

import msgspec

from formats.kit.contract import Document, Show
from formats.npm.facts import PackageFacts, VersionFacts, package_facts, revision, version_facts
from formats.npm.manifest import joined, spoken
from formats.npm.names import highest, tarball_name
from formats.npm.upstream import KEYS, integrity_of
from storage.errors import Absent
from storage.nouns import File, Package, Version, View

FROM_LATEST = (
    "description",
    "homepage",
    "keywords",
    "repository",
    "author",
    "contributors",
    "bugs",
    "license",
    "readmeFilename",
)
"""Members of the latest version that the full document repeats at its top."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode


class _Page:
    """A package as it is now, with the pieces of its documents."""

    def __init__(self, name: str, view: View, base: str) -> None:
        package = view.package(name)
        files = {one.name: one for one in view.files(name)} if package else {}
        versions = [one for one in view.versions(name) if tarball_name(name, one.name) in files] if package else []
        if package is None or not versions:
            raise Absent("Not found: there is no such package here.", "Check the name and the registry.")
        self.name = name
        self.package: Package = package
        self.facts: PackageFacts = package_facts(package)
        self.versions = sorted(versions, key=lambda one: (one.at_ms, one.name))
        self.files = files
        known = {one.name for one in versions}
        self.tags = {tag: version for tag, version in view.tags(name).items() if version in known}
        self._tarballs = _encode(f"{base}/{name}/-/")[:-1]
        self._attestations = _encode(f"{base}/-/npm/v1/attestations/{name}@")[:-1]

    def modified(self) -> dict[str, str]:
        """When anything last changed, as a member; none where it is not known of every version. Clients that wait for
        versions to age take an old `modified` for the word that all of them are old."""
        local_over_timeless = self.facts.rev > 0 and any(not one.at_ms for one in self.versions)
        if not self.facts.modified_ms or local_over_timeless:
            return {}
        return {"modified": spoken(max(self.facts.modified_ms, *(one.at_ms for one in self.versions)))}

    def manifest(self, version: Version, facts: VersionFacts, *, short: bool) -> bytes:
        """One version: what was kept, then dist and what there is to warn of."""
        kept = facts.short if short else facts.manifest
        warning = b',"deprecated":' + _encode(facts.deprecated) if facts.deprecated else b""
        dist = self._dist(self.files[tarball_name(self.name, version.name)], version.name, facts)
        return b"".join((kept[:-1], b',"dist":', dist, warning, b"}"))

    def _dist(self, file: File, version: str, facts: VersionFacts) -> bytes:
        digests = file.digests
        parts = [b'"tarball":' + self._tarballs + file.name.encode() + b'"']
        if integrity := integrity_of(digests):
            parts.append(b'"integrity":"' + integrity.encode() + b'"')
        if "sha1" in digests:
            parts.append(b'"shasum":"' + digests["sha1"].encode() + b'"')
        if facts.dist:
            parts.append(facts.dist)
        if facts.provenance:
            kind = b',"provenance":' + facts.provenance if facts.provenance != b"{}" else b""
            parts.append(b'"attestations":{"url":' + self._attestations + version.encode() + b'"' + kind + b"}")
        return b"{" + b",".join(parts) + b"}"

    def manifests(self, decoded: dict[str, VersionFacts], *, short: bool) -> bytes:
        """The object of all versions."""
        return (
            b"{"
            + b",".join(
                [
                    b'"' + one.name.encode() + b'":' + self.manifest(one, decoded[one.name], short=short)
                    for one in self.versions
                ]
            )
            + b"}"
        )

    def latest(self) -> str:
        return self.tags.get("latest") or highest([one.name for one in self.versions])

    def times(self) -> dict[str, str]:
        """When the package was made and changed, and when each version came. What nobody knows is not said: a made-up
        time would let a version pass for old."""
        times = {"created": spoken(self.package.at_ms)} if self.package.at_ms else {}
        return times | self.modified() | {one.name: spoken(one.at_ms) for one in self.versions if one.at_ms}


def full(name: str, view: View, base: str) -> bytes:
    """The whole document. Raises Absent."""
    page = _Page(name, view, base)
    decoded = {one.name: version_facts(one) for one in page.versions}
    latest = decoded[page.latest()]
    of_latest = _members.decode(latest.manifest)
    members: dict[str, bytes | msgspec.Raw] = {
        "_id": _encode(name),
        "_rev": _encode(revision(page.facts)),
        "name": _encode(name),
        "dist-tags": _encode(page.tags),
        "versions": page.manifests(decoded, short=False),
        "time": _encode(page.times()),
        "maintainers": page.facts.maintainers,
        **{key: of_latest[key] for key in FROM_LATEST if key in of_latest},
        "readme": _encode(latest.readme),
    }
    return joined(members)


def abbreviated(name: str, view: View, base: str) -> bytes:
    """What an installer needs. Raises Absent."""
    page = _Page(name, view, base)
    decoded = {one.name: version_facts(one) for one in page.versions}
    return joined(
        {
            "name": _encode(name),
            **{key: _encode(at) for key, at in page.modified().items()},
            "dist-tags": _encode(page.tags),
            "versions": page.manifests(decoded, short=True),
        }
    )


def one_version(name: str, wanted: str, view: View, base: str) -> bytes:
    """The manifest of a version, or of what a tag points to. Raises Absent."""
    page = _Page(name, view, base)
    target = page.tags.get(wanted, wanted)
    for version in page.versions:
        if version.name == target:
            return page.manifest(version, version_facts(version), short=False)
    raise Absent("Version not found.", "Ask for the package to see which there are.")


def render(show: Show, view: View, base: str) -> Document:
    """The pages of one package. Raises Absent."""
    match show.page:
        case "full":
            return Document(full(show.package, view, base))
        case "abbreviated":
            return Document(abbreviated(show.package, view, base))
        case "version":
            return Document(one_version(show.package, show.argument, view, base))
        case "tags":
            return Document(_encode(_Page(show.package, view, base).tags))
        case "visibility":
            _Page(show.package, view, base)  # raises Absent
            return Document(_encode({"public": show.argument == "public"}))
        case "keys":
            keys = view.package(KEYS)
            return Document(b'{"keys":' + (keys.facts if keys else b"[]") + b"}")
    raise Absent("There is no such page.")
