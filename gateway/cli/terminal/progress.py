"""How does a command show how far it is? A bar on stderr where a terminal shows it, nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.terminal.output import Output, safe


class Steps:
    """How many of how many things are done."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def begin(self, what: str) -> None:
        """This one is next."""
        self._bar.update(self._task, description=safe(what))

    def done(self) -> None:
        self._bar.advance(self._task)


@contextmanager
def steps(out: Output, total: int) -> Iterator[Steps]:
    """A bar for as long as the block lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out.err, transient=True, disable=out.json or not out.err.is_terminal) as bar:
        yield Steps(bar, total)
