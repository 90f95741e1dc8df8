"""Which secrets does an origin keep beside its journal, once what they were for is gone? None.

Whoever deletes a Repository or a Workspace takes its signing keys and the credentials of its upstreams away right
behind the entry that says so. What a crash between the two left is taken now and then, so that no successor of a name
signs with the keys of what it replaced.
"""

from gateway.access.secrets.signing import SigningKeys
from gateway.access.secrets.upstreams import Secrets
from storage.index.catalog import Catalog


def forget_gone(catalog: Catalog, signing: SigningKeys, secrets: Secrets) -> None:
    """Blocking. Raises Full, Damaged."""

    def is_there(workspace: str, repository: str) -> bool:
        with catalog.read() as reading:
            return reading.repository(workspace, repository) is not None

    signing.retain(is_there)
    secrets.retain(is_there)
