"""Does `serve` hand the node what it was told, show its admin token once, and keep others off its data? And do the
commands that look after that data find it, and leave a running node alone?"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.access import bootstrap
from gateway.access.tokens import well_formed
from gateway.cli.main import run
from gateway.cli.nodes import serving
from gateway.cli.nodes.settings import hold
from gateway.config import Node
from storage.errors import Conflict

TOKEN = re.compile(r"ent_[0-9A-Za-z]{38}")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The configurations that nodes would have run with."""
    configurations: list[Node] = []

    def instead(config: Node, own: Sequence[int]) -> int:
        configurations.append(config)
        with pytest.raises(Conflict), bootstrap.alone(Path(config.data)):
            pass
        return 7 if config.host == "127.0.0.7" else 0

    monkeypatch.setattr(serving.worker, "run", instead)
    monkeypatch.delenv("ENTREPOT_PARENT_TOKEN", raising=False)
    return configurations


def serve(*arguments: str) -> int:
    with hold("127.0.0.1", 0) as held:
        return run(["serve", "--port", str(held.getsockname()[1]), *arguments])


def test_an_origin_shows_its_admin_token_at_the_first_start_alone(
    ran: list[Node], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "origin"
    assert serve("--data", str(data), "--workers", "3") == 0
    first = capsys.readouterr()
    (token,) = TOKEN.findall(first.err)
    assert well_formed(token)
    assert first.out == ""
    assert serve("--data", str(data)) == 0
    assert TOKEN.findall(capsys.readouterr().err) == []
    assert [(node.role, node.data, node.workers) for node in ran] == [
        ("origin", str(data), 3),
        ("origin", str(data), 1),
    ]


def test_an_edge_makes_no_token_and_no_store(
    ran: list[Node], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = bootstrap.prepare_up(tmp_path / "origin", tmp_path / "edge")
    arguments = ["--role", "edge", "--data", str(tmp_path / "edge"), "--parent", "http://127.0.0.1:1"]
    assert serve(*arguments, "--parent-token-file", str(ready.edge_token_file)) == 0
    assert TOKEN.findall(capsys.readouterr().err) == []
    assert ran[0].parent_token == ready.edge_token_file.read_text().strip()
    assert not (tmp_path / "edge" / "store.json").exists()


def test_the_nodes_exit_code_is_the_commands(ran: list[Node], tmp_path: Path) -> None:
    assert serve("--data", str(tmp_path), "--host", "127.0.0.7") == 7


def test_data_in_use_is_refused(ran: list[Node], tmp_path: Path) -> None:
    with bootstrap.alone(tmp_path):
        assert serve("--data", str(tmp_path)) == 1
    assert ran == []


@pytest.mark.parametrize("arguments", [("--role", "mirror"), ("--port", "x"), ("--with-parent", "1"), ("extra",)])
def test_what_cannot_be_started(ran: list[Node], tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run(["serve", "--data", str(tmp_path), *arguments]) == 2
    assert ran == []


# ---------------------------------------------------------------- looking after the data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bootstrap.prepare_up(tmp_path / "origin", tmp_path / "edge")
    return tmp_path


def test_fsck_finds_what_up_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for where in (data, data / "origin"):
        assert run(["fsck", "--data", str(where), "--deep", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["whole"] is True
        assert [(one["data"], one["problems"]) for one in told["stores"]] == [(str(data / "origin"), [])]
    assert run(["fsck", "--data", str(data)]) == 0
    assert capsys.readouterr().out.endswith(": whole\n")


def test_fsck_tells_damage_and_exits_with_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (segment, *_) = sorted((data / "origin" / "journal").glob("*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    segment.write_bytes(raw)
    assert run(["fsck", "--data", str(data), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["whole"] is False
    assert told["stores"][0]["problems"]


def test_the_index_is_made_anew(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rebuild-index", "--data", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entries"] > 0, told["missing_blobs"]) == (True, 0)
    assert run(["fsck", "--data", str(data), "--deep"]) == 0


def test_a_new_admin_token(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["admin-token", "--data", str(data), "--json"]) == 0
    assert well_formed(json.loads(capsys.readouterr().out)["token"])


@pytest.mark.parametrize("command", ["rebuild-index", "admin-token"])
def test_a_running_node_is_left_alone(data: Path, command: str) -> None:
    with bootstrap.alone(data / "origin"):
        assert run([command, "--data", str(data)]) == 1


@pytest.mark.parametrize("command", ["fsck", "rebuild-index", "admin-token"])
def test_no_data_is_absent_and_stays_so(tmp_path: Path, command: str) -> None:
    assert run([command, "--data", str(tmp_path / "none")]) == 3
    assert not (tmp_path / "none").exists()
