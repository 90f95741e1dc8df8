"""What is an identity provider told of this node? SAML 2.0 Metadata section 2.4: a service provider's role."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from gateway.saml import names
from storage.nouns import SamlPair

MEDIA = "application/samlmetadata+xml"


def description(
    audience: str, here: str, logout: str, pairs: Sequence[SamlPair], *, signs: bool, cbc: bool = False
) -> str:
    """This node, called `audience`, as an identity provider's administrator is shown it; answers come to `here`, and
    what is said of signing out to `logout`. Of
    several pairs of keys the provider is to know all that sign, and to encrypt for the last. `signs`: its requests are
    signed. `cbc`: it may encrypt by that."""
    keys = [_key("signing", one.signing) for one in pairs] + [
        _key("encryption", one.encryption, _ways(cbc=cbc)) for one in pairs[-1:]
    ]
    logouts = (
        f'<SingleLogoutService Binding="{one}" Location="{escape(logout)}"/>'
        for one in (names.BY_REDIRECT, names.BY_POST)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<EntityDescriptor xmlns="{names.METADATA}" entityID="{escape(audience)}">'
        f'<SPSSODescriptor AuthnRequestsSigned="{str(signs).lower()}" WantAssertionsSigned="true" '
        f'protocolSupportEnumeration="{names.PROTOCOL}">{"".join(keys)}{"".join(logouts) if pairs else ""}'
        f'<AssertionConsumerService index="0" isDefault="true" Binding="{names.BY_POST}" Location="{escape(here)}"/>'
        "</SPSSODescriptor></EntityDescriptor>\n"
    )


def _ways(*, cbc: bool) -> str:
    """What can be read of what is encrypted, best first."""
    ciphers = [cipher for cipher, (mode, _) in names.CIPHERS.items() if cbc or mode != "cbc"]
    return "".join(f'<EncryptionMethod Algorithm="{one}"/>' for one in (*ciphers, names.OAEP_11, names.OAEP))


def _key(use: str, certificate: bytes, ways: str = "") -> str:
    """Metadata section 2.4.1.1."""
    return (
        f'<KeyDescriptor use="{use}"><ds:KeyInfo xmlns:ds="{names.SIGNATURE}"><ds:X509Data><ds:X509Certificate>'
        f"{b64encode(certificate).decode()}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
        f"{ways}</KeyDescriptor>"
    )
