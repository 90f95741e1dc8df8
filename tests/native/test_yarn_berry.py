"""Does yarn berry (4) publish and install, as the README says, through origin and edge?"""

import json
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment

pytestmark = pytest.mark.native


def project(folder: Path, node: Up, registry: str, name: str, version: str, credential: bool = True) -> Path:
    """A folder with a package.json and a .yarnrc.yml that names the registry."""
    folder.mkdir()
    manifest = {"name": name, "version": version, "main": "index.js", "license": "Apache-2.0"}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / "index.js").write_text(f"module.exports = '{version}';\n")
    (folder / "yarn.lock").write_text("")  # a project of its own, whatever lies above
    lines = [
        f'npmRegistryServer: "{registry}"',
        'unsafeHttpWhitelist: ["127.0.0.1"]',
        "nodeLinker: node-modules",
        "enableTelemetry: false",
        "enableGlobalCache: false",
        "enableImmutableInstalls: false",
        "npmMinimalAgeGate: 0",  # else it takes no version of the last days
    ]
    if credential:
        lines += [f'npmAuthToken: "{node.token}"', "npmAlwaysAuth: true"]
    (folder / ".yarnrc.yml").write_text("\n".join(lines) + "\n")
    return folder


def berry(folder: Path, *arguments: str, ok: bool = True) -> str:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return run([program("yarn-berry"), *arguments], cwd=folder, env=clean_environment() | {"HOME": str(home)}, ok=ok)


@pytest.mark.parametrize("door", ["origin", "edge"])
@pytest.mark.parametrize("name", ["berry-{door}", "@berry/pack-{door}"])
def test_berry_publishes_and_installs(node: Up, tmp_path: Path, door: str, name: str) -> None:
    name = name.format(door=door)
    registry = f"{getattr(node, door)}/{node.private}/npm"
    for version in ("1.0.0", "1.1.0"):
        folder = project(tmp_path / version, node, registry, name, version)
        berry(folder, "install")
        berry(folder, "npm", "publish")
    user = project(tmp_path / "user", node, registry, "user", "1.0.0")
    berry(user, "add", f"{name}@^1.0.0")
    assert json.loads((user / "node_modules" / name / "package.json").read_text())["version"] == "1.1.0"
    assert name in berry(user, "npm", "info", name)


def test_without_a_credential_nothing_is_installed(node: Up, tmp_path: Path) -> None:
    registry = f"{node.edge}/{node.private}/npm"
    folder = project(tmp_path / "p", node, registry, "closed-to-berry", "1.0.0")
    berry(folder, "install")
    berry(folder, "npm", "publish")
    user = project(tmp_path / "u", node, registry, "user", "1.0.0", credential=False)
    assert "authentication" in berry(user, "add", "closed-to-berry", ok=False)
