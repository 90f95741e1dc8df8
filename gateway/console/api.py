"""Which application serves `/-/`? Every route with the permission it declares, every error as a problem document."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from quart import Quart, Response, g, request
from quart.routing import QuartRule
from quart_trio import QuartTrio

from gateway.console.calls import problems
from gateway.console.calls.answering import run
from gateway.console.calls.call import BODY_BYTES_MAX, Call, Reply, Route, Routes, bytes_of
from gateway.console.calls.clock import version
from gateway.console.calls.permissions import ANYBODY
from gateway.console.calls.services import Services
from gateway.console.calls.tracing import request_id
from gateway.console.document import explaining, openapi
from gateway.console.history import audit, exporting, traffic
from gateway.console.nodes import edges, facts, hosts, upkeep
from gateway.console.packages import copying, holding, pulls, reading, removing, searching, withholding
from gateway.console.people import credentials, disabling, entitlements, grants, oidc, people, saml, samlkeys
from gateway.console.repositories import deleting, networks, quotas, replication, rotating, signing, tenancy, upstreams
from gateway.console.scim import discovery, groups, users
from gateway.console.scim import searching as scim_searching
from gateway.console.scim import tokens as scim_tokens
from gateway.console.signin import (
    accounts,
    logins,
    logouts,
    lost,
    openid,
    openid_logouts,
    passkeys,
    programs,
    recovery,
    registered,
    sessions,
    visits,
)
from gateway.console.signin import credentials as own_credentials
from gateway.console.signin import saml as saml_pages
from gateway.console.webhooks import webhooks
from gateway.delivery.requests.manage import PRINCIPAL, SPAN
from gateway.delivery.requests.request import REQUEST_ID
from storage.spans import borrowed

DESCRIPTION = Routes("/-/api/v1")


@DESCRIPTION.add("GET", "/openapi.json", ANYBODY, alone=True, gives=dict[str, Any])
async def describe(call: Call) -> Reply:
    """This document."""
    return Reply(200, description())


@cache
def description() -> str:
    """The API as an OpenAPI 3.1 document."""
    return msgspec.json.format(msgspec.json.encode(openapi.document(ROUTES, version()))).decode()


ROUTES: tuple[Route, ...] = (
    *DESCRIPTION.all,
    *facts.NODE.all,
    *explaining.ROUTES.all,
    *facts.ROUTES.all,
    *holding.ROUTES.all,
    *reading.ROUTES.all,
    *tenancy.ROUTES.all,
    *deleting.ROUTES.all,
    *upstreams.ROUTES.all,
    *rotating.ROUTES.all,
    *signing.ROUTES.all,
    *withholding.ROUTES.all,
    *removing.ROUTES.all,
    *copying.ROUTES.all,
    *hosts.ROUTES.all,
    *hosts.EXPORT.all,
    *credentials.ROUTES.all,
    *sessions.ROUTES.all,
    *registered.ROUTES.all,
    *recovery.ROUTES.all,
    *lost.ROUTES.all,
    *logins.ROUTES.all,
    *entitlements.ROUTES.all,
    *people.ROUTES.all,
    *grants.ROUTES.all,
    *oidc.ROUTES.all,
    *disabling.ROUTES.all,
    *saml.ROUTES.all,
    *samlkeys.ROUTES.all,
    *webhooks.ROUTES.all,
    *scim_tokens.ROUTES.all,
    *discovery.ROUTES.all,
    *users.ROUTES.all,
    *groups.ROUTES.all,
    *scim_searching.ROUTES.all,
    *upkeep.ROUTES.all,
    *edges.ROUTES.all,
    *quotas.ROUTES.all,
    *networks.ROUTES.all,
    *audit.ROUTES.all,
    *replication.ROUTES.all,
    *replication.NODE.all,
    *searching.ROUTES.all,
    *traffic.ROUTES.all,
    *pulls.ROUTES.all,
    *exporting.ROUTES.all,
)

PAGES: tuple[visits.Page, ...] = (
    *accounts.PAGES.all,
    *own_credentials.PAGES.all,
    *programs.PAGES.all,
    *passkeys.PAGES.all,
    *openid.PAGES.all,
    *saml_pages.PAGES.all,
    *logouts.PAGES.all,
    *openid_logouts.PAGES.all,
)
"""What people see in a browser: no part of the API, and declared as it is."""
SHOWS = {route.rule: route.shows for route in ROUTES if route.shows is not None}
"""What is shown of the one thing at an address."""

PRIVATE = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Sent with every answer: some hold a token, all depend on who asks."""


class _Rule(QuartRule):
    """A rule that paths are matched with, and no address is built by. Code for the latter would be compiled for each of
    them, at every start: nine tenths of what making the application took."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _build_nothing


def _build_nothing(rule: _Rule, **values: object) -> tuple[str, str]:
    raise TypeError("no address is built by a rule: they are written down where they are needed")


class _Application(QuartTrio):
    url_rule_class: Any = _Rule


def make_app(services: Services) -> Quart:
    """The application for one worker; `services` is all that it knows of its node."""
    app = _Application("entrepot", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False
    problems.install(app)
    for route in ROUTES:
        _serve(app, services, route)
    for page in PAGES:
        visits.serve(app, services, page)

    @app.before_request
    async def name_it() -> None:
        g.request_id = request_id(request.headers.get("traceparent", ""))

    @app.after_request
    async def keep_private(response: Response) -> Response:
        for name, value in (*PRIVATE, (REQUEST_ID, g.request_id), *g.get("limits", ())):
            response.headers.setdefault(name, value)
        if principal := g.get("principal", ""):
            response.headers[PRINCIPAL] = principal  # for the client log alone: it goes no further than the front
        return response

    return app


def _serve(app: Quart, services: Services, route: Route) -> None:
    shows = SHOWS.get(route.rule)

    async def view(**at: str) -> Response:
        with borrowed(request.headers.get(SPAN, "")):
            return _response_of(await run(services, route, at, shows))

    app.add_url_rule(
        route.rule,
        endpoint=f"{route.method} {route.rule}",
        view_func=view,
        methods=[route.method],
        provide_automatic_options=False,
    )


def _response_of(reply: Reply) -> Response:
    return Response(bytes_of(reply), status=reply.status, headers=dict(reply.headers), content_type=reply.media)
