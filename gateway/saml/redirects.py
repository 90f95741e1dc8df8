"""How does a message of SAML travel in an address? SAML 2.0 Bindings section 3.4: deflated, signed as it is quoted."""

import zlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from formats.kit.xmls import Element
from gateway.saml import names
from gateway.saml.proving import check_signed
from gateway.saml.trees import read
from storage.errors import Invalid, Unauthenticated

ASKING, ANSWERING = "SAMLRequest", "SAMLResponse"
DEFLATE = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
MESSAGE_BYTES_MAX = 64 << 10
QUERY_BYTES_MAX = 16 << 10


class Brought(NamedTuple):
    """A message that its sender has signed, and what came along."""

    field: str
    message: Element
    relay: str


def address(location: str, field: str, message: str, relay: str, key: RSAPrivateKey | None) -> str:
    """Where to send a browser that brings this message, signed with the `key`, if any (section 3.4.4.1). What goes
    along with it, `relay`, "" = nothing, is signed too."""
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = packed.compress(message.encode()) + packed.flush()
    told = [(field, b64encode(deflated).decode())]
    if relay:
        told.append(("RelayState", relay))
    if key is not None:
        told.append(("SigAlg", names.RSA_SHA256))
    said = urlencode(told, quote_via=quote)
    if key is not None:
        signature = b64encode(key.sign(said.encode(), PKCS1v15(), SHA256())).decode()
        said = f"{said}&{urlencode({'Signature': signature}, quote_via=quote)}"
    return f"{location}{'&' if '?' in location else '?'}{said}"


def brought(query: bytes, certificates: Sequence[bytes]) -> Brought:
    """What the query of an address says that one of these certificates' keys has signed. Nothing in it is unpacked
    before that: what is signed is the text as it came (section 3.4.4.1). Raises Unauthenticated, Invalid."""
    found = _fields(query)
    field = next((one for one in (ASKING, ANSWERING) if one in found), "")
    if not field or len({ASKING, ANSWERING} & set(found)) != 1 or found.get("SAMLEncoding", DEFLATE) != DEFLATE:
        raise Invalid("This is no message of an identity provider.")
    if "Signature" not in found or "SigAlg" not in found:
        raise Unauthenticated("The identity provider has not signed this.", "Have it sign what it says of signing out.")
    method = unquote_plus(found["SigAlg"])
    if method not in names.METHODS:
        raise Unauthenticated("The identity provider signs in a way that is not taken.", "Have it use RSA-SHA256.")
    said = "&".join(f"{one}={found[one]}" for one in (field, "RelayState", "SigAlg") if one in found)
    check_signed(method, _bytes(found["Signature"]), said.encode(), certificates)
    return Brought(field, read(_inflated(_bytes(found[field]))), unquote_plus(found.get("RelayState", "")))


def _fields(query: bytes) -> dict[str, str]:
    """As they are quoted, each once. Raises Invalid."""
    found: dict[str, str] = {}
    try:
        text = query.decode("ascii") if len(query) <= QUERY_BYTES_MAX else ""
    except UnicodeDecodeError:
        text = ""
    for one in text.split("&"):
        name, _, value = one.partition("=")
        if name in found:
            raise Invalid("Something is told twice in this address.")
        found[name] = value
    return found


def _bytes(quoted: str) -> bytes:
    try:
        return b64decode("".join(unquote_plus(quoted).split()), validate=True)
    except (NotBase64, ValueError):
        raise Invalid("This is no message of an identity provider.") from None


def _inflated(data: bytes) -> bytes:
    """Raises Invalid, for what would be too much as well."""
    by = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        message = by.decompress(data, MESSAGE_BYTES_MAX)
    except zlib.error:
        message = b""
    if not message or not by.eof or by.unused_data:
        raise Invalid("This is no message of an identity provider.")
    return message
