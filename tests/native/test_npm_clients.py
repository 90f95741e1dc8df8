"""Do npm and pnpm publish, tag, deprecate, unpublish and install through origin and edge?"""

import json
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment, seen_in_time

pytestmark = pytest.mark.native


def project(folder: Path, node: Up, registry: str, name: str, version: str, credential: bool = True) -> Path:
    """A folder with a package.json and an .npmrc that names the registry."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": name, "version": version, "main": "index.js", "license": "Apache-2.0"}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / "index.js").write_text(f"module.exports = '{version}';\n")
    lines = [f"registry={registry}", "update-notifier=false", "fund=false", "audit=true"]
    if credential:
        lines.append(f"{registry.partition(':')[2]}:_authToken={node.token}")
    (folder / ".npmrc").write_text("\n".join(lines) + "\n")
    return folder


def environment(folder: Path) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return clean_environment() | {
        "HOME": str(home),
        "npm_config_cache": str(home / "cache"),
        "npm_config_userconfig": str(folder / ".npmrc"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "xdg"),
    }


def npm(folder: Path, *arguments: str, ok: bool = True) -> str:
    return run([program("npm"), *arguments], cwd=folder, env=environment(folder), ok=ok)


def pnpm(folder: Path, *arguments: str) -> str:
    return run([program("pnpm"), *arguments], cwd=folder, env=environment(folder))


def registry_of(node: Up, door: str, repository: str) -> str:
    return f"{getattr(node, door)}/{repository}/npm/"


def module_of(folder: Path, name: str) -> str:
    return json.loads((folder / "node_modules" / name / "package.json").read_text())["version"]


@pytest.mark.parametrize("door", ["origin", "edge"])
@pytest.mark.parametrize("name", ["plain-{door}", "@scoped/pack-{door}"])
def test_npm_publishes_and_both_install(node: Up, tmp_path: Path, door: str, name: str) -> None:
    name = name.format(door=door)
    for version in ("1.0.0", "1.1.0"):
        npm(project(tmp_path / version, node, registry_of(node, door, node.private), name, version), "publish")
    file = f"{registry_of(node, 'edge', node.private)}{name}/-/{name.rpartition('/')[2]}-1.1.0.tgz"
    assert seen_in_time(file, {"Authorization": f"Bearer {node.token}"}, "HEAD").status == 200
    for at in ("origin", "edge"):
        user = project(tmp_path / f"npm-{at}", node, registry_of(node, at, node.private), "user", "1.0.0")
        npm(user, "install", name)
        assert module_of(user, name) == "1.1.0"
        other = project(tmp_path / f"pnpm-{at}", node, registry_of(node, at, node.private), "other", "1.0.0")
        pnpm(other, "add", f"{name}@1.0.0")
        assert module_of(other, name) == "1.0.0"


def test_pnpm_publishes_and_the_public_repository_is_open(node: Up, tmp_path: Path) -> None:
    registry = registry_of(node, "edge", node.public)
    pnpm(project(tmp_path / "p", node, registry, "by-pnpm", "2.0.0"), "publish", "--no-git-checks")
    user = project(tmp_path / "user", node, registry, "user", "1.0.0", credential=False)
    npm(user, "install", "by-pnpm")
    assert module_of(user, "by-pnpm") == "2.0.0"


def test_tags_deprecation_and_unpublish(node: Up, tmp_path: Path) -> None:
    registry = registry_of(node, "edge", node.private)
    for version in ("1.0.0", "2.0.0"):
        folder = project(tmp_path / version, node, registry, "lifecycle", version)
        npm(folder, "publish")
    npm(folder, "dist-tag", "add", "lifecycle@1.0.0", "stable")
    assert "stable: 1.0.0" in npm(folder, "dist-tag", "ls", "lifecycle")
    npm(folder, "deprecate", "lifecycle@1.0.0", "use 2")
    assert "use 2" in npm(folder, "view", "lifecycle@1.0.0", "deprecated")
    npm(folder, "unpublish", "lifecycle@1.0.0", "--force")
    versions = json.loads(npm(folder, "view", "lifecycle", "versions", "--json"))
    assert versions in ("2.0.0", ["2.0.0"])
    npm(folder, "publish", ok=False)


def test_whoami_search_and_audit(node: Up, tmp_path: Path) -> None:
    registry = registry_of(node, "edge", node.private)
    folder = project(tmp_path / "p", node, registry, "findable-thing", "1.0.0")
    npm(folder, "publish")
    assert npm(folder, "whoami").strip()
    assert "findable-thing" in npm(folder, "search", "findable")
    user = project(tmp_path / "u", node, registry, "user", "1.0.0")
    npm(user, "install", "findable-thing")
    assert "found 0 vulnerabilities" in npm(user, "audit")


def test_without_a_credential_nothing_is_installed(node: Up, tmp_path: Path) -> None:
    registry = registry_of(node, "edge", node.private)
    folder = project(tmp_path / "p", node, registry, "closed-thing", "1.0.0")
    npm(folder, "publish")
    user = project(tmp_path / "u", node, registry, "user", "1.0.0", credential=False)
    assert "E401" in npm(user, "install", "closed-thing", ok=False)
