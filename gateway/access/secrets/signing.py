"""With which OpenPGP keys does a Repository sign, and where are their secret halves?

In `signing.json` (0600) in the origin's data directory, and nowhere else. The public halves, the certificates, are part
of the Repository in the journal: every edge can tell them to clients, none can sign. All keys in force sign, so a new
one is told to clients before the old one is retired.

The only file that meets the OpenPGP library.
"""

import base64
import re
from pathlib import Path

import msgspec
from pysequoia import ArmorKind, Cert, SignatureMode, Tsk, armor, sign, verify

from gateway.access.secrets.secretfile import IsThere, SecretFile
from storage.errors import Conflict, Damaged, Invalid, UpstreamFailed

FILE_NAME = "signing.json"
KEYS_MAX = 4
CERTIFICATES_MAX = 64
_SIGNATURE = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----\n(?:[A-Za-z]+: [^\n]*\n)*\n([A-Za-z0-9+/=\n]+?)\n(?:=[A-Za-z0-9+/]{4}\n)?"
    rb"-----END PGP SIGNATURE-----\n?\Z"
)


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key with its secret half, armored."""

    fingerprint: str
    secret: str
    at_ms: int = 0

    def __repr__(self) -> str:
        return f"Key(fingerprint={self.fingerprint!r}, secret=hidden)"


_Known = dict[str, tuple[Key, ...]]


class SigningKeys:
    """The keys in `path`, by Repository. Calls are synchronous; those that change something wait for the disk."""

    def __init__(self, path: Path) -> None:
        self._file: SecretFile[_Known] = SecretFile(path, _Known)

    def ensure(self, workspace: str, repository: str, at_ms: int) -> tuple[bytes, ...]:
        """The certificates of a Repository; its first key is made where there is none."""
        place = f"{workspace}/{repository}"
        known = self._file.read()
        if not known.get(place):
            known = self._file.change(lambda now: now if now.get(place) else now | {place: (_made(place, at_ms),)})
        return tuple(_certificate(key) for key in known[place])

    def add(self, workspace: str, repository: str, at_ms: int) -> bytes:
        """The certificate of one more key, which signs once the journal tells it. Raises Conflict for too many."""
        place = f"{workspace}/{repository}"
        made = _made(place, at_ms)

        def edit(now: _Known) -> _Known:
            if len(now.get(place, ())) >= KEYS_MAX:
                raise Conflict(f"A repository signs with {KEYS_MAX} keys at most.", "Retire one first.")
            return now | {place: (*now.get(place, ()), made)}

        self._file.change(edit)
        return _certificate(made)

    def forget(self, workspace: str, repository: str, fingerprint: str) -> None:
        """Forget one key; nothing happens where it is not there."""
        place = f"{workspace}/{repository}"

        def edit(now: _Known) -> _Known:
            left = tuple(key for key in now.get(place, ()) if key.fingerprint != fingerprint)
            return {key: value for key, value in now.items() if key != place} | ({place: left} if left else {})

        self._file.change(edit)

    def remove_repository(self, workspace: str, repository: str) -> None:
        """Forget the keys of a Repository."""
        place = f"{workspace}/{repository}"
        self._file.change(lambda now: {key: value for key, value in now.items() if key != place})

    def remove_workspace(self, workspace: str) -> None:
        """Forget the keys of all Repositories of a Workspace."""
        self.retain(lambda at, _: at != workspace)

    def retain(self, wanted: IsThere) -> None:
        """Forget the keys of every Repository that is not `wanted` (workspace, repository), asked under the lock."""

        def is_wanted(place: str) -> bool:
            workspace, _, repository = place.partition("/")
            return wanted(workspace, repository)

        if not all(map(is_wanted, self._file.read())):
            self._file.change(lambda now: {place: keys for place, keys in now.items() if is_wanted(place)})

    def seals(self, workspace: str, repository: str, text: bytes, certificates: tuple[bytes, ...]) -> dict[str, bytes]:
        """`text` sealed by the keys of these certificates: "clear" with the signatures around it, "detached" without.

        A key whose certificate is not told, not yet or no longer, signs nothing.
        """
        told = {fingerprint(one) for one in certificates}
        known = self._file.read().get(f"{workspace}/{repository}", ())
        keys = [key for key in known if key.fingerprint in told]
        if not keys:
            raise Damaged("The signing keys of this repository are lost.", "Restore signing.json, or add a new key.")
        signers = [Tsk.from_bytes(key.secret.encode()).signer() for key in keys]
        clear = [bytes(sign(signer, text, mode=SignatureMode.CLEAR)) for signer in signers]
        detached = [bytes(sign(signer, text, mode=SignatureMode.DETACHED, armor=False)) for signer in signers]
        return {"clear": _joined(clear), "detached": armor(b"".join(detached), ArmorKind.Signature).encode()}


def keyring(certificates: tuple[bytes, ...], *, armored: bool) -> bytes:
    """Certificates as one file that clients take for a keyring."""
    data = b"".join(certificates)
    return armor(data, ArmorKind.PublicKey).encode() if armored else data


def certificates_in(keyring: bytes) -> tuple[bytes, ...]:
    """The certificates of a keyring, armored or not. Raises Invalid."""
    try:
        found = tuple(bytes(one) for one in Cert.split_bytes(keyring))
    except Exception:  # the library says RuntimeError, and may come to say another
        found = ()
    if not found or len(found) > CERTIFICATES_MAX:
        raise Invalid("This is no keyring of OpenPGP certificates, or one of too many.", "Export public keys alone.")
    return found


def opened(sealed: bytes, certificates: tuple[bytes, ...]) -> bytes:
    """The text of a message that one of these certificates signed, and nothing that stands around it.

    Raises UpstreamFailed.
    """
    known = [Cert.from_bytes(one) for one in certificates]
    try:
        return bytes(verify(sealed, store=lambda _: known).bytes or b"")
    except Exception:
        raise UpstreamFailed(
            "What the upstream answered is not signed by the keys that were given for it.", "Is its keyring up to date?"
        ) from None


def fingerprint(certificate: bytes) -> str:
    """The name of a certificate, in lower-case hex."""
    return Cert.from_bytes(certificate).fingerprint


def _made(place: str, at_ms: int) -> Key:
    key = Tsk.generate(f"Entrepot {place}")
    return Key(key.extract_certificate().fingerprint, str(key), at_ms)


def _certificate(key: Key) -> bytes:
    return bytes(Tsk.from_bytes(key.secret.encode()).extract_certificate())


def _joined(signed: list[bytes]) -> bytes:
    """The same text, signed by each: the first document with the signatures of all."""
    matches = [_SIGNATURE.search(one) for one in signed]
    packets = b"".join(base64.b64decode(match[1].replace(b"\n", b"")) for match in matches if match is not None)
    assert all(matches)
    assert matches[0] is not None
    return signed[0][: matches[0].start()] + armor(packets, ArmorKind.Signature).encode()
