"""Which projects, and which files of them? The room of the Python package index."""

from formats.kit.contract import Room
from formats.pypi.room import PyPI

ROOM: Room = PyPI()
