"""How does a command say what it did?

To people: tables and words, colour only on a terminal, tab-separated lines where the output goes to a program. With
`--json`: exactly one JSON document on stdout, errors as one JSON document on stderr, the same exit codes.
"""

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from storage.errors import Absent, Forbidden, Problem, Unauthenticated, Unavailable, UpstreamFailed

_EXIT_CODES: tuple[tuple[type[Problem], int], ...] = (
    (Absent, 3),
    (Unauthenticated, 4),
    (Forbidden, 4),
    (Unavailable, 5),
    (UpstreamFailed, 5),
)


class Usage(Problem):
    """The command line is wrong; nothing was done."""

    status, code = 400, "usage"


def exit_code_of(problem: Problem) -> int:
    """The exit code that stands for `problem`."""
    if isinstance(problem, Usage):
        return 2
    return next((code for kind, code in _EXIT_CODES if isinstance(problem, kind)), 1)


def safe(text: object) -> str:
    """`text` without what would steer a terminal; it may come from a stranger's package."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


class Output:
    """Where one command writes. `json` is the user's `--json`."""

    def __init__(self, json: bool) -> None:
        self.json = json
        self._out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def document(self, content: object) -> None:
        """The one JSON document, on one line."""
        sys.stdout.write(msgspec.json.encode(content).decode() + "\n")
        sys.stdout.flush()

    def fact(self, content: object, text: str) -> None:
        """The result of a command: `content` for programs, `text` for people."""
        if self.json:
            self.document(content)
        else:
            self._out.print(escape(safe_lines(text)))

    def note(self, text: str) -> None:
        """An aside to people, on stderr, never in the way of a program."""
        if not self.json:
            self.err.print(escape(safe_lines(text)), style="dim")

    def rows(self, content: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A list: `content` for programs; for people a table, or tab-separated lines if no terminal shows it."""
        if self.json:
            self.document(content)
        elif self._out.is_terminal:
            table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
            for row in rows:
                table.add_row(*(escape(safe(cell)) for cell in row))
            self._out.print(table, soft_wrap=False)
        else:
            for row in rows:
                sys.stdout.write("\t".join(safe(cell) for cell in row) + "\n")

    def problem(self, problem: Problem) -> int:
        """Say what went wrong, on stderr; the exit code."""
        if self.json:
            told = {"code": problem.code, "message": problem.message, "remedy": problem.remedy}
            sys.stderr.write(msgspec.json.encode({"error": told}).decode() + "\n")
        else:
            self.err.print(f"[bold red]error:[/] {escape(safe_lines(problem.message))}")
            if problem.remedy:
                self.err.print(escape(safe_lines(problem.remedy)), style="dim")
        return exit_code_of(problem)


def safe_lines(text: str) -> str:
    """`safe`, with the line ends kept: for text of our own with a stranger's words in it."""
    return "\n".join(safe(line) for line in text.split("\n"))
