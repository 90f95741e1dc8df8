"""How are container images, and everything else that is stored like them, pushed and pulled (OCI distribution 1.1)?"""

from formats.kit.contract import Room
from formats.oci.room import Oci

ROOM: Room = Oci()
