"""Which packages does a lock file name? Pure.

requirements.txt with hashes, uv.lock, poetry.lock, pylock.toml (PEP 751); package-lock.json, yarn.lock of both kinds,
pnpm-lock.yaml. Of the last two only the lines that name packages are read, whose form does not change.
"""

import json
import re
import tomllib
from pathlib import PurePath
from typing import Any, NamedTuple

from gateway.cli.terminal.output import Usage

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_YARN_NAMES = re.compile(r'"?((?:@[^@/\s"]+/)?[^@/\s":]+)@(?:npm:|[\^~<>=*\d])[^\n]*:')
_YARN_VERSION = re.compile(r'  version:? "?([^"\s]+)"?')
_PNPM = re.compile(r"  '?/?((?:@[^@/\s']+/)?[^@/\s':]+)@([0-9][^\s'():]*)(?:\([^\s']*\))?'?:")


class Locked(NamedTuple):
    """One package of a lock file. `sha256s` are those of its files that the lock names, none = any of the version."""

    format: str
    name: str
    version: str
    sha256s: frozenset[str] = frozenset()


def locked_in(file_name: str, text: str) -> list[Locked]:
    """What a lock file names, each once. Raises Usage for one that cannot be read."""
    try:
        name = PurePath(file_name)
        if name.suffix == ".json":
            found = _npm(json.loads(text))
        elif name.name == "yarn.lock":
            found = _yarn(text)
        elif name.suffix in (".yaml", ".yml"):
            found = _pnpm(text)
        elif name.suffix in (".lock", ".toml"):
            found = _python(tomllib.loads(text))
        else:
            found = _requirements(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Usage(
            f"{file_name} cannot be read as a lock file.",
            "Known: requirements.txt, uv.lock, poetry.lock, pylock.toml, package-lock.json, yarn.lock, pnpm-lock.yaml.",
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


def _python(document: dict[str, Any]) -> list[Locked]:
    """uv's and poetry's own, and what all tools shall have in common."""
    found = []
    for package in (*document.get("package", ()), *document.get("packages", ())):
        files = [*package.get("wheels", ()), *package.get("files", ())]
        files += [package[one] for one in ("sdist", "archive") if one in package]
        hashes = frozenset(filter(None, map(_sha256, files)))
        if files and "version" in package:
            found.append(Locked("pypi", package["name"], package["version"], hashes))
    return found


def _sha256(file: dict[str, Any]) -> str:
    said = str(file.get("hash", ""))
    return str(file.get("hashes", {}).get("sha256", "")) or (said[7:] if said.startswith("sha256:") else "")


def _yarn(text: str) -> list[Locked]:
    found, name = [], ""
    for line in text.splitlines():
        if line[:1].strip():
            match = _YARN_NAMES.fullmatch(line)
            name = match[1] if match is not None else ""
        elif name and (version := _YARN_VERSION.fullmatch(line)) is not None:
            found.append(Locked("npm", name, version[1]))
            name = ""
    return found


def _pnpm(text: str) -> list[Locked]:
    _, _, packages = text.partition("\npackages:\n")
    listed = re.split(r"\n(?=\S)", packages, maxsplit=1)[0]
    return [Locked("npm", match[1], match[2]) for line in listed.splitlines() if (match := _PNPM.fullmatch(line))]


def _npm(document: dict[str, Any]) -> list[Locked]:
    found = []
    for place, package in document.get("packages", {}).items():
        name = package.get("name") or place.rpartition("node_modules/")[2]
        if place and package.get("version") and package.get("resolved") and not package.get("link"):
            found.append(Locked("npm", name, package["version"]))
    return found
