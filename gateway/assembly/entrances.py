"""Through which doors do clients and edges come in, with which certificates?"""

import ssl
from pathlib import Path

from gateway.access.peers import membership
from gateway.access.peers.authority import listener_context
from gateway.assembly.parts import Parts
from gateway.delivery.connections.listening import Listener, listen
from gateway.delivery.connections.tls import Certificates
from gateway.insight.errorlog import report
from storage import disk
from storage.errors import Invalid


class Entrances:
    """The listeners of one worker: the port, the one for TLS where there are certificates, the one for edges."""

    def __init__(self, parts: Parts) -> None:
        self._number = parts.number
        self._certificates: Certificates | None = None
        config, host, tls = parts.config, parts.config.host, parts.config.tls
        self.listeners = [Listener(listen(host, config.port))]
        if tls.port and tls.certificates:
            chains = [(name, Path(chain), Path(key)) for name, chain, key in tls.certificates]
            self._certificates = Certificates(chains)
            self.listeners.append(Listener(listen(host, tls.port), self._certificates.context))
        if config.peers.port:
            self.listeners.append(Listener(listen(host, config.peers.port), _for_edges(parts), peers=True))

    def read_certificates(self) -> None:
        """New connections get what the files hold now; with a broken file nothing changes."""
        if self._certificates is None:
            return
        try:
            self._certificates.reload()
        except (OSError, ValueError) as error:
            report("error", "the certificates stay as they were", why=str(error))
        else:
            report("info", "the certificates were read again", worker=self._number)


def _for_edges(parts: Parts) -> ssl.SSLContext:
    """TLS for edges. Raises Invalid at an edge that was not invited to be a parent."""
    if parts.uplink is not None:
        if parts.uplink.member is not None:
            return parts.uplink.member.listener()
        raise Invalid("Only an enrolled edge can have edges behind it.", "Invite it with: entrepot edge invite.")
    folder = parts.root / membership.FOLDER
    folder.mkdir(exist_ok=True, mode=0o700)
    key, chain = parts.authority.own()
    paths = [folder / f"{name}-{parts.number}.pem" for name in ("authority", "listener", "listener-key")]
    for path, text in zip(paths, (parts.authority.certificate(), chain, key), strict=True):
        disk.replace_file(path, text.encode())
    return listener_context(*paths)
