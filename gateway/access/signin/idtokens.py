"""Is this identity token what it says, and has its issuer signed it? The one verifier of tokens of others (THREATS C9).

An OpenID provider's token is a compact JWS (RFC 7515) over claims (RFC 7519; OpenID Connect Core 1.0 section 2).
Pure: the clock and the keys are given. Steps, in the order in which they must be taken:

    take_apart    strict about form, header and claims; believes nothing yet
    check_times   against the clock, with a leeway of LEEWAY_S
    prove         the signature, by a key that the issuer's own JWKS names

The header chooses a key of the issuer by `kid`, and nothing else: a header that brings or points at a key, asks for
extensions, or has any other member than those known to be harmless is refused. The algorithm must be one that the key's
type allows; `none` and shared secrets are in no list.
"""

import base64
import binascii
import hashlib
import json
import string
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from storage.errors import Unauthenticated, UpstreamFailed

TOKEN_CHARS_MAX = 16 << 10
TEXT_CHARS_MAX = 512
LEEWAY_S = 30
AHEAD_S_MAX = 24 * 3600
"""A token that says it is good for longer than this is not one for a build."""

KEYS_MAX = 100
RSA_BITS = range(2048, 8193)
_ALGORITHMS: Mapping[str, frozenset[str]] = {
    "RSA": frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "P-256": frozenset(("ES256",)),
    "P-384": frozenset(("ES384",)),
    "P-521": frozenset(("ES512",)),
}
ALGORITHMS = frozenset().union(*_ALGORITHMS.values())
_HEADER = frozenset(("alg", "kid", "typ", "x5t", "x5t#S256"))
"""The thumbprints are not looked at: they could only name the key that `kid` names."""
_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase


class Key(NamedTuple):
    """A public key of an issuer, and what it may be used for."""

    public: RSAKey | ECKey
    algorithms: frozenset[str]


class Claims(NamedTuple):
    """What a token says. `once` follows from the token, is the same for each spelling of it, and for no other one.
    `values` are the claims that are text, numbers or truth values, as text; `lists` those that are lists of texts;
    `names` all there are. Only a logout token has `events`, and may have no subject, "". Times in seconds since 1970
    UTC."""

    issuer: str
    subject: str
    audience: str
    expires_s: int
    issued_s: int
    not_before_s: int
    once: bytes
    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]] = {}
    events: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


class Unproven(NamedTuple):
    """A token of good form. Nothing of it may be believed before `prove`."""

    text: str
    algorithm: str
    kid: str
    claims: Claims

    def __repr__(self) -> str:
        return "Unproven(hidden)"


# ---------------------------------------------------------------- the form


def take_apart(text: str, *, logout: bool = False) -> Unproven:
    """An identity token, or a `logout` token. Raises Unauthenticated. Told is what is wrong with the token itself,
    whoever it is meant for."""
    parts = text.split(".") if len(text) <= TOKEN_CHARS_MAX else []
    if len(parts) != 3 or not all(parts):
        _refuse("it is not header, claims and signature")
    header, payload = _object(parts[0], "header"), _object(parts[1], "claims")
    _bytes(parts[2], "signature")
    if set(header) - _HEADER:
        _refuse("its header asks for what is not taken here")
    algorithm, kid = header.get("alg"), _text(header, "kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        _refuse("its algorithm is not taken here")
    types = ("JWT", "LOGOUT+JWT") if logout else ("JWT",)
    if "typ" in header and (not isinstance(header["typ"], str) or header["typ"].upper() not in types):
        _refuse("it is another type of token")
    if ("events" in payload) != logout:  # RFC 8417: it tells of something that happened
        _refuse("it is another type of token")
    return Unproven(text, algorithm, kid, _claims(payload, f"{parts[0]}.{parts[1]}", logout=logout))


def _claims(payload: dict[str, Any], signed: str, *, logout: bool) -> Claims:
    issuer = _text(payload, "iss")
    audience = payload.get("aud")
    if isinstance(audience, list) and len(audience) == 1:  # one for several could be used by each of them at the others
        audience = audience[0]
    if not isinstance(audience, str) or not audience:
        _refuse("it is not for one audience")
    issued_s, expires_s = _time(payload, "iat"), _time(payload, "exp")
    not_before_s = _time(payload, "nbf") if "nbf" in payload else 0
    named = _text(payload, "jti") if "jti" in payload else ""
    once = hashlib.sha256(b"\0".join((b"jti", issuer.encode(), named.encode()) if named else (b"", signed.encode())))
    return Claims(
        issuer,
        "" if logout and "sub" not in payload else _text(payload, "sub"),
        audience,
        expires_s,
        issued_s,
        not_before_s,
        once.digest(),
        {name: said for name, value in payload.items() if (said := _said(value)) is not None},
        {name: tuple(value) for name, value in payload.items() if _is_texts(value)},
        _events(payload.get("events")),
        frozenset(payload),
    )


def _events(told: object) -> frozenset[str]:
    """The names of those that are objects, as they must be (RFC 8417 section 2.2)."""
    events = told if isinstance(told, dict) else {}
    return frozenset(name for name, value in events.items() if isinstance(value, dict))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _said(value: object) -> str | None:
    """A claim as rules spell it; None for what no rule can ask for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) else None


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value or len(value) > TEXT_CHARS_MAX or not value.isprintable():
        _refuse(f"its {name} is missing, or no text of at most {TEXT_CHARS_MAX} characters")
    return value


def _time(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 40:
        _refuse(f"its {name} is missing, or no time in seconds")
    return value


def _object(text: str, what: str) -> dict[str, Any]:
    """A JSON object without a member twice: what the last one says and what the first one says may be told apart."""
    try:
        found = json.loads(
            _bytes(text, what).decode(), object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_no_number
        )
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _refuse(f"its {what} is not a JSON object with each member once")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _no_number(text: str) -> float | None:
    """Fractions are no claims that a rule asks for, and no times; a value that is no number is no JSON."""
    if text in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(text)
    return None


def _bytes(text: str, what: str) -> bytes:
    """base64url without padding, in the one spelling that there is of it."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        _refuse(f"its {what} is not base64url")
    return data


# ---------------------------------------------------------------- the times


def check_times(claims: Claims, now_ms: int) -> None:
    """Raises Unauthenticated. Good from `nbf` or `iat` less the leeway on, and until before `exp` and the leeway."""
    now_s = now_ms / 1000
    if claims.expires_s + LEEWAY_S <= now_s:
        _refuse("it has expired")
    if max(claims.issued_s, claims.not_before_s) - LEEWAY_S > now_s:
        _refuse("it is not good yet")
    if claims.expires_s <= claims.issued_s or claims.expires_s - now_s > AHEAD_S_MAX:
        _refuse("it is good for too long, or never was")


# ---------------------------------------------------------------- the signature


def keys_of(raw: bytes) -> dict[str, Key]:
    """The keys of a JWKS (RFC 7517 section 5) that tokens may be signed with, by `kid`. Others are passed over; a `kid`
    that two keys have names none of them. Raises UpstreamFailed for what is no JWKS."""
    try:
        listed = json.loads(raw.decode(), object_pairs_hook=_once_each)["keys"]
        if not isinstance(listed, list) or len(listed) > KEYS_MAX:
            raise ValueError("no list of keys")
    except (ValueError, RecursionError, KeyError, TypeError):
        raise UpstreamFailed("The identity provider's keys cannot be read.") from None
    found: dict[str, Key] = {}
    seen: set[str] = set()
    for one in listed:
        kid = one.get("kid") if isinstance(one, dict) else None
        if not isinstance(kid, str) or not kid:
            continue
        key = _key(one) if kid not in seen else None
        seen.add(kid)
        if key is None:
            found.pop(kid, None)
        else:
            found[kid] = key
    return found


def _key(member: dict[str, Any]) -> Key | None:
    """The public half, where the key is for signatures, of a known type, and neither weak nor a burden."""
    kind, operations = member.get("kty"), member.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _PUBLIC or member.get("use", "sig") != "sig" or "d" in member:
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    told: dict[str, str | list[str]] = {
        name: value for name in _PUBLIC[kind] if isinstance(value := member.get(name), str)
    }
    if len(told) != len(_PUBLIC[kind]):
        return None
    try:
        if kind == "RSA" and _bits(str(told["n"])) not in RSA_BITS:
            return None
        public = RSAKey.import_key(told) if kind == "RSA" else ECKey.import_key(told)
    except (JoseError, ValueError, TypeError):
        return None
    allowed = _ALGORITHMS.get("RSA" if kind == "RSA" else str(told["crv"]), frozenset())
    declared = member.get("alg")
    algorithms = allowed if declared is None else allowed & {declared if isinstance(declared, str) else ""}
    return Key(public, algorithms) if algorithms else None


def _bits(number: str) -> int:
    """The size of a number in base64url. Raises ValueError."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


def prove(unproven: Unproven, key: Key | None) -> Claims:
    """The claims, which the issuer's `key` has signed. Raises Unauthenticated."""
    if key is None or unproven.algorithm not in key.algorithms:
        raise not_accepted()
    try:
        jws.deserialize_compact(unproven.text, key.public, algorithms=[unproven.algorithm])
    except (JoseError, ValueError):
        raise not_accepted() from None
    return unproven.claims


def id_of(once: bytes) -> str:
    """The id of the Token that an identity token is exchanged for: one for each, so that there is never a second."""
    left, letters = int.from_bytes(once), []
    for _ in range(16):
        left, digit = divmod(left, len(_LETTERS))
        letters.append(_LETTERS[digit])
    return "tok_" + "".join(letters)


def not_accepted() -> Unauthenticated:
    """One sentence for all that depends on what a Workspace has agreed to with whom (THREATS B9)."""
    return Unauthenticated(
        "This identity token is not accepted here.",
        "Is it for this workspace's audience, signed by its provider, and do its claims match a rule? "
        "Those who manage the workspace see the rules with: entrepot oidc list.",
    )


def _refuse(why: str) -> NoReturn:
    raise Unauthenticated(f"This identity token is no good: {why}.", "Ask the identity provider for a fresh one.")
