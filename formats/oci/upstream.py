"""How is a foreign registry asked for an image, so that it counts as few requests as can be?

What a digest names never changes: it is pulled once. A tag is renewed by a HEAD, which registries do not count, and
only a tag that moved is fetched. A manifest that came by its tag is there by its digest too, since clients ask for the
one and then for the other. Tags are learnt as a list, for lists alone: which manifest a tag means is asked by its name.
"""

from itertools import chain, islice
from urllib.parse import urlencode

import msgspec

from formats.kit.contract import PAGE_BREAK, Ask, Fetch, Foreign, Learn, Pull, Serve, Show
from formats.oci import names
from formats.oci.manifest import MANIFEST_BYTES_MAX, MEDIA, OCI_INDEX
from formats.oci.wire import JSON, ReferrersPage
from storage.errors import UpstreamFailed
from storage.nouns import Package

ACCEPTED = ", ".join(MEDIA)
TAGS_BYTES_MAX = 32 << 20
TAGS_MAX = 200_000
TAG_PAGES_MAX = 1_000
_DIGEST = "docker-content-digest"
_FILTERED = "oci-filters-applied"


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


def fetch(ask: Ask, plan: Serve | Show) -> Fetch | None:
    """What to ask for. None for names that no image can have."""
    if isinstance(plan, Show):
        return _list(plan)
    if not names.is_name(plan.package):
        return None
    at = f"v2/{plan.package}"
    if plan.tag:
        return Pull(
            f"{at}/manifests/{plan.tag}",
            ACCEPTED,
            bytes_max=MANIFEST_BYTES_MAX,
            announced=((_DIGEST, "sha256"),),
            looked=_DIGEST,
            lies_at=f"{at}/manifests/sha256:",
        )
    kind, _, digest = plan.file.partition("/")
    algorithm, _, text = digest.partition(":")
    if kind == "m":
        path = f"{at}/manifests/{digest}"
        return Pull(path, ACCEPTED, True, MANIFEST_BYTES_MAX, {algorithm: text})
    return Pull(f"{at}/blobs/{digest}", immutable=True, digests={algorithm: text}, media="application/octet-stream")


def _list(plan: Show) -> Fetch | None:
    if plan.page == "referrers":
        page = msgspec.json.decode(plan.argument, type=ReferrersPage)
        query = "?" + urlencode({"artifactType": page.artifact}) if page.artifact else ""
        path = f"v2/{plan.claim}/referrers/{page.subject}{query}"
        return Pull(path, OCI_INDEX, bytes_max=MANIFEST_BYTES_MAX, media=OCI_INDEX, headers=(_FILTERED,))
    if not names.is_name(plan.package):
        return None
    return Learn(f"v2/{plan.package}/tags/list", JSON, TAGS_BYTES_MAX, TAG_PAGES_MAX)


def learn(package: str, raw: bytes) -> Foreign:
    """The tags of an image, from all pages of the list. Raises UpstreamFailed where it is no list of tags."""
    try:
        raw.decode()
        pages = [msgspec.json.decode(page, type=_Tags).tags or [] for page in raw.split(PAGE_BREAK)]
    except RecursionError:
        raise UpstreamFailed("The upstream's list nests too deeply.", "Ask the operator to look at it.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamFailed("The upstream answered no list of tags.", "Check the upstream's address.") from None
    return Foreign(Package(package), tags={tag: "" for tag in islice(chain(*pages), TAGS_MAX) if names.is_tag(tag)})
