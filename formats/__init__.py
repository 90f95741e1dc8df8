"""Which native protocols are spoken here? Adding one is a folder and a line in this list."""

from formats import deb, generic, maven, npm, oci, pypi
from formats.kit.contract import Room

_ALL: tuple[Room, ...] = (deb.ROOM, generic.ROOM, maven.ROOM, npm.ROOM, oci.ROOM, pypi.ROOM)

ROOMS: dict[str, Room] = {room.name: room for room in _ALL}
"""Every room by its name, which is also its segment of the path."""
