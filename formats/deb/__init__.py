"""Which packages does apt see, in which distributions? The room of Debian's archives."""

from formats.deb.room import Deb

ROOM = Deb()
