"""What is an identity provider sent, and what is it told of this node?

SAML 2.0 Bindings section 3.4 (a request by redirect), Metadata section 2.4 (a service provider's role).
"""

import zlib
from base64 import b64encode
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

from gateway.saml import names

MEDIA = "application/samlmetadata+xml"


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


def description(audience: str, here: str) -> str:
    """This node as an identity provider's administrator is shown it."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<EntityDescriptor xmlns="{names.METADATA}" entityID="{escape(audience)}">'
        f'<SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true" '
        f'protocolSupportEnumeration="{names.PROTOCOL}">'
        f'<AssertionConsumerService index="0" isDefault="true" Binding="{names.BY_POST}" Location="{escape(here)}"/>'
        "</SPSSODescriptor></EntityDescriptor>\n"
    )
