"""Which artifacts, and which files of them? The room of Maven, Gradle, sbt and Ivy."""

from formats.kit.contract import Room
from formats.maven.room import Maven

ROOM: Room = Maven()
