"""How is a foreign Maven repository asked, and what does its metadata tell?

The metadata of an artifact or group is learnt, so that it can be laid under what is published here; everything else is
pulled by its path and passed on as it is.
"""

import re
from urllib.parse import quote

from formats.kit.contract import Foreign, Learn, Pull, Serve, Show
from formats.maven.facts import PackageFacts, packed
from formats.maven.media import TEXT, XML, media_of
from formats.maven.names import METADATA, is_fixed, is_segment, route
from formats.maven.unpack import metadata_of, plugins_of
from formats.maven.wire import METADATA_BYTES_MAX
from storage.errors import Problem, UpstreamFailed
from storage.nouns import Package, Version

VERSIONS_MAX = 100_000
ANNOUNCED = (
    ("x-checksum-sha1", "sha1"),
    ("x-checksum-md5", "md5"),
    ("x-checksum-sha256", "sha256"),
    ("x-checksum-sha512", "sha512"),
)
_MOMENT = re.compile(r"[0-9]{14}")


def fetch(plan: Serve | Show) -> Learn | Pull | None:
    """How a foreign repository is asked for what a plan speaks of."""
    if not plan.package:
        return None
    if isinstance(plan, Serve):
        return _pull(f"{plan.package}/{plan.file}")
    if plan.page == "digest":
        algorithm, _, file = plan.argument.partition(" ")
        return _digest(_pull(f"{plan.package}/{file}"), algorithm)
    if plan.page == "snapshot":
        version, _, algorithm = plan.argument.partition(" ")
        metadata = _pull(f"{plan.package}/{version}/{METADATA}")
        return _digest(metadata, algorithm) if algorithm else metadata
    return Learn(quote(f"{plan.package}/{METADATA}"), f"{XML}, text/xml, */*;q=0.1", METADATA_BYTES_MAX)


def _pull(path: str) -> Pull:
    at = route(path)
    return Pull(
        quote(path),
        immutable=at.kind == "file" and is_fixed(at),
        announced=ANNOUNCED,
        also=("sha1", "md5"),
        media=media_of(path),
    )


def _digest(of: Pull, algorithm: str) -> Pull:
    """The checksum file of another one: computed where that one is here."""
    return Pull(
        f"{of.path}.{algorithm}",
        immutable=of.immutable,
        bytes_max=64 << 10,
        digest_of=(of.path, algorithm),
        media=TEXT,
    )


def learn(package: str, raw: bytes) -> Foreign:
    """Translate an upstream's maven-metadata.xml. Raises UpstreamFailed."""
    try:
        metadata = metadata_of(raw)
    except Problem as problem:
        raise UpstreamFailed(
            f"The upstream's {METADATA} of {package} cannot be read.", "Check the upstream's address."
        ) from problem
    names = [one.text for one in metadata.all("versioning", "versions", "version")]
    versions = dict.fromkeys(one for one in names if is_segment(one))
    if len(versions) > VERSIONS_MAX:
        raise UpstreamFailed(f"The upstream lists more than {VERSIONS_MAX} versions of {package}.")
    updated = metadata.said("versioning", "lastUpdated")
    facts = PackageFacts(plugins_of(metadata), updated=updated if _MOMENT.fullmatch(updated) else "")
    return Foreign(Package(package, facts=packed(facts)), tuple(Version(one) for one in sorted(versions)))
