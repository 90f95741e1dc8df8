"""Is the room that formats/ADDING.md shows a room? Its code is run, and asked what every room is asked."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from formats import ROOMS
from tests.contract import test_rooms as contract
from tests.contract.rooms import Case

PAGE = Path(__file__).resolve().parents[2] / "formats/ADDING.md"
QUESTIONS: tuple[Callable[[Case], None], ...] = (
    contract.test_c15_names_are_really_compared,
    contract.test_the_same_uploads_decide_and_render_the_same,
    contract.test_a_decision_stays_within_its_room_and_its_bytes,
    contract.test_what_was_published_is_served_as_it_came,
    contract.test_c15_again_changes_nothing_and_other_bytes_are_refused,
    contract.test_a_page_depends_on_what_its_plan_names,
    contract.test_a_removal_leaves_no_reachable_byte,
    contract.test_d4_damaged_packages_are_refused_or_harmless,
)


def shown(path: str) -> ModuleType:
    """The module whose code stands on the page behind its path."""
    found = re.search(rf"`{re.escape(path)}`:\n\n```python\n(.*?)```\n", PAGE.read_text(), re.S)
    assert found is not None, f"{PAGE.name} shows no {path}"
    module = ModuleType(Path(path).stem)
    exec(compile(found[1], path, "exec"), module.__dict__)
    return module


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setitem(ROOMS, "notes", shown("formats/notes/room.py").Notes())
    made: Case = shown("tests/contract/room_of_notes.py").CASE
    return made


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.__name__.removeprefix("test_"))
def test_the_room_on_the_page_keeps_the_contract(case: Case, question: Callable[[Case], None]) -> None:
    question(case)


def test_the_page_names_what_there_is() -> None:
    root = PAGE.parents[1]
    for path in re.findall(r"`((?:formats|tests|bench|gateway)/[a-z_/]+\.py)`", PAGE.read_text()):
        assert (root / path).is_file() or "notes" in path, path
    for module in re.findall(r"`(kit/[a-z]+)`", PAGE.read_text()):
        assert (root / "formats" / f"{module}.py").is_file(), module
