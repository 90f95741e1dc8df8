"""How is one node run, from the terminal or by a service manager?"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.panel import Panel

from gateway import node
from gateway.access import bootstrap
from gateway.cli.lifeline import end_with
from gateway.cli.output import Output
from gateway.cli.settings import check_free, node_of, tls_of


def serve(
    *,
    role: Literal["origin", "edge"] | None = None,
    data: str | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    parent: str | None = None,
    parent_token_file: Path | None = None,
    config: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_port: int | None = None,
    with_parent: Annotated[int, Parameter(show=False)] = 0,
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
        An edge's origin: http(s)://HOST:PORT.
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
    """
    if with_parent:
        end_with(with_parent)
    options = {"role": role, "data": data, "host": host, "port": port, "workers": workers, "parent": parent}
    settings = node_of(config, options, parent_token_file)
    settings = msgspec.structs.replace(settings, tls=tls_of(settings.tls, tls_cert, tls_key, tls_port))
    check_free(settings.host, settings.port)
    root = Path(settings.data)
    if settings.role == "origin":
        admin = bootstrap.prepare(root)
        if admin is not None:
            _show_admin(admin)
    with bootstrap.alone(root):
        return node.run(settings)


def _show_admin(token: str) -> None:
    """On stderr, once, where nobody can miss it and no program reads it."""
    Output(False).err.print(
        Panel.fit(
            f"{token}\n\nThis is the admin token of this origin. It is shown once and stored nowhere.\n"
            "Lost? Stop the node and run: entrepot admin-token --data DIR",
            title="first start",
        )
    )
