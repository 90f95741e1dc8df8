"""Which room speaks npm? ROOM."""

from formats.npm.room import Npm

ROOM = Npm()
