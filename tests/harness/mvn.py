"""How is mvn told to use one repository of ours? A folder with settings and a local repository of its own."""

import os
import re
import shutil
import zipfile
from pathlib import Path

from tests.harness.clients import program, run
from tests.harness.jvm import QUICK
from tests.harness.running import clean_environment

DEPLOY = "org.apache.maven.plugins:maven-deploy-plugin:3.1.1"
DEPENDENCY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"

# Nobody but our repository is asked for what is resolved; plugins come from elsewhere.
POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>org.acme</groupId><artifactId>user</artifactId><version>1</version><packaging>pom</packaging>
<repositories><repository><id>acme</id><url>{url}</url></repository>
<repository><id>central</id><url>{url}</url><releases><enabled>false</enabled></releases>
<snapshots><enabled>false</enabled></snapshots></repository></repositories></project>
"""
# The mirror by the exact name keeps a mirror of everything, where this machine has one, away from our repository.
SETTINGS = """<settings>{servers}
<mirrors><mirror><id>acme</id><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror></mirrors></settings>
"""
SERVERS = "<servers><server><id>acme</id><username>token</username><password>{token}</password></server></servers>"


def environment() -> dict[str, str]:
    """Each step starts a machine of Java's: what starts it faster is worth more than what runs it faster."""
    return clean_environment() | {"MAVEN_OPTS": " ".join(QUICK)}


class Maven:
    """mvn in a folder of its own. Its local repository has what lies in `plugins`; without any, `url` stands for every
    repository there is."""

    def __init__(self, folder: Path, url: str, token: str, plugins: Path | None = None) -> None:
        self.folder = folder
        self.url = url
        folder.mkdir()
        if plugins is not None:
            shutil.copytree(plugins, folder / "local")
        servers = SERVERS.format(token=token) if token else ""
        of = "acme" if plugins is not None else "*"
        (folder / "settings.xml").write_text(SETTINGS.format(servers=servers, url=url, of=of))
        (folder / "pom.xml").write_text(POM.format(url=url))

    def mvn(self, *arguments: str, ok: bool = True) -> str:
        # Of the two settings files that mvn merges, ours takes the place that this machine does not use.
        option = "-gs" if (Path.home() / ".m2/settings.xml").exists() else "-s"
        settings = [option, str(self.folder / "settings.xml"), f"-Dmaven.repo.local={self.folder / 'local'}"]
        return run([program("mvn"), "-B", *settings, *arguments], cwd=self.folder, env=environment(), ok=ok)

    def deploy(self, artifact: str, version: str, body: bytes, ok: bool = True) -> str:
        file = self.folder / "file.jar"
        file.write_bytes(body)
        names = ["-DgroupId=org.acme", f"-DartifactId={artifact}", f"-Dversion={version}", "-Dpackaging=jar"]
        target = [f"-Durl={self.url}", "-DrepositoryId=acme", f"-Dfile={file}"]
        return self.mvn(f"{DEPLOY}:deploy-file", *names, *target, ok=ok)

    def resolve(self, artifact: str, version: str, ok: bool = True) -> str:
        wanted = [f"-Dartifact=org.acme:{artifact}:{version}", f"-DoutputDirectory={self.folder / 'out'}"]
        return self.mvn(f"{DEPENDENCY}:copy", *wanted, ok=ok)

    def resolved(self) -> list[bytes]:
        return [file.read_bytes() for file in (self.folder / "out").glob("*.jar")]


def upstream() -> str:
    """The repository that this machine's mvn asks, with a slash at the end: a mirror from its settings, else what mvn
    itself comes with."""
    home = Path(program("mvn")).resolve().parents[1]
    conf = home / "conf/settings.xml"
    for path in (Path.home() / ".m2/settings.xml", conf):
        text = re.sub(r"(?s)<!--.*?-->", "", path.read_text()) if path.is_file() else ""
        for mirror in re.findall(r"(?s)<mirror>(.*?)</mirror>", text):
            of = re.search(r"<mirrorOf>\s*(.*?)\s*</mirrorOf>", mirror)
            url = re.search(r"<url>\s*(.*?)\s*</url>", mirror)
            if of and url and "<blocked>true" not in mirror and {"*", "central"} & set(of[1].split(",")):
                return url[1].rstrip("/") + "/"
    (jar,) = sorted((home / "lib").glob("maven-model-builder*.jar"))[:1]
    with zipfile.ZipFile(jar) as archive:
        text = archive.read("org/apache/maven/model/pom-4.0.0.xml").decode()
    found = re.search(r"<id>central</id>.*?<url>\s*(.*?)\s*</url>", text, re.S)
    assert found is not None
    return os.path.expandvars(found[1]).rstrip("/") + "/"
