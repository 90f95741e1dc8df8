"""What does a publication or a change do to the index, given what is there?

A published version is for ever: the same name never gets other bytes, also after it was removed. Whoever puts a whole
document back must have read the latest one, or what was published meanwhile would be lost.
"""

import zlib
from collections.abc import Iterable

import msgspec

from formats.kit.contract import Ask, Blob, Decision, Finds
from formats.npm.facts import (
    FORMAT,
    Amended,
    PackageFacts,
    Published,
    found,
    package_facts,
    packed,
    revision,
    version_facts,
)
from formats.npm.manifest import keywords_of, text_of
from formats.npm.names import bundle_name, highest, new_tag, tarball_name
from formats.npm.wire import Route, route, said
from storage.errors import Absent, Conflict, Invalid, TooLarge, Unsupported
from storage.nouns import (
    AnyChange,
    DropPackage,
    DropTag,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)

AUDIT_PLAIN_BYTES_MAX = 32 << 20
_NO_VULNERABILITIES = {"info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 0}
_NO_DEPENDENCIES = {"dependencies": 0, "devDependencies": 0, "optionalDependencies": 0, "totalDependencies": 0}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """The Decision of a write. Raises Absent, Conflict, Invalid."""
    at = route(ask)
    match ask.method, at.kind:
        case _, "package" | "revision" if ask.method == "PUT":
            what = found(finds.facts)
            if isinstance(what, Published):
                return _Publication(ask, what, finds.blobs, view).decide()
            return _amend(ask, at, what, view)
        case "DELETE", "revision":
            return _unpublish(at, view)
        case "DELETE", "file":
            return _drop_file(ask, at, view)
        case (("PUT" | "POST"), "tag"):
            return _tag(ask, at, finds.body, view)
        case "DELETE", "tag":
            return _untag(ask, at, view)
        case "POST", "advisories" | "audit":
            return _audit(ask, at.kind, finds.body)
    raise Invalid("This is no change that the npm room knows.")


# ---------------------------------------------------------------- publish


class _Publication:
    """One version on its way in."""

    def __init__(self, ask: Ask, what: Published, blobs: dict[str, Blob], view: View) -> None:
        self.ask = ask
        self.what = what
        self.tarball = blobs["file"]
        self.bundle = blobs.get("sigstore")
        self.view = view

    def decide(self) -> Decision:
        what = self.what
        self._check_digests()
        name, file = what.name, tarball_name(what.name, what.version)
        there = self.view.file(name, file)
        if self.view.version(name, what.version) is not None:
            if there is not None and there.sha256 == self.tarball.sha256:
                return Decision("npm.publish", (), said(200, {"ok": True, "success": True, "id": name}))
            raise Conflict(
                f"You cannot publish over the previously published versions: {what.version}.",
                "Raise the version and publish again.",
            )
        for one, blob in ((file, self.tarball), (bundle_name(name, what.version), self.bundle)):
            if blob is not None and self.view.gone(name, one) not in (None, blob.sha256):
                raise Conflict(
                    f"Version {what.version} was published and removed; it cannot come back with other contents.",
                    "Raise the version and publish again.",
                )
        changes = tuple(self._changes(file))
        return Decision("npm.publish", changes, said(201, {"ok": True, "success": True, "id": name}))

    def _check_digests(self) -> None:
        """What was announced is compared with what came; it is never believed."""
        what, digests = self.what, self.tarball.digests
        for algorithm, announced in (("sha1", what.sha1), ("sha512", what.sha512)):
            if announced and announced != digests[algorithm]:
                raise Invalid(f"The tarball's {algorithm} is not what the document says.", "Publish it again.")
        if what.subject and what.subject != digests["sha512"]:
            raise Invalid("The attestation speaks of other bytes than the tarball's.", "Attest this tarball.")

    def _changes(self, file: str) -> Iterable[AnyChange]:
        what, at_ms = self.what, self.ask.at_ms
        existing = self.view.package(what.name)
        tags = set(what.tags) if "latest" in self.view.tags(what.name) else {*what.tags, "latest"}
        facts = package_facts(existing)
        if "latest" in tags:
            facts = msgspec.structs.replace(
                facts,
                latest=what.version,
                latest_ms=at_ms,
                description=what.description,
                keywords=what.keywords,
            )
        if existing is None and self.ask.principal:
            owner = msgspec.json.encode([{"name": self.ask.principal, "email": ""}])
            facts = msgspec.structs.replace(facts, maintainers=owner)
        yield touched(self.ask, what.name, existing, facts)
        yield PutVersion(FORMAT, what.name, Version(what.version, at_ms, packed(self._version_facts())))
        for name, blob, media in (
            (file, self.tarball, "application/octet-stream"),
            (bundle_name(what.name, what.version), self.bundle, "application/json"),
        ):
            if blob is not None:
                kept = File(name, what.version, blob.sha256, blob.size, media, at_ms, blob.digests)
                yield PutFile(FORMAT, what.name, kept)
        for tag in sorted(tags):
            yield PutTag(FORMAT, what.name, tag, what.version)

    def _version_facts(self) -> msgspec.Struct:
        facts = self.what.facts
        if not self.ask.principal:
            return facts
        user = msgspec.json.encode({"name": self.ask.principal, "email": ""})
        return msgspec.structs.replace(facts, manifest=facts.manifest[:-1] + b',"_npmUser":' + user + b"}")


def touched(ask: Ask, name: str, existing: Package | None, facts: PackageFacts) -> PutPackage:
    """The package with its revision counted on and its time of change moved forward."""
    modified_ms = max(ask.at_ms, facts.modified_ms)
    facts = msgspec.structs.replace(facts, rev=facts.rev + 1, modified_ms=modified_ms)
    return PutPackage(FORMAT, Package(name, existing.at_ms if existing else ask.at_ms, packed(facts)))


# ---------------------------------------------------------------- whole documents put back


def _existing(at: Route, view: View) -> Package:
    package = view.package(at.name)
    if package is None:
        raise Absent("This package is not published here.", "Only what was published here can be changed.")
    return package


def _check_rev(rev: str, package: Package) -> None:
    if rev != revision(package_facts(package)):
        raise Conflict(
            "Document update conflict: the package was changed meanwhile.", "Read the package again and repeat."
        )


def _amend(ask: Ask, at: Route, what: Amended, view: View) -> Decision:
    """Deprecations and owners of a document without attachments; at a `-rev` address also the versions left out."""
    if what.deprecated and not any(view.version(at.name, one) for one in what.deprecated):
        raise Invalid("The document has no attachment, and none of its versions is published here.", "Publish it.")
    if what.deprecated is None and not what.maintainers:
        raise Unsupported("The document changes nothing that is kept here.", "Stars are not kept.")
    package = _existing(at, view)
    if at.rev or what.rev:
        _check_rev(what.rev, package)
    versions = view.versions(at.name)
    changes: list[AnyChange] = []
    if what.deprecated is not None:
        dropped = [one.name for one in versions if at.rev and one.name not in what.deprecated]
        if len(dropped) == len(versions):
            return _gone(at, "npm.unpublish")
        changes += _deprecations(at.name, versions, what.deprecated)
        changes += [DropVersion(FORMAT, at.name, one) for one in dropped]
    else:
        dropped = []
    facts, tags = _latest_after(at.name, package_facts(package), dropped, what.tags.get("latest", ""), view)
    if what.maintainers and _value(what.maintainers) != _value(facts.maintainers):
        facts = msgspec.structs.replace(facts, maintainers=what.maintainers)
        changes.append(PutPackage(FORMAT, package))
    action = "npm.unpublish" if dropped else "npm.deprecate" if what.deprecated is not None else "npm.owner"
    return _answered(ask, package, facts, [*changes, *tags], action)


def _answered(ask: Ask, package: Package, facts: PackageFacts, changes: list[AnyChange], action: str) -> Decision:
    """A Decision of these changes to what is in the package, with the package counted on where there are any."""
    rev = revision(facts)
    if changes:
        moved = touched(ask, package.name, package, facts)
        changes = [moved, *(one for one in changes if not isinstance(one, PutPackage))]
        rev = revision(package_facts(moved.package))
    return Decision(action, tuple(changes), said(201, {"ok": True, "id": package.name, "rev": rev}))


def _deprecations(name: str, versions: list[Version], wanted: dict[str, str]) -> list[AnyChange]:
    changed: list[AnyChange] = []
    for one in versions:
        if one.name not in wanted:
            continue
        facts = version_facts(one)
        if facts.deprecated != wanted[one.name]:
            facts = msgspec.structs.replace(facts, deprecated=wanted[one.name])
            changed.append(PutVersion(FORMAT, name, msgspec.structs.replace(one, facts=packed(facts))))
    return changed


def _latest_after(
    name: str, facts: PackageFacts, dropped: list[str], wished: str, view: View
) -> tuple[PackageFacts, list[AnyChange]]:
    """Where `latest` points once these versions are gone: the client's wish, or the highest that is left."""
    if view.tags(name).get("latest", "") not in dropped:
        return facts, []
    left = [one.name for one in view.versions(name) if one.name not in dropped]
    latest = wished if wished in left else highest(left)
    return with_latest(facts, name, latest, view), [PutTag(FORMAT, name, "latest", latest)]


def with_latest(facts: PackageFacts, name: str, latest: str, view: View) -> PackageFacts:
    """The facts that describe the version which is now the latest."""
    version = view.version(name, latest)
    assert version is not None
    members = _members.decode(version_facts(version).manifest)
    return msgspec.structs.replace(
        facts,
        latest=latest,
        latest_ms=version.at_ms,
        description=text_of(members.get("description"))[:1000],
        keywords=keywords_of(members.get("keywords")),
    )


def _value(raw: bytes) -> object:
    return msgspec.json.decode(raw)


# ---------------------------------------------------------------- unpublish


def _gone(at: Route, action: str) -> Decision:
    return Decision(action, (DropPackage(FORMAT, at.name),), said(200, {"ok": True, "id": at.name}))


def _unpublish(at: Route, view: View) -> Decision:
    _check_rev(at.rev, _existing(at, view))
    return _gone(at, "npm.unpublish")


def _drop_file(ask: Ask, at: Route, view: View) -> Decision:
    """The second half of an unpublish. The version went with the first half, so that mostly nothing is left to do."""
    if not at.rev:
        raise Invalid("A tarball is removed by its revision.", "Use npm unpublish.")
    file = view.file(at.name, at.detail)
    if file is None:
        if view.gone(at.name, at.detail) is None:
            raise Absent("There is no such file.")
        return Decision("npm.unpublish", (), said(200, {"ok": True}))
    package = _existing(at, view)
    if at.detail != tarball_name(at.name, file.version):
        raise Conflict("An attestation goes with its version.", "Unpublish the version.")
    if [one.name for one in view.versions(at.name)] == [file.version]:
        return _gone(at, "npm.unpublish")
    return dropped(ask, package, file.version, view)


def dropped(ask: Ask, package: Package, version: str, view: View) -> Decision:
    """One of several versions goes."""
    facts, tags = _latest_after(package.name, package_facts(package), [version], "", view)
    return _answered(ask, package, facts, [DropVersion(FORMAT, package.name, version), *tags], "npm.unpublish")


# ---------------------------------------------------------------- tags


def _tag(ask: Ask, at: Route, body: bytes, view: View) -> Decision:
    package = _existing(at, view)
    tag = new_tag(at.detail)
    try:
        version = msgspec.json.decode(body, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Invalid("The body is not a version as a JSON text.", 'Send it as "1.0.0".') from None
    return pointed(ask, package, tag, version, view)


def pointed(ask: Ask, package: Package, tag: str, version: str, view: View) -> Decision:
    """The tag points to this version from now on. Raises Absent, Invalid."""
    name = package.name
    if view.version(name, version) is None:
        raise Absent("This version is not published here.", "Tag a version that is.")
    facts = package_facts(package)
    changes: list[AnyChange] = []
    if view.tags(name).get(new_tag(tag)) != version:
        changes.append(PutTag(FORMAT, name, tag, version))
        if tag == "latest":
            facts = with_latest(facts, name, version, view)
    return _answered(ask, package, facts, changes, "npm.tag")


def _untag(ask: Ask, at: Route, view: View) -> Decision:
    return unpointed(ask, _existing(at, view), at.detail, view)


def unpointed(ask: Ask, package: Package, tag: str, view: View) -> Decision:
    """The tag is gone from now on. Raises Absent, Conflict."""
    if tag == "latest":
        raise Conflict("The tag latest cannot be removed.", "Point it to another version.")
    if tag not in view.tags(package.name):
        raise Absent("There is no such dist-tag.")
    return _answered(ask, package, package_facts(package), [DropTag(FORMAT, package.name, tag)], "npm.untag")


# ---------------------------------------------------------------- audit


def _audit(ask: Ask, kind: str, body: bytes) -> Decision:
    """What is known of the packages asked for. No advisories are held yet: the answer is of the right shape, empty."""
    plain = _plain(ask.headers.get("content-encoding", "identity"), body)
    try:
        if kind == "advisories":
            msgspec.json.decode(plain, type=dict[str, list[str]])
            return Decision("npm.audit", (), said(200, {}))
        msgspec.json.decode(plain, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("The body is no list of installed packages.", "Use npm audit.") from None
    metadata = {"vulnerabilities": _NO_VULNERABILITIES, **_NO_DEPENDENCIES}
    return Decision("npm.audit", (), said(200, {"actions": [], "advisories": {}, "muted": [], "metadata": metadata}))


def _plain(encoding: str, body: bytes) -> bytes:
    """The body without its compression, bounded."""
    if encoding in ("identity", ""):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise Unsupported("The body is compressed in a way that is not taken.", "Use gzip.")
    inflater = zlib.decompressobj(31)
    try:
        plain = inflater.decompress(body, AUDIT_PLAIN_BYTES_MAX)
    except zlib.error:
        raise Invalid("The body is not gzip.") from None
    if inflater.unconsumed_tail:
        raise TooLarge(f"The body is over {AUDIT_PLAIN_BYTES_MAX} bytes unpacked.")
    if not inflater.eof or inflater.unused_data:
        raise Invalid("The body's gzip is cut short, or something follows it.")
    return plain
