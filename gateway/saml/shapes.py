"""What comes out of the sandbox of a document that an identity provider has sent, or that somebody says it has?"""

import msgspec


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """One signature, as canonical XML: `signed_info` is what the signature is over, and tells the digest of `payload`.

    The process that says so has read hostile XML, so nothing of it is believed before `proving.prove`.
    """

    about: str
    method: str
    signed_info: bytes
    signature: bytes
    payload: bytes


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """An encrypted assertion or name: its `content` by `cipher`, and the key to it, `wrapped` by RSA-OAEP with
    these hashes."""

    cipher: str
    digest: str
    mask: str
    wrapped: bytes
    content: bytes


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A Response. What stands here beside `seals` is signed only where one of them is about the "Response". What its
    `envelope` holds is not known yet."""

    seals: tuple[Sealed, ...] = ()
    version: str = ""
    destination: str = ""
    in_response_to: str = ""
    issuer: str = ""
    status: str = ""
    envelope: Envelope | None = None


class Name(msgspec.Struct, frozen=True, array_like=True):
    """What a provider calls somebody, and in whose words (Core section 2.2.2); "" = left out."""

    text: str
    format: str = ""
    qualifier: str = ""
    sp_qualifier: str = ""


class Described(msgspec.Struct, frozen=True, array_like=True):
    """What an identity provider's metadata says: its name, where its single sign-on service takes requests by
    redirect, the certificates that it signs with (DER), until when that is so, 0 = it does not say, and whether it
    wants those requests signed. `logout` is where its single logout service takes requests, and `logout_answers`
    answers, by redirect or, `logout_posts`, by forms; "" = nowhere."""

    entity_id: str
    sign_on: str
    certificates: tuple[bytes, ...]
    until_ms: int = 0
    wants_signed: bool = False
    logout: str = ""
    logout_answers: str = ""
    logout_posts: bool = False
