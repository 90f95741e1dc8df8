"""With which keys does this node speak to a SAML identity provider, and where are their secret halves?

In `samlkeys.json` (0600) in the origin's data directory, and nowhere else. Each provider of a Workspace has pairs of
its own: one key to sign what it is asked, and one for it to encrypt what it answers. The public halves, certificates,
are part of the Provider in the journal, and in this node's metadata: what stands there decides, and a pair that does
not, not yet or no longer, neither signs nor opens anything.

The certificates are a form, as SAML metadata has it: whoever takes one takes its key, for as long as it is told.
"""

import datetime
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

from gateway.access.secrets.secretfile import SecretFile
from storage.errors import Conflict, Damaged

FILE_NAME = "samlkeys.json"
PAIRS_MAX = 3
RSA_BITS = 3072
KEPT_MAX = 8
YEARS = 20
_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two secret keys in PEM, by an id."""

    id: str
    signing: str
    encryption: str

    def __repr__(self) -> str:
        return f"Pair(id={self.id!r}, keys=hidden)"


class Certificates(msgspec.Struct, frozen=True):
    """The public halves of a pair, certificates in DER."""

    id: str
    signing: bytes
    encryption: bytes


_Known = dict[str, tuple[Pair, ...]]


class SamlKeys:
    """The pairs in `path`, by Workspace and the provider's id. Synchronous; `add` takes a second of work, and what
    changes something waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._file: SecretFile[_Known] = SecretFile(path, _Known)

    def add(self, workspace: str, provider: str, told: Iterable[str], now_ms: int) -> Certificates:
        """One more pair, which counts once the journal tells it. The pairs that it tells now are `told`; of what broke
        off before that came to it, not much is kept. Raises Conflict for too many."""
        place, kept = f"{workspace}/{provider}", frozenset(told)
        if len(kept) >= PAIRS_MAX:
            raise Conflict(f"There are {PAIRS_MAX} pairs of keys for this provider already.", "Retire the older first.")
        signing, encryption = (generate_private_key(65537, RSA_BITS) for _ in range(2))
        pair = Pair(f"key_{secrets.token_hex(8)}", _text(signing), _text(encryption))

        def edit(now: _Known) -> _Known:
            known = now.get(place, ())
            if len(known) >= KEPT_MAX:
                known = tuple(one for one in known if one.id in kept)
            return now | {place: (*known, pair)}

        self._file.change(edit)
        certificates = (_certificate(one, place, now_ms) for one in (signing, encryption))
        return Certificates(pair.id, *certificates)

    def forget(self, workspace: str, provider: str, id: str = "") -> None:
        """Forget one pair, or with "" all of a provider; nothing happens where there is none."""
        place = f"{workspace}/{provider}"

        def edit(now: _Known) -> _Known:
            left = tuple(one for one in now.get(place, ()) if id and one.id != id)
            return {key: value for key, value in now.items() if key != place} | ({place: left} if left else {})

        self._file.change(edit)

    def remove_workspace(self, workspace: str) -> None:
        """Forget the pairs of all providers of a Workspace."""
        self.retain(lambda at: at != workspace)

    def retain(self, wanted: Callable[[str], bool]) -> None:
        """Forget those of every Workspace that is not `wanted`, asked under the lock."""

        def is_wanted(place: str) -> bool:
            return wanted(place.partition("/")[0])

        if not all(map(is_wanted, self._file.read())):
            self._file.change(lambda now: {key: value for key, value in now.items() if is_wanted(key)})

    def signer(self, workspace: str, provider: str, id: str) -> RSAPrivateKey:
        """Raises Damaged where it is lost."""
        return _key(self._pair(workspace, provider, id).signing)

    def openers(self, workspace: str, provider: str, ids: Iterable[str]) -> list[RSAPrivateKey]:
        """Raises Damaged where one is lost."""
        return [_key(self._pair(workspace, provider, one).encryption) for one in ids]

    def _pair(self, workspace: str, provider: str, id: str) -> Pair:
        known = self._file.read().get(f"{workspace}/{provider}", ())
        found = next((one for one in known if one.id == id), None)
        if found is None:
            raise Damaged("A key for this identity provider is lost.", f"Restore {FILE_NAME}, or retire that key.")
        return found


def _key(text: str) -> RSAPrivateKey:
    # made here, and looked after: whether it is a good key at all is not asked each time
    key = serialization.load_pem_private_key(text.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)
    return key


def _text(key: RSAPrivateKey) -> str:
    return key.private_bytes(*_PEM).decode()


def _certificate(key: RSAPrivateKey, place: str, now_ms: int) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Entrepot {place}"[:64])])
    begins = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC) - datetime.timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(begins)
    made = made.not_valid_after(begins + datetime.timedelta(days=365 * YEARS))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
