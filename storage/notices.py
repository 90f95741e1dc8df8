"""What does an origin notice by itself, that nobody did?

A quota that is reached, a customer's limit, stored bytes that are damaged: a Notice of it stands in the journal like
what people do, so whoever is told of the journal is told of it too. It changes nothing; the index keeps when something
was told last (storage.index.noticed), so that it is told once.
"""

from storage.contents import Informing, Noun

QUOTA_NEAR, QUOTA_REACHED = "quota.near", "quota.reached"
LIMIT_REACHED, EXPIRED = "entitlement.limit_reached", "entitlement.expired"
DAMAGED, ROTTEN = "package.damaged", "workspace.damaged"
FILES_MAX = 100


class Damage(Noun, frozen=True):
    """A File whose stored bytes are not what they were."""

    format: str
    package: str
    version: str
    name: str
    sha256: bytes


class Notice(Noun, frozen=True):
    """Told once for its `kind` and `cause` ("" = the place that the Entry is of) in the period that began at
    `period_ms`, and anew where `limit` is another one.

    Of a quota: `limit` and `used` in bytes, `refused` those of an upload that had no room. Of a customer's Token: its
    id and name, `of` is which limit it is (downloads, bytes, clients, date), and the vendor's own `metadata`. Of
    damage: some of the `files`, and how many there are in all (`files_count`); of rows of the index or entries of the
    journal of which they are (`of`, which is its cause) and how many (`used`).
    """

    kind: str
    cause: str = ""
    period_ms: int = 0
    limit: int = 0
    used: int = 0
    refused: int = 0
    token: str = ""
    name: str = ""
    of: str = ""
    metadata: dict[str, str] = {}  # noqa: RUF012  # a msgspec.Struct by way of Noun
    files: tuple[Damage, ...] = ()
    files_count: int = 0


class PutNotice(Informing, frozen=True, tag="~nt"):
    notice: Notice
