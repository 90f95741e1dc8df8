"""Does a repository with an upstream serve foreign packages through the edge, byte for byte, and keep them?"""

import sys
from pathlib import Path

import pytest

from tests.harness.clients import npm_upstream, program, python_upstream, run
from tests.harness.running import Up, clean_environment, get
from tests.native.test_npm_clients import module_of, npm, project, registry_of
from tests.native.test_python_clients import install_by_pip, installed_version, upload_by_twine, wheel

pytestmark = [pytest.mark.native, pytest.mark.live]


def reachable(url: str) -> str:
    """Skip with a reason where this machine's upstream does not answer."""
    try:
        if get(url).status >= 500:
            pytest.skip("the upstream of this machine's client configuration does not answer")
    except OSError as error:
        pytest.skip(f"the upstream of this machine's client configuration cannot be reached: {type(error).__name__}")
    return url


@pytest.fixture(scope="module")
def mirrored(node: Up) -> str:
    """A private repository that draws on this machine's own upstreams, which may be mirrors inside its network."""
    python, javascript = reachable(python_upstream()), reachable(npm_upstream())
    place = f"{node.workspace}/mirror"
    node.entrepot("repo", "create", place, url=node.edge)
    node.entrepot("upstream", "add", place, "pypi", python, "--private-network", url=node.edge)
    node.entrepot("upstream", "add", place, "npm", javascript, "--private-network", url=node.edge)
    return place


def downloaded(index: str, folder: Path) -> bytes:
    command = [sys.executable, "-m", "pip", "--isolated", "download", "--no-cache-dir", "--no-deps"]
    run([*command, "--index-url", index, "-d", str(folder), "six==1.16.0"], env=clean_environment())
    (file,) = folder.glob("six-*.whl")
    return file.read_bytes()


def test_a_foreign_wheel_is_the_same_through_the_edge_cold_and_warm(node: Up, mirrored: str, tmp_path: Path) -> None:
    direct = downloaded(python_upstream(), tmp_path / "direct")
    index = node.with_credential(f"{node.edge}/{mirrored}/pypi/simple/")
    assert downloaded(index, tmp_path / "cold") == direct
    assert downloaded(index, tmp_path / "warm") == direct


def test_a_foreign_module_installs_through_the_edge(node: Up, mirrored: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", node, registry_of(node, "edge", mirrored), "user", "1.0.0")
    npm(folder, "install", "is-number@7.0.0")
    assert module_of(folder, "is-number") == "7.0.0"


def test_pnpm_adds_a_foreign_module(node: Up, mirrored: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", node, registry_of(node, "edge", mirrored), "user", "1.0.0")
    environment = clean_environment() | {"HOME": str(tmp_path), "npm_config_userconfig": str(folder / ".npmrc")}
    run([program("pnpm"), "add", "is-odd@3.0.1"], cwd=folder, env=environment)
    assert module_of(folder, "is-odd") == "3.0.1"


def test_c14_a_name_published_here_is_never_answered_by_the_upstream(node: Up, mirrored: str, tmp_path: Path) -> None:
    upload_by_twine(node, "edge", mirrored, wheel(tmp_path, "colorama", "0.0.1"))
    index = node.with_credential(f"{node.edge}/{mirrored}/pypi/simple/")
    install_by_pip(index, tmp_path / "ours", "colorama")
    assert installed_version(tmp_path / "ours", "colorama") == "0.0.1"
