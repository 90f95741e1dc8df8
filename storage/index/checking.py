"""May a decision be written into this journal? Every change in the journal that it belongs to, every name one that a
key can hold: what was journaled must fold, whatever it is.
"""

from storage.errors import Invalid
from storage.hooks import DropWebhook, PutWebhook
from storage.index.keys import (
    join,
    label_account,
    label_edge,
    label_package,
    label_repository,
    label_token,
    label_workspace,
)
from storage.notices import PutNotice
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Binned,
    Draft,
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
    Host,
    Purge,
    PutAccount,
    PutBinding,
    PutBinned,
    PutEdge,
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
    Quarantine,
    team_subject,
)


def check(draft: Draft) -> None:
    """Raises Invalid for a name that no key can hold, ValueError for a change that is in the wrong journal."""
    for change in draft.changes:
        _check_place(draft.workspace, draft.repository, change)
        _check_names(draft.workspace, draft.repository, change)


def _check_place(workspace: str, repository: str, change: AnyChange) -> None:
    if isinstance(change, PutWorkspace | DropWorkspace | PutToken | PutAccount | PutEdge | PutHost | DropHost):
        right = workspace == SYSTEM
    elif isinstance(change, PutRepository):
        right = workspace == change.repository.workspace != SYSTEM
    elif isinstance(change, DropRepository):
        right = workspace == change.workspace != SYSTEM
    elif isinstance(change, _WORKSPACE_CHANGES):
        right = workspace != SYSTEM
    else:
        right = workspace != SYSTEM and bool(repository)
    if not right:
        raise ValueError(f"{type(change).__name__} does not belong into the journal of {workspace!r}/{repository!r}")


_WORKSPACE_CHANGES = (
    PutMembership, DropMembership, PutTeam, DropTeam, PutTeammate, DropTeammate, PutRole, DropRole, PutBinding,
    DropBinding, PutProvider, DropProvider, PutWebhook, DropWebhook, PutNotice,
)  # fmt: skip


def _check_names(workspace: str, repository: str, change: AnyChange) -> None:
    match change:
        case PutWorkspace(made):
            if made.name in ("", SYSTEM):
                raise Invalid(f"A workspace cannot be called {made.name!r}.", "Use another name.")
            label_workspace(made.name)
        case DropWorkspace(name):
            label_workspace(name)
        case PutToken(token):
            if len(token.sha256) != 32:
                raise ValueError("a token is stored by the sha256 of its text")
            label_token(token.id)
            join(token.owner, token.id)
        case PutEdge(edge):
            label_edge(edge.name)
        case PutHost(Host(name)) | DropHost(name):
            join(name)
        case PutRepository(made):
            label_repository(workspace, made.name)
        case DropRepository(_, name):
            label_repository(workspace, name)
        case PutAccount(made):
            label_account(made.id)
            join(made.kind, made.workspace, made.name)
        case PutMembership(made):
            join(workspace, made.account)
        case PutTeammate(made):
            join(workspace, made.account, made.team)
        case PutTeam(made):
            join(workspace, team_subject(made.name))
        case PutRole(made):
            join(workspace, made.name)
        case PutProvider(made):
            join(workspace, made.id)
        case PutWebhook(made):
            join(workspace, made.repository, made.id)
        case PutNotice(told):
            join(workspace, repository, told.kind, told.cause)
        case DropTeam(name) | DropRole(name) | DropMembership(name) | DropProvider(name):
            join(workspace, name)
        case DropTeammate(team, account):
            join(workspace, account, team)
        case PutBinding(made):
            join(workspace, made.subject, made.id)
        case DropBinding(at, id) | DropWebhook(at, id):
            join(workspace, at, id)
        case PutPackage(format, made):
            label_package(workspace, repository, format, made.name)
        case DropPackage(format, package) | Purge(format, package):
            label_package(workspace, repository, format, package)
        case PutBinned(Binned(id)) | DropBinned(id):
            join(workspace, repository, id)
        case PutQuarantine(Quarantine(format, package, version)) | DropQuarantine(format, package, version):
            label_package(workspace, repository, format, package)
            join(workspace, repository, format, package, version)
        case _:
            label_package(workspace, repository, change.format, change.package)
            join(workspace, repository, change.format, change.package, _last_name(change))


def _last_name(change: PutVersion | DropVersion | PutFile | DropFile | PutTag | DropTag) -> str:
    match change:
        case PutVersion(_, _, version):
            return version.name
        case DropVersion(_, _, name) | DropFile(_, _, name) | PutTag(_, _, name) | DropTag(_, _, name):
            return name
        case PutFile(_, _, file):
            return file.name
