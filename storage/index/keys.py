"""How is a row of the index named, and how does it show that it is whole?

A key is its components as UTF-8, joined with NUL. No component may hold a NUL and each table has a fixed number of
them, so two different tuples never share a key, and byte order is the order of names. A value is eight bytes of
xxh3 over the payload, then the payload: LMDB itself would hand out a flipped bit without a word.
"""

from xxhash import xxh3_64_digest

from storage import alarm
from storage.errors import Damaged, Invalid

KEY_BYTES_MAX = 500
"""LMDB takes 511; what stays is for the one-letter kinds of labels and for tables to come."""

SUM_BYTES = 8


def join(*parts: str) -> bytes:
    """The key of `parts`. Raises Invalid for a part with a NUL or a lone surrogate, and for more than KEY_BYTES_MAX."""
    text = "\0".join(parts)
    if text.count("\0") != len(parts) - 1:
        raise Invalid("A name holds a NUL character.", "Use another name.")
    try:
        key = text.encode()
    except UnicodeEncodeError:
        raise Invalid("A name is not valid Unicode.", "Use another name.") from None
    if len(key) > KEY_BYTES_MAX:
        raise Invalid(
            f"This name is too long: with its place it takes {len(key)} bytes, {KEY_BYTES_MAX} is the most.",
            "Use a shorter name.",
        )
    return key


def below(*parts: str) -> bytes:
    """The prefix of every key that begins with `parts` and goes on."""
    return join(*parts) + b"\0"


def split(key: bytes) -> list[str]:
    """The components of a key made by `join`."""
    return key.decode().split("\0")


def place(workspace: str, serial: int) -> bytes:
    """The key of one Serial of a Workspace; in byte order they count up."""
    return below(workspace) + serial.to_bytes(8)


def touched(ws: str, repo: str, format: str, serial: int, package: str = "") -> bytes:
    """The key of a Package among those of its format by the Serial of their last change; in byte order it counts up."""
    return below(ws, repo, format) + serial.to_bytes(8) + package.encode()


def touched_package(key: bytes, ws: str, repo: str, format: str) -> tuple[int, str]:
    """Serial and Package of a key made by `touched`."""
    tail = key[len(below(ws, repo, format)) :]
    return int.from_bytes(tail[:8]), tail[8:].decode()


def until(ms: int, id: str = "") -> bytes:
    """The key of what is kept until `ms`; in byte order they end one after the other."""
    return ms.to_bytes(8) + id.encode()


# ---------------------------------------------------------------- labels: what a rendered or remembered answer rests on


def label_package(ws: str, repo: str, format: str, package: str) -> bytes:
    """Moves when anything of this Package changes."""
    return join("p", ws, repo, format, package)


def label_format(ws: str, repo: str, format: str) -> bytes:
    """Moves when any Package of this format in the Repository changes."""
    return join("f", ws, repo, format)


def label_repository(ws: str, repo: str) -> bytes:
    """Moves when the Repository itself changes: who may read it, its upstreams, its end. Not with its packages."""
    return join("r", ws, repo)


def label_workspace(ws: str) -> bytes:
    """Moves when the Workspace's own row changes; its value is a Serial of the SYSTEM journal."""
    return join("w", ws)


def label_token(id: str) -> bytes:
    """Moves when the Token is changed or revoked; its value is a Serial of the SYSTEM journal."""
    return join("t", id)


def label_hosts() -> bytes:
    """Moves when any host name is bound or let go: what a path means may hang on it. A Serial of the SYSTEM journal."""
    return join("h")


def label_account(id: str) -> bytes:
    """Moves when the Account is changed or closed; its value is a Serial of the SYSTEM journal."""
    return join("u", id)


def label_access(ws: str) -> bytes:
    """Moves when anything of who may do what in a Workspace changes: memberships, teams, roles, bindings, providers.
    One label for all of it, so that what rests on it stays short however many there are."""
    return join("a", ws)


def label_edge(name: str) -> bytes:
    """Moves when the Edge is changed or revoked; its value is a Serial of the SYSTEM journal."""
    return join("e", name)


def label_history() -> bytes:
    """Moves when the index was made anew of another history, in which the same Serials mean other things."""
    return join("y")


# ---------------------------------------------------------------- values


def seal(payload: bytes) -> bytes:
    """`payload` with its checksum ahead."""
    return xxh3_64_digest(payload) + payload


def unseal(value: bytes, table: str) -> bytes:
    """The payload of a value. Raises Damaged, naming the table, where the checksum does not match."""
    payload = value[SUM_BYTES:]
    if xxh3_64_digest(payload) != value[:SUM_BYTES]:
        alarm.damage.ring()
        raise Damaged(
            f"A row of the index table {table!r} does not match its checksum.",
            "Stop the node and run `entrepot rebuild-index`.",
        )
    return payload
