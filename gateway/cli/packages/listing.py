"""What does a repository hold, and how is a client pointed at it?"""

from contextlib import suppress
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

from formats import ROOMS
from gateway.cli.terminal import storing
from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place, when
from storage.errors import Forbidden, Unauthenticated, Unavailable


def ls(
    repository: str,
    package: str = "",
    /,
    *,
    format: str = "",
    stored: Annotated[bool, Parameter(negative="")] = False,
    plot: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """List the packages of a repository, or the files of one package.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    package
        Show the files of this one.
    format
        pypi, npm, generic, ...; all that the node has without.
    stored
        How this node stores the files: whole or in chunks, why, and what of each was there when it came.
    plot
        The same, drawn.
    """
    at = place(repository)
    if package and not format:
        raise Usage("A package has a name in one format.", "Add --format.")
    if (stored or plot) and not package:
        raise Usage("How files are stored is told of one package.", f"Name it, or see all: entrepot repo show {at}")
    with reach(url, profile) as node:
        if package:
            found = node.get(f"/repositories/{at}/packages/{quote(package)}", format=format)
            if plot:
                Output(json).fact(found, storing.drawn(found["files"]))
                return
            if stored:
                Output(json).rows(found, storing.COLUMNS, storing.rows(found["files"]))
                return
            rows = [(one["name"], one["version"], one["size_bytes"], one["sha256"]) for one in found["files"]]
            Output(json).rows(found, ("file", "version", "bytes", "sha256"), rows)
            return
        formats = [format] if format else node.get(f"/repositories/{at}")["formats"]
        packages = [
            {"format": one} | item for one in formats for item in node.items(f"/repositories/{at}/packages", format=one)
        ]
    listed = [(one["format"], one["name"], when(one["updated_ms"])) for one in packages]
    Output(json).rows({"items": packages}, ("format", "package", "updated"), listed)


def setup(format: str, repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show what to type, or to write into which file, so that a client uses a repository.

    Parameters
    ----------
    format
        pypi, npm, oci, ...: any that the node speaks.
    repository
        WORKSPACE/REPOSITORY.
    """
    at = place(repository)
    with reach(url, profile) as node:
        told = lines(format, f"{node.url}/{at}")
        with suppress(Unauthenticated, Forbidden, Unavailable):  # the lines are good whoever asks, and for later too
            node.get(f"/repositories/{at}")
    Output(json).fact({"format": format, "lines": told}, "\n".join(told))


def lines(format: str, base: str) -> list[str]:
    """The client's own commands and settings for the repository at `base`, as its room tells them."""
    if format not in ROOMS:
        raise Usage(f'There is no format "{format}".', f"One of {', '.join(ROOMS)}.")
    return ROOMS[format].setup(base)
