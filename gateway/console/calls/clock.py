"""What time is it, and which program is this?"""

import importlib.metadata
import time


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def version() -> str:
    """The version of this program."""
    return importlib.metadata.version("entrepot")
