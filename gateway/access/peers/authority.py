"""Who says which node is which? The origin's own certificate authority, known to edges by the hash of its key.

`authority.json` (0600) in the origin's data directory holds its key, kept as the signing keys of repositories are. It
signs the certificates of edges, by which they are known, and the journal's stream, so that a parent in between can tell
nothing that the origin did not say (THREATS F4, F5). Certificates carry names that no client of packages ever uses: a
node that others may follow through carries PARENT_NAME, and nothing else can stand in for one.
"""

import base64
import datetime
import ssl
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.access.secrets.secretfile import SecretFile
from gateway.delivery.connections.tls import key_hash
from storage.errors import Damaged, Invalid

FILE_NAME = "authority.json"
PARENT_NAME = "parent.entrepot.internal"
EDGE_NAME = "edge.entrepot.internal"
ORIGIN = "origin"
CERTIFICATE_DAYS = 365
AUTHORITY_DAYS = 20 * 365
EARLY = datetime.timedelta(days=1)
"""A certificate is good from a while before it was made: clocks differ."""
REQUEST_CHARS_MAX = 8 << 10


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str = ""
    certificate: str = ""

    def __repr__(self) -> str:
        return "_Kept(hidden)"


class Authority:
    """The authority of one origin. Calls are synchronous; the first waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._file: SecretFile[_Kept] = SecretFile(path, _Kept)

    def _kept(self) -> _Kept:
        known = self._file.read()
        return known if known.key else self._file.change(lambda now: now if now.key else _made())

    def _key(self) -> Ed25519PrivateKey:
        key = serialization.load_pem_private_key(self._kept().key.encode(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Damaged(f"{FILE_NAME} holds another kind of key than was written to it.", "Restore it from a copy.")
        return key

    def certificate(self) -> str:
        """The authority's own certificate, PEM."""
        return self._kept().certificate

    def sign(self, message: bytes) -> bytes:
        """64 bytes that `verifier` takes."""
        return self._key().sign(message)

    def enrolled(self, request: str, name: str, *, parent: bool) -> tuple[str, bytes]:
        """(certificate as PEM, sha256 of the public key) for a signing request. Raises Invalid for what is none."""
        try:
            asked = x509.load_pem_x509_csr(request[:REQUEST_CHARS_MAX].encode("ascii"))
            public = asked.public_key()
            good = asked.is_signature_valid and isinstance(public, Ed25519PublicKey)
        except (ValueError, TypeError, InvalidSignature):
            good = False
        if not good:
            raise Invalid(
                "This is no signing request of an edge.", "Enrol with: entrepot serve --role edge --enrol CODE."
            )
        assert isinstance(public, Ed25519PublicKey)
        return self._issued(public, name, parent=parent), key_hash(public)

    def own(self) -> tuple[str, str]:
        """(key, certificate) for the origin's own listener, PEM: made anew at each start, never written elsewhere, and
        good for as long as an origin may run."""
        key = Ed25519PrivateKey.generate()
        return _pem(key), self._issued(key.public_key(), ORIGIN, parent=True, days=AUTHORITY_DAYS)

    def _issued(self, public: Ed25519PublicKey, name: str, *, parent: bool, days: float | None = None) -> str:
        key = self._key()
        authority = x509.load_pem_x509_certificate(self.certificate().encode())
        names = [x509.DNSName(PARENT_NAME if parent else EDGE_NAME)]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if parent else [])
        builder = (
            _builder(name, authority.subject, public, CERTIFICATE_DAYS if days is None else days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        return builder.sign(key, None).public_bytes(serialization.Encoding.PEM).decode()


def _made() -> _Kept:
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "entrepot authority")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _builder("", subject, key.public_key(), AUTHORITY_DAYS)
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, None).public_bytes(serialization.Encoding.PEM).decode()
    return _Kept(_pem(key), certificate)


def _builder(name: str, issuer: x509.Name, public: Ed25519PublicKey, days: float) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().issuer_name(issuer).public_key(public)
    if name:
        builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


# ---------------------------------------------------------------- what is public


def fingerprint(certificate: str) -> str:
    """Of an authority's certificate: what an enrolment code ends with. Raises Invalid for no certificate of ours."""
    return base64.urlsafe_b64encode(key_hash(_public(certificate))).decode().rstrip("=")


def verifies(certificate: str, signature: bytes, message: bytes) -> bool:
    """Has this authority signed the message?"""
    try:
        _public(certificate).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _public(certificate: str) -> Ed25519PublicKey:
    try:
        public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    except ValueError:
        raise Invalid("This is no certificate.") from None
    if not isinstance(public, Ed25519PublicKey):
        raise Invalid("This is no certificate of an Entrepot authority.")
    return public


def listener_context(authority: Path, chain: Path, key: Path) -> ssl.SSLContext:
    """For the listener that edges come to: it asks for a certificate, and takes none but the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    return context


def parent_context(authority: str) -> ssl.SSLContext:
    """For who speaks to a parent: only what this authority names a parent is believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    context.set_alpn_protocols(["http/1.1"])
    return context
