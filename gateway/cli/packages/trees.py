"""Which files of a directory are pushed, and where does each go?

generic and maven keep a file's path below the directory. Of other formats every package in it is taken, whatever
directory it lies in. What is left out is told: hidden files, links to directories, what is no package, what no file is.
A link that leads out of the directory ends it before anything is sent: whoever made the tree may mean another's file.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.cli.packages.native import guess
from gateway.cli.terminal.output import Usage
from gateway.cli.terminal.sizes import count_of

FILES_MAX = 100_000
KEEPING = ("generic", "maven")
"""Formats in which a path says what a file is."""

_PACKAGES = {
    "pypi": (".whl", ".tar.gz", ".zip"),
    "npm": (".tgz",),
    "deb": (".deb", ".udeb", ".ddeb", ".dsc", ".changes", ".buildinfo", ".diff.gz", ".tar.gz", ".tar.xz", ".tar.bz2"),
}
_OF_A_MACHINE = ("_remote.repositories", "resolver-status.properties", "maven-metadata-local.xml")
"""What mvn keeps of its own beside the files of a local repository."""


class Sending(NamedTuple):
    """A file, or an image layout, and its path below the place; "" = as its format has it."""

    file: Path
    path: str
    format: str


class LeftOut(NamedTuple):
    """What of a directory is not pushed, and why."""

    file: Path
    why: str


def in_tree(folder: Path, format: str, path: str, hidden: bool) -> tuple[list[Sending], list[LeftOut]]:
    """What goes and what does not, both in the order of their names. `path` is that of the place; with `hidden` names
    that begin with a dot are taken too. Raises Usage."""
    if not folder.is_dir():
        raise Usage(f"{folder} is no directory.")
    prefix = path.strip("/") + "/" if path.strip("/") else ""
    going: list[Sending] = []
    left: list[LeftOut] = []
    for number, (file, why) in enumerate(_walk(folder, folder.resolve(), hidden)):
        if number >= FILES_MAX:
            raise Usage(f"{folder} has more than {FILES_MAX} files.", "Push it in parts.")
        chosen = format or guess(file)
        if why or (why := _not_a_package(file, chosen)):
            left.append(LeftOut(file, why))
        elif chosen in KEEPING:
            going.append(Sending(file, prefix + file.relative_to(folder).as_posix(), chosen))
        else:
            going.append(Sending(file, path, chosen))
    _check_names(folder, going)
    if not going:
        out = f"{count_of(len(left), 'file')} there {'is' if len(left) == 1 else 'are'} left out" if left else ""
        what = f"{out}: {left[0].file}: {left[0].why}." if left else "It has no files."
        raise Usage(f"There is nothing to push in {folder}. {what}", "Say what it is with --format.")
    return going, left


def _walk(folder: Path, root: Path, hidden: bool) -> Iterator[tuple[Path, str]]:
    """Every file below, and why it is left out, "" for one that is not. Links to directories are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        file = folder / entry.name
        if entry.name.startswith(".") and not hidden:
            yield file, "hidden; --hidden takes it too"
        elif entry.is_symlink():
            yield file, _of_link(file, root, hidden)
        elif entry.is_dir():
            yield from _walk(file, root, hidden)
        else:
            yield file, "" if entry.is_file() else "neither a file nor a directory"


def _of_link(file: Path, root: Path, hidden: bool) -> str:
    """Why a link is left out. Raises Usage for one that leads out, or nowhere."""
    try:
        target = file.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise Usage(f"The link {file} leads nowhere.", "Take it away, or put there what it means.") from error
    if not target.is_relative_to(root):
        raise Usage(f"The link {file} leads out of the directory.", "Put the file itself there, or push it by name.")
    if not hidden and any(part.startswith(".") for part in target.relative_to(root).parts):
        return "a link to what is hidden"
    mode = target.stat().st_mode
    return "" if stat.S_ISREG(mode) else "a link to a directory, whose files go under their own path"


def _not_a_package(file: Path, format: str) -> str:
    if not format:
        return "no package, by its name"
    if format == "maven" and (file.name in _OF_A_MACHINE or file.name.endswith(".lastUpdated")):
        return "a note of mvn's own"
    if endings := _PACKAGES.get(format):
        return "" if file.name.endswith(endings) else f"no package of {format}, by its name"
    return ""


def _check_names(folder: Path, going: list[Sending]) -> None:
    for one in going:
        try:
            one.path.encode()
            str(one.file).encode()
        except UnicodeEncodeError:
            raise Usage(f"A name in {folder} is no UTF-8: {one.file!r}.", "Rename it.") from None
