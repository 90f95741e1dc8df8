"""What does an upload or amendment change, given what is there?

A file name never gets other bytes, wherever it is listed and whether it is still there: name, version and architecture
are in it, and clients take two files of one name for the same (THREATS C15).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from formats.deb import names
from formats.deb.facts import (
    FORMAT,
    DistributionFacts,
    FileFacts,
    Spot,
    VersionFacts,
    distribution_facts,
    file_facts,
    packed,
    version_facts,
)
from formats.deb.names import BINARY, DISTRIBUTION, SOURCE, shown
from formats.deb.unpack import Found, Listed, found_in
from formats.kit.contract import Ask, Blob, Decision, Finds, Reply
from storage.errors import Absent, Conflict, Invalid
from storage.nouns import (
    AnyChange,
    DropFile,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutVersion,
    Version,
    View,
)

MEDIA = "application/vnd.debian.binary-package"
OCTETS = "application/octet-stream"
SPOTS_MAX = 500
COMPONENTS_MAX = 100
ARCHITECTURES_MAX = 64
"""Of a distribution: each pair of them has its indexes."""
SECTION_DEFAULT = "main"


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """Raises Invalid, Absent, Conflict; nothing changes then."""
    match finds.context:
        case {"action": "delete", "file": str(file), "distribution": str(distribution), "component": str(component)}:
            return _delete(ask, file, distribution, component, view)
        case {"action": "settings", "distribution": str(distribution)}:
            return _settings(ask, distribution, finds.body, view)
        case {"action": "member", "file": str(file)}:
            return _member(ask, file, finds.blobs["file"], view)
        case {"action": "publish", "file": str(file), "distribution": str(distribution), "component": str(component)}:
            return _published(ask, finds, file, distribution, component, view)
    raise AssertionError("no request has another context")


def _published(ask: Ask, finds: Finds, file: str, distribution: str, component: str, view: View) -> Decision:
    found = found_in(finds.facts)
    spots = (Spot(distribution, component),) if distribution else ()
    if found.kind == "changes":
        return _changes(ask, found, spots, view)
    if found.kind == "dsc":
        return _source(ask, found, finds.blobs["file"], spots, view)
    return _binary(ask, found, file, finds.blobs["file"], spots, view)


# ---------------------------------------------------------------- binary packages


def filename_of(found: Found) -> str:
    """The one name that a package can have in the pool."""
    return f"{found.name}_{names.without_epoch(found.version)}_{found.architecture}.{found.kind}"


def _binary(ask: Ask, found: Found, sent_as: str, blob: Blob, spots: tuple[Spot, ...], view: View) -> Decision:
    name, key = filename_of(found), BINARY + found.name
    if not spots and sent_as.removesuffix(".ddeb") not in (name, name.removesuffix(".deb")):
        raise Invalid(f"{shown(sent_as)} is the package {name}.", "Call the file so, then send it and its .changes.")
    there = _there(key, name, found.version, blob, view)
    facts = FileFacts(found.kind, found.stanza, found.architecture, (), section=found.section)
    old = file_facts(there.facts).spots if there else ()
    new = with_spots(old, spots)
    changes: list[AnyChange] = []
    if there is None or new != old:
        facts = msgspec.structs.replace(facts, spots=new)
        changes += _put(
            ask, key, File(name, found.version, blob.sha256, blob.size, MEDIA, ask.at_ms), facts, there, view
        )
        if there is None and found.paths:
            changes.append(_paths(ask, key, found, name, view))
        changes += distributions(ask, [Listing(spot, facts) for spot in spots], view)
    return Decision("deb.publish", tuple(changes), _said(201 if there is None else 200, name))


def _there(key: str, name: str, version: str, blob: Blob, view: View) -> File | None:
    """The same file, if it is there. Raises Conflict where its name belongs, or belonged, to other bytes."""
    there = view.file(key, name)
    if there is not None and there.sha256 == blob.sha256:
        return there
    if there is not None:
        other = f" (as version {there.version})" if there.version != version else ""
        raise Conflict(f"{name} is there already{other}, with other bytes.", "Publish a new version.")
    gone = view.gone(key, name)
    if gone is not None and gone != blob.sha256:
        raise Conflict(f"{name} was removed, and had other bytes.", "Publish a new version.")
    return None


def with_spots(old: tuple[Spot, ...], more: tuple[Spot, ...]) -> tuple[Spot, ...]:
    """Where a file is listed once it is listed there too. Raises Conflict for too many places."""
    spots = (*old, *(one for one in more if one not in old))
    if len(spots) > SPOTS_MAX:
        raise Conflict(f"A package can be listed at {SPOTS_MAX} places.", "Remove it from others first.")
    return spots


def _put(ask: Ask, key: str, file: File, facts: FileFacts, there: File | None, view: View) -> list[AnyChange]:
    """The file with its facts, and its package where that is new."""
    changes: list[AnyChange] = []
    if view.package(key) is None:
        changes.append(PutPackage(FORMAT, Package(key, ask.at_ms)))
    kept = msgspec.structs.replace(file, facts=packed(facts), at_ms=there.at_ms if there else file.at_ms)
    changes.append(PutFile(FORMAT, key, kept))
    return changes


def _paths(ask: Ask, key: str, found: Found, name: str, view: View) -> AnyChange:
    version = view.version(key, found.version)
    paths = version_facts(version.facts).paths if version else {}
    facts = packed(VersionFacts(paths | {name: found.paths}))
    return PutVersion(FORMAT, key, Version(found.version, version.at_ms if version else ask.at_ms, facts))


# ---------------------------------------------------------------- source packages


def _member(ask: Ask, name: str, blob: Blob, view: View) -> Decision:
    """A file that a .dsc or .changes will name: kept, and listed nowhere until then."""
    key = SOURCE + names.owner(name)
    if _there(key, name, "", blob, view) is not None:
        return Decision("deb.publish", (), _said(200, name))
    file = File(name, "", blob.sha256, blob.size, OCTETS, ask.at_ms)
    return Decision("deb.publish", tuple(_put(ask, key, file, FileFacts("member"), None, view)), _said(201, name))


def _source(ask: Ask, found: Found, blob: Blob, spots: tuple[Spot, ...], view: View) -> Decision:
    key, name = SOURCE + found.name, f"{found.name}_{names.without_epoch(found.version)}.dsc"
    there = _there(key, name, found.version, blob, view)
    members = [one for one in found.listed if one.name != name]
    _need(view, members)
    old = file_facts(there.facts).spots if there else ()
    new = with_spots(old, spots)
    if there is not None and new == old:
        return Decision("deb.publish", (), _said(200, name))
    checksums = "".join(f"\n {one.sha256} {one.size} {one.name}" for one in members)
    stanza = f"{found.stanza}Checksums-Sha256:{checksums}\n {blob.sha256.hex()} {blob.size} {name}\n"
    facts = FileFacts("dsc", stanza, "source", new, tuple(one.name for one in members))
    file = File(name, found.version, blob.sha256, blob.size, "text/plain", ask.at_ms)
    changes = _put(ask, key, file, facts, there, view)
    changes += distributions(ask, [Listing(spot, facts) for spot in spots], view)
    return Decision("deb.publish", tuple(changes), _said(201 if there is None else 200, name))


def _need(view: View, listed: Iterable[Listed]) -> None:
    """Raises Invalid unless all these files are there, with these bytes."""
    missing = []
    for one in listed:
        there = view.file(_key(one.name), one.name)
        if there is None:
            missing.append(one.name)
        elif there.sha256.hex() != one.sha256 or there.size != one.size:
            raise Invalid(f"{one.name} is here with other bytes than it names.", "Publish a new version.")
    if missing:
        raise Invalid(f"These files are not here yet: {', '.join(missing[:10])}.", "Send them first.")


def _changes(ask: Ask, found: Found, spots: tuple[Spot, ...], view: View) -> Decision:
    """The end of an upload in files: what it names is listed where it says, or where the address said."""
    _need(view, found.listed)
    changes: list[AnyChange] = []
    listings: list[Listing] = []
    for one in found.listed:
        there = view.file(_key(one.name), one.name)
        assert there is not None, "it was asked for above"
        facts = file_facts(there.facts)
        if facts.kind == "member":
            continue
        area, slash, _ = one.section.partition("/")
        component = names.component(area) if slash else SECTION_DEFAULT
        wanted = spots or tuple(Spot(each, component) for each in found.distributions)
        new = with_spots(facts.spots, wanted)
        if new != facts.spots:
            kept = msgspec.structs.replace(there, facts=packed(msgspec.structs.replace(facts, spots=new)))
            changes.append(PutFile(FORMAT, _key(one.name), kept))
            listings += [Listing(spot, facts) for spot in wanted]
    changes += distributions(ask, listings, view)
    return Decision("deb.changes", tuple(changes), _said(201 if changes else 200, f"{found.name} {found.version}"))


def _key(filename: str) -> str:
    return (BINARY if filename.endswith(names.BINARY_ENDINGS) else SOURCE) + names.owner(filename)


# ---------------------------------------------------------------- distributions


class Listing(NamedTuple):
    """A file that is listed at a spot from now on."""

    spot: Spot
    facts: FileFacts


def distributions(ask: Ask, listings: Iterable[Listing], view: View) -> list[AnyChange]:
    """The distributions that learn of a component or an architecture, or that there are any."""
    fresh: dict[str, DistributionFacts] = {}
    for spot, facts in listings:
        distribution, component = spot.distribution, spot.component
        old = fresh.get(distribution) or _known(view.package(DISTRIBUTION + distribution))
        built = [facts.architecture] if facts.kind in ("deb", "udeb") else []
        fresh[distribution] = msgspec.structs.replace(
            old,
            components=_more(old.components, [component]),
            architectures=_more(old.architectures, built),
            installer=old.installer or facts.kind == "udeb",
        )
        _check_size(distribution, fresh[distribution])
    changes: list[AnyChange] = []
    for distribution, new in fresh.items():
        package = view.package(DISTRIBUTION + distribution)
        if package is None or new != _known(package):
            at_ms = package.at_ms if package else ask.at_ms
            changes.append(PutPackage(FORMAT, Package(DISTRIBUTION + distribution, at_ms, packed(new))))
    return changes


def _known(package: Package | None) -> DistributionFacts:
    return distribution_facts(package.facts) if package else DistributionFacts()


def _more(old: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*old, *new}))


def _check_size(distribution: str, facts: DistributionFacts) -> None:
    """Raises Conflict for more indexes than a distribution can have."""
    if len(facts.components) > COMPONENTS_MAX or len(facts.architectures) > ARCHITECTURES_MAX:
        raise Conflict(
            f"{shown(distribution)} has {COMPONENTS_MAX} components and {ARCHITECTURES_MAX} architectures at most.",
            "Publish in another distribution.",
        )


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What the owner of a distribution may say of it."""

    origin: str | msgspec.UnsetType = msgspec.UNSET
    label: str | msgspec.UnsetType = msgspec.UNSET
    suite: str | msgspec.UnsetType = msgspec.UNSET
    codename: str | msgspec.UnsetType = msgspec.UNSET
    version: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    valid_s: int | msgspec.UnsetType = msgspec.UNSET
    contents: bool | msgspec.UnsetType = msgspec.UNSET
    not_automatic: bool | msgspec.UnsetType = msgspec.UNSET
    but_automatic_upgrades: bool | msgspec.UnsetType = msgspec.UNSET
    components: list[str] | msgspec.UnsetType = msgspec.UNSET
    architectures: list[str] | msgspec.UnsetType = msgspec.UNSET


def _settings(ask: Ask, distribution: str, body: bytes, view: View) -> Decision:
    try:
        wish = msgspec.json.decode(body, type=_Wish)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Invalid(
            "The settings cannot be read.", f"Send a JSON object of: {', '.join(_Wish.__struct_fields__)}."
        ) from None
    key = DISTRIBUTION + distribution
    package = view.package(key)
    old = _known(package)
    told: dict[str, Any] = {
        name: value for name in _Wish.__struct_fields__ if (value := getattr(wish, name)) is not msgspec.UNSET
    }
    for name, value in told.items():
        if isinstance(value, str) and (len(value) > 200 or not value.isprintable()):
            raise Invalid(f"The setting {name} is too long, or no line of text.")
    if not 0 <= told.get("valid_s", 0) <= 10 * 366 * 24 * 3600:
        raise Invalid("valid_s is a number of seconds, at most ten years.")
    told["components"] = _more(old.components, (names.component(one) for one in told.get("components", ())))
    told["architectures"] = _more(old.architectures, (names.architecture(one) for one in told.get("architectures", ())))
    new = msgspec.structs.replace(old, **told)
    _check_size(distribution, new)
    if package is not None and new == old:
        return Decision("deb.settings", (), _said(200, distribution))
    kept = Package(key, package.at_ms if package else ask.at_ms, packed(new))
    return Decision("deb.settings", (PutPackage(FORMAT, kept),), _said(200, distribution))


# ---------------------------------------------------------------- removal


def _delete(ask: Ask, name: str, distribution: str, component: str, view: View) -> Decision:
    """Out of a distribution, or out of the repository; from there it goes when it is listed nowhere any more."""
    key = _key(name)
    file = view.file(key, name)
    if file is None:
        raise Absent("There is no such file.")
    facts = file_facts(file.facts)
    left = tuple(one for one in facts.spots if not _meant(one, distribution, component))
    if distribution and left == facts.spots:
        raise Absent("The file is not listed there.")
    if distribution and left:
        kept = msgspec.structs.replace(file, facts=packed(msgspec.structs.replace(facts, spots=left)))
        return Decision("deb.delete", (PutFile(FORMAT, key, kept),), Reply(204))
    changes: list[AnyChange] = [DropFile(FORMAT, key, name)]
    others = {one.name: file_facts(one.facts) for one in view.files(key) if one.name != name}
    if facts.kind == "member" and any(name in other.members for other in others.values()):
        raise Conflict(f"{name} belongs to a source package.", "Remove its .dsc.")
    shared = {member for other in others.values() for member in other.members}
    changes += [DropFile(FORMAT, key, one) for one in facts.members if one in others and one not in shared]
    version = view.version(key, file.version)
    if version is not None:
        paths = {one: data for one, data in version_facts(version.facts).paths.items() if one != name}
        if paths:
            changes.append(PutVersion(FORMAT, key, Version(version.name, version.at_ms, packed(VersionFacts(paths)))))
        elif all(one.version != file.version or one.name == name for one in view.files(key)):
            changes.append(DropVersion(FORMAT, key, file.version))
        else:
            changes.append(PutVersion(FORMAT, key, Version(version.name, version.at_ms)))
    return Decision("deb.delete", tuple(changes), Reply(204))


def _meant(spot: Spot, distribution: str, component: str) -> bool:
    return not distribution or (spot.distribution == distribution and component in ("", spot.component))


def _said(status: int, what: str) -> Reply:
    return Reply(status, f"{what}\n".encode())
