"""How does an image come and go by its name, outside of a registry's own requests?

What is meant by a version is a digest, or a tag that leads to one. An image comes with its whole graph: what an index
lists, every blob that anything of it needs, and what refers to it (signatures, attestations), however deep that goes.
It leaves nothing behind that nothing else of its name needs.
"""

from collections.abc import Iterable, Iterator

from formats.kit.handling import Wanted, no_such
from formats.oci import names
from formats.oci.manifest import Manifest, unpacked
from formats.oci.names import FORMAT
from storage.errors import Absent, Conflict
from storage.nouns import (
    AnyChange,
    DropFile,
    DropPackage,
    DropTag,
    DropVersion,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    View,
)

GRAPH_MAX = 10_000
"""Manifests of one image, with all that refers to them."""


def remove(name: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """Manifests that nothing else lists or tags, with what refers to them, and the blobs that nothing left here needs.
    Raises Absent."""
    everything = {one.name for one in view.versions(name)}
    if not version:
        if view.package(name) is None:
            raise no_such(name)
        return (*_unreferred(name, everything, view), DropPackage(FORMAT, name))
    going = _going(name, _digest(name, version, view), everything, view)
    if going == everything:
        return (*_unreferred(name, everything, view), DropPackage(FORMAT, name))
    left = [_manifest(name, one, view) for one in sorted(everything - going)]
    needed = {blob for manifest in left for blob in manifest.blobs}
    blobs = {blob for one in going for blob in _manifest(name, one, view).blobs} - needed
    changes: list[AnyChange] = []
    for one in sorted(going):
        changes += [DropFile(FORMAT, name, names.manifest_file(one), forget=True), DropVersion(FORMAT, name, one)]
    files = (names.blob_file(one) for one in sorted(blobs))
    changes += [DropFile(FORMAT, name, one, forget=True) for one in files if view.file(name, one) is not None]
    return (*changes, *_unreferred(name, going, view))


def _going(name: str, digest: str, everything: set[str], view: View) -> set[str]:
    """What goes with a manifest: what it lists, unless that is tagged or listed by what stays, and what refers to what
    goes."""
    going = {digest}
    while True:
        kept = everything - going
        tagged = set(view.tags(name).values())
        listed = {child for one in kept for child in _manifest(name, one, view).manifests}
        more = {child for one in going for child in _manifest(name, one, view).manifests} & kept - tagged - listed
        more |= {one.name for each in going for one in view.versions(names.referrers_of(name, each))} & kept
        if not more:
            return going
        going |= more


def _unreferred(name: str, going: Iterable[str], view: View) -> Iterator[AnyChange]:
    """They do not stand among the referrers of their subjects any more."""
    for one in sorted(going):
        subject = _manifest(name, one, view).subject
        if subject and view.version(names.referrers_of(name, subject), one) is not None:
            yield DropVersion(FORMAT, names.referrers_of(name, subject), one)


def bring(wanted: Wanted, source: View, target: View) -> tuple[AnyChange, ...]:
    """Raises Absent, and Conflict where a bin holds a manifest without what it needs."""
    name = wanted.package
    if wanted.version:
        roots = [_digest(name, wanted.version, source)]
    else:
        roots = [one.name for one in source.versions(name)]
        if not roots and not source.files(name):
            raise no_such(name)
    order = _graph(name, roots, source, target)
    changes: list[AnyChange] = []
    for digest in order:
        changes += _brought(name, digest, source, target)
    if not wanted.version:
        put = {change.file.name for change in changes if isinstance(change, PutFile)}
        loose = (one for one in source.files(name) if not one.name.startswith(names.MANIFESTS) and one.name not in put)
        changes += [PutFile(FORMAT, name, one) for one in loose if target.file(name, one.name) is None]
    for tag, to in source.tags(name).items():
        meant = to in roots and wanted.version in ("", to, tag)
        if meant and target.tag(name, tag) is None:
            changes.append(PutTag(FORMAT, name, tag, to))
    if changes and target.package(name) is None:
        changes.insert(0, PutPackage(FORMAT, source.package(name) or Package(name)))
    return tuple(_once(changes))


def _brought(name: str, digest: str, source: View, target: View) -> Iterator[AnyChange]:
    """One manifest, behind the blobs that it needs."""
    version = source.version(name, digest)
    if version is None:
        return  # it is there, or it could not have been listed
    manifest = unpacked(version.facts)
    for blob in manifest.blobs:
        file = source.file(name, names.blob_file(blob))
        if target.file(name, names.blob_file(blob)) is not None:
            continue
        if file is None:
            raise Conflict(f"{digest} needs the blob {blob}, which is not here any more.", "Push the image again.")
        yield PutFile(FORMAT, name, file)
    if target.version(name, digest) is None:
        kept = source.file(name, names.manifest_file(digest))
        if kept is None:
            raise no_such(name, digest)
        yield PutVersion(FORMAT, name, version)
        yield PutFile(FORMAT, name, kept)
    if manifest.subject and target.version(names.referrers_of(name, manifest.subject), digest) is None:
        yield PutVersion(FORMAT, names.referrers_of(name, manifest.subject), version)


def _graph(name: str, roots: Iterable[str], source: View, target: View) -> list[str]:
    """Every manifest that is to come: what is listed ahead of what lists it, what refers behind what it refers to."""
    order: list[str] = []
    seen: set[str] = set()
    todo = [(digest, False) for digest in reversed(list(roots))]
    while todo:
        digest, done = todo.pop()
        if done:
            order.append(digest)
            todo += [(one.name, False) for one in source.versions(names.referrers_of(name, digest))]
            continue
        if digest in seen:
            continue
        seen.add(digest)
        if len(seen) > GRAPH_MAX:
            raise Conflict(f"The image has more than {GRAPH_MAX} manifests.", "Copy what it lists one by one.")
        version = source.version(name, digest)
        if version is None and target.version(name, digest) is None:
            raise Conflict(f"The manifest {digest} is not here any more.", "Push the image again.")
        todo.append((digest, True))
        todo += [(child, False) for child in (unpacked(version.facts).manifests if version is not None else ())]
    return order


def _once(changes: Iterable[AnyChange]) -> Iterator[AnyChange]:
    """Layers are shared: each file is named once."""
    put: set[str] = set()
    for change in changes:
        if isinstance(change, PutFile):
            if change.file.name in put:
                continue
            put.add(change.file.name)
        yield change


def retag(name: str, tag: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """Raises Absent, TagInvalid."""
    if not version:
        if view.tag(name, tag) is None:
            raise Absent(f"There is no tag {tag} here.")
        return (DropTag(FORMAT, name, tag),)
    digest = _digest(name, version, view)
    return () if view.tag(name, names.tag(tag)) == digest else (PutTag(FORMAT, name, tag, digest),)


def _digest(name: str, version: str, view: View) -> str:
    """The digest that is meant. Raises Absent."""
    digest = version if names.is_digest(version) else view.tag(name, version)
    if digest is None or view.version(name, digest) is None:
        raise no_such(name, version)
    return digest


def _manifest(name: str, digest: str, view: View) -> Manifest:
    version = view.version(name, digest)
    return unpacked(version.facts) if version is not None else Manifest("", 0)
