"""Is this the code that the person's device shows now? TOTP (RFC 6238), each code once; and codes for a lost device.

Six digits of HMAC-SHA1 in steps of 30 seconds, as every authenticator app has them. The step before and the one after
are taken too, since clocks differ. The step of the last code that was taken is kept: it and all before it are spent.
"""

import base64
import hashlib
import hmac
import re
import secrets
from urllib.parse import quote

from pyotp import TOTP

DIGITS = 6
STEP_S = 30
STEPS_ASIDE = 1
SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
_SHAPE = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[A-Z2-7]{16}")


def new_secret() -> str:
    """160 random bits in base32, as RFC 4226 section 4 advises."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def address(secret: str, issuer: str, name: str) -> str:
    """What an authenticator app reads (otpauth://, the Key Uri Format)."""
    label = quote(f"{issuer}:{name}", safe=":")
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer)}&algorithm=SHA1&digits=6&period=30"


def step_of(secret: str, code: str, now_s: float, spent: int) -> int | None:
    """The step whose code this is, if that is not spent yet; None for any other code."""
    code = code.replace(" ", "")
    if not _SHAPE.fullmatch(code):
        return None
    totp, present = TOTP(secret, digits=DIGITS, interval=STEP_S), int(now_s) // STEP_S
    found = None
    for step in range(present - STEPS_ASIDE, present + STEPS_ASIDE + 1):
        if hmac.compare_digest(totp.generate_otp(step), code) and step > spent:
            found = step
    return found


def recovery_codes() -> tuple[str, ...]:
    """New codes for when the device is lost, to be shown once. 80 random bits each."""
    return tuple(
        _grouped(base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode()) for _ in range(RECOVERY_CODES)
    )


def recovery_hashes(codes: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(hash for hash in map(recovery_hash, codes) if hash is not None)


def recovery_hash(code: str) -> bytes | None:
    """The 32 bytes under which a recovery code is stored, None for what is none. 80 random bits need no slow hash."""
    plain = code.replace("-", "").replace(" ", "").upper()
    return hashlib.sha256(plain.encode()).digest() if _RECOVERY.fullmatch(plain) else None


def _grouped(code: str) -> str:
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))
