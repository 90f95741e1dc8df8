"""How is a foreign archive asked? By the path that the client asks for, and what it signed is passed on as it is.

Packages and what is named by its hash never change, so they are asked for once. Manifests and indexes by their plain
path are fresh for a while.
"""

import re
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from formats.deb.names import BINARY, SOURCE
from formats.kit.contract import Pull, Serve
from storage.errors import Absent, UpstreamFailed

_BY_SHA256 = re.compile(r"dists/.*/by-hash/SHA256/([0-9a-f]{64})")
_BY_HASH = re.compile(r"dists/.*/by-hash/[A-Za-z0-9]+/[0-9a-f]+")
_FIXED = re.compile(r".*(\.u?deb|\.ddeb|\.dsc|\.tar\.[a-z0-9]+|\.diff\.gz)")
_SAFE = "/+~:=@!,;$&'()*"


def pull(serve: Serve) -> Pull | None:
    """How an upstream is asked for a file. Raises Absent for a path that no archive has."""
    path = serve.file
    if serve.package.startswith((BINARY, SOURCE)):
        path = f"pool/{serve.package[len(BINARY) :]}/{serve.file}"
    if any(part in ("", ".", "..") for part in path.split("/")) or not path.isprintable():
        raise Absent("There is no such file.")
    named = _BY_SHA256.fullmatch(path)
    return Pull(
        quote(path, safe=_SAFE),
        immutable=bool(_BY_HASH.fullmatch(path)) or (not path.startswith("dists/") and bool(_FIXED.fullmatch(path))),
        digests={"sha256": named[1]} if named else {},
    )


# ---------------------------------------------------------------- manifests that are signed anew

MANIFEST_BYTES_MAX = 16 << 20
_FIELD = re.compile(rb"^(Date|Valid-Until|Suite|Codename):[ \t]*([^\n]*)$", re.MULTILINE | re.IGNORECASE)


def manifest(distribution: str) -> Pull:
    """How an upstream is asked for the InRelease of a distribution."""
    return Pull(f"dists/{quote(distribution, safe=_SAFE)}/InRelease", bytes_max=MANIFEST_BYTES_MAX)


def believed(body: bytes, distribution: str, before: bytes, at_ms: int) -> int:
    """Seconds for which the text of a Release file is valid still, 0 = without end (see contract.Resigned)."""
    said = _fields(body)
    names = {said.get("suite", ""), said.get("codename", "")} - {""}
    if names and distribution not in names:
        raise UpstreamFailed(f"The upstream answered with the distribution {sorted(names)[0][:80]!a}.")
    date_s, until_s = _seconds(said, "date"), _seconds(said, "valid-until")
    if date_s is None:
        raise UpstreamFailed("The upstream's Release file has no date that can be read.")
    if until_s is None and "valid-until" in said:
        raise UpstreamFailed("The upstream's Release file says until when it is valid, and it cannot be read.")
    if until_s is not None and until_s * 1000 <= at_ms:
        raise UpstreamFailed("The upstream's Release file is valid no longer.", "Ask its owner, or another mirror.")
    if before and date_s < (_seconds(_fields(before), "date") or 0):
        raise UpstreamFailed("The upstream's Release file is older than the one before.", "Ask another mirror.")
    return max(1, until_s - at_ms // 1000) if until_s is not None else 0


def _fields(body: bytes) -> dict[str, str]:
    """What the first line of each of these fields says."""
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(body):
        found.setdefault(name.decode().lower(), value.decode("utf-8", "replace").strip())
    return found


def _seconds(said: dict[str, str], name: str) -> int | None:
    try:
        return int(parsedate_to_datetime(said[name].replace("UTC", "+0000")).timestamp())
    except (KeyError, ValueError, OverflowError, IndexError, TypeError):
        return None
