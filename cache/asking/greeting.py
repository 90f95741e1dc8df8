"""Does a foreign registry take a credential? It is asked where any client begins; nothing of its answer is kept."""

from cache.asking.upstream import Remote


def status_of(remote: Remote, url: str, authorization: str, *, private_network: bool) -> int:
    """The status that it answers to the credential with. Blocking. Raises UpstreamFailed where it gives no answer."""
    return remote.fetch_document(url, {"authorization": authorization}, private_network=private_network).status
