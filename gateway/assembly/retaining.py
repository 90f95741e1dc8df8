"""Which secrets does an origin keep beside its journal, once what they were for is gone? None.

Whoever deletes a Repository or a Workspace takes its signing keys and the credentials of its upstreams away right
behind the entry that says so. What a crash between the two left is taken now and then, so that no successor of a name
signs with the keys of what it replaced.
"""

from gateway.access.secrets.samlkeys import SamlKeys
from gateway.access.secrets.signing import SigningKeys
from gateway.access.secrets.upstreams import Secrets
from storage.index.catalog import Catalog

OF_WORKSPACE = "-"
"""Stands for a Repository where a secret is for a Workspace: what its OpenID providers know this node by."""


def forget_gone(catalog: Catalog, signing: SigningKeys, secrets: Secrets, saml_keys: SamlKeys) -> None:
    """Blocking. Raises Full, Damaged. What is for a provider stays as long as its Workspace does: it is kept ahead of
    the entry that tells of the provider."""

    def is_there(workspace: str, repository: str) -> bool:
        with catalog.read() as reading:
            if repository == OF_WORKSPACE:
                return reading.workspace(workspace) is not None
            return reading.repository(workspace, repository) is not None

    signing.retain(is_there)
    secrets.retain(is_there)
    saml_keys.retain(lambda workspace: is_there(workspace, OF_WORKSPACE))
