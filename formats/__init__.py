"""Which native protocols are spoken here? Adding one is a folder and a line in this list."""

from formats import generic, npm, oci, pypi
from formats.kit.contract import Room

ROOMS: dict[str, Room] = {room.name: room for room in (generic.ROOM, npm.ROOM, oci.ROOM, pypi.ROOM)}
"""Every room by its name, which is also its segment of the path."""
