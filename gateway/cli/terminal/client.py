"""How does a command speak to a node?

One HTTP client with the token of the environment or of a profile. Whatever the node or the network says no with becomes
a Problem, so that every command fails alike.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
import msgspec

from gateway.access.tokens import well_formed
from gateway.cli.terminal import profiles
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import address
from gateway.insight.reasons import REASON, told_reason
from storage import errors
from storage.errors import Absent, Problem, Unavailable, UpstreamFailed

LOCAL_URL = "http://127.0.0.1:8080"
API = "/-/api/v1"
ELSEWHERE = "This edge has lost its origin, or lacks a change of it: ask again, or another node."
TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
SAID_CHARS_MAX = 500
_REASON: ContextVar[str] = ContextVar("reason", default="")
_TYPED: ContextVar[Sequence[str]] = ContextVar("typed", default=())
_OF_A_FIELD = re.compile(r"The body is not what this address takes: (.+), at (?:[^ ]*\.)?([a-z0-9_]+)\.")
_UNIT = re.compile(r"_(?:s|ms|bytes)$")
_IN_UNITS = re.compile(r"[0-9]+ \(([^()]+)\)")

_BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        errors.Invalid,
        errors.Unauthenticated,
        errors.Forbidden,
        errors.Absent,
        errors.MethodRefused,
        errors.Conflict,
        errors.PreconditionFailed,
        errors.TooLarge,
        errors.Unsupported,
        errors.KeyReused,
        errors.TooMany,
        errors.UpstreamFailed,
        errors.Unavailable,
        errors.Full,
    )
}


@contextmanager
def having_typed(words: Sequence[str]) -> Iterator[None]:
    """What a node says no with within the block is told in these words, where it speaks of one of them."""
    before = _TYPED.set(tuple(words))
    try:
        yield
    finally:
        _TYPED.reset(before)


@contextmanager
def giving_reason(text: str) -> Iterator[None]:
    """Whatever is changed within the block is changed for this reason; "" = for none that is told."""
    before = _REASON.set(text)
    try:
        yield
    finally:
        _REASON.reset(before)


def say_left_out(out: Output, left_out: Mapping[str, Any]) -> None:
    """Say to people that a list does not tell of all repositories."""
    if number := left_out.get("left_out", 0):
        out.note(f"{number} {'repository is' if number == 1 else 'repositories are'} left out. {ELSEWHERE}")


class Client:
    """A node at `url`, spoken to as `token` ("" = as nobody)."""

    def __init__(self, url: str, token: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url
        self.has_token = bool(token)
        self.left_out: dict[str, int] = {}
        """What the last list said of repositories that the node may not tell of now; empty = of none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if reason := _REASON.get():
            headers[REASON] = told_reason(reason)
        # a proxy of the environment is for the world outside, not for a node on this machine
        near = httpx2.URL(url).host in ("127.0.0.1", "localhost", "::1")
        # over plain HTTP nobody's certificate is looked at, and to read those of the machine takes a tenth of a command
        trusted = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx2.Client(
            base_url=url, headers=headers, timeout=TIMEOUT, trust_env=not near, transport=transport, verify=trusted
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **arguments: str) -> Any:
        """The JSON of an API address. Raises Problem, as all of these do."""
        return self.call("GET", path, params={name: value for name, value in arguments.items() if value})

    def post(self, path: str, body: object) -> Any:
        return self.call("POST", path, json=body)

    def patch(self, path: str, body: object) -> Any:
        return self.call("PATCH", path, json=body)

    def put(self, path: str, body: object) -> Any:
        return self.call("PUT", path, json=body)

    def delete(self, path: str, **arguments: str) -> Any:
        return self.call("DELETE", path, params={name: value for name, value in arguments.items() if value})

    def items(self, path: str, **arguments: str) -> Iterator[Any]:
        """All items of a list, page by page."""
        after = ""
        while True:
            page = self.get(path, **arguments, after=after)
            self.left_out = {name: page[name] for name in ("left_out",) if name in page}
            yield from page["items"]
            after = page["next"]
            if not after:
                return

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call of the API; its JSON, or None for an empty answer."""
        response = self.send(method, API + path, **options)
        if not response.content:
            return None
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            raise UpstreamFailed("The node answered something that is not its API.", "Check the url.") from None

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request; an answer that is no refusal."""
        with reaching(self.url):
            response = self._http.request(method, path, **options)
        if not response.is_success:
            problem = as_typed(problem_of(response), _TYPED.get())
            if problem.message == errors.NOTHING_SHOWN:  # it was told how programs would do it
                problem.remedy = "Set ENTREPOT_TOKEN, or get a token of your own: entrepot login."
            raise problem
        return response

    def read_through(self, path: str) -> tuple[int, str]:
        """Read an answer to its end and throw it away: (bytes, the node's Outcome). Raises Problem."""
        with reaching(self.url), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                raise problem_of(response)
            size = sum(len(piece) for piece in response.iter_raw())
            return size, response.headers.get("entrepot-outcome", "")

    def health(self) -> Any:
        """What /-/health says, also where it says that the node is not well."""
        with reaching(self.url):
            response = self._http.get("/-/health")
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            raise problem_of(response) from None


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Tell what the HTTP client raises as Problems of ours."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise Unavailable(f"There is no node at {url}.", "Is it running? Set ENTREPOT_URL or a profile.") from error
    except httpx2.TimeoutException as error:
        raise Unavailable(f"The node at {url} does not answer in time.", "Try again later.") from error
    except httpx2.InvalidURL as error:
        raise Usage("The url of the node is not understood.", "Write it as http(s)://HOST:PORT.") from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"The connection to {url} broke: {type(error).__name__}.", "Try again.") from error


def as_typed(problem: Problem, typed: Sequence[str]) -> Problem:
    """The same, where it speaks of a field that an option stands for, in the words of who typed that: --overlap, not
    overlap_s, and 30 days, not 2592000."""
    found = _OF_A_FIELD.fullmatch(problem.message)
    field = _UNIT.sub("", found[2]) if found is not None else ""
    named = [f"--{one.replace('_', '-')}" for one in (field, field.removesuffix("_max"))]
    option = next((one for one in named if any(each.partition("=")[0] == one for each in typed)), "")
    if found is not None and option:
        problem.message = f"{option}: {_IN_UNITS.sub(r'\1', found[1])}."
    return problem


def problem_of(response: httpx2.Response) -> Problem:
    """The Problem that an answer stands for: our own document, or what a room said in its tool's dialect."""
    kind = _BY_STATUS.get(response.status_code, Problem if response.status_code < 500 else Unavailable)
    try:
        told = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        told = response.text
    if isinstance(told, dict) and isinstance(told.get("errors"), list) and told["errors"]:
        told = told["errors"][0]  # as registries of images say it
    if isinstance(told, dict):
        message = told.get("detail") or told.get("error") or told.get("message") or ""
        problem = kind(_short(message) or _plain(response), _short(told.get("remedy", "")))
        if isinstance(told.get("code"), str):
            problem.code = _short(told["code"])
        return problem
    if "html" in response.headers.get("content-type", ""):
        told = ""
    return kind(_short(told) or _plain(response))


def _short(said: object) -> str:
    return said.strip()[:SAID_CHARS_MAX] if isinstance(said, str) else ""


def _plain(response: httpx2.Response) -> str:
    return f"The node answered {response.status_code} {response.reason_phrase}".strip() + "."


def reach(url: str = "", profile: str = "") -> Client:
    """The node that the options, the environment or the profiles name.

    A profile's token goes to that profile's url alone. Raises Usage, Absent.
    """
    return Client(*named(url, profile))


def named(url: str, profile: str) -> tuple[str, str]:
    """The url and the token to use."""
    known = profiles.load()
    profile = profile or profiles.chosen()
    name = profile or os.environ.get("ENTREPOT_PROFILE", "")
    if name and name not in known.profiles:
        raise Absent(f'There is no profile called "{name}".', "List them with: entrepot profile list.")
    chosen = known.profiles.get(name or known.current)
    # a profile that is asked for by name on the command line goes before the environment
    from_environment = "" if profile else os.environ.get("ENTREPOT_URL", "")
    token = "" if profile else os.environ.get("ENTREPOT_TOKEN", "")
    found = address(url or from_environment or (chosen.url if chosen else LOCAL_URL))
    if not token and chosen is not None and chosen.url == found:
        token = chosen.token
    if token and not well_formed(token):
        raise errors.Unauthenticated(
            "The token is mistyped or cut.", "Check ENTREPOT_TOKEN or the profile: it is ent_ and 38 more characters."
        )
    return found, token
