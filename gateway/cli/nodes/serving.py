"""How is one node run, from the terminal or by a service manager?"""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.panel import Panel

from gateway.access import bootstrap
from gateway.access.peers import membership
from gateway.assembly import worker
from gateway.cli.nodes.settings import check_certificates, check_joined, check_ports, node_of, tls_of
from gateway.cli.terminal.output import Output, Usage
from gateway.config import Node

ENROL_VARIABLE = "ENTREPOT_ENROL"


def serve(
    *,
    role: Literal["origin", "edge"] | None = None,
    data: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    parent: tuple[str, ...] | None = None,
    parent_token_file: Path | None = None,
    config: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_port: int | None = None,
    peer_port: int | None = None,
    enrol: str | None = None,
) -> int:
    """Run one node until SIGTERM or SIGINT, then drain and exit.

    Parameters
    ----------
    role
        origin (holds the truth; the default) or edge (follows an origin).
    data
        The directory of its data.
    host
        The address to listen on; 127.0.0.1 unless told otherwise.
    port
        The port to listen on; 8080 unless told otherwise.
    workers
        Processes that share the port; one fills about one core.
    parent
        An edge's origin or shield: http(s)://HOST:PORT; several in the order of preference, the origin last.
    parent_token_file
        A file that holds the edge's token; or set ENTREPOT_PARENT_TOKEN.
    config
        A TOML file; options go before it.
    tls_cert
        PEM file with the certificate and its chain.
    tls_key
        PEM file with its key.
    tls_port
        The port for https.
    peer_port
        The port for edges with certificates, at an origin or a shield.
    enrol
        The one-time code that makes this machine an edge (or ENTREPOT_ENROL); passed over where it is one already.
    """
    options: dict[str, Any] = {"role": role, "data": data, "host": host, "port": port, "workers": workers}
    options |= {"parents": parent or None}
    settings = node_of(config, options, parent_token_file)
    settings = msgspec.structs.replace(settings, tls=tls_of(settings.tls, tls_cert, tls_key, tls_port))
    if peer_port is not None:
        settings = msgspec.structs.replace(settings, peers=msgspec.structs.replace(settings.peers, port=peer_port))
    check_certificates(settings.tls)
    check_ports(settings)
    if settings.role == "origin":
        admin = bootstrap.prepare(Path(settings.data))
        if admin is not None:
            _show_admin(admin)
    return run_node(settings, enrol or os.environ.pop(ENROL_VARIABLE, ""))


def run_node(settings: Node, code: str = "") -> int:
    """Run a node, whose data is ready and nobody else's, until it is told to end. With `code` an edge enrols first.
    Raises Problem."""
    with bootstrap.alone(Path(settings.data)) as lock:
        _join(settings, code)
        return worker.run(settings, (lock,))


def _join(settings: Node, code: str) -> None:
    """See to it that an edge can say who it is. Raises Problem."""
    root = Path(settings.data)
    if settings.role != "edge":
        if code:
            raise Usage("An origin enrols nowhere.", "Leave out --enrol.")
        return
    member = membership.find(root)
    if member is None and code:
        member = membership.enrol(settings.parents[-1], code, root)
        Output(False).note(f"This machine is the edge {member.about.name} of the region {member.about.region}.")
    check_joined(settings, member is not None)
    if settings.peers.port and not (member is not None and member.about.parent):
        raise Usage("This edge was not invited to be a parent.", "Invite it with: entrepot edge invite --shield.")


def _show_admin(token: str) -> None:
    """On stderr, once, where nobody can miss it and no program reads it."""
    Output(False).err.print(
        Panel.fit(
            f"{token}\n\nThis is the admin token of this origin. It is shown once and stored nowhere.\n"
            "Lost? Stop the node and run: entrepot admin-token --data DIR",
            title="first start",
        )
    )
