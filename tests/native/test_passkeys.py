"""Does a person sign in with passkeys in a real browser, at an edge? Chromium, with authenticators of its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import (
    Credential,
    Protocol,
    Transport,
    VirtualAuthenticatorOptions,
)
from selenium.webdriver.support.ui import WebDriverWait

from bench.ports import free_port
from tests.harness.chromium import WAIT_SECONDS_MAX, chromium, complaints
from tests.harness.pairs import Pair
from tests.harness.persons import WORDS, Person

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Its people reach it at the edge, by a name: browsers have no passkeys for addresses."""
    port = free_port()
    url = {"url": f"https://localhost:{port}"}
    with Pair(tmp_path_factory.mktemp("passkeys"), workers=2, edge_tls_port=port, sign_in=url) as pair:
        yield pair
        for secret in (WORDS, "ens_"):
            assert secret not in pair.words()
            for node in (pair.origin, pair.edge):
                assert secret not in node.logged()


class Ann(Person):
    """With a laptop that knows her finger."""

    def get(self, path: str) -> None:
        self.browser.get(f"{self.edge}{path}")

    def shows(self, path: str = "/-/sign-in/passkey") -> None:
        self.get(path)
        self.press("Show it")

    def is_told(self, words: str) -> None:
        """By the script, on the page where she is."""
        self.browser.find_element(By.XPATH, "//button[normalize-space()='Show it']").click()
        WebDriverWait(self.browser, WAIT_SECONDS_MAX).until(lambda _: words in self.text)

    def adds(self, name: str) -> None:
        self.get("/-/account")
        self.type(called=name, adding=WORDS)
        self.press("Add a passkey")
        self.press("Make it")

    @property
    def at(self) -> str:
        return self.browser.current_url.removeprefix(self.edge)


def authenticator(browser: Chrome) -> None:
    """Plug one in, with room for passkeys, that knows its person."""
    browser.add_virtual_authenticator(
        VirtualAuthenticatorOptions(
            protocol=Protocol.CTAP2,
            transport=Transport.INTERNAL,
            has_resident_key=True,
            has_user_verification=True,
            is_user_verified=True,
        )
    )


def put(browser: Chrome, kept: Credential, count: int) -> None:
    """Have the authenticator hold this passkey alone, and count on from `count`."""
    browser.remove_all_credentials()
    told = kept.to_dict() | {"signCount": count}
    browser.add_credential(Credential.from_dict(told))


def test_c13_a_person_signs_in_with_passkeys_in_a_real_browser_at_an_edge(pair: Pair, tmp_path: Path) -> None:
    code, _, errors = pair.entrepot("user", "create", "ann", node=pair.edge)
    assert code == 0, errors
    code, made, errors = pair.entrepot("user", "password-link", "ann", node=pair.edge)
    assert code == 0, errors
    with chromium(tmp_path / "profile") as browser:
        authenticator(browser)
        ann = Ann(pair, browser, tmp_path, made["link"].partition("/-/")[0])
        ann.set_password(made["link"])
        ann.sign_in()
        _registers(ann)
        _signs_in_by_it_alone(ann)
        _needs_more_than_a_password(ann)
        _signs_in_by_both(ann)
        assert complaints(browser) == [], "nothing that the policy of the pages forbids"
        _is_refused_with_a_copy(ann)
        _loses_it(ann)


def _registers(ann: Ann) -> None:
    ann.adds("laptop")
    assert len(ann.browser.find_elements(By.CSS_SELECTOR, "#recovery li")) == 10, "for when it is lost"
    ann.get("/-/account")
    assert "laptop" in ann.text
    ann.type(called="again", adding=WORDS)
    ann.press("Add a passkey")
    ann.browser.find_element(By.XPATH, "//button[normalize-space()='Make it']").click()
    WebDriverWait(ann.browser, WAIT_SECONDS_MAX).until(lambda _: "You have a passkey of this account" in ann.text)
    (kept,) = ann.browser.get_credentials()
    assert (kept.is_resident_credential, kept.rp_id) == (True, "localhost")


def _signs_out(ann: Ann) -> None:
    ann.get("/-/account")
    ann.press("Sign out")


def _signs_in_by_it_alone(ann: Ann) -> None:
    _signs_out(ann)
    ann.get("/-/sign-in?next=%2F-%2Fdevice")
    ann.browser.find_element(By.LINK_TEXT, "With a passkey").click()
    ann.browser.set_user_verified(False)
    ann.is_told("No passkey was shown.")
    ann.browser.set_user_verified(True)
    ann.press("Show it")
    assert ann.at == "/-/device", "and then on"
    ann.get("/-/account")
    assert "passkey" in ann.browser.find_element(By.TAG_NAME, "table").text
    assert "never" not in ann.text, "it was used"


def _needs_more_than_a_password(ann: Ann) -> None:
    _signs_out(ann)
    ann.sign_in()
    assert "This is not right." in ann.text
    assert complaints(ann.browser) != [], "the 401"
    code, made, errors = ann.pair.entrepot("user", "recovery-codes", "ann", node=ann.pair.edge)
    assert code == 0, errors
    ann.sign_in(made["codes"][0])
    assert ann.at == "/-/account", "as if the passkey were lost"
    assert "password and recovery" in ann.text
    assert "9 of them are left" in ann.text
    _signs_out(ann)


def _signs_in_by_both(ann: Ann) -> None:
    """A finger is not asked for then."""
    ann.get("/-/sign-in/password-and-passkey")
    ann.browser.set_user_verified(False)
    ann.type(name="ann", password=WORDS)
    ann.press("Show it")
    assert ann.at == "/-/account"
    assert "password and passkey" in ann.text
    ann.browser.set_user_verified(True)


def _is_refused_with_a_copy(ann: Ann) -> None:
    """What somebody copied counts from where it was copied."""
    _signs_out(ann)
    (kept,) = ann.browser.get_credentials()
    assert kept.sign_count > 2
    put(ann.browser, kept, 0)
    ann.shows()
    assert "This passkey is not known here" in ann.text
    assert "a copy?" in ann.pair.words()
    put(ann.browser, kept, kept.sign_count)
    ann.shows()
    assert ann.at == "/-/account"


def _loses_it(ann: Ann) -> None:
    """She has another one, sees them at her terminal, and the administrator takes the lost one away; then herself."""
    pair = ann.pair
    (lost,) = ann.browser.get_credentials()
    ann.browser.remove_all_credentials()
    ann.adds("security key")
    code, listed, errors = pair.entrepot("user", "passkeys", "ann", node=pair.edge)
    assert code == 0, errors
    ids = {one["name"]: one["id"] for one in listed["items"]}
    assert sorted(ids) == ["laptop", "security key"]
    code, _, errors = pair.entrepot("user", "remove-passkey", "ann", ids["laptop"], node=pair.edge)
    assert code == 0, errors
    ann.get("/-/account")
    assert ann.at.startswith("/-/sign-in"), "signed out at once, at the edge"
    ann.shows()
    assert ann.at == "/-/account"
    assert "laptop" not in ann.text
    (other,) = ann.browser.get_credentials()
    for kept in (lost, other):
        if kept is other:
            code, _, errors = pair.entrepot("user", "close", "ann", node=pair.edge)
            assert code == 0, errors
        put(ann.browser, kept, kept.sign_count)
        ann.shows()
        assert "This passkey is not known here" in ann.text
    code, trail, errors = pair.entrepot("audit", "list", "--action", "passkey")
    assert code == 0, errors
    assert sorted(one["action"] for one in trail["items"]) == ["passkey.add", "passkey.add", "passkey.remove"]
    assert not re.search("laptop|passkey_", pair.origin.logged()), "what they are called is in no log of requests"
