"""Which cases does the contract suite go through? One of each room."""

from tests.contract import rooms
from tests.contract.rooms_of_java import MAVEN

CASES = {**rooms.CASES, MAVEN.room.name: MAVEN}
