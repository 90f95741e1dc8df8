"""How does mvn deploy, told as requests? A client of the Maven layout that lists versions as badly as they all do.

For each file its bytes, its `.sha1` and its `.md5`; then the metadata that is there is read, the client's version is
added, and the whole is written back: of two clients at once the later writes over the earlier's list.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field

from tests.harness import maven_layout
from tests.harness.running import Got, get

EXPECTED = (200, 201)


@dataclass
class Deployer:
    """Deploys below `url` with `token` as the password; `refused` are the paths that were not taken."""

    url: str
    token: str
    refused: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Got:
        secret = base64.b64encode(f"token:{self.token}".encode()).decode()
        return get(self.url + path, {"Authorization": f"Basic {secret}"}, method, body)

    def put(self, path: str, body: bytes) -> None:
        """A file and its checksums."""
        sums = {"sha1": hashlib.sha1(body), "md5": hashlib.md5(body)}
        for name, data in (("", body), *((f".{kind}", one.hexdigest().encode()) for kind, one in sums.items())):
            got = self.ask("PUT", path + name, data)
            if got.status not in EXPECTED:
                self.refused.append(f"{path}{name}: {got.status} {got.body[:200]!r}")

    def metadata(self, directory: str) -> str:
        """What the repository tells of a directory, "" where that is nothing."""
        got = self.ask("GET", f"{directory}/maven-metadata.xml")
        return got.body.decode() if got.status == 200 else ""

    def release(self, group: str, artifact: str, version: str, files: dict[str, bytes], prefix: str = "") -> None:
        """Files by what follows ARTIFACT-VERSION in their names, then the artifact's metadata and, for a plug-in with
        this `prefix`, its group's."""
        top = f"{group.replace('.', '/')}/{artifact}"
        for name, body in files.items():
            self.put(f"{top}/{version}/{artifact}-{version}{name}", body)
        self._list(top, version)
        if prefix:
            above = group.replace(".", "/")
            known = dict(re.findall(r"<prefix>(.*?)</prefix>\s*<artifactId>(.*?)</artifactId>", self.metadata(above)))
            self.put(f"{above}/maven-metadata.xml", maven_layout.group_metadata(**{**known, prefix: artifact}))

    def snapshot(self, group: str, artifact: str, base: str, stamp: str, files: dict[str, bytes]) -> None:
        """The next build of `base`-SNAPSHOT at `stamp` (yyyyMMdd.HHmmss), numbered as the metadata there suggests."""
        top, version = f"{group.replace('.', '/')}/{artifact}", f"{base}-SNAPSHOT"
        found = re.search(r"<buildNumber>(\d+)</buildNumber>", self.metadata(f"{top}/{version}"))
        build = f"{base}-{stamp}-{int(found[1]) + 1 if found else 1}"
        for name, body in files.items():
            self.put(f"{top}/{version}/{artifact}-{build}{name}", body)
        listed = maven_layout.snapshot_metadata(group, artifact, version, build, list(files))
        self.put(f"{top}/{version}/maven-metadata.xml", listed)
        self._list(top, version)

    def _list(self, directory: str, version: str) -> None:
        known = re.findall(r"<version>(.*?)</version>", self.metadata(directory))
        body = maven_layout.artifact_metadata(*dict.fromkeys([*known, version]))
        self.put(f"{directory}/maven-metadata.xml", body)
