"""Which version does a sigstore bundle speak of, and how is it served?

The signature is for clients to verify; here it is only seen to that the bundle belongs to what it came with.
"""

import binascii

import msgspec

from formats.kit.jsons import strict
from formats.npm.names import package_url
from storage.errors import Invalid

BUNDLE_BYTES_MAX = 4 << 20


class Attested(msgspec.Struct, frozen=True):
    """`document` is the JSON that the attestations address serves; `subject` the sha512 it speaks of, in hex."""

    document: bytes
    provenance: bytes
    subject: str


class _Envelope(msgspec.Struct):
    payload: str


class _Bundle(msgspec.Struct):
    envelope: _Envelope = msgspec.field(name="dsseEnvelope")


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct):
    subject: list[_Subject]
    predicate: str = msgspec.field(name="predicateType")


def attested(name: str, version: str, text: str) -> Attested:
    """The bundle in `text`, which must speak of this version. Raises Invalid."""
    raw = text.encode()
    if len(raw) > BUNDLE_BYTES_MAX:
        raise Invalid(f"The attestation is over {BUNDLE_BYTES_MAX} bytes.")
    strict(raw)
    try:
        payload = msgspec.json.decode(raw, type=_Bundle).envelope.payload
        statement = msgspec.json.decode(strict(binascii.a2b_base64(payload, strict_mode=True)), type=_Statement)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError):
        raise Invalid("The attestation is no sigstore bundle with a statement.", "Publish without it.") from None
    if [one.name for one in statement.subject] != [f"{package_url(name)}@{version}"]:
        raise Invalid("The attestation speaks of another package or version.", "Attest this version.")
    subject = statement.subject[0].digest.get("sha512", "").lower()
    if not subject:
        raise Invalid("The attestation names no sha512 of the tarball.", "Attest with sha512.")
    kind = msgspec.json.encode(statement.predicate)
    return Attested(
        b'{"attestations":[{"predicateType":' + kind + b',"bundle":' + raw + b"}]}",
        b'{"predicateType":' + kind + b"}",
        subject,
    )
