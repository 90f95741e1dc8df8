"""How does a message of SAML travel in an address? SAML 2.0 Bindings section 3.4: deflated, signed as it is quoted."""

import zlib
from base64 import b64encode
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.saml import names

ASKING, ANSWERING = "SAMLRequest", "SAMLResponse"


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
