"""Of which events can a receiver be told? Declared here once: the API, the documentation and the filters rest on it."""

from collections.abc import Iterable
from typing import NamedTuple

from storage.errors import Invalid

COMMON = ("workspace", "repository", "journal", "serial", "action", "actor.id", "actor.name", "reason")
"""What the data of every event holds. `journal` and `serial` name the entry of the audit that it comes from."""

PING = "ping"
EVERY = "*"
EVENTS_MAX = 50

_PACKAGE = ("format", "package", "version", "tag", "tags", "files", "size_bytes", "held_because")
_REPOSITORY = ("public",)
_HOOK = ("webhook", "name", "host", "enabled", "why")
_MATE = ("team", "account", "member", "role")
_TOKEN = ("token", "name", "kind", "owner", "scopes", "expires_ms", "revoked_ms")


_QUOTA = ("quota_bytes", "used_bytes", "refused_bytes")
_CUSTOMER = ("token", "name", "limit", "metadata")


class Kind(NamedTuple):
    """One kind of event. `fields` are the members of its data besides COMMON. `of_repository`: it happens in one, so
    that a webhook of that Repository hears it. `of_system`: it is written in the SYSTEM journal."""

    name: str
    told: str
    fields: tuple[str, ...]
    of_repository: bool = False
    of_system: bool = False


CATALOGUE: tuple[Kind, ...] = (
    Kind("package.published", "Files of a version came, or others in their place.", _PACKAGE, True),
    Kind("package.restored", "What was deleted came back out of the bin.", _PACKAGE, True),
    Kind("package.changed", "What is told of a package changed: it was yanked, deprecated, or set up.", _PACKAGE, True),
    Kind("package.deleted", "A package went, or a version or a file of one.", _PACKAGE, True),
    Kind("package.tagged", "A tag was set, or points to another version.", _PACKAGE, True),
    Kind("package.untagged", "A tag was removed.", _PACKAGE, True),
    Kind("package.quarantined", "A package or a version is given out no more.", _PACKAGE, True),
    Kind("package.released", "A quarantine ended.", _PACKAGE, True),
    Kind("package.damaged", "A scrub found stored bytes of it damaged: publish it again.",
         ("format", "package", "version", "files", "files_damaged"), True),
    Kind("quota.near", "Nearly all of a quota is used: of the repository, or of the workspace.", _QUOTA, True),
    Kind("quota.reached", "A quota is used up, or an upload had no room in it.", _QUOTA, True),
    Kind("repository.created", "A repository was made.", _REPOSITORY, True),
    Kind("repository.changed", "Its settings, upstreams, keys or policies changed: see `action`.", _REPOSITORY, True),
    Kind("repository.deleted", "A repository was dropped with all it held. Its own webhooks went with it.", (), True),
    Kind("repository.purged", "Every node gets anew what it keeps of foreign registries.", ("format", "package"), True),
    Kind("repository.bin_emptied", "What was deleted is gone for good: by hand, or `expired`: its time was over.",
         ("emptied", "expired", "ids"), True),
    Kind("member.added", "Somebody became a member.", ("account", "member", "role")),
    Kind("member.changed", "A member has another role.", ("account", "member", "role")),
    Kind("member.removed", "Somebody is a member no more.", ("account", "member")),
    Kind("team.created", "A team was made.", ("team",)),
    Kind("team.changed", "A team was changed.", ("team",)),
    Kind("team.deleted", "A team was dropped.", ("team",)),
    Kind("team.member_added", "Somebody came into a team, or has another part in it.", _MATE),
    Kind("team.member_removed", "Somebody left a team.", ("team", "account", "member")),
    Kind("role.changed", "A role was made or has other actions.", ("role", "actions")),
    Kind("role.deleted", "A role was dropped.", ("role",)),
    Kind("grant.given", "Rights were given.", ("grant", "subject", "scope", "rights", "deny")),
    Kind("grant.taken", "Rights were taken.", ("grant", "subject")),
    Kind("provider.added", "An identity provider is believed.", ("provider", "name", "issuer")),
    Kind("provider.changed", "One is believed by other means, or disabled.", ("provider", "name", "issuer")),
    Kind("provider.removed", "An identity provider is believed no more.", ("provider",)),
    Kind("webhook.created", "A webhook was made.", _HOOK, True),
    Kind("webhook.changed", "A webhook was changed, or begins anew.", _HOOK, True),
    Kind("webhook.disabled", "A webhook is used no more: `why`.", _HOOK, True),
    Kind("webhook.deleted", "A webhook was removed.", ("webhook",), True),
    Kind("workspace.changed", "The workspace was made, or has another quota.", ("quota_bytes",), False, True),
    Kind("workspace.deleted", "The workspace was deleted with all it held. It is the last that its webhooks tell.", (),
         False, True),
    Kind("workspace.damaged", "A scrub found rows of the index damaged that are of the workspace (`of` which table; "
         "`entrepot rebuild-index` makes it anew), or entries of its history (`journal`: restore it from a copy).",
         ("of", "damaged")),
    Kind("service.created", "A service account was made.", ("account", "member"), False, True),
    Kind("service.closed", "A service account was closed.", ("account", "member"), False, True),
    Kind("token.created", "A token that reaches into the workspace was made, or exchanged.", _TOKEN, False, True),
    Kind("token.changed", "Such a token was changed, or is being replaced.", _TOKEN, False, True),
    Kind("token.revoked", "Such a token was revoked.", _TOKEN, False, True),
    Kind("entitlement.created", "A customer was given a token.", (*_TOKEN, "metadata"), False, True),
    Kind("entitlement.changed", "Its limits, terms or text changed.", (*_TOKEN, "metadata"), False, True),
    Kind("entitlement.revoked", "A customer's token was revoked.", (*_TOKEN, "metadata"), False, True),
    Kind("entitlement.limit_reached", "A customer's token has no more of its `limit` in this period.",
         (*_CUSTOMER, "most", "used", "period_ms")),
    Kind("entitlement.expired", "The time of a customer's token is over.", (*_CUSTOMER, "expires_ms")),
    Kind("host.bound", "A host name stands for the workspace or a repository of it.", ("host", "region"), False, True),
    Kind("host.released", "A host name stands for it no more.", ("host",), False, True),
)  # fmt: skip

BY_NAME = {kind.name: kind for kind in CATALOGUE}
FAMILIES = tuple(dict.fromkeys(kind.name.partition(".")[0] for kind in CATALOGUE))


def fields_of(kinds: Iterable[Kind]) -> frozenset[str]:
    """What the data of some of these events may hold."""
    return frozenset((*COMMON, *(field for kind in kinds for field in kind.fields)))


def kinds_of(wanted: Iterable[str], *, of_repository: bool) -> tuple[Kind, ...]:
    """The kinds that these names and `family.*` stand for; none = all. Raises Invalid for what stands for none."""
    asked = tuple(wanted)
    found: list[Kind] = []
    for kind in CATALOGUE:
        family = kind.name.partition(".")[0] + ".*"
        if (kind.of_repository or not of_repository) and (not asked or {kind.name, family, EVERY} & set(asked)):
            found.append(kind)
    known = {EVERY} | {kind.name for kind in found} | {kind.name.partition(".")[0] + ".*" for kind in found}
    if any(one not in known for one in asked):
        where = "a repository" if of_repository else "a workspace"
        raise Invalid(
            f"There is an event among these that {where} does not have.", "entrepot webhook events lists them."
        )
    return tuple(found)


def document() -> str:
    """The catalogue for people: docs/events.md."""
    lines = [
        "# Events",
        "",
        "Made from `gateway/webhooks/catalogue.py`; a test holds it to that. `entrepot webhook events` tells the same.",
        "",
        "A receiver is sent, by POST, unless its webhook has a template:",
        "",
        "```json",
        '{"type": "package.tagged", "timestamp": "2026-11-27T12:00:00.000Z", "data": {"workspace": "acme", ...}}',
        "```",
        "",
        "`data` of every event holds " + ", ".join(f"`{name}`" for name in COMMON) + ".",
        "`repository` is empty where it concerns none. The events that are marked R happen in a repository, so that a",
        "webhook of that repository hears them; a webhook of the workspace hears all of them.",
        "",
        "| event | | when | `data` besides |",
        "|---|---|---|---|",
    ]
    for kind in CATALOGUE:
        fields = ", ".join(f"`{name}`" for name in kind.fields)
        lines.append(f"| `{kind.name}` | {'R' if kind.of_repository else ''} | {kind.told} | {fields} |")
    return "\n".join(lines) + "\n"
