"""Which configuration does `entrepot serve` run with? The file's, then the options', and the parent's token by file or
environment, never on the command line."""

import os
import socket
import tomllib
from pathlib import Path
from typing import Any

import maxminddb
import msgspec

from cache.keeping.shares import parsed as parsed_shares
from gateway.access.rights.geography import Geography
from gateway.access.tokens import well_formed
from gateway.cli.terminal.output import Usage
from gateway.cli.terminal.words import address
from gateway.config import Node, Tls
from gateway.delivery.connections.proxies import Proxies
from gateway.delivery.connections.tls import Certificates

PARENT_TOKEN_VARIABLE = "ENTREPOT_PARENT_TOKEN"  # noqa: S105 - the name of a variable
EDGE_DATA = "./entrepot-data/edge"
WORKERS_MAX = 256
_HOW_TO_JOIN = (
    "`entrepot edge invite NAME --region R` makes a code for --enrol; `entrepot token create NAME --edge` a token, for "
    f"--parent-token-file or {PARENT_TOKEN_VARIABLE}."
)


def node_of(file: Path | None, options: dict[str, Any], parent_token_file: Path | None) -> Node:
    """The configuration; `options` are fields of Node as given on the command line, None = not given.

    Raises Usage, naming the key, for what cannot be.
    """
    given = {name: value for name, value in options.items() if value is not None}
    node = _from_file(file) if file is not None else Node()
    if given.get("role", node.role) == "edge" and "data" not in given and node.data == Node().data:
        given["data"] = EDGE_DATA
    token = _parent_token(parent_token_file)
    if token:
        given["parent_token"] = token
    node = msgspec.structs.replace(node, **given)
    _check(node)
    return node


def tls_of(known: Tls, certificate: Path | None, key: Path | None, port: int | None) -> Tls:
    """TLS as the options change it: one certificate for every host name, on its own port."""
    if (certificate is None) != (key is None):
        raise Usage("A certificate goes with its key.", "Give --tls-cert and --tls-key together.")
    chosen = known
    if certificate is not None and key is not None:
        for path in (certificate, key):
            if not path.is_file():
                raise Usage(f"There is no file {path}.", "Name PEM files.")
        chosen = msgspec.structs.replace(chosen, certificates=(("", str(certificate), str(key)),))
    if port is not None:
        chosen = msgspec.structs.replace(chosen, port=port)
    if bool(chosen.port) != bool(chosen.certificates):
        raise Usage("TLS needs a port and a certificate.", "Give --tls-port, --tls-cert and --tls-key together.")
    return chosen


def check_certificates(tls: Tls) -> None:
    """Raises Usage for files that hold no certificate with its key: better here than in each worker."""
    try:
        if tls.port:
            Certificates(tls.certificates)
    except OSError as error:
        raise Usage(
            f"A certificate cannot be used: {error}.", "Name PEM files: the chain, and its key without a passphrase."
        ) from error


def check_ports(node: Node) -> None:
    """Raises Usage where two of its listeners want one port, or somebody listens there already."""
    named = {"port": node.port, "tls.port": node.tls.port, "peers.port": node.peers.port}
    known: dict[int, str] = {}
    for name, port in named.items():
        if port and port in known:
            raise Usage(f"Port {port} cannot be both {known[port]} and {name}.", "Choose another port for one of them.")
        known[port] = name
        if port:
            check_free(node.host, port)


def check_free(host: str, port: int) -> None:
    """Raises Usage if somebody listens there already: sharing a port is for the workers of one node alone."""
    try:
        with listener_address(host, port) as trial:
            trial.listen(1)
    except OSError as error:
        raise _not_usable(host, port, error) from error


def hold(host: str, port: int) -> socket.socket:
    """Keep a port (0 = a free one) for a node that is about to start, so that nobody else is given it meanwhile.

    The socket never listens, so no client ever reaches it.
    """
    if port:
        check_free(host, port)
    try:
        return listener_address(host, port, shared=True)
    except OSError as error:
        raise _not_usable(host, port, error) from error


def listener_address(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound there, as a listener's would be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _not_usable(host: str, port: int, error: OSError) -> Usage:
    return Usage(f"Port {port} of {host} cannot be used: {error.strerror or error}.", "Choose another port.")


def _from_file(file: Path) -> Node:
    try:
        return msgspec.convert(tomllib.loads(file.read_text()), Node)
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.", "Name a configuration file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage(f"{file} is not TOML: {error}.", "docs/config.toml shows how it looks.") from error
    except msgspec.ValidationError as error:
        raise Usage(f"{file}: {error}.", "docs/config.toml describes every setting.") from error


def _parent_token(file: Path | None) -> str:
    from_environment = os.environ.pop(PARENT_TOKEN_VARIABLE, "").strip()
    if file is None:
        return from_environment
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"The parent's token cannot be read from {file}.", "Name a file that holds it alone.") from error


def _check(node: Node) -> None:
    if node.role not in ("origin", "edge"):
        raise Usage(f'There is no role "{node.role}".', "A node is an origin or an edge.")
    try:
        Geography(node.regions)
    except (OSError, ValueError) as error:
        raise Usage(
            f"The regions are not understood: {error}.", "docs/config.toml shows how they are written."
        ) from error
    try:
        Proxies(node.proxies)
    except ValueError as error:
        raise Usage(f"The proxies are not understood: {error}.", "Write networks, as 10.1.0.0/16.") from error
    try:
        parsed_shares(node.cache.shares, node.cache.small_share_min)
    except ValueError as error:
        raise Usage(
            f"The cache's shares cannot hold: {error}.", "docs/config.toml shows how they are written."
        ) from error
    try:
        if node.logs.countries:
            maxminddb.open_database(node.logs.countries).close()
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise Usage(f"The file of countries cannot be used: {error}.", "Name an .mmdb file, or none.") from error
    if not 1 <= node.workers <= WORKERS_MAX:
        raise Usage(f"{node.workers} workers cannot be.", f"Use 1 to {WORKERS_MAX}; one fills about one core.")
    if not (0 < node.port < 65536 and 0 <= node.tls.port < 65536 and 0 <= node.peers.port < 65536):
        raise Usage("A port is a number from 1 to 65535.")
    if node.role == "origin":
        if node.parents:
            raise Usage("An origin has no parent.", "Leave out --parent, or run it with --role edge.")
        return
    if not node.parents:
        raise Usage("An edge needs to know its origin.", "Give --parent http(s)://HOST:PORT.")
    for parent in node.parents:
        address(parent)
    if node.parent_token and not well_formed(node.parent_token):
        raise Usage("An edge needs a token for its origin; this is none.", _HOW_TO_JOIN)


def check_joined(node: Node, enrolled: bool) -> None:
    """Raises Usage for an edge that could not say to any parent who it is."""
    if node.role == "edge" and not enrolled and not node.parent_token:
        raise Usage("An edge needs a token or a certificate for its origin.", _HOW_TO_JOIN)
    if enrolled and any(not parent.startswith("https:") for parent in node.parents):
        raise Usage("An enrolled edge speaks TLS to its parents.", "Name their listeners for peers: https://HOST:PORT.")
