"""Which events are in one entry of the journal? Pure: the same entry always tells the same ones.

An entry of a Workspace's journal tells all it changes. One of the SYSTEM journal concerns many, so a Workspace is told
only what reaches into it: of a token the grants there and no others, and neither names nor reasons of whoever did it.
"""

import datetime
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.access.rights.grants import plain_actions
from gateway.access.signin.sessions import KIND as SESSION
from storage.hooks import DropWebhook, PutWebhook, Webhook
from storage.notices import DAMAGED, LIMIT_REACHED, ROTTEN, Damage, Notice, PutNotice
from storage.notices import EXPIRED as TOKEN_EXPIRED
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    DropBinding,
    DropBinned,
    DropFile,
    DropHost,
    DropMembership,
    DropPackage,
    DropProvider,
    DropQuarantine,
    DropRepository,
    DropRole,
    DropTag,
    DropTeam,
    DropTeammate,
    DropVersion,
    DropWorkspace,
    Entry,
    File,
    Purge,
    PutAccount,
    PutBinding,
    PutFile,
    PutHost,
    PutMembership,
    PutPackage,
    PutProvider,
    PutQuarantine,
    PutRepository,
    PutRole,
    PutTag,
    PutTeam,
    PutTeammate,
    PutToken,
    PutVersion,
    PutWorkspace,
    Token,
)

FILES_TOLD_MAX = 100
Data = dict[str, object]
AccountOf = Callable[[str], Account | None]
"""An Account by its id, the closed ones too."""
KnownAs = Callable[[str, str], str | None]
"""(format, package) to the name that people know it by, None for what is part of the repository itself."""

EXPIRED = "bin.expire"
_EMPTYING = frozenset(("bin.empty", EXPIRED))
"""Actions that take what is in a bin away; others take it out to where it was."""

_JOINING = frozenset(("member.add", "scim.user.activate"))
_MAKING = frozenset(
    (
        "team.create",
        "scim.group.create",
        "token.create",
        "scim.token.create",
        "entitlement.create",
        "oidc.exchange",
        "oidc.add",
        "saml.add",
    )
)
"""Actions that make what they put; others change it."""

_WITH_PARTS = frozenset(("oci",))
"""Formats whose files without a version are parts of what is published later."""


class Subject(NamedTuple):
    """The package that an event is about, as far as its entry tells: what a query is held against."""

    format: str
    name: str
    version: str = ""
    tags: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    size_bytes: int = 0


class Event(NamedTuple):
    """One thing that happened. `about` tells it from the others of its kind in the same entry."""

    kind: str
    about: tuple[str, ...]
    repository: str
    data: Data
    subject: Subject | None = None


class Told(NamedTuple):
    """An event with the entry that it comes from."""

    entry: Entry
    event: Event

    def message_id(self, hook: str) -> str:
        """The same whenever this event is sent to this webhook, and only then: by it a receiver knows a repeat."""
        entry, event = self.entry, self.event
        parts = (hook, str(entry.epoch), entry.workspace, str(entry.serial), event.kind, *event.about)
        return "msg_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def document(self, workspace: str) -> Data:
        """What is sent of it, where no template says otherwise (Standard Webhooks, "Payload structure")."""
        entry, event = self.entry, self.event
        own = entry.workspace != SYSTEM
        data: Data = {
            "workspace": workspace,
            "repository": event.repository,
            "journal": entry.workspace,
            "serial": entry.serial,
            "action": entry.action,
            "actor": {"id": entry.actor, "name": entry.actor_name if own else ""},
            "reason": entry.reason if own else "",
        }
        return {"type": event.kind, "timestamp": stamp(entry.at_ms), "data": data | event.data}


def stamp(at_ms: int) -> str:
    """A time as RFC 3339 has it, in UTC."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def events_of(entry: Entry, workspace: str, account_of: AccountOf, known_as: KnownAs) -> list[Event]:
    """The events of an entry for a Workspace: all of its own, and of one of SYSTEM what concerns it."""
    if entry.workspace == SYSTEM:
        return [one for change in entry.changes for one in _system(change, entry, workspace, account_of)]
    if entry.workspace != workspace:
        return []
    found = list(_packages(entry, known_as))
    if entry.action in _EMPTYING:
        ids = [one.id for one in entry.changes if isinstance(one, DropBinned)]
        data: Data = {"emptied": len(ids), "expired": entry.action == EXPIRED, "ids": ids[:FILES_TOLD_MAX]}
        found.append(Event("repository.bin_emptied", (entry.repository,), entry.repository, data))
    for change in entry.changes:
        if isinstance(change, PutNotice):
            found += _noticed(change.notice, entry, known_as)
        event = _of_workspace(change, entry, account_of)
        if event is not None:
            found.append(event)
    return found


# ---------------------------------------------------------------- packages


class _Version:
    """What an entry says of one version of a package."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self.gone: list[str] = []
        self.put = False
        self.dropped = False


def _packages(entry: Entry, known_as: KnownAs) -> Iterator[Event]:
    versions: dict[tuple[str, str, str], _Version] = {}
    tags: dict[tuple[str, str], list[tuple[str, str | None]]] = {}

    def of(format: str, package: str, version: str) -> _Version:
        return versions.setdefault((format, package, version), _Version())

    for change in entry.changes:
        match change:
            case PutFile(format, package, file):
                of(format, package, file.version).files.append(file)
            case PutVersion(format, package, made):
                of(format, package, made.name).put = True
            case PutPackage(format, known):
                of(format, known.name, "").put = True
            case DropFile(format, package, name):
                of(format, package, "").gone.append(name)
            case DropVersion(format, package, name):
                of(format, package, name).dropped = True
            case DropPackage(format, package):
                of(format, package, "").dropped = True
            case PutTag(format, package, tag, name):
                tags.setdefault((format, package), []).append((tag, name))
            case DropTag(format, package, tag):
                tags.setdefault((format, package), []).append((tag, None))
    brought = {(format, package) for (format, package, _), one in versions.items() if one.files}
    for (format, package, version), one in versions.items():
        shown = known_as(format, package)
        if shown is None or (format in _WITH_PARTS and (shown != package or not version)):
            continue
        if (
            one.put
            and not one.files
            and not version
            and ((format, package) in brought or _others(versions, format, package))
        ):
            continue  # the package's own row, beside what happened to a version
        yield from _version(entry, Subject(format, shown, version, _tags_of(tags, format, package, version)), one)
    for (format, package), moves in tags.items():
        shown = known_as(format, package)
        for tag, to in moves if shown is not None else ():
            yield _tagged(entry, Subject(format, shown or "", to or "", (tag,)), tag, gone=to is None)


def _others(versions: dict[tuple[str, str, str], _Version], format: str, package: str) -> bool:
    return any(key[:2] == (format, package) and key[2] for key in versions)


def _tags_of(
    tags: dict[tuple[str, str], list[tuple[str, str | None]]], format: str, package: str, version: str
) -> tuple[str, ...]:
    return tuple(tag for tag, name in tags.get((format, package), ()) if name == version)


def _version(entry: Entry, about: Subject, one: _Version) -> Iterator[Event]:
    files = tuple((file.name, file.sha256.hex()) for file in one.files)
    subject = about._replace(files=files, size_bytes=sum(max(file.size, 0) for file in one.files))
    if one.files:
        told = [
            {"name": file.name, "size_bytes": file.size, "sha256": file.sha256.hex()}
            for file in one.files[:FILES_TOLD_MAX]
        ]
        kind = "package.restored" if entry.action == "package.restore" else "package.published"
        yield _package(kind, entry, subject, files=told, size_bytes=subject.size_bytes)
    elif one.put:
        yield _package("package.changed", entry, subject)
    if one.dropped or one.gone:
        gone = one.gone[:FILES_TOLD_MAX]
        lost = subject._replace(files=tuple((name, "") for name in gone)) if gone else subject
        yield _package("package.deleted", entry, lost, files=[{"name": name} for name in gone])


def _package(kind: str, entry: Entry, subject: Subject, **more: object) -> Event:
    data: Data = {"format": subject.format, "package": subject.name, "version": subject.version}
    if subject.tags:
        data["tags"] = list(subject.tags)
    about = (subject.format, subject.name, subject.version)
    return Event(kind, about, entry.repository, data | more, subject)


def _tagged(entry: Entry, subject: Subject, tag: str, *, gone: bool) -> Event:
    event = _package("package.untagged" if gone else "package.tagged", entry, subject, tag=tag)
    event.data.pop("tags", None)
    return event._replace(about=(subject.format, subject.name, tag))


# ---------------------------------------------------------------- what else a Workspace's journal tells


def _of_workspace(change: AnyChange, entry: Entry, account_of: AccountOf) -> Event | None:
    match change:
        case PutQuarantine(held):
            subject = Subject(held.format, held.package, held.version)
            return _package("package.quarantined", entry, subject, held_because=held.reason)
        case DropQuarantine(format, package, version):
            return _package("package.released", entry, Subject(format, package, version))
        case PutRepository(made):
            kind = "repository.created" if entry.action == "repository.create" else "repository.changed"
            return Event(kind, (made.name,), made.name, {"public": made.public})
        case DropRepository(_, name):
            return Event("repository.deleted", (name,), name, {})
        case Purge(format, package):
            about = (entry.repository, format, package)
            return Event("repository.purged", about, entry.repository, {"format": format, "package": package})
        case PutWebhook(made):
            return _webhook(made, entry)
        case DropWebhook(repository, id):
            return Event("webhook.deleted", (id,), repository, {"webhook": id})
    return _of_people(change, entry, account_of)


def _webhook(made: Webhook, entry: Entry) -> Event:
    kind = {"webhook.create": "webhook.created", "webhook.disable": "webhook.disabled"}
    data: Data = {"webhook": made.id, "name": made.name, "host": made.host, "enabled": made.enabled, "why": made.why}
    return Event(kind.get(entry.action, "webhook.changed"), (made.id,), made.repository, data)


def _noticed(told: Notice, entry: Entry, known_as: KnownAs) -> Iterator[Event]:
    """What nobody did: each member of the data is in the Notice, so that a replay finds the same."""
    if told.kind == DAMAGED:
        yield from _damaged(told, entry, known_as)
        return
    data: Data = {"token": told.token, "name": told.name, "limit": told.of, "metadata": told.metadata}
    if told.kind == LIMIT_REACHED:
        data |= {"most": told.limit, "used": told.used, "period_ms": told.period_ms}
    elif told.kind == TOKEN_EXPIRED:
        data["expires_ms"] = told.period_ms
    elif told.kind == ROTTEN:
        data = {"of": told.of, "damaged": told.used}
    else:
        data = {"quota_bytes": told.limit, "used_bytes": told.used, "refused_bytes": told.refused}
    yield Event(told.kind, (told.cause,), entry.repository, data)


def _damaged(told: Notice, entry: Entry, known_as: KnownAs) -> Iterator[Event]:
    versions: dict[tuple[str, str, str], list[Damage]] = {}
    for file in told.files:
        versions.setdefault((file.format, file.package, file.version), []).append(file)
    for (format, package, version), files in versions.items():
        names = tuple((file.name, file.sha256.hex()) for file in files)
        subject = Subject(format, known_as(format, package) or package, version, files=names)
        listed = [{"name": name, "sha256": sha256} for name, sha256 in names]
        yield _package(told.kind, entry, subject, files=listed, files_damaged=told.files_count)


def _of_people(change: AnyChange, entry: Entry, account_of: AccountOf) -> Event | None:
    def who(id: str) -> Data:
        account = account_of(id)
        return {"account": id, "member": f"{account.kind}:{account.name}" if account is not None else ""}

    def event(kind: str, *about: str, **data: object) -> Event:
        return Event(kind, about, entry.repository, data)

    match change:
        case PutMembership(made):
            kind = "member.added" if entry.action in _JOINING else "member.changed"
            return event(kind, made.account, **who(made.account), role=made.role)
        case DropMembership(account):
            return event("member.removed", account, **who(account))
        case PutTeam(made):
            return event("team.created" if entry.action in _MAKING else "team.changed", made.name, team=made.name)
        case DropTeam(name):
            return event("team.deleted", name, team=name)
        case PutTeammate(made):
            kind = "team.member_added"
            return event(kind, made.team, made.account, team=made.team, **who(made.account), role=made.role)
        case DropTeammate(team, account):
            return event("team.member_removed", team, account, team=team, **who(account))
        case PutRole(made):
            return event("role.changed", made.name, role=made.name, actions=list(made.actions))
        case DropRole(name):
            return event("role.deleted", name, role=name)
        case PutBinding(made):
            rights = sorted(plain_actions(made.grant)) + ([made.grant.role] if made.grant.role else [])
            more: Data = {"scope": made.grant.scope, "rights": rights, "deny": made.grant.deny}
            return event("grant.given", made.id, grant=made.id, subject=made.subject, **more)
        case DropBinding(subject, id):
            return event("grant.taken", id, grant=id, subject=subject)
        case PutProvider(made):
            kind = "provider.added" if entry.action in _MAKING else "provider.changed"
            return event(kind, made.id, provider=made.id, name=made.name, issuer=made.issuer)
        case DropProvider(id):
            return event("provider.removed", id, provider=id)
    return None


# ---------------------------------------------------------------- what concerns a Workspace of SYSTEM's journal


def _system(change: AnyChange, entry: Entry, ws: str, account_of: AccountOf) -> Iterator[Event]:
    match change:
        case PutWorkspace(made) if made.name == ws:
            yield Event("workspace.changed", (), "", {"quota_bytes": made.quota_bytes})
        case DropWorkspace(name) if name == ws:
            yield Event("workspace.deleted", (), "", {})
        case PutAccount(made) if made.workspace == ws and made.kind == "service":
            data: Data = {"account": made.id, "member": f"{made.kind}:{made.name}"}
            yield Event("service.closed" if made.closed_ms else "service.created", (made.id,), "", data)
        case PutToken(token) if token.kind != SESSION:
            scopes = [one.scope for one in token.grants if one.scope.partition("/")[0] == ws and not one.deny]
            owner = account_of(token.owner) if token.owner else None
            if scopes or (owner is not None and owner.workspace == ws):
                yield _token(token, entry, scopes)
        case PutHost(host) if host.scope.partition("/")[0] == ws:
            at = host.scope.partition("/")[2]
            yield Event("host.bound", (host.name,), at, {"host": host.name, "region": host.region})
        case DropHost(name, scope) if scope.partition("/")[0] == ws:
            yield Event("host.released", (name,), scope.partition("/")[2], {"host": name})


def _token(token: Token, entry: Entry, scopes: list[str]) -> Event:
    family = "token" if token.entitlement is None else "entitlement"
    data: Data = {
        "token": token.id,
        "name": token.name,
        "kind": token.kind,
        "owner": token.owner,
        "scopes": scopes,
        "expires_ms": token.expires_ms,
        "revoked_ms": token.revoked_ms,
    }
    if token.entitlement is not None:
        data["metadata"] = token.entitlement.metadata
    what = "revoked" if token.revoked_ms else "created" if entry.action in _MAKING else "changed"
    return Event(f"{family}.{what}", (token.id,), "", data)
