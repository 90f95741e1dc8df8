"""What is one request for a page? Who makes it, the form that came with it, and the one way in which it changes things.

A page is `async def page(visit: Visit) -> Response`, registered in a `Pages`. Whatever goes wrong is told as a page.
A form is taken only if a page of ours was made for the same cookie (C13): the session's, or before there is one that
of forms. Nothing here runs a script, is framed, or comes from elsewhere: the headers say so to the browser.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import msgspec
from quart import Quart, Response, request
from quart import Request as Asked

from gateway.access.rights.verdicts import ANONYMOUS, Principal
from gateway.access.signin import sessions
from gateway.access.signin.proving import SigningIn
from gateway.console.calls import cookies
from gateway.console.calls.callers import renew
from gateway.console.calls.services import Services, latest_ms_of
from gateway.console.signin import agents
from gateway.console.signin.addresses import SIGN_IN
from gateway.console.signin.style import POLICY, STYLE
from storage.commit import Decided
from storage.errors import Forbidden, Invalid, Problem, Unauthenticated, Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, AnyChange, Draft, Token

_log = logging.getLogger("entrepot.signin")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
MARK = "form"
"""The field of every form that carries its mark."""
FORM_BYTES = 24
FIELD_CHARS_MAX = 4_000


@dataclass(frozen=True)
class Visit:
    """One request. `text` is what its cookie of a session holds, and `token` that session; "" and None without one."""

    services: Services
    signing_in: SigningIn
    asked: Asked
    secure: bool
    text: str
    token: Token | None
    form_cookie: str
    fields: Mapping[str, str]

    @property
    def peer(self) -> str:
        """Where the browser is; the strict front says it."""
        return self.asked.headers.get("X-Entrepot-Peer", "")

    @property
    def agent(self) -> str:
        return agents.family(self.asked.headers.get("User-Agent", ""))

    @property
    def account(self) -> Account:
        """Whose session it is. Raises Unauthenticated."""
        if self.token is None:
            raise Unauthenticated("You are not signed in.", "Sign in first.")
        with self.services.catalog.read() as reading:
            return sessions.living_account(reading, self.token.owner)

    def argument(self, name: str) -> str:
        """The one value of a query argument. Raises Invalid for several."""
        values = self.asked.args.getlist(name)
        if len(values) > 1 or any(len(one) > FIELD_CHARS_MAX for one in values):
            raise Invalid(f"The argument {name} is given more than once, or is too long.")
        return values[0] if values else ""

    def field(self, name: str) -> str:
        """A field of the form, "" where it has none."""
        return self.fields.get(name, "")

    def page(self, template: str, status: int = 200, policy: str = POLICY, **told: Any) -> Response:
        """A page, with the mark for its forms."""
        mark = sessions.form_mark(self.text if self.token is not None else self.form_cookie)
        named = {"mark": mark, "style": STYLE, "who": self._who(), "message": "", "remedy": ""}
        body = _TEMPLATES.get_template(template).render(named | told)
        response = Response(body, status=status, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = policy
        response.headers["Referrer-Policy"] = "same-origin"  # with none at all a browser tells no Origin of a form
        # A POST without it is another site's, and may not take it from whoever is on his way with it.
        known = cookies.cookie(self.asked, cookies.FORM, secure=self.secure) == self.form_cookie
        if not known and self.asked.method in cookies.SAFE_METHODS:
            response.headers.add(*cookies.set_cookie(cookies.FORM, self.form_cookie, secure=self.secure))
        return response

    def _who(self) -> str:
        try:
            return self.account.name
        except Unauthenticated:
            return ""

    async def change(self, action: str, decide: Callable[[Reading], list[AnyChange]]) -> str:
        """Commit what `decide` wants changed by the signed-in person; the header that an edge waits by.

        The session is looked at again under the write lock.
        """

        def guarded(reading: Reading) -> Decided:
            token = sessions.session_of(reading, self.text, latest_ms_of(self.services))
            changes = tuple(decide(reading))
            return Decided(Draft(SYSTEM, "", token.id, action, changes) if changes else None, None, SYSTEM)

        return await self.commit(guarded)

    async def commit(self, decide: Callable[[Reading], Decided]) -> str:
        if self.services.commit is None:
            raise Unavailable("This node is an edge and writes nothing by itself.", "Ask the origin.", retry_after_s=5)
        committed = await self.services.commit(decide)
        return f"{SYSTEM}={committed.serial}"

    @property
    def principal(self) -> Principal:
        with self.services.catalog.read() as reading:
            return sessions.holder(reading, self.text, latest_ms_of(self.services)) if self.token else ANONYMOUS


Handler = Callable[[Visit], Awaitable[Response]]


class Page(msgspec.Struct, frozen=True):
    """One method of one address. `signed_in`: only for who is; others are sent to sign in and then on. `checked`: its
    form comes from a page of ours; where another site has to send one, its protocol's own state must show whose."""

    method: str
    rule: str
    handler: Handler
    signed_in: bool
    checked: bool = True
    field_chars_max: int = FIELD_CHARS_MAX


class Pages:
    """The pages of one group of handlers."""

    def __init__(self) -> None:
        self.all: list[Page] = []

    def add(
        self, method: str, rule: str, *, signed_in: bool, checked: bool = True, field_chars_max: int = FIELD_CHARS_MAX
    ) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.all.append(Page(method, rule, handler, signed_in, checked, field_chars_max))
            return handler

        return keep


def seen_other(address: str, *headers: tuple[str, str], serial: str = "") -> Response:
    """Go on there with a GET."""
    response = Response(b"", status=303, headers={"Location": address})
    if serial:
        response.headers["Entrepot-Serial"] = serial
    for name, value in headers:
        response.headers.add(name, value)
    return response


def serve(app: Quart, services: Services, page: Page) -> None:
    """Let the application answer with this page."""

    async def view(**at: str) -> Response:
        return await _run(services, page)

    app.add_url_rule(
        page.rule,
        endpoint=f"{page.method} {page.rule}",
        view_func=view,
        methods=[page.method],
        provide_automatic_options=False,
    )


async def _run(services: Services, page: Page) -> Response:
    if services.signing_in is None:
        raise Unavailable("People sign in at the origin.", "Try again.", retry_after_s=5)
    visit = await _visit(services, services.signing_in, page.field_chars_max)
    try:
        if page.checked and page.method not in cookies.SAFE_METHODS:
            cookies.check_form(
                visit.asked, visit.text if visit.token is not None else visit.form_cookie, visit.field(MARK)
            )
        if page.signed_in and visit.token is None:
            return _to_sign_in(visit)
        if visit.token is not None:
            await renew(services, visit.text)
        return await page.handler(visit)
    except Problem as problem:
        return refusal(visit, problem)
    except Exception as bug:
        incident = secrets.token_hex(6)
        _log.error("incident %s in a page", incident, exc_info=bug)
        return refusal(visit, Problem("This is a fault of the node.", f"Its log has more, under incident {incident}."))


def refusal(visit: Visit, problem: Problem) -> Response:
    """A page that says no."""
    response = visit.page("refused.html", problem.status, message=problem.message, remedy=problem.remedy)
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


async def _visit(services: Services, signing_in: SigningIn, field_chars_max: int) -> Visit:
    asked = request._get_current_object()
    secure = cookies.is_secure(asked, services.sign_in.url)
    text = cookies.cookie(asked, cookies.SESSION, secure=secure)
    token: Token | None = None
    with services.catalog.read() as reading:
        try:
            token = sessions.session_of(reading, text, latest_ms_of(services))
        except Unauthenticated:
            text = ""
    form_cookie = cookies.cookie(asked, cookies.FORM, secure=secure)
    fields: dict[str, str] = {}
    if asked.method not in cookies.SAFE_METHODS:
        fields = _read(await asked.form, field_chars_max)
    return Visit(services, signing_in, asked, secure, text, token, form_cookie or _fresh(), fields)


def _read(form: Any, chars_max: int) -> dict[str, str]:
    """Raises Invalid for a field that is there twice, or too long."""
    for name, values in form.lists():
        if len(values) > 1 or len(values[0]) > chars_max or not isinstance(values[0], str):
            raise Invalid(f"The field {name[:40]!r} of this form cannot be read.")
    return {name: values[0] for name, values in form.lists()}


def _fresh() -> str:
    return secrets.token_urlsafe(FORM_BYTES)


def _to_sign_in(visit: Visit) -> Response:
    if visit.asked.method not in cookies.SAFE_METHODS:
        raise Forbidden("You are not signed in any more.", "Sign in, and do it again.")
    target = visit.asked.full_path.rstrip("?")
    return seen_other(f"{SIGN_IN}?next={quote(target, safe='/')}")
