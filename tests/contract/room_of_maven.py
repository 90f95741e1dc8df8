"""What does the contract suite have to know of the Maven room?"""

import random
from dataclasses import replace

from bench.hostile.corpus import damaged
from formats import ROOMS
from formats.kit.contract import Show
from tests.contract.rooms import Case, Upload, ask
from tests.harness import maven_layout


def maven_pom(artifact: str, version: str, more: str = "") -> Upload:
    body = maven_layout.pom("org.acme", artifact, version, more=more)
    return Upload("PUT", f"org/acme/{artifact}/{version}/{artifact}-{version}.pom", body)


def maven_mutant(dice: random.Random) -> Upload:
    """A wounded pom, module or metadata, or a file that is not what its header announces."""
    match dice.randrange(4):
        case 0:
            upload = maven_pom("odd", "1.0")
            return replace(upload, body=damaged(upload.body, dice))
        case 1:
            body = damaged(maven_layout.module("org.acme", "odd", "1.0"), dice)
            return Upload("PUT", "org/acme/odd/1.0/odd-1.0.module", body)
        case 2:
            metadata = maven_layout.group_metadata(odd="odd-maven-plugin")
            return Upload("PUT", "org/acme/maven-metadata.xml", damaged(metadata, dice))
        case _:
            digest = damaged(b"0" * 40, dice).decode("latin-1")
            return Upload("PUT", "org/acme/odd/1.0/odd-1.0.jar", b"jar", {"x-checksum-sha1": f"0{digest}"})


MAVEN_BUILD = "org/acme/demo/1.1-SNAPSHOT/demo-1.1-20231114.034500-1"

CASE = Case(
    room=ROOMS["maven"],
    good=(
        Upload("PUT", "org/acme/demo/1.0/demo-1.0.jar", maven_layout.jar()),
        maven_pom("demo", "1.0"),
        Upload("PUT", "org/acme/demo/1.0/demo-1.0.jar.asc", b"signature"),
        Upload("PUT", "org/acme/demo/1.0/demo-1.0.module", maven_layout.module("org.acme", "demo", "1.0")),
        Upload("PUT", f"{MAVEN_BUILD}.jar", maven_layout.jar("one")),
        Upload("PUT", f"{MAVEN_BUILD}-sources.jar", b"sources"),
        Upload("PUT", "org.acme/ivied/2.0/jars/ivied.jar", b"by Ivy"),
        maven_pom("other_2.13", "1"),
    ),
    other=lambda upload: replace(upload, body=upload.body + b" "),
    mutant=maven_mutant,
    remove=lambda world: [
        (ask(world.room, "DELETE", f"{package}/{name}"), b"")
        for package, name in sorted(world.published)
        if "demo-1.1-SNAPSHOT" not in name
    ],
    pages=(
        ("org/acme/demo/maven-metadata.xml", {}),
        ("org/acme/demo/maven-metadata.xml.sha1", {}),
        ("org/acme/demo/1.1-SNAPSHOT/maven-metadata.xml", {}),
        ("org/acme/demo/1.1-SNAPSHOT/demo-1.1-SNAPSHOT.jar.md5", {}),
        ("org/acme/demo/1.0/demo-1.0.pom.sha512", {}),
        ("org/acme/other_2.13/maven-metadata.xml", {}),
    ),
    paths=(
        "org/acme/",
        "demo",
        "/1.0/",
        "1.0-SNAPSHOT/",
        "demo-1.0.jar",
        "demo-1.0-20231114.034500-1.pom",
        "maven-metadata.xml",
        ".sha1",
        ".md5",
        ".asc",
        "..",
    ),
    letters="aA-._b/",
    named=lambda name: f"{name}/maven-metadata.xml",
    meant=lambda plan: plan.package if isinstance(plan, Show) and plan.page == "metadata" else None,
    canonical=lambda name: name,
)
