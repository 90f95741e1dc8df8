"""Do twine, pip and uv publish and install real packages through origin and edge, private and public?"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment, get, seen_in_time

pytestmark = pytest.mark.native

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
requires-python = ">=3.8"

[tool.setuptools]
py-modules = ["{module}"]
"""


def wheel(folder: Path, name: str, version: str) -> Path:
    """A real, installable wheel, made by hand so that no build back end must be fetched."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    entries = {
        f"{module}.py": f"version = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{entry},,\n" for entry in entries) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, text in entries.items():
            archive.writestr(entry, text)
        archive.writestr(f"{info}/RECORD", record)
    return path


def upload_by_twine(node: Up, door: str, repository: str, *files: Path, ok: bool = True) -> str:
    command = [program("twine"), "upload", "--verbose", "--non-interactive", "--disable-progress-bar"]
    command += ["--repository-url", f"{getattr(node, door)}/{repository}/pypi/legacy/"]
    command += ["-u", "__token__", "-p", node.token, *map(str, files)]
    return run(command, env=clean_environment(), ok=ok)


def upload_by_uv(node: Up, door: str, repository: str, *files: Path) -> None:
    command = [program("uv"), "publish", "--no-config"]
    command += ["--publish-url", f"{getattr(node, door)}/{repository}/pypi/legacy/", *map(str, files)]
    run(command, env=clean_environment() | {"UV_PUBLISH_TOKEN": node.token})


def install_by_pip(index: str, target: Path, *names: str, ok: bool = True) -> str:
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--no-cache-dir", "--no-deps"]
    command += ["--target", str(target), "--index-url", index, *names]
    return run(command, env=clean_environment(), ok=ok)


def install_by_uv(index: str, target: Path, *names: str) -> str:
    command = [program("uv"), "pip", "install", "--no-config", "--no-cache", "--no-deps"]
    command += ["--python", sys.executable, "--target", str(target), "--default-index", index, *names]
    return run(command, env=clean_environment())


def heard(node: Up, repository: str, name: str, file: Path) -> None:
    """Wait until the edge knows a file that was published at the origin."""
    url = f"{node.edge}/{repository}/pypi/files/{name}/{file.name}"
    assert seen_in_time(url, {"Authorization": f"Bearer {node.token}"}, "HEAD").status == 200


def installed_version(target: Path, module: str) -> str:
    code = f"import {module}; print({module}.version)"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(target)}
    ).stdout.strip()


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_twine_publishes_and_pip_and_uv_install(node: Up, tmp_path: Path, door: str) -> None:
    name = f"twined-{door}"
    files = [wheel(tmp_path, name, version) for version in ("1.0", "1.1")]
    upload_by_twine(node, door, node.private, *files)
    for file in files:
        heard(node, node.private, name, file)
    for number, at in enumerate((node.origin, node.edge)):
        index = node.with_credential(f"{at}/{node.private}/pypi/simple/")
        install_by_pip(index, tmp_path / f"pip{number}", name)
        install_by_uv(index, tmp_path / f"uv{number}", f"{name}==1.0")
        assert installed_version(tmp_path / f"pip{number}", name.replace("-", "_")) == "1.1"
        assert installed_version(tmp_path / f"uv{number}", name.replace("-", "_")) == "1.0"


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_uv_publishes_and_anybody_installs_from_the_public_repository(node: Up, tmp_path: Path, door: str) -> None:
    name = f"uved-{door}"
    file = wheel(tmp_path, name, "2.0")
    upload_by_uv(node, door, node.public, file)
    heard(node, node.public, name, file)
    install_by_pip(f"{node.edge}/{node.public}/pypi/simple/", tmp_path / "pip", name)
    install_by_uv(f"{node.origin}/{node.public}/pypi/simple/", tmp_path / "uv", name)
    assert installed_version(tmp_path / "pip", name.replace("-", "_")) == "2.0"


def test_a_built_sdist_and_wheel_go_through(node: Up, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT.format(name="built-demo", version="3.0", module="built_demo"))
    (project / "built_demo.py").write_text("version = '3.0'\n")
    run([program("uv"), "build", "--no-config", str(project)])
    upload_by_twine(node, "edge", node.private, *sorted((project / "dist").glob("built_demo-3.0*")))
    index = node.with_credential(f"{node.edge}/{node.private}/pypi/simple/")
    install_by_uv(index, tmp_path / "wheel", "built-demo")
    assert installed_version(tmp_path / "wheel", "built_demo") == "3.0"


def test_a_version_never_gets_other_bytes(node: Up, tmp_path: Path) -> None:
    first = wheel(tmp_path, "fixed-demo", "1.0")
    upload_by_twine(node, "origin", node.private, first)
    upload_by_twine(node, "origin", node.private, first)
    heard(node, node.private, "fixed-demo", first)
    with zipfile.ZipFile(first, "a") as archive:
        archive.writestr("added.txt", "other bytes")
    refused = upload_by_twine(node, "edge", node.private, first, ok=False)
    assert "Bad Request" in refused
    index = node.with_credential(f"{node.edge}/{node.private}/pypi/simple/")
    install_by_pip(index, tmp_path / "still", "fixed-demo")
    assert not (tmp_path / "still" / "added.txt").exists()


def test_without_a_credential_the_private_index_is_closed(node: Up, tmp_path: Path) -> None:
    install_by_pip(f"{node.edge}/{node.private}/pypi/simple/", tmp_path / "x", "twined-edge", ok=False)
    assert get(f"{node.edge}/{node.private}/pypi/simple/").status == 401


def test_metadata_is_served_beside_the_wheel(node: Up, tmp_path: Path) -> None:
    upload_by_twine(node, "edge", node.public, wheel(tmp_path, "with-metadata", "1.0"))
    url = f"{node.edge}/{node.public}/pypi/files/with-metadata/with_metadata-1.0-py3-none-any.whl.metadata"
    assert b"Name: with-metadata" in get(url).body
    wanted = {"Accept": "application/vnd.pypi.simple.v1+json"}
    page = get(f"{node.edge}/{node.public}/pypi/simple/with-metadata/", wanted)
    assert page.headers["content-type"] == "application/vnd.pypi.simple.v1+json"
    assert b"core-metadata" in page.body


def test_f14_a_quarantined_project_is_not_served_by_address_either(node: Up, tmp_path: Path) -> None:
    file = wheel(tmp_path, "bad-demo", "1.0")
    upload_by_twine(node, "edge", node.public, file)
    etag = ""
    paths = [f"/{node.public}/pypi/files/bad-demo/{file.name}{more}" for more in ("", ".metadata")]
    asked = [(door + path, method) for door in (node.origin, node.edge) for path in paths for method in ("GET", "HEAD")]
    for url, method in 3 * asked:  # cold, cached, and from the memo
        answer = get(url, method=method)
        assert answer.status == 200
        etag = answer.headers["etag"]
    install_by_pip(f"{node.edge}/{node.public}/pypi/simple/", tmp_path / "before", "bad-demo")

    def status(status: str) -> None:
        body = f":action=status&name=Bad_Demo&status={status}&reason=malware".encode()
        headers = {"Authorization": f"Bearer {node.token}", "Content-Type": "application/x-www-form-urlencoded"}
        assert get(f"{node.edge}/{node.public}/pypi/legacy/", headers, "POST", body).status == 200

    status("quarantined")
    for url, method in asked:
        answer = get(url, method=method)
        assert answer.status == 403, (url, method)
        assert method == "HEAD" or b"quarantined: malware" in answer.body
        assert get(url, {"If-None-Match": etag}, method).status == 403
        assert get(url, {"Range": "bytes=0-3"}, method).status == 403
    install_by_pip(f"{node.edge}/{node.public}/pypi/simple/", tmp_path / "meanwhile", "bad-demo", ok=False)
    status("active")
    assert {get(url, method=method).status for url, method in asked} == {200}
