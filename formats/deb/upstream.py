"""How is a foreign archive asked? By the path that the client asks for, and what it signed is passed on as it is.

Packages and what is named by its hash never change, so they are asked for once. Manifests and indexes by their plain
path are fresh for a while.
"""

import re
from urllib.parse import quote

from formats.deb.names import BINARY, SOURCE
from formats.kit.contract import Pull, Serve
from storage.errors import Absent

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
