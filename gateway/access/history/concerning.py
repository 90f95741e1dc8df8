"""What of the node's own history (SYSTEM) concerns one Workspace, and may be told to who manages it?

Tokens, service accounts, host names and quotas of a Workspace are written there. Of a Token that reaches into several,
the scopes in this one are told, and no other Workspace is named (F5).
"""

from collections.abc import Callable

import msgspec

from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    DropHost,
    DropWorkspace,
    Entry,
    PutAccount,
    PutHost,
    PutToken,
    PutWorkspace,
)

AccountOf = Callable[[str], Account | None]


def concerning(entry: Entry, workspace: str, account_of: AccountOf) -> Entry | None:
    """The entry with its changes that concern the Workspace: all of its own, or None for none."""
    if entry.workspace == workspace:
        return entry
    if entry.workspace != SYSTEM:
        return None
    changes = tuple(one for change in entry.changes if (one := _told(change, workspace, account_of)) is not None)
    return msgspec.structs.replace(entry, changes=changes) if changes else None


def _told(change: AnyChange, workspace: str, account_of: AccountOf) -> AnyChange | None:
    match change:
        case PutWorkspace(made):
            return change if made.name == workspace else None
        case DropWorkspace(name):
            return change if name == workspace else None
        case PutAccount(account):
            return change if account.workspace == workspace else None
        case PutHost(host):
            return change if _inside(host.scope, workspace) else None
        case DropHost(_, scope):
            return change if _inside(scope, workspace) else None
        case PutToken(token):
            grants = tuple(one for one in token.grants if _inside(one.scope, workspace))
            owner = account_of(token.owner) if token.owner else None
            if grants or (owner is not None and owner.workspace == workspace):
                return PutToken(msgspec.structs.replace(token, grants=grants))
    return None


def _inside(scope: str, workspace: str) -> bool:
    return scope.partition("/")[0] == workspace
