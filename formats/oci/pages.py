"""What do the lists of tags and of referrers look like?"""

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from formats.kit.contract import Document, Show
from formats.oci.manifest import OCI_INDEX, unpacked
from formats.oci.wire import PAGE_MAX, ReferrersPage, TagPage
from storage.errors import Absent
from storage.nouns import Version, View

REFERRERS_BYTES_MAX = 2 << 20
"""Of one page; the specification wants less than 4 MiB."""


def render(show: Show, view: View) -> Document:
    """Raises Absent for tags of an image that never was."""
    return _tags(show, view) if show.page == "tags" else _referrers(show, view)


def _tags(show: Show, view: View) -> Document:
    page = msgspec.json.decode(show.argument, type=TagPage)
    if view.package(show.package) is None:
        raise Absent("There is no image of this name.")
    rest = sorted(view.tags(show.package), key=_order)
    if page.last:
        rest = [tag for tag in rest if _order(tag) > _order(page.last)]
    count = PAGE_MAX if page.limit < 0 else min(page.limit, PAGE_MAX)
    listed = rest[:count]
    body = msgspec.json.encode({"name": page.image, "tags": listed})
    if not listed or len(listed) == len(rest):
        return Document(body)
    query = urlencode({"n": count, "last": listed[-1]})
    return Document(body, (_next(f"{page.image}/tags/list", query),))


def _order(tag: str) -> tuple[str, str]:
    """Without regard to case, as the specification has it; two that differ in nothing else keep one order."""
    return tag.lower(), tag


def _referrers(show: Show, view: View) -> Document:
    """Never Absent: nothing refers to what is not there."""
    page = msgspec.json.decode(show.argument, type=ReferrersPage)
    listed: list[dict[str, Any]] = []
    size = 0
    more = ""
    for version in view.versions(show.package):
        descriptor = _descriptor(version)
        if version.name <= page.last or (page.artifact and descriptor.get("artifactType") != page.artifact):
            continue
        size += len(version.facts) + 200
        if size > REFERRERS_BYTES_MAX and listed:
            more = listed[-1]["digest"]
            break
        listed.append(descriptor)
    body = msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    if not more:
        return Document(body)
    query = urlencode({"last": more} | ({"artifactType": page.artifact} if page.artifact else {}))
    return Document(body, (_next(f"{page.image}/referrers/{page.subject}", query),))


def _descriptor(version: Version) -> dict[str, Any]:
    manifest = unpacked(version.facts)
    found: dict[str, Any] = {"mediaType": manifest.media, "digest": version.name, "size": manifest.size}
    if manifest.artifact:
        found["artifactType"] = manifest.artifact
    if manifest.annotations:
        found["annotations"] = msgspec.Raw(manifest.annotations)
    return found


def _next(path: str, query: str) -> tuple[str, str]:
    return ("Link", f'</v2/{quote(path)}?{query}>; rel="next"')
