"""Who else says who somebody is? What a Workspace believes of an identity provider, and that is told of this node."""

import msgspec

from storage.contents import Change, Noun


class ClaimRule(Noun, frozen=True):
    """Who shows all of these claims, with exactly these values, is the service account `account` (its id)."""

    claims: dict[str, str]
    account: str


class People(Noun, frozen=True):
    """How an issuer's word on somebody becomes a managed user. The claim `name` is its userName, at one of the mail
    `domains`, () = any; `claims` must all be there. `joins`: who is not known yet is made. Of the Teams that values of
    the claim `groups` lead to (`teams`: value → Team), one is in those and no others. `signs_out`: who signs out here
    is taken on to an OpenID issuer to sign out there."""

    name: str
    scopes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    claims: dict[str, str] = msgspec.field(default_factory=dict)
    joins: bool = False
    groups: str = ""
    teams: dict[str, str] = msgspec.field(default_factory=dict)
    signs_out: bool = True


class SamlPair(Noun, frozen=True):
    """The certificates (DER) of two keys of this node's: one to sign with, one to encrypt for. Only the origin has what
    belongs to them."""

    id: str
    signing: bytes
    encryption: bytes
    at_ms: int = 0


class Saml(Noun, frozen=True):
    """How a Provider speaks SAML 2.0: it takes requests by redirect at `sign_on`, and signs with the keys of these
    `certificates` (DER). `subject` is the attribute by which it tells people apart, "" = their NameID. `unsolicited`:
    it may send people here who did not begin here. `pairs` are the keys that it is told of this node, the older first:
    with that one this node signs, and for the last one the provider is to encrypt; what is for any of them is read.
    Requests are signed where it `wants_signed` ones, as its metadata has it, or this node `signs` them anyway. People
    are signed out there by a request to `logout`, and answers to its own go to `logout_answers`, "" = nowhere, by
    redirects or, `logout_posts`, by forms. `takes_cbc`: what it encrypts by CBC is opened also where nothing around it
    is signed."""

    sign_on: str
    certificates: tuple[bytes, ...]
    subject: str = ""
    unsolicited: bool = False
    pairs: tuple[SamlPair, ...] = ()
    wants_signed: bool = False
    signs: bool = False
    logout: str = ""
    logout_answers: str = ""
    logout_posts: bool = False
    takes_cbc: bool = False


class Provider(Noun, frozen=True):
    """Somebody else who says who is who: an OpenID issuer whose identity tokens for `audience` a Workspace takes in
    exchange for tokens of its service accounts, which are good for `lifetime_s`; with `people`, at which its managed
    users sign in, and `audience` is what this node is called there; with `saml` it speaks that, and `issuer` is its
    entityID. `private_network`: it may be elsewhere than on the public Internet, and speak plain http. From
    `disabled_ms` on nobody is believed because of it, 0 = it is not. `trust` counts how often it began to be believed
    anew, or by other means: what it has let in before is over."""

    id: str
    name: str
    issuer: str
    audience: str
    rules: tuple[ClaimRule, ...]
    lifetime_s: int
    private_network: bool = False
    at_ms: int = 0
    people: People | None = None
    saml: Saml | None = None
    disabled_ms: int = 0
    trust: int = 0


class PutProvider(Change, frozen=True, tag="pi"):
    provider: Provider


class DropProvider(Change, frozen=True, tag="di"):
    """Drops the Provider; the Tokens that rest on it can do nothing from then on."""

    id: str
