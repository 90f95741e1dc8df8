"""What makes this machine an edge of its origin? A key of its own, a certificate for it, and whom to believe.

They lie in `<data>/peers/` (0600). The key is made here and never leaves; the certificate comes from the origin's
authority for a code that is good once; the authority is believed because the code names its fingerprint.
"""

import datetime
import http.client
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from gateway.access.peers import authority
from gateway.access.peers.edges import parse_code
from storage import disk
from storage.errors import Conflict, Damaged, Invalid, Problem, Unauthenticated, Unavailable

FOLDER = "peers"
SECONDS_MAX = 30.0
ANSWER_BYTES_MAX = 256 << 10
_KEY, _CERTIFICATE, _AUTHORITY, _ABOUT = "key.pem", "certificate.pem", "authority.pem", "edge.json"


class About(msgspec.Struct, frozen=True):
    """Which edge this is, as the origin told it."""

    name: str
    region: str
    parent: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """An enrolled edge."""

    folder: Path
    about: About
    authority: str
    _contexts: list[ssl.SSLContext] = field(default_factory=list)

    def client(self) -> ssl.SSLContext:
        """For what this edge asks its parents."""
        context = authority.parent_context(self.authority)
        context.load_cert_chain(self.folder / _CERTIFICATE, self.folder / _KEY)
        self._contexts.append(context)
        return context

    def reload(self) -> None:
        """New connections, in and out, are made under the certificate that lies here now."""
        for context in self._contexts:
            context.load_cert_chain(self.folder / _CERTIFICATE, self.folder / _KEY)

    def listener(self) -> ssl.SSLContext:
        """For the edges that follow through this one. Raises Invalid where it was not invited for that."""
        if not self.about.parent:
            raise Invalid("This edge was not invited to be a parent.", "Invite it with: entrepot edge invite --shield.")
        context = authority.listener_context(self.folder / _AUTHORITY, self.folder / _CERTIFICATE, self.folder / _KEY)
        self._contexts.append(context)
        return context

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Has the origin signed this?"""
        return authority.verifies(self.authority, signature, message)

    def left_s(self) -> float:
        """For how long the certificate is still good."""
        held = x509.load_pem_x509_certificate((self.folder / _CERTIFICATE).read_bytes())
        return (held.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).total_seconds()


def find(data: Path) -> Membership | None:
    """The membership in a data directory, None where it is no enrolled edge. Raises Damaged."""
    folder = data / FOLDER
    if not (folder / _ABOUT).exists():
        return None
    try:
        about = msgspec.json.decode((folder / _ABOUT).read_bytes(), type=About)
        return Membership(folder, about, (folder / _AUTHORITY).read_text())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise Damaged(f"{folder} is not what was written to it.", "Remove it and enrol anew.") from None


def enrol(parent: str, code: str, data: Path) -> Membership:
    """Become an edge: ask the origin at `parent`, https://host:port of its listener for peers. Blocking.

    Raises Unauthenticated for a code that is no good, Invalid, Unavailable, Conflict where this is an edge already.
    """
    if find(data) is not None:
        raise Conflict("This data directory is an enrolled edge already.", "Leave out --enrol, or use another --data.")
    parts = parse_code(code)
    if parts is None:
        raise Unauthenticated("This is no enrolment code.", "Was it copied whole? Make one: entrepot edge invite.")
    body, fingerprint = parts
    if urlsplit(parent).scheme != "https":
        raise Invalid("An edge enrols over TLS.", "Name the origin's listener for peers: https://HOST:PORT.")
    believed = _authority(parent, fingerprint)
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _key(folder / _KEY)
    told = _ask(parent, authority.parent_context(believed), "POST", "/-/peer/enrol", _asked(key, body))
    try:
        about = msgspec.json.decode(told, type=About)
        certificate = msgspec.json.decode(told, type=_Certified).certificate
    except msgspec.MsgspecError:
        raise Unavailable("What answers there is no Entrepot origin.", "Check --parent.") from None
    disk.replace_file(folder / _CERTIFICATE, certificate.encode())
    disk.replace_file(folder / _AUTHORITY, believed.encode())
    disk.replace_file(folder / _ABOUT, msgspec.json.encode(about))
    return Membership(folder, about, believed)


def renew(member: Membership, parents: Sequence[str]) -> None:
    """Fetch a fresh certificate for the same key, from whichever parent is the origin; the old one stays if that fails.

    Blocking. Raises Problem.
    """
    told = b""
    for parent in parents:
        try:
            told = _ask(parent, _once(member), "POST", "/-/peer/renew", _asked(_key(member.folder / _KEY), ""))
            break
        except Problem:  # a shield cannot sign
            if parent == parents[-1]:
                raise
    try:
        fresh = msgspec.json.decode(told, type=_Certified).certificate
    except msgspec.MsgspecError:
        raise Unavailable("What answers there is no Entrepot origin.") from None
    disk.replace_file(member.folder / _CERTIFICATE, fresh.encode())


def _once(member: Membership) -> ssl.SSLContext:
    """For one question, made anew: what lies in the folder now."""
    return Membership(member.folder, member.about, member.authority).client()


class _Certified(msgspec.Struct, frozen=True):
    certificate: str


def _key(path: Path) -> Ed25519PrivateKey:
    """The edge's key, made where there is none."""
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(descriptor)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Damaged(f"{path} holds another kind of key.", "Remove the directory and enrol anew.")
    return key


def _asked(key: Ed25519PrivateKey, code: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    return msgspec.json.encode({"code": code, "request": request.public_bytes(serialization.Encoding.PEM).decode()})


def _authority(parent: str, fingerprint: str) -> str:
    """The authority's certificate, as whoever answers there tells it, if it is the one that the code names."""
    unknown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unknown.check_hostname, unknown.verify_mode = False, ssl.CERT_NONE  # the fingerprint is what is believed
    found = _ask(parent, unknown, "GET", "/-/peer/authority", b"").decode("ascii", "replace")
    try:
        right = authority.fingerprint(found) == fingerprint
    except Invalid:
        right = False
    if not right:
        raise Unauthenticated(
            "What answers there is not the origin that made this code.", "Check --parent; nothing was sent to it."
        )
    return found


def _ask(parent: str, tls: ssl.SSLContext, method: str, path: str, body: bytes) -> bytes:
    """One request, with the name that a parent's certificate has. Raises Problem."""
    parts = urlsplit(parent)
    connection = _Named(parts.hostname or "", parts.port or 443, tls)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        content = answer.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"The parent does not answer ({type(error).__name__}).", "Check --parent.") from error
    finally:
        connection.close()
    if answer.status == 401:
        raise Unauthenticated("The origin refuses this code: mistyped, used, or too old.", "Make another one.")
    if answer.status != 200:
        raise Problem(f"The parent answers {answer.status}.", "Is this the origin's listener for peers?")
    return content


class _Named(http.client.HTTPSConnection):
    """https to a node that is known by the authority's name for it, whatever its host is called."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=SECONDS_MAX, context=tls)
        self._tls = tls

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=authority.PARENT_NAME)
