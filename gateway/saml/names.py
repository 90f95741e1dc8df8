"""What are things called in SAML 2.0, and which signatures and ciphers are taken? Core, Bindings, XML Signature and
Encryption."""

PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
MORE_SIGNATURE = "http://www.w3.org/2001/04/xmldsig-more#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENCRYPTION = "http://www.w3.org/2001/04/xmlenc#"
ENCRYPTION_11 = "http://www.w3.org/2009/xmlenc11#"

BY_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
BY_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

TRANSFORMS = frozenset((f"{SIGNATURE}enveloped-signature", EXCLUSIVE, f"{EXCLUSIVE}WithComments"))
"""Core section 5.4.4 allows no others."""
HASHES = {
    f"{ENCRYPTION}sha256": "sha256",
    f"{MORE_SIGNATURE}sha384": "sha384",
    f"{ENCRYPTION}sha512": "sha512",
}
METHODS = {
    f"{MORE_SIGNATURE}{family}-{hash}": (family, hash)
    for family in ("rsa", "ecdsa")
    for hash in ("sha256", "sha384", "sha512")
}
"""Nothing with SHA-1, which no longer stands for what it is of; no HMAC, whose key would be the certificate."""
RSA_SHA256 = f"{MORE_SIGNATURE}rsa-sha256"
"""What this node signs with."""

CIPHERS = {
    f"{ENCRYPTION_11}aes128-gcm": ("gcm", 16),
    f"{ENCRYPTION_11}aes256-gcm": ("gcm", 32),
    f"{ENCRYPTION}aes128-cbc": ("cbc", 16),
    f"{ENCRYPTION}aes256-cbc": ("cbc", 32),
}
"""What an assertion is encrypted with: the mode, and the bytes of its key."""
OAEP, OAEP_11 = f"{ENCRYPTION}rsa-oaep-mgf1p", f"{ENCRYPTION_11}rsa-oaep"
"""What that key is encrypted with. Not RSA 1.5, whose padding tells on itself."""
PADDING_HASHES = HASHES | {f"{SIGNATURE}sha1": "sha1"}
"""In OAEP nothing rests on a hash that finds no two alike, and SHA-1 is what everybody uses who says nothing."""
MASKS = {f"{ENCRYPTION_11}mgf1{hash}": hash for hash in ("sha1", "sha256", "sha384", "sha512")}
