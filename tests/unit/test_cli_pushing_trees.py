"""Which files of a directory does `entrepot push` send where, and what does it leave out, and say so?"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.listening import Listening
from tests.unit.test_cli_pushing import node, push, wheel

__all__ = ["node", "push"]
Push = Callable[..., int]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for name in ("a.txt", "sub/b.txt", "sub/deep/c d.txt", ".env", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "again.txt").symlink_to("a.txt")
    (folder / "loop").symlink_to(folder)
    return folder


def test_a_tree_keeps_its_paths_below_the_place(
    push: Push, node: Listening, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(str(tree), "acme/main/generic/tool/1.0", "--json") == 0
    sent = {one.path.removeprefix("/acme/main/generic/tool/1.0/"): one.body for one in node.sent}
    expected = {"a.txt": b"a.txt", "again.txt": b"a.txt", "sub/b.txt": b"sub/b.txt"}
    assert sent == expected | {"sub/deep/c%20d.txt": b"sub/deep/c d.txt"}
    left = {Path(one["file"]).name: one["why"] for one in json.loads(capsys.readouterr().out)["left_out"]}
    assert sorted(left) == [".env", ".git", "loop"]
    assert "hidden" in left[".env"]
    assert "link to a directory" in left["loop"]


def test_a_dry_run_sends_nothing_and_lists_all(
    push: Push, node: Listening, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(str(tree), "acme/main/generic/tool/1.0", "--dry-run", "--hidden") == 0
    said = capsys.readouterr()
    assert node.sent == []
    assert [line.rpartition("/1.0/")[2] for line in said.out.splitlines()] == [
        ".env", ".git/config", "a.txt", "again.txt", "sub/b.txt", "sub/deep/c%20d.txt"
    ]  # fmt: skip
    assert "left out" in said.err
    assert "loop" in said.err


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "nowhere"])
def test_a_link_that_leads_out_ends_it_before_anything_is_sent(
    push: Push, node: Listening, tree: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "outside").write_text("secret")
    (tree / "sub" / "z").symlink_to(Path("..") / target if target.startswith("..") else target)
    assert push(str(tree), "acme/main/generic/x") == 2
    assert node.sent == []


def test_a_link_to_what_is_hidden_is_left_out(push: Push, node: Listening, tree: Path) -> None:
    (tree / "open").symlink_to(".env")
    assert push(str(tree), "acme/main/generic/x/") == 0
    assert not [one for one in node.sent if b".env" in one.body]


def test_packages_are_found_wherever_they_lie(
    push: Push, node: Listening, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "loop").unlink()
    made = wheel(tree / "sub" / "deep")
    (tree / "x.deb").write_bytes(b"deb")
    assert push(str(tree), "--to", "acme/main", "--json") == 0
    assert sorted(one.path for one in node.sent) == ["/acme/main/deb/incoming/x.deb", "/acme/main/pypi/legacy/"]
    told = json.loads(capsys.readouterr().out)
    assert {one["file"] for one in told["items"]} == {str(made), str(tree / "x.deb")}
    assert {one["why"] for one in told["left_out"] if one["file"].endswith(".txt")} == {"no package, by its name"}
    node.sent.clear()
    assert push(str(tree), "acme/main/pypi") == 0
    assert [one.path for one in node.sent] == ["/acme/main/pypi/legacy/"]


def test_a_local_repository_of_maven_keeps_its_paths(push: Push, node: Listening, tmp_path: Path) -> None:
    place = tmp_path / "m2" / "org" / "acme" / "demo" / "1"
    place.mkdir(parents=True)
    for name in ("demo-1.jar", "demo-1.pom", "_remote.repositories"):
        (place / name).write_text(name)
    assert push(str(tmp_path / "m2"), "acme/main/maven") == 0
    assert sorted(one.path for one in node.sent) == [
        "/acme/main/maven/org/acme/demo/1/demo-1.jar",
        "/acme/main/maven/org/acme/demo/1/demo-1.pom",
    ]


def test_what_is_no_file_is_left_out(push: Push, node: Listening, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert push(str(folder), "acme/main/generic/x") == 2, "nothing is left"
    (folder / "file").write_text("f")
    assert push(str(folder), "acme/main/generic/x") == 0
    assert [one.path for one in node.sent] == ["/acme/main/generic/x/file"]
