"""What does the API answer about people who sign in? Shapes as those of gateway.console.shapes.replies."""

from typing import Literal

from gateway.console.shapes.replies import Told


class Session(Told, frozen=True):
    """`own`: it is the one that asks. It expires when nothing is done, and ends in any case."""

    id: str
    user: str
    method: str
    agent: str
    state: Literal["active", "expired", "revoked"]
    began_ms: int
    expires_ms: int
    ends_ms: int
    revoked_ms: int
    own: bool


class Passkey(Told, frozen=True):
    """`used_ms` 0 = it never was. `synced`: it was kept in more places than one device when it was made."""

    id: str
    user: str
    name: str
    created_ms: int
    used_ms: int
    synced: bool


class DeviceCodes(Told, frozen=True):
    """RFC 8628 section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class PasswordLink(Told, frozen=True):
    """`link` sets a password, once; it is told here and never again."""

    user: str
    link: str
    expires_ms: int


class RecoveryCodes(Told, frozen=True):
    """Each of `codes` is good once beside the password; they are told here and never again."""

    user: str
    codes: tuple[str, ...]
    made_ms: int
