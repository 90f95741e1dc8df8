"""Does a person sign in with a real browser, at an edge, and get a token for a terminal in both ways?"""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyotp import TOTP
from selenium.webdriver.common.by import By

from tests.harness.chromium import chromium, complaints
from tests.harness.clients import program
from tests.harness.pairs import Pair
from tests.harness.persons import WORDS, Person

pytestmark = pytest.mark.native

SECRETS: list[str] = []


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("signin"), workers=2) as pair:
        yield pair
        assert SECRETS, "the key of her codes"
        for secret in (WORDS, "ens_", *SECRETS):
            assert secret not in pair.words()
            for node in (pair.origin, pair.edge):
                assert secret not in node.logged()


def test_c13_a_person_signs_in_with_a_real_browser_and_logs_a_terminal_in(pair: Pair, tmp_path: Path) -> None:
    for arguments in (
        ("user", "create", "ann"),
        ("member", "add", "demo", "user:ann", "--role", "manager"),
    ):
        code, _, errors = pair.entrepot(*arguments, node=pair.edge)
        assert code == 0, errors
    code, made, errors = pair.entrepot("user", "password-link", "ann", node=pair.edge)
    assert code == 0, errors
    assert made["link"].startswith(f"{pair.edge.url}/-/set-password?"), "as the administrator reaches the node"
    with chromium(tmp_path / "profile") as browser:
        ann = Person(pair, browser, tmp_path)
        _set_password(ann, made["link"].replace(pair.edge.url, pair.edge.tls_url))
        totp = _set_up_codes(ann)
        _is_kept_from_others(ann)
        _log_in_by_browser(ann)
        _log_in_by_code(ann)
        _sign_in_with_code(ann, totp)
        _is_ended_everywhere(ann)
        assert complaints(browser) == []


def _set_password(ann: Person, link: str) -> None:
    ann.set_password(link)
    assert ann.browser.current_url == f"{ann.edge}/-/sign-in"
    ann.type(name="ann", password="something else entirely")
    ann.press("Sign in")
    assert "This is not right." in ann.text
    ann.sign_in()
    assert ann.browser.current_url == f"{ann.edge}/-/account"
    assert "Chrome on Linux (this one)" in ann.text


def _set_up_codes(ann: Person) -> TOTP:
    ann.type(shown=WORDS)
    ann.press("Set them up")
    secret = ann.browser.find_element(By.ID, "secret").text
    assert secret not in ann.browser.current_url
    assert f"?secret={secret}&" in _read_by_a_camera(ann), "what the screen shows"
    SECRETS.append(secret)
    totp = TOTP(secret)
    ann.type(code=totp.now())
    ann.press("Ask for such codes from now on")
    assert len(ann.browser.find_elements(By.CSS_SELECTOR, "#recovery li")) == 10
    ann.browser.get(f"{ann.edge}/-/account")
    assert "One-time codes are asked for" in ann.text
    return totp


def _read_by_a_camera(ann: Person) -> str:
    picture = ann.folder / "screen.png"
    ann.browser.execute_script("document.querySelector('svg.drawing').scrollIntoView()")
    assert ann.browser.save_screenshot(str(picture))
    command = [program("zbarimg"), "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _is_kept_from_others(ann: Person) -> None:
    """The cookie is for this host over TLS, no script has it, and no other page can send a form."""
    cookie = next(one for one in ann.browser.get_cookies() if one["name"] == "__Host-entrepot")
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    assert ann.browser.execute_script("return document.cookie") == ""
    account = ann.browser.current_url
    evil = ann.folder / "evil.html"
    evil.write_text(
        f'<!doctype html><iframe id="framed" src="{account}"></iframe>'
        f'<form method="post" action="{ann.edge}/-/sign-out"><button>Win</button></form>'
    )
    ann.browser.get(evil.as_uri())
    assert not ann.browser.execute_script(
        "try { return document.getElementById('framed').contentDocument !== null } catch (e) { return false }"
    )
    complaints(ann.browser)  # that it may not be framed is what is wanted
    ann.press("Win")
    assert "not sent from a page of this node" in ann.text
    ann.browser.get(account)
    assert ann.browser.current_url == account
    complaints(ann.browser)  # and the 403


def _log_in_by_browser(ann: Person) -> None:
    opened = ann.folder / "opened"
    opener = ann.folder / "opener"
    opener.write_text(f'#!{sys.executable}\nimport sys\nopen({str(opened)!r}, "w").write(sys.argv[1])\n')
    opener.chmod(0o700)
    words = ("login", "--url", ann.pair.edge.url, "--scope", "demo/main:read", "--expires", "1h", "--json")
    login = ann.terminal(*words, BROWSER=f"{opener} %s")
    end = time.monotonic() + 60
    while not opened.exists() or not opened.read_text():
        assert time.monotonic() < end
        assert login.poll() is None, login.communicate()
        time.sleep(0.05)
    ann.browser.get(opened.read_text().replace(ann.pair.edge.url, ann.edge))
    assert "demo/main: read" in ann.text
    ann.press("Yes, give it one")
    assert "go back to your terminal" in ann.text
    out, err = login.communicate(timeout=60)
    assert login.returncode == 0, err
    told = json.loads(out)
    file = ann.folder / "config" / "entrepot" / "config.toml"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    token = file.read_text().partition('token = "')[2].partition('"')[0]
    assert token.startswith("ent_")
    assert token not in out + err
    who = ann.says("whoami")
    assert (who["user"], who["id"]) == ("ann", told["id"])
    assert ann.pair.edge.ask("GET", "/-/api/v1/repositories/demo/main", token).status == 200, "judged by the edge"
    assert ann.pair.edge.ask("PUT", "/demo/main/generic/x", token, b"x").status == 403, "its scope is to read"
    ann.says("logout")
    assert ann.pair.edge.ask("GET", "/-/api/v1/repositories/demo/main", token).status == 401
    assert token not in file.read_text()


def _log_in_by_code(ann: Person) -> None:
    login = ann.terminal("login", "--device", "--url", ann.pair.edge.url, "--profile", "box")
    assert login.stderr is not None
    shown = login.stderr.readline()
    assert shown.startswith(f"Open {ann.pair.edge.url}/-/device and type ")
    ann.browser.get(f"{ann.edge}/-/device")
    ann.type(user_code=shown.split()[-1].lower())
    ann.press("Go on")
    assert "all that you may" in ann.text
    ann.press("Yes, give it one")
    assert "Your terminal has its token" in ann.text
    _, err = login.communicate(timeout=60)
    assert login.returncode == 0, err
    done = ann.terminal("--profile", "box", "whoami", "--json")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert json.loads(out)["user"] == "ann"
    listed = {one["name"]: one["current"] for one in ann.says("profile", "list")["items"]}
    assert listed["box"]
    assert len(listed) == 2


def _sign_in_with_code(ann: Person, totp: TOTP) -> None:
    ann.browser.get(f"{ann.edge}/-/account")
    ann.press("Sign out")
    ann.browser.get(f"{ann.edge}/-/device?user_code=BCDF-GHJK")
    assert "/-/sign-in?next=" in ann.browser.current_url
    ann.sign_in()
    assert "This is not right." in ann.text, "a code is asked for"
    ann.sign_in(_next_code(totp))
    assert ann.browser.current_url == f"{ann.edge}/-/device?user_code=BCDF-GHJK", "and then on"
    assert "No program waits with this code" in ann.text


def _next_code(totp: TOTP) -> str:
    """The one of the step to come, which is taken and was not shown yet."""
    return totp.at(int(time.time()), counter_offset=1)


def _is_ended_everywhere(ann: Person) -> None:
    """Its session is judged by the edge itself, and is over there when the administrator's command is done."""
    cookie = next(one for one in ann.browser.get_cookies() if one["name"] == "__Host-entrepot")
    headers = {"Cookie": f"__Host-entrepot={cookie['value']}"}
    assert _whoami(ann.pair, headers) == 200
    for node in (ann.pair.edge, ann.pair.origin):  # and who comes behind her without a cookie is nobody
        assert node.ask("GET", "/-/account").status == 303
    code, listed, errors = ann.pair.entrepot("user", "sessions", "ann")
    assert code == 0, errors
    assert [one["method"] for one in listed["items"] if one["state"] == "active"] == ["password and totp"]
    code, _, errors = ann.pair.entrepot("user", "sign-out", "ann", node=ann.pair.edge)
    assert code == 0, errors
    assert _whoami(ann.pair, headers) == 401
    complaints(ann.browser)  # the 401s and the 400
    ann.browser.get(f"{ann.edge}/-/account")
    assert "/-/sign-in" in ann.browser.current_url


def _whoami(pair: Pair, headers: dict[str, str]) -> int:
    with pair.edge.speaker(tls=True) as speaker:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        speaker.send(f"GET /-/api/v1/whoami HTTP/1.1\r\nHost: {pair.edge.tls_url[8:]}\r\n{lines}\r\n".encode())
        return speaker.hear().status
