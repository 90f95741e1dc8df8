"""Where are the files of a package read, whatever its format: all of it, or one version with what that needs?

The room says the address. A version of an image comes with its layers, and with the signatures that are about it.
"""

from cache.replication.wanted import of_version
from gateway.console.calls.call import PAGE, Call, Reply, Routes
from gateway.console.calls.permissions import REPOSITORY_READ
from gateway.console.packages import replies
from gateway.console.packages.holding import format_of
from gateway.console.packages.parts import may_know
from gateway.console.shapes.replies import Page
from storage.errors import Absent
from storage.nouns import File

ROUTES = Routes("/-/api/v1")


@ROUTES.add(
    "GET",
    "/repositories/<workspace>/<repository>/files/<path:package>",
    REPOSITORY_READ,
    ("format", "version", *PAGE),
    gives=Page[replies.Readable],
)
async def list_files(call: Call) -> Reply:
    """The files of a package by name, of one `version` with all that it is nothing without, and where each is read."""
    ws, repository, format = call.at["workspace"], call.at["repository"], format_of(call)
    name, version = call.services.normalise(format, call.at["package"]), call.argument("version")
    with call.read() as reading:
        view = reading.view(ws, repository, format)
        if view.package(name) is None or not may_know(call, reading)(format, name):
            raise Absent("This repository holds no such package.")
        if version and view.version(name, version) is None:
            raise Absent("This repository holds no such version of it.", "Look with: entrepot ls.")
        files = of_version(format, view, name, version, call.services.ties)

    def shown(one: File) -> dict[str, object]:
        return {
            "name": one.name,
            "version": one.version,
            "size_bytes": one.size,
            "sha256": one.sha256.hex(),
            "path": call.services.address_of(ws, repository, format, name, one.name),
        }

    return call.page(files, lambda one: one.name, shown)
