"""How is one thing done to many packages from a terminal: those that are named, or those that a query finds?

Each is tried, whatever became of the one before. What failed is told beside what was done, and the exit code is that of
the first failure.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.cli.terminal.client import ELSEWHERE, Client
from gateway.cli.terminal.output import Output, Usage, exit_code_of
from gateway.cli.terminal.progress import steps
from gateway.cli.terminal.words import Item, Place
from storage.errors import Absent, Problem, Unavailable

VERSIONS_MAX = 1_000
"""Of one package, as a search tells them."""


def meant(node: Client, items: Sequence[Item], query: str, inside: str) -> list[Item]:
    """What is named, and what a query finds. Raises Usage where there is neither, Absent where the repository is none
    that is known to this node, Problem."""
    if not items and not query:
        raise Usage("It is not said which packages.", "Name WORKSPACE/REPOSITORY/FORMAT/PACKAGE, or give --query.")
    found = list(items)
    if query:
        asked = f"({query}){_in(inside)}"
        for one in node.items("/search", q=asked, limit="100", versions=str(VERSIONS_MAX)):
            found += _items(one)
        if node.left_out:
            raise Unavailable("This node may not tell of all that the query means.", ELSEWHERE)
        if not found and "/" in inside:
            node.get(
                f"/repositories/{inside}"
            )  # a search says of a name that was mistyped what it says of an empty one
    return found


def _in(inside: str) -> str:
    """The part of a query that keeps it to WORKSPACE or WORKSPACE/REPOSITORY."""
    workspace, _, repository = inside.partition("/")
    within = f' workspace:"{workspace}"' if workspace else ""
    return within + (f' repository:"{repository}"' if repository else "")


def _items(found: dict[str, Any]) -> list[Item]:
    """The versions that a search found of a package; the package itself where it has none."""
    at = Place(found["workspace"], found["repository"])
    if len(found["versions"]) < found["versions_found"]:
        raise Usage(
            f"{at}/{found['format']}/{found['name']} has {found['versions_found']} versions that the query finds.",
            f"Narrow it to {VERSIONS_MAX} of one package at a time.",
        )
    versions = [one["name"] for one in found["versions"]] or [""]
    return [Item(at, found["format"], found["name"], one) for one in versions]


Said = Callable[[Item, dict[str, Any]], str]


def to_each(
    out: Output, items: Sequence[Item], do: Callable[[Item], dict[str, Any]], said: Said, *, found: bool = False
) -> int:
    """Do it, and say what became of each; the exit code. With `found`, what went together with another is passed over:
    a query finds an image and what it lists alike."""
    done: list[dict[str, Any]] = []
    failed: list[tuple[Item, Problem]] = []
    with steps(out, len(items)) as bar:
        for one in items:
            bar.begin(str(one))
            try:
                told = do(one)
                done.append(told)
                if not out.json:
                    out.fact(told, said(one, told))
            except Problem as problem:
                if not (found and isinstance(problem, Absent)):
                    failed.append((one, problem))
            bar.done()
    if len(items) == 1 and failed:
        raise failed[0][1]
    if out.json:
        problems = [
            {"item": str(one), "code": why.code, "message": why.message, "remedy": why.remedy} for one, why in failed
        ]
        out.document({"items": done, "failed": problems})
    for one, why in failed if not out.json else ():
        out.err.print(f"{one}: {why.message}", style="red", markup=False)
    return exit_code_of(failed[0][1]) if failed else 0
