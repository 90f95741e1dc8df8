"""What does `docker-credential-entrepot` answer docker, podman, buildah, skopeo, crane and oras?

The protocol of docker's credential helpers: an operation as the argument, the registry or a JSON document on stdin. The
token is the command line's: a login or logout by such a program changes nothing here, and is told so. `docker login`
without a name takes the token from here and then stores it where it was, which is well.
"""

import hmac
import json
import sys

import msgspec

from gateway.cli.credentials.lending import USER, known, node_of, token_for
from storage.errors import Invalid, Problem


class _Told(msgspec.Struct, frozen=True):
    """What a client wants kept."""

    ServerURL: str  # the protocol's names
    Secret: str


NOT_FOUND = "credentials not found in native keychain"
"""These very words: by them a client knows that it may go on as nobody."""
NOT_HERE = "the token is kept by entrepot: use entrepot profile set, or entrepot profile remove"


def answer(operation: str, said: str) -> tuple[int, str]:
    """Exit code, and what goes to stdout. Raises Problem."""
    match operation:
        case "get":
            token = token_for(said.strip())
            if not token:
                return 1, NOT_FOUND
            return 0, json.dumps({"ServerURL": said.strip(), "Username": USER, "Secret": token})
        case "list":
            return 0, json.dumps({_registry(one.url): USER for one in known()})
        case "store" if _is_kept(said):
            return 0, ""
        case "store" | "erase":
            return 1, NOT_HERE
        case "version":
            return 0, "entrepot"
    return 1, "usage: docker-credential-entrepot get|list|store|erase"


def _is_kept(said: str) -> bool:
    """Is this the very token that would be told? Raises Invalid for what is no document of a client's."""
    try:
        told = msgspec.json.decode(said, type=_Told)
    except msgspec.MsgspecError:
        raise Invalid("This is not what a client stores: {ServerURL, Username, Secret}.") from None
    token = token_for(told.ServerURL)
    return bool(token) and hmac.compare_digest(token.encode(), told.Secret.encode())


def _registry(url: str) -> str:
    node = node_of(url)
    return f"{node.host}:{node.port}"


def main() -> int:
    """The console script."""
    try:
        code, told = answer(sys.argv[1] if len(sys.argv) == 2 else "", sys.stdin.read() if len(sys.argv) == 2 else "")
    except Problem as problem:
        code, told = 1, str(problem)
    sys.stdout.write(told + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
