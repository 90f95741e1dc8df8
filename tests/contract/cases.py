"""Which cases does the contract suite go through? One of each room: those of `rooms.py`, and the CASE of each
`room_of_*.py` beside it, which is found by its name."""

import importlib
from pathlib import Path

from tests.contract import rooms
from tests.contract.rooms import Case

_NAMES = sorted(path.stem for path in Path(__file__).parent.glob("room_of_*.py"))
_FOUND: list[Case] = [importlib.import_module(f"tests.contract.{name}").CASE for name in _NAMES]

CASES = {**rooms.CASES, **{case.room.name: case for case in _FOUND}}
