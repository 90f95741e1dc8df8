"""Which promises did the client make about the bytes that it sends, and under which conditions does it want them kept?

Digests: `Repr-Digest` and `Content-Digest` (RFC 9530) and the older `X-Checksum-*` with hex. Conditions: `If-Match` and
`If-None-Match` (RFC 9110 section 13). Structured fields are read as RFC 9651 has them, as far as is needed here.
"""

import base64
import binascii
import re
from collections.abc import Mapping

from storage.errors import Invalid, PreconditionFailed

RFC_9530 = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}
OLD_HEADERS = {
    "x-checksum-sha256": "sha256",
    "x-checksum-sha512": "sha512",
    "x-checksum-sha1": "sha1",
    "x-checksum-md5": "md5",
}
HEX_CHARACTERS = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32}

MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]{0,63})=:([A-Za-z0-9+/]{0,172}={0,2}):(?:;[^,]*)?")
ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
WHOLE_NUMBER = re.compile(r"([0-9]{1,15})(?:;.*)?")
BOOLEAN = re.compile(r"\?([01])(?:;.*)?")


def expected(headers: Mapping[str, str], *, partial: bool = False) -> dict[str, str]:
    """The digests that the client announces, as hex by algorithm of storage.digest. Raises Invalid where one cannot be
    read or two disagree: an integrity check that is silently left out protects nobody. Algorithms that we do not know
    are passed over. `partial`: the body is a part of the file, which Content-Digest then speaks of, so it is left out.
    """
    found: dict[str, str] = {}
    for header in ("repr-digest",) if partial else ("repr-digest", "content-digest"):
        if header in headers:
            for algorithm, text in _members(header, headers[header]):
                _note(found, algorithm, text)
    for header, algorithm in OLD_HEADERS.items():
        if header in headers:
            text = headers[header].strip().lower()
            if len(text) != HEX_CHARACTERS[algorithm] or not re.fullmatch("[0-9a-f]+", text):
                raise Invalid(
                    f"The header {header} is not a {algorithm} digest in hex.",
                    f"Send {HEX_CHARACTERS[algorithm]} hex characters, or leave the header out.",
                )
            _note(found, algorithm, text)
    return found


def _members(header: str, value: str) -> list[tuple[str, str]]:
    """The known members of a digest dictionary as (algorithm, hex)."""
    found = []
    for part in value.split(","):
        match = MEMBER.fullmatch(part.strip(" \t"))
        if match is None:
            raise Invalid(f"The header {header} cannot be read.", "Send it like sha-256=:BASE64: (RFC 9530).")
        algorithm = RFC_9530.get(match[1])
        if algorithm is None:
            continue
        try:
            text = base64.b64decode(match[2], validate=True).hex()
        except binascii.Error:
            text = ""
        if len(text) != HEX_CHARACTERS[algorithm]:
            raise Invalid(
                f"The {match[1]} in the header {header} has not the length of such a digest.",
                "Send the digest's bytes in base64 between colons (RFC 9530).",
            )
        found.append((algorithm, text))
    return found


def _note(found: dict[str, str], algorithm: str, text: str) -> None:
    if found.setdefault(algorithm, text) != text:
        raise Invalid(
            f"The request announces two different {algorithm} digests.", "Send one digest for each algorithm."
        )


def whole_number(headers: Mapping[str, str], header: str) -> int:
    """A header that is a non-negative structured Integer; -1 where it is absent or is none."""
    match = WHOLE_NUMBER.fullmatch(headers.get(header, "").strip(" "))
    return int(match[1]) if match else -1


def boolean(headers: Mapping[str, str], header: str) -> bool | None:
    """A header that is a structured Boolean; None where it is absent.

    Raises Invalid for another value. The draft says to pass over such a header, but then a part of a file would be
    kept as the whole of it.
    """
    if header not in headers:
        return None
    match = BOOLEAN.fullmatch(headers[header].strip(" "))
    if match is None:
        raise Invalid(f"The header {header} is neither ?0 nor ?1.", f"Send {header}: ?0 or {header}: ?1.")
    return match[1] == "1"


def require(current: str, if_match: str | None, if_none_match: str | None) -> None:
    """Raises PreconditionFailed unless the conditions hold for what is there: its entity tag, "" = nothing is.

    RFC 9110 section 13.2.2: If-Match first, compared strongly, then If-None-Match, compared weakly.
    """
    if if_match is not None and not _listed(if_match, current, weakly=False):
        there = f"What is there has the entity tag {current}." if current else "There is nothing at this path."
        raise PreconditionFailed(f"If-Match does not hold. {there}", "Fetch it again, then decide.")
    if if_none_match is not None and _listed(if_none_match, current, weakly=True):
        raise PreconditionFailed(
            f"If-None-Match does not hold: there is a file with the entity tag {current}.",
            "Choose another path, or replace it with If-Match.",
        )


def _listed(condition: str, current: str, *, weakly: bool) -> bool:
    if condition.strip() == "*":
        return bool(current)
    return any(tag == current and (weakly or not weak) for weak, tag in ENTITY_TAG.findall(condition))
