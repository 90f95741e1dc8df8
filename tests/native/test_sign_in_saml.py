"""Do people sign in at a real SAML identity provider, with a real browser, through an edge, and only those who may?

SimpleSAMLphp signs what it says, and what it said is caught on its way to be brought again and elsewhere (C9, C13).
"""

import base64
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from gateway.saml import names
from tests.harness.chromium import WAIT_SECONDS_MAX, chromium
from tests.harness.pairs import Pair
from tests.harness.saml_answers import Signer
from tests.harness.saml_provider import PASSWORD, SESSION_SECONDS, SamlProvider
from tests.harness.waiting import until

pytestmark = pytest.mark.native

PEOPLE = {
    "ann": {"uid": ["u-ann"], "mail": ["ann@acme.example"], "displayName": ["Ann"], "groups": ["web", "all"]},
    "bob": {"uid": ["u-bob"], "mail": ["bob@elsewhere.example"], "groups": ["web"]},
    "cat": {"uid": ["u-cat"], "mail": ["cat@acme.example"]},
    "dan": {"uid": ["u-dan"], "mail": ["dan@acme.example"]},
    "eve": {"uid": ["u-eve"], "mail": ["ann@acme.example"], "groups": ["web"]},
}
_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
_ACTION = re.compile(r'<form[^>]*action="([^"]+)"')


class World(NamedTuple):
    pair: Pair
    provider: SamlProvider

    @property
    def edge(self) -> str:
        return self.pair.edge.tls_url

    def begin(self, provider: str = "corp") -> str:
        return f"{self.edge}/-/sign-in/saml/demo/{provider}?next=/-/account"

    def introduce(self) -> None:
        """Tell the provider what this node tells of itself now."""
        told = httpx2.get(f"{self.edge}/-/sign-in/saml/demo/corp/metadata", trust_env=False, verify=False)
        assert told.status_code == 200, told.text
        self.provider.know(told.text)

    def says(self, *arguments: str) -> Any:
        code, told, errors = self.pair.entrepot(*arguments, node=self.pair.edge)
        assert code == 0, errors
        return told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("saml")
    with Pair(folder / "data", workers=2) as pair, SamlProvider(folder / "idp", PEOPLE, [Signer(), Signer()]) as idp:
        world = World(pair, idp)
        world.says("team", "create", "demo/web")
        (folder / "metadata.xml").write_text(idp.metadata())
        back = f"{world.edge}/-/sign-in/saml/demo/corp"
        known = ("--metadata", str(folder / "metadata.xml"), "--audience", f"{back}/metadata", "--private-network")
        who = ("--domain", "acme.example", "--join", "--groups-attribute", "groups", "--team", "web=web")
        made = world.says("sso", "add-saml", "demo/corp", *known, *who, "--subject-attribute", "uid")
        assert made["people"]["back"] == "/-/sign-in/saml/demo/corp/return"
        assert len(made["saml"]["certificates"]) == 2, "the one it has and the one that will take over"
        world.introduce()
        yield world


class Walker:
    """A browser without a screen, that can be stopped between two pages."""

    def __init__(self) -> None:
        self.http = httpx2.Client(follow_redirects=False, trust_env=False, verify=False)

    def __enter__(self) -> "Walker":
        return self

    def __exit__(self, *about: object) -> None:
        self.http.close()

    def go(self, address: str) -> httpx2.Response:
        """From there on, as far as redirects lead."""
        answer = self.http.get(address)
        while answer.is_redirect:
            assert answer.next_request is not None
            answer = self.http.get(str(answer.next_request.url))
        return answer

    def answer_of(self, begin: str, login: str) -> tuple[str, dict[str, str]]:
        """What the provider has the browser bring back, and where to."""
        page = self.go(begin)
        if "SAMLResponse" not in page.text:  # nobody is signed in there yet
            fields = dict(_FIELD.findall(page.text)) | {"username": login, "password": PASSWORD}
            page = self.http.post(str(page.url), data={key: unescape(value) for key, value in fields.items()})
            while page.is_redirect:
                assert page.next_request is not None
                page = self.http.get(str(page.next_request.url))
        return self.form_of(page)

    def form_of(self, page: httpx2.Response) -> tuple[str, dict[str, str]]:
        """Where the form on a page leads, and what it holds."""
        action = _ACTION.search(page.text)
        assert action is not None, page.text
        return unescape(action[1]), {key: unescape(value) for key, value in _FIELD.findall(page.text)}

    def bring(self, to: str, fields: dict[str, str], *, cookies: bool = False) -> httpx2.Response:
        """By a POST of another site, which brings no cookies along, and on from there."""
        request = self.http.build_request("POST", to, data=fields)
        if not cookies:
            request.headers.pop("cookie", None)
        answer = self.http.send(request)
        return self.go(str(answer.next_request.url)) if answer.next_request is not None else answer


def _sign_in(browser: Chrome, world: World, login: str) -> str:
    """With a real browser; what the last page says."""
    browser.get(f"{world.edge}/-/sign-in")
    browser.find_element(By.PARTIAL_LINK_TEXT, "identity provider").click()
    browser.find_element(By.ID, "workspace").send_keys("demo")
    browser.find_element(By.CSS_SELECTOR, "button.yes").click()
    _wait(browser, lambda: browser.find_elements(By.LINK_TEXT, "corp"))
    browser.find_element(By.LINK_TEXT, "corp").click()
    _wait(browser, lambda: browser.find_elements(By.ID, "username"))
    browser.find_element(By.ID, "username").send_keys(login)
    browser.find_element(By.ID, "password").send_keys(PASSWORD)
    browser.find_element(By.ID, "password").submit()
    _wait(browser, lambda: browser.current_url.startswith(f"{world.edge}/-/"))
    return browser.find_element(By.TAG_NAME, "body").text


def _wait(browser: Chrome, holds: Any) -> None:
    WebDriverWait(browser, WAIT_SECONDS_MAX).until(lambda _: holds())


def test_c13_people_sign_in_with_a_real_browser_join_and_are_who_they_are(world: World, tmp_path: Path) -> None:
    with chromium(tmp_path / "ann") as browser:
        text = _sign_in(browser, world, "ann")
        assert browser.current_url == f"{world.edge}/-/account", text
        assert "ann@acme.example" in text
        assert "saml corp" in text
        assert "entrepot-going" not in {one["name"] for one in browser.get_cookies()}
    members = world.says("member", "list", "demo")["items"]
    [found] = [one for one in members if one["member"] == "managed:ann@acme.example"]
    assert (found["role"], found["teams"]) == ("member", ["web"])
    with chromium(tmp_path / "bob") as browser:
        assert "not among those" in _sign_in(browser, world, "bob")
    with Walker() as eve:
        refused = eve.bring(*eve.answer_of(world.begin(), "eve"))
        assert (refused.status_code, "somebody else" in refused.text) == (401, True), "who has come to bear her name"
    told = [one["action"] for one in world.says("audit", "list", "demo")["items"]]
    assert {"saml.add", "saml.join", "saml.teams"} <= set(told)


def test_c13_an_answer_is_good_once_in_the_browser_that_asked(world: World) -> None:
    with Walker() as ann, Walker() as thief, Walker() as other:
        to, fields = ann.answer_of(world.begin(), "ann")
        assert to == f"{world.edge}/-/sign-in/saml/demo/corp/return"
        other.go(world.begin())
        stolen = other.bring(to, fields)
        assert (stolen.status_code, stolen.url.path) == (403, "/-/sign-in/saml/demo/corp/finish"), stolen.text
        assert other.http.get(f"{world.edge}/-/account").status_code == 303
        again = ann.bring(to, fields)
        assert (again.status_code, "used before" in again.text) == (401, True)
        to, fields = ann.answer_of(world.begin(), "ann")
        forged = base64.b64decode(fields["SAMLResponse"]).replace(b"ann@acme", b"eve@acme")
        tampered = fields | {"SAMLResponse": base64.b64encode(forged).decode()}
        assert thief.bring(to, tampered).status_code == 401
        assert ann.bring(to, fields | {"RelayState": "elsewhere"}).status_code == 403
        to, fields = ann.answer_of(world.begin(), "ann")
        assert ann.bring(to.replace("/corp/", "/none/"), fields).status_code == 404
        entered = ann.bring(to, fields)
        assert (entered.status_code, entered.url.path) == (200, "/-/account"), entered.text
        sessions = ann.http.get(f"{world.edge}/-/api/v1/sessions").json()["items"]
        assert all(one["ends_ms"] - one["began_ms"] <= SESSION_SECONDS * 1000 for one in sessions), "it said how long"
        world.says("member", "remove", "demo", "managed:ann@acme.example")
        assert ann.http.get(f"{world.edge}/-/api/v1/whoami").status_code == 401
        to, fields = thief.answer_of(world.begin(), "ann")
        assert thief.bring(to, fields).status_code == 401, "who was removed does not come back by himself"


def test_keys_take_over_and_sha1_does_not(world: World, tmp_path: Path) -> None:
    world.provider.write_metadata(signing=1)
    with Walker() as cat:
        entered = cat.bring(*cat.answer_of(world.begin(), "cat"))
        assert (entered.status_code, entered.url.path) == (200, "/-/account"), entered.text
    (tmp_path / "fresh.xml").write_text(world.provider.metadata())
    told = world.says("sso", "renew-saml", "demo/corp", "--metadata", str(tmp_path / "fresh.xml"))
    assert len(told["saml"]["certificates"]) == 1
    world.provider.write_metadata()
    with Walker() as cat:
        refused = cat.bring(*cat.answer_of(world.begin(), "cat"))
        assert (refused.status_code, "not signed by your" in refused.text) == (401, True), "a key that was given up"
    world.provider.write_metadata(signing=1, weak=True)
    with Walker() as cat:
        refused = cat.bring(*cat.answer_of(world.begin(), "cat"))
        assert (refused.status_code, "not taken" in refused.text) == (401, True)
    world.provider.write_metadata(signing=1)


def _renew(world: World, folder: Path, *more: str) -> Any:
    """Tell this node what the provider says of itself now, and that what this node says of itself."""
    (folder / "fresh.xml").write_text(world.provider.metadata())
    told = world.says("sso", "renew-saml", "demo/corp", "--metadata", str(folder / "fresh.xml"), *more)
    world.introduce()
    return told


def _enters(world: World, login: str) -> str:
    """What a browser brought from the provider, by which it is in."""
    with Walker() as walker:
        to, fields = walker.answer_of(world.begin(), login)
        entered = walker.bring(to, fields)
        assert (entered.status_code, entered.url.path) == (200, "/-/account"), entered.text
        return base64.b64decode(fields["SAMLResponse"]).decode()


def test_c9_what_the_provider_encrypts_for_this_node_is_read(world: World, tmp_path: Path) -> None:
    """By the key in this node's own metadata, inside a signed answer; by AES-CBC without one around it where that is
    wanted. A new key takes over, and what is for a key that was retired is for nobody."""
    try:
        world.provider.write_metadata(signing=1, assertion__encryption=True, saml20__sign__response=True)
        said = _enters(world, "dan")
        assert ("EncryptedAssertion" in said, "-cbc" in said, "dan@acme" in said) == (True, True, False)
        world.provider.write_metadata(signing=1, assertion__encryption=True, saml20__sign__response=False)
        with Walker() as dan:
            refused = dan.bring(*dan.answer_of(world.begin(), "dan"))
            assert (refused.status_code, "AES-CBC" in refused.text) == (401, True), refused.text
        _renew(world, tmp_path, "--accept-cbc")
        _enters(world, "dan")
        _renew(world, tmp_path, "--no-accept-cbc")
        with Walker() as dan:
            assert dan.bring(*dan.answer_of(world.begin(), "dan")).status_code == 401
        world.provider.write_metadata(signing=1, assertion__encryption=True, saml20__sign__response=True)
        made = world.says("sso", "key", "add", "demo/corp")
        _enters(world, "cat")
        old = world.provider.client.read_text()
        world.introduce()
        assert world.provider.client.read_text() != old
        _enters(world, "cat")
        first, second = world.says("sso", "key", "list", "demo/corp")["items"]
        assert second["id"] == made["id"]
        world.says("sso", "key", "retire", "demo/corp", first["id"])
        _enters(world, "dan")
        world.provider.know(old)
        with Walker() as cat:
            refused = cat.bring(*cat.answer_of(world.begin(), "cat"))
            assert (refused.status_code, "cannot be read here" in refused.text) == (401, True)
    finally:
        world.provider.write_metadata(signing=1)
        world.introduce()


def test_c9_a_provider_that_wants_signed_requests_gets_them(world: World, tmp_path: Path) -> None:
    """It says so in its metadata, and takes those by the key that it was told alone."""
    try:
        world.provider.write_metadata(signing=1, validate__authnrequest=True)
        (tmp_path / "fresh.xml").write_text(world.provider.metadata())
        told = world.says("sso", "renew-saml", "demo/corp", "--metadata", str(tmp_path / "fresh.xml"))
        assert told["saml"]["wants_signed"]
        world.introduce()
        _enters(world, "cat")
        made, old = world.says("sso", "key", "add", "demo/corp"), told["saml"]["keys"][0]["id"]
        _enters(world, "cat")
        world.says("sso", "key", "retire", "demo/corp", old)
        with Walker() as cat, pytest.raises(AssertionError):
            cat.answer_of(world.begin(), "cat")
        world.introduce()
        _enters(world, "cat")
        assert [one["id"] for one in world.says("sso", "key", "list", "demo/corp")["items"]] == [made["id"]]
    finally:
        world.provider.write_metadata(signing=1)
        world.introduce()


def _is_in(world: World, walker: Walker) -> bool:
    return walker.http.get(f"{world.edge}/-/api/v1/whoami").status_code == 200


def _in(world: World, walker: Walker, login: str) -> None:
    entered = walker.bring(*walker.answer_of(world.begin(), login))
    assert (entered.status_code, entered.url.path) == (200, "/-/account"), entered.text


def _sign_out(world: World, walker: Walker) -> httpx2.Response:
    """By the button on the account's page."""
    page = walker.go(f"{world.edge}/-/account")
    fields = {"form": dict(_FIELD.findall(page.text))["form"]}
    return walker.http.post(f"{world.edge}/-/sign-out", data=fields, headers={"Origin": world.edge})


def _out(world: World, walker: Walker) -> httpx2.Response:
    """Where the page that comes then leads on to."""
    seen = _sign_out(world, walker)
    onward = re.search(r'content="0;url=([^"]+)"', seen.text)
    assert onward is not None, seen.text
    return walker.go(unescape(onward[1]))


def test_c6_signing_out_at_one_is_signing_out_at_both(world: World, tmp_path: Path) -> None:
    """Begun here, through an edge, and begun there, by address and by form; whoever else is in stays so."""
    try:
        world.provider.write_metadata(signing=1, sign__logout=True, validate__logout=True)
        (tmp_path / "fresh.xml").write_text(world.provider.metadata())
        world.says("sso", "renew-saml", "demo/corp", "--metadata", str(tmp_path / "fresh.xml"))
        world.introduce()
        with Walker() as dan, Walker() as cat, Walker() as again:
            for walker, login in ((dan, "dan"), (cat, "cat"), (again, "dan")):
                _in(world, walker, login)
            done = _out(world, dan)
            assert ("signed you out, too" in done.text, _is_in(world, dan)) == (True, False), done.text
            page = dan.go(world.begin())
            assert "SAMLResponse" not in page.text, "the provider knows nobody in this browser any more"
            assert (_is_in(world, cat), _is_in(world, again)) == (True, True)
            ended = cat.go(f"{world.provider.url}/saml2/idp/SingleLogoutService.php?ReturnTo={world.provider.url}/")
            assert ended.status_code == 200, ended.text
            until(lambda: not _is_in(world, cat))
            assert _is_in(world, again)
            world.provider.know(_by_form(world.provider.client.read_text()))
            _in(world, cat, "cat")
            page = cat.go(f"{world.provider.url}/saml2/idp/SingleLogoutService.php?ReturnTo={world.provider.url}/")
            to, fields = cat.form_of(page)
            assert to == f"{world.edge}/-/sign-in/saml/demo/corp/logout"
            back = cat.http.post(to, data=fields, headers={"Cookie": ""})
            assert (back.status_code, "SAMLResponse=" in back.headers["location"]) == (303, True), back.text
            until(lambda: not _is_in(world, cat))
            assert cat.http.post(to, data=fields).status_code == 401, "it is taken once"
            assert _is_in(world, again)
    finally:
        world.provider.write_metadata(signing=1)
        world.introduce()


def test_c6_signing_out_at_a_provider_that_takes_forms_alone(world: World, tmp_path: Path) -> None:
    """Its metadata has no other binding: it proves what this node has signed in a form, request and answer."""
    try:
        world.provider.write_metadata(
            signing=1, sign__logout=True, validate__logout=True, SingleLogoutServiceBinding=[names.BY_POST]
        )
        told = _renew(world, tmp_path)
        assert (told["saml"]["logout_by_form"], bool(told["saml"]["logout"])) == (True, True)
        with Walker() as dan, Walker() as cat:
            for walker, login in ((dan, "dan"), (cat, "cat")):
                _in(world, walker, login)
            page = _sign_out(world, dan)
            to, fields = dan.form_of(page)
            assert (to.startswith(world.provider.url), list(fields), _is_in(world, dan)) == (
                True, ["SAMLRequest"], False,
            )  # fmt: skip
            done = _follow(dan, dan.http.post(to, data=fields))
            assert "signed you out, too" in done.text, done.text
            assert "SAMLResponse" not in dan.go(world.begin()).text, "nobody is signed in there any more"
            world.provider.know(_by_form(world.provider.client.read_text()))
            page = cat.go(f"{world.provider.url}/saml2/idp/SingleLogoutService.php?ReturnTo={world.provider.url}/")
            to, fields = cat.form_of(page)
            assert to == f"{world.edge}/-/sign-in/saml/demo/corp/logout"
            told_back = cat.http.post(to, data=fields, headers={"Cookie": ""})
            until(lambda: not _is_in(world, cat))
            to, fields = cat.form_of(told_back)
            assert (to.startswith(world.provider.url), "SAMLResponse" in fields) == (True, True)
            ended = _follow(cat, cat.http.post(to, data=fields))
            assert (ended.status_code, "SAMLRequest" in ended.text) == (200, False), ended.text
    finally:
        world.provider.write_metadata(signing=1)
        _renew(world, tmp_path)


def test_c6_a_name_that_the_provider_encrypts_is_the_same_to_sign_in_and_out(world: World, tmp_path: Path) -> None:
    try:
        world.provider.write_metadata(signing=1, nameid__encryption=True, sign__logout=True, validate__logout=True)
        _renew(world, tmp_path)
        world.provider.know(_by_form(world.provider.client.read_text()))
        with Walker() as cat:
            to, fields = cat.answer_of(world.begin(), "cat")
            said = base64.b64decode(fields["SAMLResponse"]).decode()
            assert ("EncryptedID" in said, "<saml:NameID" in said) == (True, False)
            assert cat.bring(to, fields).url.path == "/-/account"
            page = cat.go(f"{world.provider.url}/saml2/idp/SingleLogoutService.php?ReturnTo={world.provider.url}/")
            to, fields = cat.form_of(page)
            assert "EncryptedID" in base64.b64decode(fields["SAMLRequest"]).decode()
            back = cat.http.post(to, data=fields, headers={"Cookie": ""})
            assert back.status_code == 303, back.text
            until(lambda: not _is_in(world, cat))
    finally:
        world.provider.write_metadata(signing=1)
        _renew(world, tmp_path)


def _follow(walker: Walker, answer: httpx2.Response) -> httpx2.Response:
    """As far as redirects lead."""
    return walker.go(str(answer.next_request.url)) if answer.next_request is not None else answer


def _by_form(description: str) -> str:
    """This node as one that hears of signing out by forms alone."""
    return re.sub(r'<SingleLogoutService Binding="[^"]+Redirect" [^>]*/>', "", description)


def test_the_node_describes_itself(world: World) -> None:
    with Walker() as anybody:
        told = anybody.http.get(f"{world.edge}/-/sign-in/saml/demo/corp/metadata")
        assert told.headers["content-type"] == "application/samlmetadata+xml"
        assert f'Location="{world.edge}/-/sign-in/saml/demo/corp/return"' in told.text
        assert f'entityID="{world.edge}/-/sign-in/saml/demo/corp/metadata"' in told.text
        assert anybody.http.get(f"{world.edge}/-/sign-in/oidc/demo/corp").status_code == 404
