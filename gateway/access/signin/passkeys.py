"""Is this shown by a passkey that its person has registered? WebAuthn Level 3, without a network and without a disk.

A browser gives a passkey away to the site that it was made for alone (the relying party), which `[sign_in] url` names.
What an authenticator signs begins with a challenge of ours. That is sealed with a key of the origin's for one purpose
and one holder (the secret of one browser, or one session) and says when it was made, so nothing is kept for the many
that are never answered; of those that are answered the vault remembers that they were. The signature itself, and what
it is over, `webauthn` looks at.

A passkey is found by the account that it names itself, so nobody asks for one by a name, and nothing tells whether
there is such a name (C). Its counter, where its authenticator has one, only goes up: one that does not was copied.
"""

import base64
import binascii
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import webauthn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
    parse_cbor,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.access.signin import cbors
from storage.errors import Invalid, Unauthenticated
from storage.nouns import Account, Passkey

PASSKEYS_MAX = 20
"""Of one account."""
CHALLENGE_S_MAX = 600
NONCE_BYTES = 16
SEAL_BYTES = 32
CHALLENGE_BYTES = 8 + NONCE_BYTES + SEAL_BYTES
CREDENTIAL_BYTES_MAX = 1023
"""The longest id of a credential (section 4)."""
RSA_BITS = range(2048, 4097)
ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
ALONE, SECOND, REGISTER = "alone", "second", "register"
"""What a challenge is for: to sign in by nothing else, beside a password, or to register a passkey."""
_PORTS = {"https": 443, "http": 80}
_ATTESTED = 0x40
_FLAGS_AT = 32
_BAD = (WebAuthnException, InvalidSignature, ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What the library raises for what is no good, as tests with random input have shown."""


class Site(NamedTuple):
    """The relying party: its id, which is a domain, and the one origin of its pages."""

    id: str
    origin: str


class Shown(NamedTuple):
    """What came from a browser, read and not yet believed. `account` is whom an authenticator names, "" at first."""

    credential: bytes
    challenge: bytes
    account: str
    told: dict[str, object]


def site_of(url: str) -> Site | None:
    """The relying party of `[sign_in] url`. None where that names none: browsers have passkeys for domains alone, over
    TLS, or at localhost (section 5.1.3, and what is a secure context)."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    secure = parts.scheme == "https" or (parts.scheme == "http" and host == "localhost")
    if not secure or not host or _is_address(host):
        return None
    shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return Site(host, f"{parts.scheme}://{host}{shown}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- challenges


def new_challenge(key: bytes, purpose: str, holder: str, now_ms: int) -> bytes:
    """A challenge that is good for one purpose, for whoever holds `holder`, once, and not for long."""
    head = now_ms.to_bytes(8) + secrets.token_bytes(NONCE_BYTES)
    return head + _seal(key, head, purpose, holder)


def check_challenge(key: bytes, challenge: bytes, purpose: str, holder: str, now_ms: int) -> int:
    """Until when (ms) it has to be remembered that this one was answered. Raises Unauthenticated."""
    head, seal = challenge[:-SEAL_BYTES], challenge[-SEAL_BYTES:]
    good = len(challenge) == CHALLENGE_BYTES and bool(holder)
    if not good or not hmac.compare_digest(_seal(key, head, purpose, holder), seal):
        raise refused()
    made_ms = int.from_bytes(head[:8])
    if not 0 <= now_ms - made_ms <= CHALLENGE_S_MAX * 1000:
        raise refused()
    return made_ms + CHALLENGE_S_MAX * 1000


def _seal(key: bytes, head: bytes, purpose: str, holder: str) -> bytes:
    return hmac.digest(key, b"entrepot passkey\0" + head + f"{purpose}\0{holder}".encode(), "sha256")


# ---------------------------------------------------------------- what a browser is asked


def asked_to_make(site: Site, account: Account, challenge: bytes) -> str:
    """The options of `navigator.credentials.create` in JSON: a discoverable credential for this account, and none on an
    authenticator that has one of it already."""
    options = webauthn.generate_registration_options(
        rp_id=site.id,
        rp_name="Entrepot",
        user_id=account.id.encode(),
        user_name=account.name,
        challenge=challenge,
        timeout=CHALLENGE_S_MAX * 1000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(one.credential) for one in account.passkeys],
        supported_pub_key_algs=ALGORITHMS,
    )
    return webauthn.options_to_json(options)


def asked_to_show(site: Site, challenge: bytes, purpose: str) -> str:
    """The options of `navigator.credentials.get` in JSON. No credential is named, as nobody is named either. Alone it
    has to know its person; beside a password it is enough that somebody has it."""
    wanted = UserVerificationRequirement.REQUIRED if purpose == ALONE else UserVerificationRequirement.DISCOURAGED
    options = webauthn.generate_authentication_options(
        rp_id=site.id, challenge=challenge, timeout=CHALLENGE_S_MAX * 1000, user_verification=wanted
    )
    return webauthn.options_to_json(options)


# ---------------------------------------------------------------- what it answers


class _Client(msgspec.Struct, frozen=True):
    """CollectedClientData (section 5.8.1), as far as it is looked at here."""

    challenge: str
    crossOrigin: bool = False  # the specification's names
    topOrigin: str = ""


class _Response(msgspec.Struct, frozen=True):
    """AuthenticatorAttestationResponseJSON and AuthenticatorAssertionResponseJSON (section 5.1)."""

    clientDataJSON: str
    authenticatorData: str = ""
    signature: str = ""
    userHandle: str | None = None
    attestationObject: str = ""


class _Credential(msgspec.Struct, frozen=True):
    id: str
    type: str
    response: _Response


def read_shown(text: str) -> Shown:
    """Take apart what `JSON.stringify` makes of a PublicKeyCredential. Raises Unauthenticated."""
    try:
        credential = msgspec.json.decode(text, type=_Credential)
        response = credential.response
        client = msgspec.json.decode(_bytes(response.clientDataJSON), type=_Client)
        id, challenge = _bytes(credential.id), _bytes(client.challenge)
        account = _bytes(response.userHandle or "").decode("ascii")
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise refused() from None
    if client.crossOrigin or client.topOrigin or len(id) > CREDENTIAL_BYTES_MAX:
        raise refused()
    told = {"id": credential.id, "rawId": credential.id, "type": credential.type}
    return Shown(id, challenge, account, told | {"response": msgspec.to_builtins(response)})


def made(site: Site, shown: Shown, id: str, name: str, now_ms: int) -> Passkey:
    """The new passkey, to be kept under `id`. Its maker's word on itself is not asked for. Raises Invalid."""
    try:
        _check_attestation(shown)
        found = webauthn.verify_registration_response(
            credential=shown.told,
            expected_challenge=shown.challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
            supported_pub_key_algs=ALGORITHMS,
        )
        _check_key(found.credential_public_key)
    except _BAD:
        raise Invalid("This is no passkey that can be taken here.", "Make one anew, on your account's page.") from None
    if not 0 < len(found.credential_id) <= CREDENTIAL_BYTES_MAX or found.credential_id != shown.credential:
        raise Invalid("This is no passkey that can be taken here.", "Make one anew, on your account's page.")
    return Passkey(
        id, name, found.credential_id, found.credential_public_key, now_ms, found.sign_count,
        synced=found.credential_backed_up,
    )  # fmt: skip


def _check_attestation(shown: Shown) -> None:
    """Raises ValueError for more than was asked for: certificates of whoever made the authenticator."""
    response = shown.told["response"]
    assert isinstance(response, dict)
    sent = _bytes(response["attestationObject"])
    cbors.check(sent)
    held = parse_cbor(sent)
    if not isinstance(held, dict) or not isinstance(held.get("authData"), bytes):
        raise ValueError("this is no attestation object")
    cbors.check_authenticator_data(held["authData"])
    attested = parse_attestation_object(sent)
    if attested.fmt not in (AttestationFormat.NONE, AttestationFormat.PACKED) or attested.att_stmt.x5c:
        raise ValueError("an attestation was not asked for")


def _check_key(key: bytes) -> None:
    """Raises ValueError for a key that cannot be used, or is too costly to."""
    public = decoded_public_key_to_cryptography(decode_credential_public_key(key))
    if isinstance(public, RSAPublicKey) and public.key_size not in RSA_BITS:
        raise ValueError("an RSA key of such a size is not taken")


def counted(site: Site, shown: Shown, passkey: Passkey, purpose: str) -> int:
    """What the counter of this passkey shows now, which has signed the challenge. Raises Unauthenticated.

    Whoever holds a copy shows a number that was there before, or makes the true one do so (section 6.1.1).
    """
    try:
        _check_flags(shown)
        found = webauthn.verify_authentication_response(
            credential=shown.told,
            expected_challenge=shown.challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
            credential_public_key=passkey.key,
            credential_current_sign_count=0,
            require_user_verification=purpose == ALONE,
        )
    except _BAD:
        raise refused() from None
    return found.new_sign_count


def is_copied(passkey: Passkey, count: int) -> bool:
    """Has its counter not gone up, although it has one?"""
    return bool(count or passkey.count) and count <= passkey.count


def _check_flags(shown: Shown) -> None:
    """Raises ValueError where a new key comes along: there is none when one signs in (section 6.1)."""
    response = shown.told["response"]
    assert isinstance(response, dict)
    data = _bytes(response["authenticatorData"])
    if len(data) <= _FLAGS_AT or data[_FLAGS_AT] & _ATTESTED:
        raise ValueError("this is not what is signed when one signs in")
    cbors.check_authenticator_data(data)


def found(passkeys: Iterable[Passkey], credential: bytes) -> Passkey | None:
    """The one with this id of a credential."""
    return next((one for one in passkeys if hmac.compare_digest(one.credential, credential)), None)


def refused() -> Unauthenticated:
    """The one refusal, whatever is wrong."""
    return Unauthenticated(
        "This passkey is not known here (any more), or what it showed is out of date.", "Load the page, and try again."
    )


def _bytes(text: str) -> bytes:
    """Of base64url without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
