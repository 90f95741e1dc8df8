"""How is a person told how bytes are stored?"""

from typing import Any

from gateway.cli.terminal.plotting import shares
from gateway.cli.terminal.storing import COLUMNS, drawn, drawn_of_repository, of_repository, rows


def file(name: str, size: int, *, saved: int = 0, chunks: int = 0, here: bool = True) -> dict[str, Any]:
    why = "cut by its content" if chunks else "whole: too small to gain anything"
    stored = {"why": why, "chunks": chunks, "extents": 2, "saved_bytes": saved}
    return {"name": name, "version": "1", "size_bytes": size, "stored": stored if here else None}


FILES = [file("a", 4 << 20), file("bb", 8 << 20, saved=6 << 20, chunks=120), file("c", 9, here=False)]


def test_each_file_says_whether_it_is_in_chunks_why_and_what_that_saved() -> None:
    told = rows(FILES)
    assert all(len(one) == len(COLUMNS) for one in told)
    assert told[0] == ("a", "1", "4.0 MiB", "whole: too small to gain anything", "", "2", "nothing")
    assert told[1] == ("bb", "1", "8.0 MiB", "cut by its content", "120", "2", "6.0 MiB (75 %)")
    assert told[2][3] == "not here"


def test_what_was_new_and_what_was_there_is_drawn_to_one_scale() -> None:
    first, second, legend = drawn(FILES).splitlines()
    assert first.startswith("a  " + "█" * 25 + " ")
    assert second.startswith("bb " + "█" * 12 + "░" * 38 + " 8.0 MiB")
    assert legend == "█ new, ░ was there"
    assert drawn([FILES[2]]) == "None of its files is stored at this node."
    assert shares([("x", 0, 0, "nothing"), ("y", 1, 0, "")], 4) == "x      nothing\ny ████"


def test_a_repository_says_what_its_files_take_by_how_they_are_cut() -> None:
    cuts = {
        "packed": {"why": "whole: compressed", "files": 3, "chunks": 0, "bytes": 1024, "saved_bytes": 0},
        "content": {"why": "cut by its content", "files": 2, "chunks": 40, "bytes": 3072, "saved_bytes": 1536},
    }
    kept = {"files": 6, "saved_bytes": 1536, "by_cut": cuts, "complete": False}
    assert of_repository(kept) == [
        "stored here: 5 of 6 files, 4.0 KiB, of which was there: 1.5 KiB (38 %), and more that were not looked at",
        "  2 files, 3.0 KiB in 40 chunks, cut by its content, of which was there: 1.5 KiB (50 %)",
        "  3 files, 1.0 KiB, whole: compressed",
    ]
    assert drawn_of_repository(kept).splitlines()[0].count("░") == 25
    empty = {"files": 0, "saved_bytes": 0, "by_cut": {}, "complete": True}
    assert of_repository(empty) == ["stored here: 0 files, 0 B, of which was there: nothing"]


def test_what_was_there_is_left_out_for_who_may_not_see_everything() -> None:
    hidden = file("bb", 8 << 20, chunks=120)
    hidden["stored"] |= {"saved_bytes": None, "extents": None}
    assert rows([hidden])[0][3:] == ("cut by its content", "120", "", "")
    assert drawn([hidden]).splitlines()[0].endswith("8.0 MiB, cut by its content")
    cuts = {"content": {"why": "cut by its content", "files": 1, "chunks": 40, "bytes": 3072, "saved_bytes": None}}
    kept = {"files": 1, "saved_bytes": None, "by_cut": cuts, "complete": True}
    assert of_repository(kept) == [
        "stored here: 1 file, 3.0 KiB",
        "  1 file, 3.0 KiB in 40 chunks, cut by its content",
    ]
    assert "░" not in drawn_of_repository(kept).splitlines()[0]
