"""How does a test run clients of images without leaving a login, an image or an engine on the machine?"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.clients import program
from tests.harness.running import clean_environment

START_SECONDS_MAX = 60


def home(folder: Path) -> dict[str, str]:
    """The environment of a home of its own."""
    folder.mkdir(exist_ok=True)
    return clean_environment() | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "DOCKER_CONFIG": str(folder / ".docker"),
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "STORAGE_DRIVER": "vfs",
    }


@contextmanager
def docker_engine(folder: Path, *hosts: str) -> Iterator[list[str]]:
    """A real engine of its own, without a bridge, that speaks plain HTTP to `hosts`: the command that speaks to it.

    The path of `folder` is part of a socket's name, which may have 107 bytes.
    """
    socket = folder / "d.sock"
    command = [
        program("dockerd"), "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "-H", f"unix://{socket}", "--pidfile", str(folder / "pid"), "--iptables=false", "--ip6tables=false",
        "--bridge=none", "--storage-driver=vfs", *(f"--insecure-registry={host}" for host in hosts),
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log, env=home(folder / "engine"))
    client = ["/usr/bin/docker" if Path("/usr/bin/docker").exists() else program("docker"), "-H", f"unix://{socket}"]
    try:
        deadline_s = time.monotonic() + START_SECONDS_MAX
        while subprocess.run([*client, "info"], capture_output=True).returncode:
            text = (folder / "dockerd.log").read_text()[-3000:]
            assert engine.poll() is None, f"dockerd ended:\n{text}"
            assert time.monotonic() < deadline_s, f"dockerd does not answer:\n{text}"
            time.sleep(0.2)
        yield client
    finally:
        engine.terminate()
        engine.wait(30)
        # it mounts its data on itself, and leaves that to whoever cleans up
        subprocess.run(["umount", "-l", str(folder / "data")], capture_output=True, check=False)
