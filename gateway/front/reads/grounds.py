"""On what does a decision about a Repository rest, so that what is answered under it can be remembered?

Much of it is the same for all who may use the Repository, and is worked out once a moment of the catalog: a request
that bears another credential than the one before looks up what is its own, and no more. It is asked for behind the
verdict alone, so that what is found sooner tells nobody what is there (THREATS B9).
"""

import time
from typing import NamedTuple

from gateway.access.clock import latest_ms
from gateway.access.peers.leases import Lease
from gateway.access.rights import networks
from gateway.access.rights.verdicts import Principal
from gateway.front.reads.needs import Scope
from storage.index import keys
from storage.index.catalog import Reading
from storage.nouns import Repository, Workspace


class Ground(NamedTuple):
    """What is the same for everybody: the Workspace, whether networks count, and the labels with their values."""

    workspace: Workspace | None
    is_ruled: bool
    depends: tuple[tuple[bytes, int], ...]


def ground_of(reading: Reading, repository: Repository) -> Ground:
    """For who may know of the Repository."""
    ws, name = repository.workspace, repository.name
    at = (ground_of, ws, name)
    found: Ground | None = reading.recall(at)
    if found is not None:
        return found
    workspace = reading.workspace(ws)
    labels = (keys.label_history(), keys.label_hosts(), keys.label_workspace(ws), keys.label_repository(ws, name))
    depends = tuple((label, reading.label(label)) for label in labels)
    return reading.remember(at, Ground(workspace, networks.is_ruled(repository, workspace), depends))


def scope_of(reading: Reading, principal: Principal, repository: Repository, lease: Lease | None) -> Scope:
    """What the leave of a principal rests on that was let in. `lease`: an edge's, None at an origin."""
    ground, until_s = ground_of(reading, repository), float("inf")
    if principal.expires_ms:
        until_s = min(until_s, time.monotonic() + (principal.expires_ms - latest_ms()) / 1000)
    if lease is not None and not repository.public:
        until_s = min(until_s, lease.until_s(repository))
    own = [(label, reading.label(label)) for label in _own_labels(principal, repository.workspace)]
    depends = (*ground.depends, *own)
    return Scope(repository, depends, until_s, principal.id, ground.is_ruled or bool(principal.cidrs))


def _own_labels(principal: Principal, ws: str) -> list[bytes]:
    """What moves where the principal itself loses or gains something."""
    if not principal.id:
        return []
    labels = [keys.label_token(principal.id)]
    if principal.owner or any(grant.role for grant in principal.grants):
        labels.append(keys.label_access(ws))
    if principal.owner:
        labels.append(keys.label_account(principal.owner))
    if principal.vouched is not None:
        labels.append(keys.label_access(principal.vouched.workspace))
    return labels
