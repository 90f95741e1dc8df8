"""What does a foreign registry's packument tell, in our own nouns?

Foreign text is judged member by member: a version that makes no sense is left out, the package stays. Digests are taken
from dist, addresses from dist.tarball; nothing of it is believed about another package.
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from formats.kit.contract import Foreign, Learn
from formats.npm.facts import PackageFacts, VersionFacts, packed
from formats.npm.manifest import (
    TRUE,
    deprecation_of,
    dist_members,
    halves,
    heard,
    keywords_of,
    runs_at_install,
    text_of,
)
from formats.npm.names import bundle_name, readable, readable_tag, semver, tarball_name
from storage.errors import UpstreamFailed
from storage.nouns import File, Package, Version

KEYS = "-/npm/v1/keys"
"""Not a package: under this name the signing keys of the upstream are asked for."""

VERSIONS_MAX = 100_000
README_CHARACTERS_MAX = 64 << 10
_LENGTHS = {"sha1": 20, "sha256": 32, "sha512": 64}


class _Packument(msgspec.Struct):
    name: str
    versions: dict[str, msgspec.Raw] = {}
    tags: msgspec.Raw = msgspec.field(name="dist-tags", default=msgspec.Raw(b"{}"))
    time: msgspec.Raw = msgspec.Raw(b"{}")
    modified: msgspec.Raw = msgspec.Raw(b'""')
    maintainers: msgspec.Raw = msgspec.Raw(b"[]")
    readme: msgspec.Raw = msgspec.Raw(b'""')


class _Keys(msgspec.Struct):
    keys: msgspec.Raw


_packument = msgspec.json.Decoder(_Packument)
_keys = msgspec.json.Decoder(_Keys)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_times = msgspec.json.Decoder(dict[str, object])


def fetch(package: str) -> Learn | None:
    """How to ask for a package: the slash of a scope is escaped. None for a name that no registry can have."""
    if package == KEYS:
        return Learn(KEYS, "application/json", 1 << 20)
    if not readable(package):
        return None
    return Learn(quote(package, safe="@~!*'()").replace("%2F", "%2f"), "application/json")


def learn(package: str, raw: bytes, url: str) -> Foreign:
    """The packument `raw`, fetched at `url`, as nouns. Raises UpstreamFailed where it is none of this package."""
    try:
        raw.decode()
        if package == KEYS:
            return Foreign(Package(KEYS, facts=bytes(_keys.decode(raw).keys)))
        document = _packument.decode(raw)
        return _Learner(package, url, document).all()
    except RecursionError:
        raise UpstreamFailed(
            "The upstream's document nests too deeply.", "Ask the operator to look at this upstream."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamFailed(
            "The upstream answered something that is no package document.", "Check the upstream's address."
        ) from None


class _Learner:
    """One packument on its way into nouns."""

    def __init__(self, package: str, url: str, document: _Packument) -> None:
        if document.name != package:
            raise UpstreamFailed(
                "The upstream answered with another package than was asked for.", "Check the upstream's address."
            )
        if len(document.versions) > VERSIONS_MAX:
            raise UpstreamFailed(f"The upstream's package has more than {VERSIONS_MAX} versions.")
        self.package = package
        self.url = url
        self.document = document
        self.times = _tolerant(_times, document.time, {})
        self.readme = text_of(document.readme)[:README_CHARACTERS_MAX]
        self.versions: list[Version] = []
        self.files: list[File] = []

    def all(self) -> Foreign:
        said = {tag: text_of(raw) for tag, raw in _tolerant(_members, self.document.tags, {}).items()}
        latest = said.get("latest", "")
        facts = PackageFacts()
        for version, raw in self.document.versions.items():
            members = self._one(version, raw, is_latest=version == latest)
            if members is not None and version == latest:
                facts = PackageFacts(
                    latest=latest,
                    latest_ms=self.versions[-1].at_ms,
                    description=text_of(members.get("description"))[:1000],
                    keywords=keywords_of(members.get("keywords")),
                )
        known = {one.name for one in self.versions}
        modified_ms = heard(self.times.get("modified")) or heard(text_of(self.document.modified))
        facts = msgspec.structs.replace(
            facts,
            modified_ms=modified_ms or self._newest_ms(),
            maintainers=_maintainers(self.document.maintainers),
        )
        return Foreign(
            Package(self.package, heard(self.times.get("created")), packed(facts)),
            tuple(self.versions),
            tuple(self.files),
            {tag: version for tag, version in said.items() if version in known and readable_tag(tag)},
        )

    def _newest_ms(self) -> int:
        """The time of the newest version, 0 where the time of any is not known."""
        times = [one.at_ms for one in self.versions]
        return max(times) if times and all(times) else 0

    def _one(self, version: str, raw: msgspec.Raw, *, is_latest: bool) -> dict[str, msgspec.Raw] | None:
        """Take in one version; its members, or None where it makes no sense."""
        members = _tolerant(_members, raw, {})
        if semver(version) is None or text_of(members.get("version")) != version:
            return None
        if text_of(members.get("name")) != self.package:
            return None
        dist = _tolerant(_members, members.get("dist"), {})
        source = self._address(text_of(dist.get("tarball")))
        digests = {**digests_of(text_of(dist.get("integrity"))), **shasum_of(text_of(dist.get("shasum")))}
        if not source or not digests:
            return None
        deprecated = deprecation_of(members.get("deprecated"))
        if "hasInstallScript" not in members and runs_at_install(members.get("scripts")):
            members["hasInstallScript"] = msgspec.Raw(TRUE)
        at_ms = heard(self.times.get(version))
        provenance = self._attestations(version, at_ms, dist.get("attestations"))
        full, short = halves(members)
        readme = self.readme if is_latest else ""
        facts = VersionFacts(full, short, deprecated, readme, dist_members(dist), provenance)
        self.versions.append(Version(version, at_ms, packed(facts)))
        self.files.append(
            File(tarball_name(self.package, version), version, b"", -1, at_ms=at_ms, digests=digests, source=source)
        )
        return members

    def _attestations(self, version: str, at_ms: int, raw: msgspec.Raw | None) -> bytes:
        """Note where the attestations of a version lie; what dist says of their kind, b"" where there are none."""
        attestations = _tolerant(_members, raw, {})
        source = self._address(text_of(attestations.get("url")))
        if not source:
            return b""
        file = bundle_name(self.package, version)
        self.files.append(File(file, version, b"", -1, "application/json", at_ms, source=source))
        return bytes(attestations.get("provenance") or b"{}")

    def _address(self, text: str) -> str:
        """An absolute http(s) address without credentials or fragment, or "" where `text` is none."""
        if not text or len(text) > 2000 or any(not "!" <= sign <= "~" for sign in text):
            return ""
        try:
            parts = urlsplit(urljoin(self.url, text))
            host = parts.hostname
        except ValueError:
            return ""
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            return ""
        return parts._replace(fragment="").geturl()


def digests_of(integrity: str) -> dict[str, str]:
    """The hex digests of a Subresource Integrity text; what is malformed or of another kind is left out."""
    digests: dict[str, str] = {}
    for one in integrity.split()[:10]:
        algorithm, _, rest = one.partition("-")
        try:
            value = binascii.a2b_base64(rest.partition("?")[0], strict_mode=True)
        except (binascii.Error, ValueError):
            continue
        if _LENGTHS.get(algorithm) == len(value):
            digests.setdefault(algorithm, value.hex())
    return digests


def integrity_of(digests: Mapping[str, str]) -> str:
    """The Subresource Integrity text of the strongest digest, "" where there is but sha1."""
    for algorithm in ("sha512", "sha256"):
        if algorithm in digests:
            return f"{algorithm}-{base64.b64encode(bytes.fromhex(digests[algorithm])).decode()}"
    return ""


def shasum_of(text: str) -> dict[str, str]:
    """The sha1 of a dist in hex, {} where the text is none."""
    lowered = text.lower()
    if len(lowered) == 40 and all(sign in "0123456789abcdef" for sign in lowered):
        return {"sha1": lowered}
    return {}


def _maintainers(raw: msgspec.Raw) -> bytes:
    people = _tolerant(_list, raw, [])
    return b"[" + b",".join(bytes(one) for one in people[:1000]) + b"]"


def _tolerant[T](decoder: msgspec.json.Decoder[T], raw: msgspec.Raw | None, otherwise: T) -> T:
    """Decode what may be of another shape."""
    if not raw:
        return otherwise
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:
        return otherwise
