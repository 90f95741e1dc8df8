"""What is an identity provider asked? SAML 2.0 Bindings section 3.4: a request by redirect."""

import zlib
from base64 import b64encode
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

from gateway.saml import names


def address(sign_on: str, audience: str, here: str, id: str, relay: str, now_ms: int) -> str:
    """Where to send a browser: to `sign_on`, with a request of this id whose answer is to come to `here`."""
    at = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    request = (
        f'<p:AuthnRequest xmlns:p="{names.PROTOCOL}" xmlns="{names.ASSERTION}" ID="{escape(id)}" Version="2.0" '
        f'IssueInstant="{at}" Destination="{escape(sign_on)}" ProtocolBinding="{names.BY_POST}" '
        f'AssertionConsumerServiceURL="{escape(here)}"><Issuer>{escape(audience)}</Issuer>'
        '<p:NameIDPolicy AllowCreate="true"/></p:AuthnRequest>'
    )
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = packed.compress(request.encode()) + packed.flush()
    asked = urlencode({"SAMLRequest": b64encode(deflated).decode(), "RelayState": relay}, quote_via=quote)
    return f"{sign_on}{'&' if '?' in sign_on else '?'}{asked}"
