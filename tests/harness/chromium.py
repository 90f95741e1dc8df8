"""How does a test drive a real browser? Debian's Chromium, without a window, kept from everything but the loopback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.harness.clients import program

WAIT_SECONDS_MAX = 30
_ALONE = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--ignore-certificate-errors",  # the test's own authority is nobody the browser knows
)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = program("chromium")
    for one in (*_ALONE, f"--user-data-dir={profile}"):
        options.add_argument(one)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # the home of whoever runs the tests is no business of the browser's
    service = ChromeService(program("chromedriver"), env=dict(os.environ) | {"HOME": str(profile)})
    browser = Chrome(options=options, service=service)
    try:
        browser.set_page_load_timeout(WAIT_SECONDS_MAX)
        yield browser
    finally:
        browser.quit()


def complaints(browser: Chrome) -> list[str]:
    """What the browser has found to be wrong with the pages: what its policy forbids, among other things."""
    return [str(one["message"]) for one in browser.get_log("browser")]
