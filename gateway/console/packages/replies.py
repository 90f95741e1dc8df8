"""What does the API answer of packages, and of what was done to them by name?"""

from gateway.console.shapes.replies import Page, Texts, Told


class Quarantine(Told, frozen=True):
    format: str
    package: str
    version: str
    reason: str
    created_ms: int


class Purged(Told, frozen=True):
    format: str
    package: str


class Package(Told, frozen=True):
    name: str
    updated_ms: int


class Version(Told, frozen=True):
    """`downloads` and `last_pull_ms` (0 = never) are as far as they are counted; null at an edge, which counts none."""

    name: str
    created_ms: int
    downloads: int | None
    last_pull_ms: int | None


class Pull(Told, frozen=True):
    """`last_pull_ms` 0 = never."""

    name: str
    downloads: int
    last_pull_ms: int


class Pulls(Told, frozen=True):
    """`counted_until_ms`: every pull before it, at any node, is in here, but for some before `lost_until_ms` that a
    node lost (0 = none)."""

    downloads: int
    last_pull_ms: int
    versions: tuple[Pull, ...]
    tags: tuple[Pull, ...]
    counted_until_ms: int
    lost_until_ms: int


class Stored(Told, frozen=True):
    """How the bytes of a file lie at this node, and why; `chunks` 0 = it is whole. `saved_bytes` of it were there when
    it came; null, as `extents`, but for who may read everything: chunks are shared by all workspaces."""

    cut: str
    why: str
    chunks: int
    saved_bytes: int | None
    extents: int | None


class File(Told, frozen=True):
    """`stored` null = not here."""

    name: str
    version: str
    size_bytes: int
    media: str
    sha256: str
    created_ms: int
    stored: Stored | None


class Readable(Told, frozen=True):
    """A file, and the path of this node at which whoever may reads it."""

    name: str
    version: str
    size_bytes: int
    sha256: str
    path: str


class PackageWithFiles(Package, frozen=True):
    versions: tuple[Version, ...]
    tags: dict[str, str]
    files: tuple[File, ...]


class FoundVersion(Told, frozen=True):
    """`size_bytes` is that of all its files. `uploader` is what whoever published it was called, for who manages the
    workspace, else ""; `downloads` and `last_downloaded_ms` null = this node does not count them, 0 = there was none.
    `status`: available, quarantined, or deleted: it stands in the bin. `types` are in the words of its format."""

    name: str
    created_ms: int
    size_bytes: int
    tags: Texts
    licenses: Texts
    architectures: Texts
    types: Texts
    uploader: str
    prerelease: bool
    status: str
    quarantined: bool
    downloads: int | None
    last_downloaded_ms: int | None


class Found(Told, frozen=True):
    """A package that a query finds. `versions` are the latest of the `versions_found`. `upstream` "" = it was published
    here; else it is known from there, and what is told of its versions is their names."""

    workspace: str
    repository: str
    format: str
    name: str
    upstream: str
    updated_ms: int
    versions_found: int
    versions: tuple[FoundVersion, ...]


class FoundHere(Page[Found], frozen=True):
    """`left_out`: so many repositories were not looked into, as this edge may not tell of them until it hears its
    origin again."""

    left_out: int = 0


class Cut(Told, frozen=True):
    """All that are cut alike. `chunks` 0 = they are whole."""

    why: str
    files: int
    chunks: int
    bytes: int
    saved_bytes: int | None


class Storage(Told, frozen=True):
    """`by_cut` has those that are here. `saved_bytes` null but for who may read everything. `complete` false = there
    are more files than are looked at."""

    files: int
    saved_bytes: int | None
    by_cut: dict[str, Cut]
    complete: bool


class Deleted(Told, frozen=True):
    """`id` in the bin and until when it is there; "" and 0 for what is gone at once."""

    format: str
    package: str
    version: str
    files: int
    bytes: int
    id: str
    until_ms: int


class Binned(Told, frozen=True):
    """Something in a bin. `tags` pointed to it. `build` is which one of a Version that consists of several builds."""

    id: str
    format: str
    package: str
    version: str
    build: str
    files: Texts
    tags: Texts
    bytes: int
    deleted_ms: int
    until_ms: int
    actor: str
    reason: str


class Restored(Told, frozen=True):
    format: str
    package: str
    version: str
    build: str
    files: int


class Emptied(Told, frozen=True):
    """`left`: there is more, ask again."""

    emptied: int
    left: bool


class Copied(Told, frozen=True):
    """How much came; nothing where all of it was there."""

    format: str
    package: str
    version: str
    versions: int
    files: int
    bytes: int


class Tag(Told, frozen=True):
    """`version` "" = it was removed."""

    tag: str
    version: str


class Tags(Told, frozen=True):
    items: tuple[Tag, ...]
