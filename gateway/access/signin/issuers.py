"""With which keys does an issuer sign, and where does it take people? Asked of itself, seldom, not believed for long.

The issuer's discovery document (OpenID Connect Discovery 1.0 section 4) must be its own, name for name, and says
where its JWKS is. Both are fetched through the guard that pulls go through (cache/asking/addresses.py): no address
but one of the public Internet, unless the provider is declared to be in the private network (THREATS D2). A redirect
is not followed anywhere else: who moves says so in the document. Keys are held for FRESH_S and asked for anew for a
`kid` that is not among them, at most once in AGAIN_S, however many tokens with made-up ones arrive.

There is one fetch of an issuer at a time, whoever asks and whoever hangs up; who comes meanwhile waits for it. One that
failed is left in peace for RESTING_S. Which threads wait is shared out by Workspace (`lots.py`): who sets up issuers
that never answer keeps nobody waiting but himself (THREATS A8).
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import trio

from cache.asking.addresses import place
from cache.asking.upstream import Fetched, Remote
from gateway.access.signin.idtokens import Key, keys_of
from gateway.access.signin.lots import Lots, Under
from storage.errors import Invalid, Unauthenticated, Unavailable, UpstreamFailed

FRESH_S = 600.0
AGAIN_S = 30.0
RESTING_S = 10.0
"""An issuer that failed is left in peace for so long."""
WAIT_S_MAX = 10.0
DOCUMENT_BYTES_MAX = 256 << 10
ISSUERS_MAX = 1_000
ISSUER_CHARS_MAX = 500
_DISCOVERY = "/.well-known/openid-configuration"


def issuer_of(text: str, *, private_network: bool) -> str:
    """`text`, if an issuer can be called that. It is compared character by character. Raises Invalid."""
    there = place(text) if len(text) <= ISSUER_CHARS_MAX else None
    if there is None or "?" in text or "#" in text or not text.isascii():
        raise Invalid("This is no address of an issuer.", "Write it as its tokens have it: https://HOST/PATH.")
    if there.scheme != "https" and not private_network:
        raise Invalid("An issuer is asked over https.", "Plain http is for issuers in the private network alone.")
    return text


def remote() -> Remote:
    """A client for issuers, which answer at once or not at all."""
    return Remote(connect_seconds_max=3.0, silence_seconds_max=4.0, document_seconds_max=5.0)


class Endpoints(NamedTuple):
    """Where an issuer lets people sign in, gives tokens for codes, and tells of people; "" = it tells of none. `basic`:
    it takes a client's secret as Basic; `names_itself`: it says in what it sends people back with who it is (RFC
    9207). `end_session` is where it signs people out, "" = nowhere."""

    authorization: str
    token: str
    basic: bool
    names_itself: bool
    end_session: str = ""


class _Known(NamedTuple):
    keys: dict[str, Key]
    endpoints: Endpoints


_NOTHING = _Known({}, Endpoints("", "", True, False))


@dataclass(slots=True)
class _Held:
    """What is known of one issuer; times are monotonic, None = never. `under`: the fetch that is under way.
    `unredeemed_s`: when it failed to say what a code is good for."""

    known: _Known = _NOTHING
    heard_s: float | None = None
    failed_s: float | None = None
    unredeemed_s: float | None = None
    under: Under[_Known] | None = None


class Issuers:
    """The keys of issuers, for one worker."""

    def __init__(self, remote: Callable[[], Remote] = remote, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        self._clock_s = clock_s
        self._held: OrderedDict[tuple[str, bool], _Held] = OrderedDict()
        self._lots = Lots()

    def __repr__(self) -> str:
        return f"<Issuers {len(self._held)}>"

    async def key(self, issuer: str, kid: str, *, private_network: bool, workspace: str) -> Key | None:
        """The key that an issuer has under `kid`, None for none; `workspace` is whose threads wait for it. Raises
        UpstreamFailed, Unavailable."""
        held = self._of(issuer, private_network)
        await self._learn(
            held, issuer, private_network, workspace, lambda: FRESH_S if kid in held.known.keys else AGAIN_S
        )
        return held.known.keys.get(kid)

    async def endpoints(self, issuer: str, *, private_network: bool, workspace: str) -> Endpoints:
        """Where it takes people. Raises UpstreamFailed, Unavailable."""
        held = self._of(issuer, private_network)
        await self._learn(held, issuer, private_network, workspace, lambda: FRESH_S)
        found = held.known.endpoints
        if not found.authorization or not found.token:
            raise UpstreamFailed("The identity provider does not tell where people sign in.")
        return found

    async def redeem(
        self,
        issuer: str,
        endpoints: Endpoints,
        fields: Mapping[str, str],
        authorization: str,
        *,
        private_network: bool,
        workspace: str,
    ) -> dict[str, Any]:
        """What the issuer gives for a code (OpenID Connect Core 1.0 section 3.1.3). Raises UpstreamFailed,
        Unauthenticated."""
        held = self._of(issuer, private_network)

        def step() -> Fetched:
            headers = {"accept": "application/json"} | ({"authorization": authorization} if authorization else {})
            with closing(self._remote()) as remote:
                return remote.send_form(
                    endpoints.token, fields, headers, bytes_max=DOCUMENT_BYTES_MAX, private_network=private_network
                )

        def heard(under: Under[Fetched]) -> None:
            held.unredeemed_s = None if under.error is None else self._clock_s()

        with trio.move_on_after(WAIT_S_MAX):
            self._check_resting(held.unredeemed_s)
            await self._lots.take(workspace)
            if self._resting(held.unredeemed_s):
                self._lots.give_back(workspace)
                self._check_resting(held.unredeemed_s)
            under = self._lots.start(workspace, step, heard)
            await under.ended.wait()
            return _redeemed(under.given())
        raise _too_late()

    async def _learn(
        self, held: _Held, issuer: str, private_network: bool, workspace: str, fresh_s: Callable[[], float]
    ) -> None:
        """Ask, or wait for who asks, where what is known is older than `fresh_s`."""
        with trio.move_on_after(WAIT_S_MAX):
            while not self._asked_lately(held, fresh_s()):
                self._check_resting(held.failed_s)
                if held.under is not None:
                    await held.under.ended.wait()
                    continue
                await self._lots.take(workspace)
                if held.under is not None or self._resting(held.failed_s) or self._asked_lately(held, fresh_s()):
                    self._lots.give_back(workspace)  # somebody else has, meanwhile
                    continue
                under = self._begin(held, issuer, private_network, workspace)
                await under.ended.wait()
                under.given()
            return
        raise _too_late()

    def _begin(self, held: _Held, issuer: str, private_network: bool, workspace: str) -> Under[_Known]:
        def heard(under: Under[_Known]) -> None:
            held.under = None
            if under.error is None:
                held.known, held.heard_s, held.failed_s = under.given(), self._clock_s(), None
            else:
                held.failed_s = self._clock_s()

        held.under = self._lots.start(workspace, lambda: self._fetched(issuer, private_network), heard)
        return held.under

    def _of(self, issuer: str, private_network: bool) -> _Held:
        held = self._held.setdefault((issuer, private_network), _Held())
        self._held.move_to_end((issuer, private_network))
        if len(self._held) > ISSUERS_MAX:  # there are fewer fetches under way than that
            del self._held[next(key for key, one in self._held.items() if one.under is None)]
        return held

    def _asked_lately(self, held: _Held, fresh_s: float) -> bool:
        return held.heard_s is not None and self._clock_s() - held.heard_s < fresh_s

    def _resting(self, failed_s: float | None) -> bool:
        return failed_s is not None and self._clock_s() - failed_s < RESTING_S

    def _check_resting(self, failed_s: float | None) -> None:
        if self._resting(failed_s):
            again_s = int(RESTING_S)
            raise Unavailable("The identity provider did not answer just now.", "Try again.", retry_after_s=again_s)

    def _fetched(self, issuer: str, private_network: bool) -> _Known:
        """Blocking."""
        with closing(self._remote()) as remote:
            told = _document(remote, issuer.rstrip("/") + _DISCOVERY, private_network).body
            try:
                found = json.loads(told.decode())
                named, keys_at = found["issuer"], found["jwks_uri"]
            except (ValueError, RecursionError, KeyError, TypeError):
                raise UpstreamFailed("The identity provider's discovery document cannot be read.") from None
            if named != issuer or not isinstance(keys_at, str):
                raise UpstreamFailed("The identity provider's discovery document is of another issuer.")
            keys = keys_of(_document(remote, keys_at, private_network).body)
            return _Known(keys, _endpoints_of(found, private_network))


def _too_late() -> Unavailable:
    return Unavailable("The identity provider does not answer in time.", "Try again.", retry_after_s=5)


def _redeemed(answer: Fetched) -> dict[str, Any]:
    """Raises UpstreamFailed, Unauthenticated."""
    if answer.status != 200:
        raise Unauthenticated("Your identity provider takes this sign-in back.", "Begin again.")
    try:
        told = json.loads(answer.body.decode())
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise UpstreamFailed("What the identity provider gives for a code cannot be read.")
    return told


def _endpoints_of(found: dict[str, Any], private_network: bool) -> Endpoints:
    """As the discovery document has them; what may not be asked is none."""

    def at(name: str) -> str:
        try:
            asked = place(found[name])
        except (KeyError, TypeError, AttributeError, Invalid):
            return ""
        return str(found[name]) if asked.scheme == "https" or private_network else ""

    ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Endpoints(
        at("authorization_endpoint"),
        at("token_endpoint"),
        not isinstance(ways, list) or "client_secret_basic" in ways or "client_secret_post" not in ways,
        found.get("authorization_response_iss_parameter_supported") is True,
        at("end_session_endpoint"),
    )


def _document(remote: Remote, url: str, private_network: bool) -> Fetched:
    """Raises UpstreamFailed."""
    try:
        asked = place(url)
    except Invalid:
        asked = None
    if asked is None or (asked.scheme != "https" and not private_network):
        raise UpstreamFailed("The identity provider names an address that is not asked.")
    answer = remote.fetch_document(
        url, {"accept": "application/json"}, bytes_max=DOCUMENT_BYTES_MAX, private_network=private_network
    )
    if answer.status != 200 or answer.url != asked.url:
        raise UpstreamFailed(f"{asked.authority} does not tell what an identity provider tells ({answer.status}).")
    return answer
