"""Does the tree keep the house's shape: sizes, names, docstrings, directions, no addresses?"""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("gateway", "storage", "cache", "formats")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
TOP_LEVEL = {
    "gateway", "storage", "cache", "formats", "bench", "tests", "docs", "pyproject.toml", "README.md", "LICENSE",
    "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "NOTICE", "requirements.txt", "requirements-test.txt",
}  # fmt: skip

# Written in halves, so that this file does not hold what it forbids.
ADDRESSES = [
    "py" + r"pi\.(org|python)", "python" + "hosted", "npm" + r"js\.(org|com)", "registry" + r"\.(npm|yarn)",
    "crates" + r"\.io/", "proxy" + r"\.golang\.org", r"repo1?\." + "maven", "deb" + r"\.debian\.org",
    "docker" + r"\.io/",
    "/wo" + "rk/", "/ro" + r"ot/\.", "/ho" + r"me/[a-z]",
]  # fmt: skip


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the repository: what git tracks, or what lies there where it is no git checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listing.stdout.split("\0") if name]
    return tuple(path for path in (ROOT / name for name in names) if path.is_file())


def modules() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_the_checks_see_the_tree() -> None:
    seen = {name_of(path) for path in modules()}
    assert {"storage/nouns.py", "gateway/config.py", "formats/kit/contract.py"} <= seen


def test_files_are_short() -> None:
    long = {name_of(path): n for path in modules() if (n := len(path.read_text().splitlines())) > FILE_LINES_MAX}
    assert long == {}, f"over {FILE_LINES_MAX} lines: cut by question"


def test_functions_are_short() -> None:
    long = {
        f"{name_of(path)}:{function.name}": lines
        for path in modules()
        for function in functions(path)
        if (lines := (function.end_lineno or function.lineno) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}, f"over {FUNCTION_LINES_MAX} lines"


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [name_of(path) for path in modules() if path.stem.strip("_") in VAGUE] == []


def test_every_module_opens_with_its_question() -> None:
    bare = [name_of(p) for p in modules() if p.read_text().strip() and not ast.get_docstring(tree_of(p))]
    assert bare == []


def test_no_first_party_import_inside_a_function() -> None:
    first_party = {*PRODUCT, "bench", "tests"}
    hidden = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        for function in functions(path)
        for node in ast.walk(function)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in first_party)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] in first_party for alias in node.names))
    ]
    assert hidden == []


def test_every_package_of_a_floor_has_a_readme() -> None:
    assert [name for name in (*PRODUCT, "bench") if not (ROOT / name / "README.md").is_file()] == []


def test_nothing_unfinished_is_left() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b|type: " + r"ignore(?!\[)")
    left = [
        f"{name_of(path)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert left == []


def test_no_registry_address_and_no_machine_path() -> None:
    pattern = re.compile("|".join(ADDRESSES))
    found = [
        f"{name_of(path)}:{number}: {match[0]}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert found == []


def test_the_top_level_is_what_was_agreed() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["-c", "from importlinter.cli import lint_imports_command as run; run()"], id="import-linter"),
        pytest.param(["-m", "ruff", "check", "."], id="ruff"),
        pytest.param(["-m", "mypy"], id="mypy"),
    ],
)
def test_linters_find_nothing(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
