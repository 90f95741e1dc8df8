"""Does a node run with exactly what it was told, and refuse what cannot be?"""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.access.tokens import mint
from gateway.cli.nodes.settings import check_free, check_joined, check_ports, hold, node_of, tls_of
from gateway.cli.terminal.output import Output, Usage, exit_code_of, safe
from gateway.cli.terminal.words import address, place, seconds
from gateway.config import Node, Peers, Tls
from storage import errors

TOKEN = mint()[0]
EDGE = {"role": "edge", "parents": ("http://127.0.0.1:8080",)}


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTREPOT_PARENT_TOKEN", raising=False)


def test_nothing_told_is_the_defaults() -> None:
    assert node_of(None, {"port": None, "role": None}, None) == Node()


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("port = 9000\nworkers = 2\n[cache]\nlease_seconds = 5.0\n")
    node = node_of(file, {"port": 9001, "host": "0.0.0.0"}, None)
    assert (node.port, node.workers, node.host, node.cache.lease_seconds) == (9001, 2, "0.0.0.0", 5.0)


@pytest.mark.parametrize("text", ["prot = 1", "port = 'x'", "[cache]\ndisk = 1", "port ="])
def test_a_file_with_a_mistake_is_refused_by_the_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(Usage) as caught:
        node_of(file, {}, None)
    assert str(file) in caught.value.message
    with pytest.raises(Usage):
        node_of(tmp_path / "none.toml", {}, None)


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_file_of_countries_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    file, countries = tmp_path / "node.toml", tmp_path / "countries.mmdb"
    file.write_text(f'[logs]\ncountries = "{countries}"\n')
    if content is not None:
        countries.write_bytes(content)
    with pytest.raises(Usage, match="file of countries"):
        node_of(file, {}, None)


def test_an_edge_takes_its_token_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    node = node_of(None, EDGE, file)
    assert (node.parent_token, node.data) == (TOKEN, "./entrepot-data/edge")
    monkeypatch.setenv("ENTREPOT_PARENT_TOKEN", TOKEN)
    assert node_of(None, EDGE, None).parent_token == TOKEN
    assert "ENTREPOT_PARENT_TOKEN" not in os.environ, "no child needs it"


@pytest.mark.parametrize(
    "options",
    [
        {"role": "edge"},
        {"role": "edge", "parents": ("127.0.0.1:8080",)},
        {"role": "edge", "parents": (f"http://x:{TOKEN}@h/",)},
        {"role": "origin", "parents": ("http://127.0.0.1:8080",)},
        {"role": "mirror"},
        {"workers": 0},
        {"workers": 10_000},
        {"port": 0},
        {"port": 70_000},
    ],
)
def test_what_cannot_be(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_PARENT_TOKEN", TOKEN)
    with pytest.raises(Usage) as caught:
        node_of(None, options, None)
    assert TOKEN not in caught.value.text()


@pytest.mark.parametrize("text", ["", "ent_short", TOKEN[:-1]], ids=["empty", "short", "cut"])
def test_c11_a_token_that_is_none_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(Usage) as caught:
        check_joined(node_of(None, EDGE, file), enrolled=False)
    assert not text or text not in caught.value.text()


def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.touch()
    key.touch()
    assert tls_of(Tls(), None, None, None) == Tls()
    assert tls_of(Tls(), cert, key, 8443) == Tls(8443, (("", str(cert), str(key)),))
    kept = Tls(8443, (("a", "c", "k"),))
    assert tls_of(kept, None, None, 9443) == Tls(9443, kept.certificates)
    for wrong in ((cert, None, 8443), (cert, key, None), (None, None, 8443), (cert, tmp_path / "none", 8443)):
        with pytest.raises(Usage):
            tls_of(Tls(), *wrong)


def test_a_port_that_somebody_listens_on_is_refused_even_where_it_could_be_shared() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(Usage, match=str(port)):
            check_free("127.0.0.1", port)
        with pytest.raises(Usage, match=str(port)):
            hold("127.0.0.1", port)
    check_free("127.0.0.1", port)


@pytest.mark.parametrize("taken", ["tls", "peers"])
def test_every_listener_of_a_node_is_looked_at_before_its_workers_start(taken: str) -> None:
    with socket.socket() as other, hold("127.0.0.1", 0) as held:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port, mine = other.getsockname()[1], held.getsockname()[1]
        for wrong in (port, mine):
            nodes = {"tls": Node(port=mine, tls=Tls(wrong)), "peers": Node(port=mine, peers=Peers(wrong))}
            with pytest.raises(Usage, match=str(wrong)):
                check_ports(nodes[taken])
        check_ports(Node(port=mine))


def test_a_held_port_is_free_for_the_node_it_is_held_for_and_reaches_nobody() -> None:
    with hold("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        check_free("127.0.0.1", port)
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen(8)
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", port), 5):
                    worker.accept()[0].close()
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))


# ---------------------------------------------------------------- words and output


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("1y", 31536000)]
)
def test_durations(text: str, found: int) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "m", "-1s", "1.5h", "1 d", "1dd", "\u0661s"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(Usage):
        seconds(text)


def test_places_and_addresses() -> None:
    assert str(place("acme/main")) == "acme/main"
    assert address("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    for wrong in ("acme", "/main", "acme/", "a/b/c", ""):
        with pytest.raises(Usage):
            place(wrong)
    for wrong in ("127.0.0.1", "http://", "http://h/path", "http://h?x", "http://u@h", "http://h:99999", "http://[h"):
        with pytest.raises(Usage):
            address(wrong)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.Problem("x"), 1),
        (errors.Conflict("x"), 1),
        (errors.Full("x"), 1),
        (Usage("x"), 2),
        (errors.Absent("x"), 3),
        (errors.Unauthenticated("x"), 4),
        (errors.Forbidden("x"), 4),
        (errors.Unavailable("x"), 5),
        (errors.UpstreamFailed("x"), 5),
    ],
)
def test_exit_codes_are_what_is_written_down(problem: errors.Problem, code: int) -> None:
    assert exit_code_of(problem) == code


def test_output_to_a_program_has_no_colour_and_no_frame(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(False)
    out.rows(None, ("a", "b"), [("1\t2", "x" * 300)])
    out.fact(None, "[bold]" + "y" * 300)
    out.problem(errors.Absent("[red]gone", "look"))
    said = capsys.readouterr()
    assert said.out == "1\ufffd2\t" + "x" * 300 + "\n[bold]" + "y" * 300 + "\n"
    assert said.err == "error: [red]gone\nlook\n"


def test_what_would_steer_a_terminal_is_taken_out() -> None:
    assert safe("a\x1b[31m\u202eb\nc") == "a\ufffd[31m\ufffdb\ufffdc"
