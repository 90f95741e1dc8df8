"""How is the real apt driven in a folder of its own, so that it neither asks nor changes what the machine's apt has?"""

import os
import subprocess
from pathlib import Path

from tests.harness.clients import program, run


def architecture() -> str:
    """The one that this machine's dpkg is of."""
    return subprocess.run([program("dpkg"), "--print-architecture"], capture_output=True, text=True).stdout.strip()


class Apt:
    """An apt with its own sources, lists, cache and keys below `root`."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.etc = root / "etc"
        for folder in ("apt.conf.d", "auth.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"):
            (self.etc / folder).mkdir(parents=True)
        for folder in ("state/lists/partial", "cache/archives/partial", "log"):
            (root / folder).mkdir(parents=True)
        (root / "state/status").touch()
        self.conf = root / "apt.conf"
        lines = [
            f'Dir::Etc "{self.etc}/";',
            f'Dir::State "{root}/state/";',
            f'Dir::State::status "{root}/state/status";',
            f'Dir::Cache "{root}/cache/";',
            f'Dir::Log "{root}/log/";',
            f'APT::Architecture "{architecture()}";',
            'APT::Sandbox::User "";',
            'Acquire::Languages "none";',
            'Acquire::Retries "0";',
            *options,
        ]
        self.conf.write_text("\n".join(lines) + "\n")

    def source(
        self, url: str, suite: str, component: str, keyring: bytes, kinds: str = "deb", name: str = "us"
    ) -> None:
        """Point it at a repository, signed by `keyring` (armored)."""
        ring = self.root / f"{name}.asc"
        ring.write_bytes(keyring)
        (self.etc / f"sources.list.d/{name}.sources").write_text(
            f"Types: {kinds}\nURIs: {url}\nSuites: {suite}\nComponents: {component}\nSigned-By: {ring}\n"
        )

    def authorise(self, url: str, token: str) -> None:
        """Give it a credential for everything below `url`."""
        path = self.etc / "auth.conf.d/us.conf"
        path.write_text(f"machine {url} login token password {token}\n")
        path.chmod(0o600)

    def environment(self) -> dict[str, str]:
        return os.environ | {"APT_CONFIG": str(self.conf), "LC_ALL": "C.UTF-8", "http_proxy": "", "no_proxy": "*"}

    def get(self, *arguments: str, cwd: Path | None = None, ok: bool = True) -> str:
        return run([program("apt-get"), "-q", *arguments], cwd=cwd, env=self.environment(), ok=ok)

    def update(self, *, ok: bool = True) -> str:
        """Its words. A warning counts as a failure."""
        return self.get("update", "--error-on=any", ok=ok)

    def cache(self, *arguments: str) -> str:
        return run([program("apt-cache"), *arguments], env=self.environment())
