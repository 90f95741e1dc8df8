"""What are things called in SAML 2.0, and which signatures are taken? Core, Bindings, XML Signature."""

PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"

BY_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
BY_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

TRANSFORMS = frozenset((f"{SIGNATURE}enveloped-signature", EXCLUSIVE, f"{EXCLUSIVE}WithComments"))
"""Core section 5.4.4 allows no others."""
HASHES = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
METHODS = {
    f"http://www.w3.org/2001/04/xmldsig-more#{family}-{hash}": (family, hash)
    for family in ("rsa", "ecdsa")
    for hash in ("sha256", "sha384", "sha512")
}
"""Nothing with SHA-1, which no longer stands for what it is of; no HMAC, whose key would be the certificate."""
