"""Are all dependencies locked with hashes, in versions that pyproject allows, and without any address?"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(name: str) -> dict[str, str]:
    found = (PIN.match(line) for line in (ROOT / name).read_text().splitlines())
    return {canonicalize_name(match[1]): match[2] for match in found if match}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_lock_is_pins_and_hashes_and_nothing_else(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    strange = [line for line in lines if not PIN.match(line) and not HASH.match(line)]
    assert strange == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert not PIN.match(line) or HASH.match(following), f"no hash for {line}"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.txt", PROJECT["project"]["dependencies"]),
        ("requirements.txt", PROJECT["build-system"]["requires"]),
        ("requirements-test.txt", PROJECT["project"]["dependencies"]),
        ("requirements-test.txt", PROJECT["build-system"]["requires"]),
        ("requirements-test.txt", PROJECT["project"]["optional-dependencies"]["test"]),
    ],
)
def test_lock_satisfies_pyproject(name: str, wanted: list[str]) -> None:
    locked = pins(name)
    for text in wanted:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{name} lacks {requirement.name}"
        assert requirement.specifier.contains(version), f"{name} has {requirement.name} {version}"


def test_tests_run_on_the_versions_that_users_get() -> None:
    running, testing = pins("requirements.txt"), pins("requirements-test.txt")
    assert {name: testing.get(name) for name in running} == running
