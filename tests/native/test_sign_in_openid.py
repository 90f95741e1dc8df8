"""Do people sign in at a real, certified OpenID provider, through an edge, and only those who may? (C13)"""

import re
import secrets
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.openid_provider import CLIENT_ID, OpenIdProvider, Walker
from tests.harness.running import Up, get
from tests.harness.waiting import until

pytestmark = pytest.mark.native

PEOPLE = {
    "s-ann": {"preferred_username": "ann@acme.example", "name": "Ann", "email": "ann@acme.example",
              "email_verified": True, "groups": ["web", "all"]},
    "s-bob": {"preferred_username": "bob@elsewhere.example", "email": "bob@acme.example", "email_verified": False},
    "s-cat": {"preferred_username": "cat@acme.example"},
    "s-dan": {"preferred_username": "dan@acme.example"},
    "s-eve": {"preferred_username": "ann@acme.example", "email": "eve@acme.example", "email_verified": True},
}  # fmt: skip


_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class World(NamedTuple):
    up: Up
    provider: OpenIdProvider

    @property
    def begin(self) -> str:
        return f"{self.up.edge}/-/sign-in/oidc/demo/acme?next=/-/account"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, secret = tmp_path_factory.mktemp("openid"), secrets.token_urlsafe(32)
    with Up(folder / "data", workers=2) as up:
        back = [f"{node}/-/sign-in/oidc/demo/acme/return" for node in (up.edge, up.origin)]
        own = f"{up.edge}/-/sign-in/oidc/demo/acme"
        told = {"backchannel_logout_uri": f"{own}/back-channel", "backchannel_logout_session_required": True}
        with OpenIdProvider(back, PEOPLE, secret, post_logout_redirect_uris=[f"{own}/signed-out"], **told) as provider:
            _believe(up, provider, folder / "secret", secret)
            yield World(up, provider)
            assert secret not in up.log.read_text()


def _believe(up: Up, provider: OpenIdProvider, file: Path, secret: str) -> None:
    file.write_text(secret)
    up.entrepot("team", "create", "demo/web")
    known = ("--issuer", provider.url, "--client-id", CLIENT_ID, "--client-secret-file", str(file))
    who = ("--domain", "acme.example", "--join", "--groups-claim", "groups", "--team", "web=web", "--private-network")
    made = up.entrepot("sso", "add", "demo/acme", *known, *who, url=up.edge)
    own = f"{up.edge}/-/sign-in/oidc/demo/acme"
    assert made["redirect_uri"] == f"{own}/return"
    assert (made["post_logout_redirect_uri"], made["backchannel_logout_uri"]) == (
        f"{own}/signed-out",
        f"{own}/back-channel",
    )
    assert secret not in str(made)


def test_people_sign_in_join_and_are_who_they_are(world: World) -> None:
    with Walker() as ann:
        page = ann.go(world.begin, "s-ann")
        assert (page.status_code, page.url.path) == (200, "/-/account"), page.text
        assert "ann@acme.example" in page.text
        assert "oidc acme" in page.text
        mine = ann.http.get(f"{world.up.edge}/-/api/v1/repositories/{world.up.private}")
        assert mine.status_code == 404, "a member may do what it was given, and nothing was given"
        world.up.entrepot("grant", "give", world.up.private, "team:web", "--read", url=world.up.edge)
        assert ann.http.get(f"{world.up.edge}/-/api/v1/repositories/{world.up.private}").status_code == 200
        members = world.up.entrepot("member", "list", "demo", url=world.up.edge)["items"]
        [found] = [one for one in members if one["member"] == "managed:ann@acme.example"]
        assert (found["role"], found["teams"]) == ("member", ["web"])
        with Walker() as eve:
            refused = eve.go(world.begin, "s-eve")
            assert refused.status_code == 401, "somebody else who has come to bear her name"
            assert "somebody else" in refused.text
        world.up.entrepot("member", "remove", "demo", "managed:ann@acme.example", url=world.up.edge)
        assert ann.http.get(f"{world.up.edge}/-/api/v1/repositories/{world.up.private}").status_code == 401
    with Walker() as again:
        assert again.go(world.begin, "s-ann").status_code == 401, "who was removed does not come back by himself"
    told = [one["action"] for one in world.up.entrepot("audit", "list", "demo")["items"]]
    assert {"oidc.add", "oidc.join", "oidc.teams"} <= set(told)


def test_who_is_not_of_the_company_stays_outside(world: World) -> None:
    with Walker() as bob:
        refused = bob.go(world.begin, "s-bob")
        assert refused.status_code == 401
        assert "not among those" in refused.text
        assert bob.http.get(f"{world.up.edge}/-/account").status_code == 303


def test_c13_a_way_back_is_good_in_the_browser_that_set_out_and_once(world: World) -> None:
    with Walker() as ann, Walker() as victim:
        ann.go(world.begin, "s-bob")
        [back] = [one for one in ann.visited if "/return?" in one]
        stolen = victim.http.get(back)
        assert stolen.status_code == 403, stolen.text
        assert ann.http.get(back).status_code == 401, "the code was used"
        assert ann.http.get(back.replace("state=", "state=x")).status_code == 403
        elsewhere = back.replace("iss=", "iss=x")
        assert elsewhere != back
        assert ann.http.get(elsewhere).status_code == 403, "another issuer's answer (RFC 9207)"


def _is_in(world: World, walker: Walker) -> bool:
    return walker.http.get(f"{world.up.edge}/-/api/v1/whoami").status_code == 200


def test_c6_signing_out_at_one_is_signing_out_at_both(world: World) -> None:
    """Begun here, through an edge, by a browser; and begun there, by which the provider tells the edge itself."""
    with Walker() as dan, Walker() as again, Walker() as cat:
        for walker, login in ((dan, "s-dan"), (again, "s-dan"), (cat, "s-cat")):
            assert walker.go(world.begin, login).status_code == 200
        page = dan.http.get(f"{world.up.edge}/-/account")
        fields = {"form": dict(_FIELD.findall(page.text))["form"]}
        seen = dan.http.post(f"{world.up.edge}/-/sign-out", data=fields, headers={"Origin": world.up.edge})
        assert not _is_in(world, dan)
        onward = re.search(r'content="0;url=([^"]+)"', seen.text)
        assert onward is not None, seen.text
        done = dan.go(unescape(onward[1]), "")
        assert (done.status_code, "signed you out, too" in done.text) == (200, True), (done.url, done.text)
        asked_again = dan.http.get(str(dan.http.get(world.begin).next_request.url))  # type: ignore[union-attr]
        assert "/interaction/" in asked_again.headers["location"], "nobody is signed in there any more"
        assert [_is_in(world, one) for one in (again, cat)] == [True, True]
        there = again.go(f"{world.provider.url}/session/end", "")
        assert "Sign-out Success" in there.text, there.text
        until(lambda: not _is_in(world, again))
        assert _is_in(world, cat)


def test_c6_whom_a_disabled_or_removed_provider_let_in_is_out_at_origin_and_edge(world: World) -> None:
    """From the edge's own index: it is asked for what it answers by itself."""
    edge, origin = world.up.edge, world.up.origin

    def is_in(walker: Walker) -> list[bool]:
        answers = [walker.http.get(f"{node}/-/api/v1/whoami").status_code for node in (edge, origin)]
        assert set(answers) <= {200, 401}, answers
        return [one == 200 for one in answers]

    with Walker() as cat, Walker() as again:
        assert cat.go(world.begin, "s-cat").status_code == 200
        assert is_in(cat) == [True, True]
        world.up.entrepot("sso", "disable", "demo/acme", url=edge)
        assert is_in(cat) == [False, False]
        assert get(world.begin).status == 404
        world.up.entrepot("sso", "enable", "demo/acme", url=edge)
        assert is_in(cat) == [False, False], "it does not come back"
        assert again.go(world.begin, "s-cat").status_code == 200
        assert is_in(again) == [True, True]
        world.up.entrepot("oidc", "remove", "demo/acme", url=edge)
        assert is_in(again) == [False, False]
    told = [one["action"] for one in world.up.entrepot("audit", "list", "demo")["items"]]
    assert {"oidc.disable", "oidc.enable", "oidc.remove"} <= set(told)


def test_a_provider_that_is_not_there_is_a_page(world: World) -> None:
    for where in ("demo/none", "none/acme", "demo/%00", "-/acme"):
        assert get(f"{world.up.edge}/-/sign-in/oidc/{where}").status in (400, 404)
