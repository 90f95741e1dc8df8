"""Which files lie at which paths? The room for everything that has no protocol of its own."""

from formats.generic.room import Generic
from formats.kit.contract import Room

ROOM: Room = Generic()
