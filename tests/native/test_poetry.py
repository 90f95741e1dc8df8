"""Does poetry publish and install, as the README says, through origin and edge?"""

from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment
from tests.native.test_python_clients import wheel

pytestmark = pytest.mark.native

PROJECT = """
[project]
name = "user-of-acme"
version = "1.0.0"
requires-python = ">=3.9"

[tool.poetry]
package-mode = false
"""


class Poetry:
    """poetry in a project of its own, with a home of its own, and the credential of `node` for the source `acme`."""

    def __init__(self, node: Up, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "pyproject.toml").write_text(PROJECT)
        home = folder / "home"
        self._environment = clean_environment() | {
            "HOME": str(home),
            "POETRY_CONFIG_DIR": str(home / "config"),
            "POETRY_CACHE_DIR": str(home / "cache"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        self("config", "http-basic.acme", "token", node.token)

    def __call__(self, *arguments: str, ok: bool = True) -> str:
        command = [program("poetry"), *arguments, "--no-interaction"]
        return run(command, cwd=self.folder, env=self._environment, ok=ok)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_poetry_publishes_and_installs(node: Up, tmp_path: Path, door: str) -> None:
    name = f"by-poetry-{door}"
    publisher = Poetry(node, tmp_path / "publisher")
    (publisher.folder / "dist").mkdir()
    at = f"{getattr(node, door)}/{node.private}/pypi"
    for version in ("1.0.0", "1.1.0"):
        file = wheel(publisher.folder / "dist", name, version)
        text = PROJECT.replace("user-of-acme", name).replace("1.0.0", version).replace("package-mode = false", "")
        (publisher.folder / "pyproject.toml").write_text(text)
        publisher("config", "repositories.acme", f"{at}/legacy/")
        publisher("publish", "-r", "acme")
        file.unlink()
    user = Poetry(node, tmp_path / "user")
    user("source", "add", "--priority=primary", "acme", f"{at}/simple/")
    user("add", f"{name}<1.1")
    assert "1.0.0" in user("show", name)
    user("update", name)
    user("add", f"{name}@latest")
    assert "1.1.0" in user("show", name)
    assert f'url = "{at}/simple"' in (user.folder / "poetry.lock").read_text()


def test_poetry_is_told_what_is_wrong(node: Up, tmp_path: Path) -> None:
    poetry = Poetry(node, tmp_path / "p")
    poetry("source", "add", "--priority=primary", "acme", f"{node.edge}/{node.private}/pypi/simple/")
    assert "not-there" in poetry("add", "not-there", ok=False)
    poetry("config", "http-basic.acme", "token", "ent_wrong")
    assert "401" in poetry("add", "not-there", ok=False) or "authori" in poetry("add", "not-there", ok=False).lower()
