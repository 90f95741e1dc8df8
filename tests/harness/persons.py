"""How does a test play a person, at a real browser and at a terminal?"""

import json
import subprocess
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.harness.chromium import WAIT_SECONDS_MAX
from tests.harness.pairs import Pair
from tests.harness.running import ENTREPOT, clean_environment

WORDS = "correct horse battery"


class Person:
    """Ann at her browser, which knows the edge alone, and at her terminal. `edge` is what she calls it."""

    def __init__(self, pair: Pair, browser: Chrome, folder: Path, edge: str = "") -> None:
        self.pair, self.browser, self.folder = pair, browser, folder
        self.edge = edge or pair.edge.tls_url

    def type(self, **fields: str) -> None:
        for name, text in fields.items():
            field = self.browser.find_element(By.ID, name)
            field.clear()
            field.send_keys(text)

    def press(self, words: str) -> None:
        """Press the button that says so, and wait for another page."""
        page = self.browser.find_element(By.TAG_NAME, "html")
        self.browser.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()
        WebDriverWait(self.browser, WAIT_SECONDS_MAX).until(lambda _: _is_gone(page))

    def set_password(self, link: str) -> None:
        """By a link of an administrator's."""
        self.browser.get(link)
        self.type(new=WORDS, again=WORDS)
        self.press("Set it")

    def sign_in(self, code: str = "") -> None:
        self.type(name="ann", password=WORDS, code=code)
        self.press("Sign in")

    @property
    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text

    def terminal(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        environment = clean_environment() | {"XDG_CONFIG_HOME": str(self.folder / "config"), "NO_COLOR": "1"} | more
        return subprocess.Popen(
            [*ENTREPOT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def says(self, *arguments: str) -> Any:
        done = self.terminal(*arguments, "--json")
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0, err
        return json.loads(out)


def _is_gone(page: Any) -> bool:
    try:
        page.is_enabled()
    except Exception:
        return True
    return False
