"""How does the API show what the index holds? As JSON objects with units in the names; never a hash, never a secret."""

import hashlib
from collections.abc import Callable, Iterable

from cryptography import x509
from msgspec import to_builtins

from gateway.access.rights.verdicts import Principal
from gateway.access.secrets.signing import fingerprint
from gateway.insight.reports import Report
from gateway.logs.tasks import Used
from storage.blobs.ledger import BlobRow
from storage.blobs.recipes import many_of
from storage.index.bins import files_of, size_of
from storage.nouns import (
    Account,
    Binding,
    Binned,
    Edge,
    File,
    Grant,
    Host,
    NetworkRule,
    Package,
    Provider,
    PutTag,
    Quarantine,
    Replication,
    Repository,
    Role,
    SamlPair,
    Team,
    Token,
    Upstream,
    Version,
    Workspace,
)

Shown = dict[str, object]


def workspace(noun: Workspace) -> Shown:
    told: Shown = {"name": noun.name, "created_ms": noun.at_ms, "description": noun.description}
    return told | {"deleted_ms": noun.closed_ms} if noun.closed_ms else told


def repository(noun: Repository, *, addresses: bool = True) -> Shown:
    """`addresses`: see upstream."""
    return {
        "workspace": noun.workspace,
        "name": noun.name,
        "public": noun.public,
        "upstreams": [upstream(one, addresses=addresses) for one in noun.upstreams],
        "created_ms": noun.at_ms,
        "lease_s": noun.lease_s,
        "bin_s": noun.bin_s,
    }


def binned(noun: Binned) -> Shown:
    return {
        "id": noun.id,
        "format": noun.format,
        "package": noun.package,
        "version": noun.version,
        "build": noun.build,
        "files": [file.name for _, file in files_of(noun)],
        "tags": [one.tag for one in noun.changes if isinstance(one, PutTag)],
        "bytes": size_of(noun),
        "deleted_ms": noun.at_ms,
        "until_ms": noun.until_ms,
        "actor": noun.actor,
        "reason": noun.reason,
    }


def network_rule(noun: NetworkRule) -> Shown:
    return {
        "action": "allow" if noun.allow else "deny",
        "networks": list(noun.networks),
        "countries": list(noun.countries),
        "note": noun.note,
    }


def replication(noun: Replication) -> Shown:
    return {
        "region": noun.region,
        "mode": noun.mode,
        "formats": list(noun.formats),
        "packages": list(noun.packages),
        "tags": list(noun.tags),
        "newest_max": noun.newest_max,
        "days_max": noun.days_max,
        "rate_max_bytes_s": noun.rate_max_bytes_s,
        "created_ms": noun.at_ms,
    }


def host(noun: Host) -> Shown:
    return {
        "name": noun.name,
        "scope": noun.scope,
        "region": noun.region,
        "url": noun.url,
        "redirects": noun.redirects,
        "created_ms": noun.at_ms,
    }


def quarantine(noun: Quarantine) -> Shown:
    return {
        "format": noun.format,
        "package": noun.package,
        "version": noun.version,
        "reason": noun.reason,
        "created_ms": noun.at_ms,
    }


def upstream(noun: Upstream, *, addresses: bool = True) -> Shown:
    """Without `addresses` as who is none of the repository's people may know of it."""
    return {
        "format": noun.format,
        "name": noun.name,
        "url": noun.url if addresses else None,
        "fresh_s": noun.fresh_s,
        "negative_s": noun.negative_s,
        "allow": list(noun.allow) if addresses else None,
        "private_network": noun.private_network if addresses else None,
        "signed_by": [fingerprint(one) for one in noun.signed_by],
    }


def grant(noun: Grant) -> Shown:
    """The narrowing members where they say something."""
    told: Shown = {"scope": noun.scope, "read": noun.read, "write": noun.write, "admin": noun.admin}
    more: Shown = {
        "actions": list(noun.actions),
        "role": noun.role,
        "formats": list(noun.formats),
        "packages": list(noun.packages),
        "tags": list(noun.tags),
        "deny": noun.deny,
        "query": noun.query,
    }
    return told | {name: value for name, value in more.items() if value}


def account(noun: Account) -> Shown:
    told: Shown = {"id": noun.id, "kind": noun.kind, "name": noun.name, "created_ms": noun.at_ms}
    if noun.workspace:
        told["workspace"] = noun.workspace
    if noun.email:
        told["email"] = noun.email
    if noun.password_ms:
        told["password_ms"] = noun.password_ms
    if noun.device_ms:
        told["device_ms"] = noun.device_ms
    if noun.recovery_ms:
        told["recovery_ms"] = noun.recovery_ms
    return told


def session(noun: Token, user: str, now_ms: int, own: str, *, living: bool) -> Shown:
    """`own` is the id of the session that asks, if one does. One that is not `living` although nobody ended it, and it
    has time left, is over since its identity provider does not count any more."""
    assert noun.sign_in is not None
    in_time = now_ms < noun.expires_ms
    state = "revoked" if noun.revoked_ms or (in_time and not living) else "active" if in_time else "expired"
    return {
        "id": noun.id,
        "user": user,
        "method": noun.sign_in.method,
        "agent": noun.sign_in.agent,
        "state": state,
        "began_ms": noun.sign_in.began_ms,
        "expires_ms": noun.expires_ms,
        "ends_ms": noun.sign_in.ends_ms,
        "revoked_ms": noun.revoked_ms,
        "own": noun.id == own,
    }


def team(noun: Team) -> Shown:
    told: Shown = {"name": noun.name, "hidden": noun.hidden, "created_ms": noun.at_ms}
    return told | {"managed": True} if noun.id else told


def role(noun: Role) -> Shown:
    return {"name": noun.name, "actions": list(noun.actions), "created_ms": noun.at_ms}


def binding(noun: Binding, subject: str) -> Shown:
    return {"id": noun.id, "subject": subject, "created_ms": noun.at_ms} | grant(noun.grant)


def provider(noun: Provider, name_of: Callable[[str], str], back: str) -> Shown:
    """`name_of` tells the name of an account's id, `back` where it sends people back to."""
    told: Shown = {
        "name": noun.name,
        "issuer": noun.issuer,
        "audience": noun.audience,
        "rules": [{"service": name_of(one.account), "claims": one.claims} for one in noun.rules],
        "lifetime_s": noun.lifetime_s,
        "private_network": noun.private_network,
        "created_ms": noun.at_ms,
        "disabled_ms": noun.disabled_ms,
    }
    people = noun.people
    if people is not None:
        told["people"] = {
            "back": back,
            "name": people.name,
            "scopes": list(people.scopes),
            "domains": list(people.domains),
            "claims": people.claims,
            "joins": people.joins,
            "groups": people.groups,
            "teams": people.teams,
            "signs_out": people.signs_out,
        }
    if noun.saml is not None:
        told["saml"] = {
            "description": f"{back.rpartition('/')[0]}/metadata",
            "sign_on": noun.saml.sign_on,
            "certificates": [_certificate(one) for one in noun.saml.certificates],
            "subject": noun.saml.subject,
            "unsolicited": noun.saml.unsolicited,
            "sign_requests": noun.saml.signs,
            "wants_signed": noun.saml.wants_signed,
            "logout": noun.saml.logout,
            "logout_by_form": noun.saml.logout_posts,
            "accept_cbc": noun.saml.takes_cbc,
            "keys": [saml_pair(one) for one in noun.saml.pairs],
        }
    return told


def saml_pair(noun: SamlPair) -> Shown:
    return {
        "id": noun.id,
        "signing": _certificate(noun.signing),
        "encryption": _certificate(noun.encryption),
        "created_ms": noun.at_ms,
    }


def _certificate(der: bytes) -> Shown:
    until = x509.load_der_x509_certificate(der).not_valid_after_utc
    return {"sha256": hashlib.sha256(der).hexdigest(), "expires_ms": int(until.timestamp() * 1000)}


def token(noun: Token, now_ms: int, use: Used | None = None) -> Shown:
    """`use` is its last one, where that is known."""
    state = "active"
    if noun.expires_ms and noun.expires_ms <= now_ms:
        state = "expired"
    if noun.revoked_ms:
        state = "revoked"
    return (
        {
            "id": noun.id,
            "name": noun.name,
            "kind": noun.kind,
            "state": state,
            "grants": [grant(one) for one in noun.grants],
            "created_ms": noun.at_ms,
            "expires_ms": noun.expires_ms,
            "requests_max": noun.requests_max,
            "revoked_ms": noun.revoked_ms,
            "owner": noun.owner,
        }
        | _limits(noun)
        | _used(use)
    )


def _used(use: Used | None) -> Shown:
    if use is None:
        return {}
    return {"last_used": {"at_ms": use.at_ms, "address": use.address, "node": use.node}}


def _limits(noun: Token) -> Shown:
    told: Shown = {"cidrs": list(noun.cidrs)} if noun.cidrs else {}
    if noun.exchange is not None:
        told["issuer"], told["subject"] = noun.exchange.issuer, noun.exchange.subject
    limits = noun.entitlement
    if limits is not None:
        told["limits"] = {
            "downloads_max": limits.downloads_max,
            "bytes_max": limits.bytes_max,
            "clients_max": limits.clients_max,
            "period_s": limits.period_s,
            "from_ms": limits.from_ms,
        }
        told["eula"] = {"revision": limits.eula, "accepted": limits.accepted == limits.eula}
        told["metadata"] = limits.metadata
    return told


def edge(noun: Edge, now_ms: int) -> Shown:
    state = "enrolled" if noun.key else "invited" if noun.code_expires_ms > now_ms else "expired"
    return {
        "name": noun.name,
        "region": noun.region,
        "state": "revoked" if noun.revoked_ms else state,
        "parent": noun.parent,
        "workspaces": list(noun.workspaces),
        "created_ms": noun.at_ms,
        "code_expires_ms": noun.code_expires_ms,
        "enrolled_ms": noun.enrolled_ms,
        "revoked_ms": noun.revoked_ms,
    }


def report(said: Report | None, now_ms: int) -> Shown | None:
    """What an edge last said of itself; null where it never did."""
    return None if said is None else to_builtins(said) | {"silent_ms": max(0, now_ms - said.heard_ms)}


def principal(who: Principal) -> Shown:
    return {
        "id": who.id,
        "name": who.name,
        "kind": who.kind,
        "grants": [grant(one) for one in who.grants],
        "expires_ms": who.expires_ms,
        "owner": who.owner,
    }


def package(noun: Package) -> Shown:
    return {"name": noun.name, "updated_ms": noun.at_ms}


def version(noun: Version) -> Shown:
    return {"name": noun.name, "created_ms": noun.at_ms}


def file(noun: File) -> Shown:
    return {
        "name": noun.name,
        "version": noun.version,
        "size_bytes": noun.size,
        "media": noun.media,
        "sha256": noun.sha256.hex(),
        "created_ms": noun.at_ms,
    }


def stored(row: BlobRow | None, *, of_all: bool) -> Shown | None:
    """How the bytes of a file lie at this node, and why so; null where they are not here.

    What of them was there before, and so in how many places they lie, hangs on others' files too: it is told to who may
    see all of those (`of_all`; B9).
    """
    if row is None:
        return None
    return {
        "cut": row.cut.name.lower(),
        "why": row.cut.why,
        "chunks": many_of(row.recipe.length) if row.recipe is not None else 0,
        "saved_bytes": row.saved if of_all else None,
        "extents": len(row.extents) if of_all else None,
    }


def page[T](found: Iterable[T], limit: int, name: Callable[[T], str], show: Callable[[T], Shown]) -> Shown:
    """At most `limit` of `found`, which hold at least one more where there is more, and where to go on.

    `next` is the `after` of the following page, null at the end.
    """
    items = list(found)
    more = len(items) > limit
    items = items[:limit]
    return {"items": [show(one) for one in items], "next": name(items[-1]) if more else None}
