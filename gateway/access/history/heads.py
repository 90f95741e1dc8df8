"""Who vouches for the history? The origin signs where each journal ends, now and then, and keeps what it said.

A chain of hashes alone shows a changed entry, and nothing of a chain that was made anew from some entry on. A signed
head that somebody else holds does: the entry of that Serial has that hash, or the history is another one. The key is in
`heads.json` (0600) in the origin's data directory; heads are appended to `audit/heads.jsonl`, one a line. Whoever has
the disk has the key too, so heads are worth most where they are exported to (THREATS F11).
"""

import base64
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.access.secrets.secretfile import SecretFile
from storage.errors import Damaged, Invalid
from storage.index.history import Head

FILE_NAME = "heads.json"
KEPT = Path("audit") / "heads.jsonl"
_DOMAIN = b"entrepot signed head 1\0"


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str = ""

    def __repr__(self) -> str:
        return "_Kept(hidden)"


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That this entry of this Workspace of this store has this hash, said at `at_ms`. Bytes are in base64
    without padding."""

    store: str
    epoch: int
    workspace: str
    serial: int
    hash: str
    at_ms: int
    key: str
    signature: str = ""

    @property
    def head(self) -> Head:
        """Raises Invalid."""
        return Head(self.epoch, self.workspace, self.serial, _bytes(self.hash))

    def message(self) -> bytes:
        """What the signature covers."""
        return _DOMAIN + msgspec.msgpack.encode(
            [self.store, self.epoch, self.workspace, self.serial, self.hash, self.at_ms]
        )


class Heads:
    """The signing key of one origin, whose store has the id `store`, and the heads that it signed. Calls wait for the
    disk."""

    def __init__(self, root: Path, store: str) -> None:
        self.store = store
        self._file: SecretFile[_Kept] = SecretFile(root / FILE_NAME, _Kept)
        self._path = root / KEPT

    def public(self) -> str:
        """The public half: 32 bytes in base64 without padding."""
        return _text(self._key().public_key().public_bytes_raw())

    def signed(self, head: Head, at_ms: int) -> SignedHead:
        """The origin's word for it."""
        key = self._key()
        name = _text(key.public_key().public_bytes_raw())
        unsigned = SignedHead(self.store, head.epoch, head.workspace, head.serial, _text(head.hash), at_ms, name)
        return msgspec.structs.replace(unsigned, signature=_text(key.sign(unsigned.message())))

    def keep(self, heads: Iterable[Head], at_ms: int) -> list[SignedHead]:
        """Sign and write down those that moved since the last time; returns them."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = {(one.epoch, one.workspace): one.serial for one in kept(self._path)}
            fresh = [
                self.signed(head, at_ms) for head in heads if known.get((head.epoch, head.workspace), 0) < head.serial
            ]
            if fresh:
                file.write(b"".join(msgspec.json.encode(one) + b"\n" for one in fresh))
                file.flush()
                os.fsync(file.fileno())
        return fresh

    def _key(self) -> Ed25519PrivateKey:
        known = self._file.read()
        if not known.key:
            known = self._file.change(lambda now: now if now.key else _made())
        key = serialization.load_pem_private_key(known.key.encode(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Damaged(f"{FILE_NAME} holds another kind of key than was written to it.", "Restore it from a copy.")
        return key


def kept(path: Path) -> Iterator[SignedHead]:
    """The heads in a file, as they stand there; a last line that was torn is left out. Raises Damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:
        yield read_head(line)


def read_head(line: bytes | str) -> SignedHead:
    """Raises Damaged."""
    try:
        return msgspec.json.decode(line, type=SignedHead)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Damaged("This is no signed head.", "Restore the file from a copy.") from None


def verified(head: SignedHead, key: str = "") -> bool:
    """Was it signed by this key ("" = by the one that it names)?"""
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(head.key))
        public.verify(_bytes(head.signature), head.message())
    except (InvalidSignature, ValueError, Invalid):
        return False
    return not key or head.key == key


def _made() -> _Kept:
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _Kept(text.decode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Raises Invalid for anything that `_text` does not give."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if _text(data) != text:
        raise Invalid("This is no base64 of ours.")
    return data
