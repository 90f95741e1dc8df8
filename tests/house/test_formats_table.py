"""Is the table in formats/README.md true: every room, its upstreams, and only clients that tests really drive?"""

import re
from pathlib import Path

from formats import ROOMS

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("room", "address", "push", "pull", "delete", "upstream", "edge", "private", "signed", "clients proved with")


def rows() -> dict[str, dict[str, str]]:
    """The table's rows by room."""
    lines = [line for line in (ROOT / "formats/README.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in cells[1:]}


def test_every_room_has_a_row_and_no_row_is_without_a_room() -> None:
    assert sorted(rows()) == sorted(ROOMS)


def test_upstreams_are_told_as_the_rooms_have_them() -> None:
    assert {name: row["upstream"] != "no" for name, row in rows().items()} == {
        name: room.draws for name, room in ROOMS.items()
    }


def test_a_client_is_named_only_where_a_native_test_drives_it() -> None:
    driven = "\n".join(
        path.read_text() for path in sorted((ROOT / "tests").glob("**/*.py")) if "house" not in path.parts
    )
    for name, row in rows().items():
        for client in re.findall(r"`([a-z]+)`", row["clients proved with"]):
            assert re.search(rf"[\"'/]{client}[\"']", driven), f"{name}: no test starts {client}"
