"""How does a node learn that the process which started it is gone, however it went?"""

import ctypes
import os
import signal

from gateway.cli.terminal.output import Usage

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent`, which started it, dies. Raises Usage if it has."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise Usage("The process that started this node is gone.")
