"""Does --help tell of every command what each of its arguments and options means, and can each speak to programs?"""

import io
import re
from collections.abc import Iterator

import pytest
from cyclopts import App
from rich.console import Console

from gateway.cli.main import app

SPEAKS_ITSELF = {"serve", "credential git", "credential run", "completion", "audit export"}
"""What they print is a protocol, a script, JSON Lines, or another program's."""


def leaves(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    names = [name for name in of if not name.startswith("-")]
    if path and (not names or of.default_command is not None):
        yield path
    for name in names:
        yield from leaves(of[name], (*path, name))


COMMANDS = list(leaves(app))


def rows(path: tuple[str, ...]) -> list[list[str]]:
    """The rows of the tables that --help shows, each as its cells."""
    out = io.StringIO()
    app.help_print(list(path), console=Console(file=out, width=1000, color_system=None))
    lines = (line.strip("│ ") for line in out.getvalue().splitlines() if line.startswith("│"))
    return [re.split(r"\s{2,}", line.removeprefix("* ").strip()) for line in lines]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_argument_is_explained(path: tuple[str, ...]) -> None:
    for cells in rows(path):
        told = cells[1] if len(cells) > 1 else "["
        assert not told.startswith("["), f"{' '.join(path)}: nothing is said of {cells[0]}"


def test_every_command_that_answers_speaks_to_programs() -> None:
    silent = {" ".join(path) for path in COMMANDS if not any(cells[0] == "--json" for cells in rows(path))}
    assert silent == SPEAKS_ITSELF
