"""How does an edge hold what a build will want? Everything is read through it once beforehand, as a client does.

What an edge lacks it fetches once, whoever asks, and keeps: so files are asked for at their own addresses, a few at a
time, and thrown away here. Of what was published the node tells the addresses, in every format; of what only an
upstream has, the index pages of pip and npm do.
"""

import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec

from gateway.cli.packages.locks import Locked, locked_in
from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.each import meant
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.progress import steps
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Item, place
from storage.errors import Absent, Problem

INDEXED = ("pypi", "npm")
"""Formats whose clients' index pages are read."""
AT_A_TIME_MAX = 64
FILE_BYTES_MAX = 16 << 20
SIMPLE = {"Accept": "application/vnd.pypi.simple.v1+json"}


class Warmed(NamedTuple):
    """One file that was asked for. `outcome` is the node's own word: HIT = it was there."""

    url: str
    size: int
    outcome: str


def warm(
    repository: str,
    /,
    *,
    lock_file: Path | None = None,
    query: str = "",
    at_a_time: int = 8,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> int:
    """Have a node fetch and keep what a lock file names, or a query finds: packages and images of every format.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    lock_file
        A requirements.txt, uv.lock, poetry.lock, pylock.toml, package-lock.json, yarn.lock or pnpm-lock.yaml.
    query
        What `entrepot search` finds by it here: 'format:oci tag:latest', 'name:^web version:>=2', 'name:*'. An image
        comes with its layers and signatures.
    at_a_time
        How many files are asked for at once.
    """
    if (lock_file is None) == (not query):
        raise Usage("It is not clear what to fetch.", "Give --lock-file FILE or --query QUERY.")
    if not 1 <= at_a_time <= AT_A_TIME_MAX:
        raise Usage(f"{at_a_time} files at a time cannot be.", f"Use 1 to {AT_A_TIME_MAX}.")
    where, out = place(repository), Output(json)
    with reach(url, profile) as node, ThreadPoolExecutor(at_a_time) as threads:
        locked = _locked(lock_file) if lock_file is not None else []
        found = meant(node, (), query, str(where)) if query else []
        pages = list(threads.map(lambda one: _listed(node, f"/{where}", one), locked))
        pages += threads.map(lambda one: _published(node, one), found)
        names = [f"{one.name} {one.version}".strip() for one in locked] + [str(one) for one in found]
        missing = [name for name, page in zip(names, pages, strict=True) if not page]
        targets = list(dict.fromkeys(target for page in pages for target in page))
        done: list[Warmed] = []
        with steps(out, len(targets)) as bar:
            bar.begin(str(where))
            for result in threads.map(lambda target: _tried(node, target), targets):
                done += [result] if result is not None else []
                bar.done()
    failed = len(targets) - len(done)
    told: dict[str, Any] = {
        "packages": len({(one.format, one.package) for one in found}) if query else len(locked),
        "files": len(done),
        "bytes": sum(one.size for one in done),
        "fetched": sum(one.outcome not in ("HIT", "") for one in done),
        "failed": failed,
        "missing": missing,
    }
    text = (
        f"Warm: {count_of(told['files'], 'file')} of {count_of(told['packages'], 'package')}, "
        f"{size_of(told['bytes'])}, {told['fetched']} of them fetched now."
    )
    if query and not found:
        text = f"The query finds nothing in {where}. What one finds: entrepot search QUERY."
    text += f" {failed} could not be read: try again, or look at the node's log." if failed else ""
    out.fact(told, text + (f" Not found: {', '.join(missing)}." if missing else ""))
    return 1 if failed or missing else 0


def _locked(file: Path) -> list[Locked]:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Usage(f"{file} is larger than any lock file.")
        return locked_in(file.name, file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read.", "Name a lock file.") from error


def _published(node: Client, one: Item) -> list[str]:
    """The addresses of the files of what a query found, and of all that it needs."""
    path = f"/repositories/{one.place}/files/{urllib.parse.quote(one.package, safe='/')}"
    try:
        return [node.url + file["path"] for file in node.items(path, format=one.format, version=one.version)]
    except Absent:  # it is an upstream's
        locked = Locked(one.format, one.package, one.version)
        return _listed(node, f"/{one.place}", locked) if one.format in INDEXED else []


def _listed(node: Client, base: str, wanted: Locked) -> list[str]:
    """The addresses of the files of one package, as the node's own index tells them; [] where it knows none."""
    try:
        if wanted.format == "pypi":
            page = f"{base}/pypi/simple/{urllib.parse.quote(wanted.name, safe='')}/"
            return [
                urllib.parse.urljoin(node.url + page, one["url"]) for one in _pypi(_json(node, page, SIMPLE), wanted)
            ]
        page = f"{base}/npm/{urllib.parse.quote(wanted.name, safe='@')}"
        versions = _json(node, page, {}).get("versions", {})
        chosen = [versions[wanted.version]] if wanted.version in versions else []
        return [one["dist"]["tarball"] for one in (versions.values() if not wanted.version else chosen)]
    except (Problem, KeyError, TypeError, AttributeError):
        return []


def _pypi(page: Any, wanted: Locked) -> list[Any]:
    files = page["files"]
    if wanted.sha256s:
        return [one for one in files if one.get("hashes", {}).get("sha256") in wanted.sha256s]
    marks = (f"-{wanted.version}-", f"-{wanted.version}.")
    return [one for one in files if not wanted.version or any(mark in one["filename"] for mark in marks)]


def _json(node: Client, path: str, headers: dict[str, str]) -> Any:
    return msgspec.json.decode(node.send("GET", path, headers=headers, follow_redirects=True).content)


def _tried(node: Client, target: str) -> Warmed | None:
    """Read one file to its end. None where that failed, or the address is another node's: no token goes there."""
    if not target.startswith(node.url + "/"):
        return None
    try:
        size, outcome = node.read_through(target.removeprefix(node.url))
    except (Problem, httpx2.HTTPError):
        return None
    return Warmed(target, size, outcome)
