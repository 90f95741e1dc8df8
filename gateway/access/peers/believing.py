"""What is a node believed, of what its client log tells? Only what it may see (THREATS F5).

An origin counts downloads and last uses of tokens from the lines of all nodes. An edge that was given some workspaces
serves nothing of others, so what it says of them is made up: that a package was pulled lately keeps it from retention,
and when a token was used is for who holds it. By today's grants, so lines that come after a workspace was taken away
are not counted either.
"""

from cache.following.scope import Scope
from gateway.access.peers import edges
from gateway.access.rights.verdicts import outlined, principal_of
from gateway.logs.segments import OWN, spelt
from storage.errors import Absent
from storage.index.catalog import Catalog, Reading


class Believing:
    """Of nodes, called as files spell their names. Each look is at the index as it is."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def workspaces(self, node: str, names: frozenset[str]) -> frozenset[str]:
        """Of which of these workspaces it may tell."""
        if node == OWN:
            return names
        with self._catalog.read() as reading:
            scopes = _scopes(reading, node)
        return frozenset(name for name in names if scopes and all(one.allows(name) for one in scopes))

    def tokens(self, node: str, ids: frozenset[str]) -> frozenset[str]:
        """Of which of these tokens it may tell."""
        if node == OWN:
            return ids
        with self._catalog.read() as reading:
            scopes = _scopes(reading, node)
            found = (reading.token_by_id(id) for id in ids)
            return frozenset(one.id for one in found if one and scopes and all(each.knows(one) for each in scopes))

    def born(self, places: frozenset[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """When those of these Repositories (workspace, name) that are there were made, in ms since 1970."""
        with self._catalog.read() as reading:
            found = ((place, outlined(reading, *place)) for place in places)
            return {place: one.at_ms for place, one in found if one.exists}


def _scopes(reading: Reading, node: str) -> list[Scope]:
    """What each node of this name may see; two that are spelt alike are believed what both may."""
    given = [edges.workspaces_of(one) for one in reading.edges() if spelt(one.name) == node]
    token = reading.token_by_id(node)
    if token is not None:
        try:
            given.append(edges.workspaces_of_token(principal_of(token)))
        except Absent:
            return []
    return [edges.Scoping().of(reading, node, "", workspaces) for workspaces in given]
