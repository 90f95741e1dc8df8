"""Does each threat of distribution have the tests that tests/README.md names for it?"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = [*(f"F{number}" for number in range(1, 16)), "E10", "E11", "E12"]
_LINE = re.compile(r"^\| ([EF]\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def told() -> dict[str, str]:
    return dict(_LINE.findall((TESTS / "README.md").read_text()))


def test_every_row_is_told_once() -> None:
    found = [row for row, _ in _LINE.findall((TESTS / "README.md").read_text())]
    assert sorted(found) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_name_it(row: str) -> None:
    tests = told()[row]
    files = re.findall(r"`([a-z]+/test_\w+\.py)`", tests)
    assert files or tests.startswith("not built: "), "a row has tests, or says why not"
    named = re.compile(rf"\b{row}\b|def test_(\w+_)?{row.lower()}_")
    for name in files:
        assert named.search((TESTS / name).read_text()), f"{name} does not name {row}"
