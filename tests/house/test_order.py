"""Does the list of the longest files speak of files that are there, each once, so that the order it gives is one?"""

from pathlib import Path

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[2]


def test_the_longest_files_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
