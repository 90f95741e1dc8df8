"""Do the tests run in an order that is one, and does none of them wait for ever?"""

import ast
from pathlib import Path

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[2]


def test_the_longest_files_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_no_wait_of_the_native_tests_is_without_an_end() -> None:
    """One that asks without a pause takes its node's core, and one that never ends takes the whole run with it."""
    endless = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "tests" / "native").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.While) and all(isinstance(one, ast.Pass) for one in node.body)
    ]
    assert endless == [], "tests/harness/waiting.py waits, and gives up"
