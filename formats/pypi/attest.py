"""What do the attestations of an upload say, and how are they served? PEP 740.

Their form is judged, and that each speaks of the uploaded file by name and sha256. Signatures are not verified here:
who relies on them verifies them, against the identity that he expects.
"""

import base64
import binascii
import json
from typing import Any

import msgspec

from storage.errors import Invalid, TooLarge

ATTESTATIONS_MAX = 16
_DEPTH_MAX = 64


class _Envelope(msgspec.Struct):
    statement: str
    signature: str


class _Attestation(msgspec.Struct):
    version: int
    verification_material: dict[str, Any]
    envelope: _Envelope


class _Subject(msgspec.Struct):
    digest: dict[str, str]
    name: str = ""


class _Statement(msgspec.Struct):
    subject: list[_Subject]


class _Publisher(msgspec.Struct, frozen=True):
    kind: str = "Entrepot"
    claims: dict[str, str] | None = None


class _Bundle(msgspec.Struct):
    attestations: list[msgspec.Raw]
    publisher: _Publisher = _Publisher()


class _Provenance(msgspec.Struct):
    attestation_bundles: list[_Bundle]
    version: int = 1


_CONFUSED = (msgspec.DecodeError, binascii.Error, ValueError, RecursionError)


def provenance(text: str, filename: str, sha256: bytes) -> bytes:
    """The provenance object for an upload's `attestations` field. Raises Invalid, TooLarge."""
    check_json(text)
    try:
        raw = msgspec.json.decode(text, type=list[msgspec.Raw])
        told = [(msgspec.json.decode(one, type=_Attestation), one) for one in raw]
        subjects = [_subjects(one.envelope) for one, _ in told]
    except _CONFUSED:
        raise Invalid("The attestations are malformed.", "Send a JSON list of PEP 740 attestation objects.") from None
    if not raw or len(raw) > ATTESTATIONS_MAX:
        raise TooLarge(f"An upload has between 1 and {ATTESTATIONS_MAX} attestations.")
    for (attestation, _), named in zip(told, subjects, strict=True):
        if attestation.version != 1:
            raise Invalid("An attestation is of a version that is not known.")
        if len(named) != 1 or named[0].name != filename or named[0].digest.get("sha256", "").lower() != sha256.hex():
            raise Invalid("An attestation speaks of another file.", "Sign the file that is uploaded.")
    return msgspec.json.encode(_Provenance([_Bundle([one for _, one in told])]))


def _subjects(envelope: _Envelope) -> list[_Subject]:
    base64.b64decode(envelope.signature, validate=True)
    statement = base64.b64decode(envelope.statement, validate=True).decode("utf-8")
    check_json(statement)
    return msgspec.json.decode(statement, type=_Statement).subject


def check_json(text: str) -> None:
    """Raises Invalid for JSON that two readers could take differently: keys said twice, NaN, great depth."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is said twice")
        return found

    def never(constant: str) -> object:
        raise ValueError(constant)

    try:
        depth = _depth(json.loads(text, object_pairs_hook=once, parse_constant=never))
    except (ValueError, RecursionError):
        raise Invalid("This is no JSON that everybody reads alike.") from None
    if depth > _DEPTH_MAX:
        raise Invalid(f"This JSON is nested over {_DEPTH_MAX} levels deep.")


def _depth(value: object) -> int:
    """How many levels deep, counted level by level, and no further than matters."""
    depth, level = 0, [value]
    while level and depth <= _DEPTH_MAX:
        depth += 1
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = inner
    return depth
