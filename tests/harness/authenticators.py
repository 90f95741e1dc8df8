"""What would an authenticator and its browser answer? One of our own in software, for what a real one refuses to do."""

import base64
import hashlib
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def bytes_of(said: str) -> bytes:
    return base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))


class Authenticator:
    """Holds one passkey. `origin` is where its browser is; `count` is its counter, None = it has none."""

    def __init__(self, origin: str, credential: bytes = b"credential of ann", count: int | None = 0) -> None:
        self.origin, self.credential, self.count = origin, credential, count
        self.key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        self.user = b""
        self.verified = True

    def create(self, asked: dict[str, Any], **changed: Any) -> str:
        """What `JSON.stringify(navigator.credentials.create(...))` would be; `changed` is put over the client data."""
        self.user = bytes_of(asked["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        key = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        attested = bytes(16) + len(self.credential).to_bytes(2) + self.credential + key
        data = self._data(asked["rp"]["id"], ATTESTED) + attested
        response = {
            "clientDataJSON": text(self._client("webauthn.create", asked, changed)),
            "attestationObject": text(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._told(response)

    def get(self, asked: dict[str, Any], **changed: Any) -> str:
        """The same of `navigator.credentials.get(...)`."""
        if self.count is not None:
            self.count += 1
        data, client = self._data(asked["rpId"], 0), self._client("webauthn.get", asked, changed)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": text(client),
            "authenticatorData": text(data),
            "signature": text(signature),
            "userHandle": text(self.user),
        }
        return self._told(response)

    def _data(self, site: str, more: int) -> bytes:
        flags = PRESENT | (VERIFIED if self.verified else 0) | more
        return hashlib.sha256(site.encode()).digest() + bytes([flags]) + (self.count or 0).to_bytes(4)

    def _client(self, type: str, asked: dict[str, Any], changed: dict[str, Any]) -> bytes:
        told = {"type": type, "challenge": asked["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(told | changed).encode()

    def _told(self, response: dict[str, str]) -> str:
        id = text(self.credential)
        return json.dumps({"id": id, "rawId": id, "type": "public-key", "response": response})
