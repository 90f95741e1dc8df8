"""Where is a body not what it should be? Told without the value that was sent: that may be a secret."""

import re

import msgspec

_QUOTED = re.compile(r"'[^']*'")


def place_of(error: Exception) -> str:
    """What was wrong and where."""
    if isinstance(error, msgspec.ValidationError):
        return _QUOTED.sub("this value", str(error))
    return "it is not JSON"
