"""Which packages does a lock file name? Pure: requirements.txt with hashes, uv.lock, package-lock.json."""

import json
import re
import tomllib
from pathlib import PurePath
from typing import Any, NamedTuple

from gateway.cli.terminal.output import Usage

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Locked(NamedTuple):
    """One package of a lock file. `sha256s` are those of its files that the lock names, none = any of the version."""

    format: str
    name: str
    version: str
    sha256s: frozenset[str] = frozenset()


def locked_in(file_name: str, text: str) -> list[Locked]:
    """What a lock file names, each once. Raises Usage for one that cannot be read."""
    try:
        if PurePath(file_name).suffix == ".json":
            found = _npm(json.loads(text))
        elif PurePath(file_name).suffix in (".lock", ".toml"):
            found = _uv(tomllib.loads(text))
        else:
            found = _requirements(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Usage(
            f"{file_name} cannot be read as a lock file.", "Give a package-lock.json, uv.lock or requirements.txt."
        ) from None
    if not found:
        raise Usage(f"{file_name} names no package with its version.", "Pin versions: NAME==VERSION --hash=sha256:...")
    return list(dict.fromkeys(found))


def _requirements(text: str) -> list[Locked]:
    joined = re.sub(r"\\\r?\n", " ", text)
    found = []
    for line in joined.splitlines():
        match = _REQUIREMENT.match(line.strip())
        if match is not None:
            found.append(Locked("pypi", match[1], match[2], frozenset(_HASH.findall(line))))
    return found


def _uv(document: dict[str, Any]) -> list[Locked]:
    found = []
    for package in document.get("package", ()):
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        hashes = frozenset(one["hash"].removeprefix("sha256:") for one in files if "hash" in one)
        if files:
            found.append(Locked("pypi", package["name"], package["version"], hashes))
    return found


def _npm(document: dict[str, Any]) -> list[Locked]:
    found = []
    for place, package in document.get("packages", {}).items():
        name = package.get("name") or place.rpartition("node_modules/")[2]
        if place and package.get("version") and package.get("resolved") and not package.get("link"):
            found.append(Locked("npm", name, package["version"]))
    return found
