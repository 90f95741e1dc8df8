"""How does a node ask another for a published file that no client has asked for? By its name in the index.

    GET /-/peer/file/WORKSPACE/REPOSITORY/FORMAT?package=PACKAGE&file=FILE

The peer is admitted as a reader of that Repository like any other, so what it gets it could have got at the file's own
address; which that is, the room alone would know. Recipes and pieces are asked for behind this path as behind any.
"""

from formats.kit.contract import Ask, Serve
from gateway.delivery.messages.heads import Head
from gateway.front.routes import Place

_SEGMENTS = ("-", "peer", "file")
_HOME = "/" + "/".join(_SEGMENTS)


def named(ask: Ask) -> bool:
    """Is a file asked for by its name in the index?"""
    return ask.home.startswith(f"{_HOME}/")


def ask_for(workspace: str, repository: str, format: str, package: str, file: str) -> Ask:
    """The request for one file, as this node makes it of its own."""
    return Ask(
        method="GET",
        path=format,
        raw_path=format,
        query=(("package", package), ("file", file)),
        headers={},
        base=f"http://-{_HOME}/{workspace}/{repository}",
        workspace=workspace,
        repository=repository,
        format=format,
    )


def place_named(head: Head) -> Place | None:
    """The place of such a request; None for any other."""
    if head.segments[:3] != _SEGMENTS or len(head.segments) != 6:
        return None
    workspace, repository, format = head.segments[3:]
    return Place(workspace, repository, format, (format,), format, f"{_HOME}/{workspace}/{repository}", "")


def plan_named(ask: Ask) -> Serve:
    """The file that is asked for."""
    return Serve(ask.argument("package"), ask.argument("file"))
