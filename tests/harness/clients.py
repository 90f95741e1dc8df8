"""Which client programs does this machine have, and which upstreams do they ask? Found at run time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """The path of a client program; where it is missing, a skip on a user's machine and a failure in CI."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        lacking(f"the client program {name} is not installed")
    return found


def lacking(reason: str) -> NoReturn:
    """A skip on a user's machine and a failure in CI, which installs all that is needed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None, ok: bool = True) -> str:
    """Run a client; its output. `ok` False expects it to fail."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) is ok, f"{' '.join(command)} ended with {done.returncode}:\n{output}"
    return output


def python_upstream() -> str:
    """The simple index that this machine's pip asks, with a slash at the end."""
    url = os.environ.get("PIP_INDEX_URL", "")
    if not url:
        asked = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
        )
        url = asked.stdout.strip()
    if not url:
        code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
        url = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return url.rstrip("/") + "/"


def npm_upstream() -> str:
    """The registry that this machine's npm asks, with a slash at the end."""
    url = subprocess.run([program("npm"), "config", "get", "registry"], capture_output=True, text=True).stdout.strip()
    return url.rstrip("/") + "/"
