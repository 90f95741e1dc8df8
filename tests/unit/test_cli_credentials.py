"""Who gets the token from the command line, and who does not? Other programs ask as they ask their own helpers."""

import io
import json
import re
from pathlib import Path

import pytest

from gateway.access.tokens import mint
from gateway.cli.credentials import docker, keyring
from gateway.cli.credentials.lending import token_for
from gateway.cli.main import run
from gateway.cli.terminal.output import Usage
from gateway.cli.terminal.profiles import Profile, Profiles, save
from storage.errors import Invalid

ONE, TWO, THREE = (mint()[0] for _ in range(3))


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENTREPOT_URL", "ENTREPOT_TOKEN", "ENTREPOT_PROFILE", "CARGO_REGISTRY_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    kept = {
        "local": Profile("http://127.0.0.1:8081", ONE),
        "prod": Profile("https://pkgs.example", TWO),
        "empty": Profile("https://empty.example"),
    }
    save(Profiles("local", kept))


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("127.0.0.1:8081", ONE),
        ("http://127.0.0.1:8081/demo/main/pypi/simple/", ONE),
        ("http://token@127.0.0.1:8081", ONE),
        ("https://127.0.0.1:8081", ""),
        ("127.0.0.1:8082", ""),
        ("127.0.0.1", ""),
        ("pkgs.example", TWO),
        ("PKGS.example:443", TWO),
        ("https://pkgs.example/v2/", TWO),
        ("http://pkgs.example", ""),
        ("http://pkgs.example:443", ""),
        ("pkgs.example.evil.example", ""),
        ("empty.example", ""),
        ("[::1]:8081", ""),
    ],
    ids=lambda text: {ONE: "one", TWO: "two"}.get(text, text),  # the same in every process that collects the tests
)
def test_c12_a_token_goes_to_its_own_node_alone(address: str, token: str) -> None:
    """By host, port and scheme: one that is kept for https is given to nobody who speaks plain http."""
    assert token_for(address) == token


@pytest.mark.parametrize("address", ["", "http://", "http://[", "://x", "http://host:port"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(Usage):
        token_for(address)


def test_the_environment_goes_before_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_URL", "http://127.0.0.1:8081")
    monkeypatch.setenv("ENTREPOT_TOKEN", THREE)
    assert token_for("127.0.0.1:8081") == THREE
    assert token_for("pkgs.example") == TWO


def test_docker_asks(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = docker.answer("get", "pkgs.example\n")
    assert (code, json.loads(told)) == (0, {"ServerURL": "pkgs.example", "Username": "token", "Secret": TWO})
    assert docker.answer("get", "other.example") == (1, "credentials not found in native keychain")
    code, told = docker.answer("list", "")
    assert json.loads(told) == {"127.0.0.1:8081": "token", "pkgs.example:443": "token"}
    document = json.dumps({"ServerURL": "pkgs.example", "Username": "token", "Secret": ONE})
    for operation in ("store", "erase"):
        code, told = docker.answer(operation, document)
        assert (code, "kept by entrepot" in told) == (1, True)
    assert token_for("pkgs.example") == TWO
    same = json.dumps({"ServerURL": "pkgs.example", "Username": "token", "Secret": TWO})
    assert docker.answer("store", same) == (0, ""), "as docker does after a login with what it got from here"
    assert docker.answer("erase", same)[0] == 1
    with pytest.raises(Invalid, match="what a client stores"):
        docker.answer("store", "nonsense")
    assert docker.answer("nonsense", "")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "https://pkgs.example/x/simple/", "token"], (0, TWO)),
        (["--mode", "creds", "get", "https://pkgs.example/x/", "token"], (0, f"token\n{TWO}")),
        (["--mode=creds", "--output=json", "get", "https://pkgs.example/", "token"],
         (0, json.dumps({"username": "token", "password": TWO}))),
        (["get", "https://pkgs.example/", "somebody"], (1, "")),
        (["get", "https://other.example/", "token"], (1, "")),
    ],
)  # fmt: skip
def test_pip_asks(arguments: list[str], said: tuple[int, str]) -> None:
    assert keyring.answer(arguments) == said


def test_git_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for said, answer in (
        ("protocol=https\nhost=pkgs.example\n\n", f"username=token\npassword={TWO}\n"),
        ("protocol=http\nhost=pkgs.example\n\n", ""),
        ("host=127.0.0.1:8081\n", ""),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        assert run(["credential", "git", "get"]) == 0
        assert capsys.readouterr().out == answer
    monkeypatch.setattr("sys.stdin", io.StringIO("protocol=https\nhost=pkgs.example\npassword=x\n"))
    assert run(["credential", "git", "store"]) == 0
    assert token_for("pkgs.example") == TWO


def test_cargo_and_scripts_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CARGO_REGISTRY_INDEX_URL", "sparse+https://pkgs.example/x/cargo/")
    assert run(["credential", "token"]) == 0
    assert capsys.readouterr().out == f"{TWO}\n"
    monkeypatch.setenv("CARGO_REGISTRY_INDEX_URL", "sparse+https://other.example/")
    assert run(["credential", "token"]) == 4
    monkeypatch.delenv("CARGO_REGISTRY_INDEX_URL")
    assert run(["credential", "token"]) == 0
    assert ONE in capsys.readouterr().out


def test_a_program_is_run_with_the_token_of_the_profile(capfd: pytest.CaptureFixture[str]) -> None:
    script = "echo $ENTREPOT_URL $ENTREPOT_TOKEN; exit 7"
    assert run(["credential", "run", "--profile", "prod", "--", "sh", "-c", script]) == 7
    assert capfd.readouterr().out == f"https://pkgs.example {TWO}\n"
    assert run(["credential", "run", "--", "no-such-program"]) == 3
    assert run(["credential", "run", "--profile", "empty", "--", "true"]) == 4
    assert run(["credential", "run"]) == 2


@pytest.mark.parametrize("tool", ["docker", "pip", "uv", "npm", "pnpm", "mvn", "cargo", "apt", "git"])
def test_c11_no_line_of_a_setup_holds_a_token(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credential", "setup", tool, "demo/main"]) == 0
    told = capsys.readouterr().out
    assert "{" not in told.replace("${", "").replace("{{", "") or tool in ("docker", "npm", "pnpm", "mvn")
    assert ONE not in told
    assert "entrepot" in told
    assert run(["credential", "setup", "nonsense", "demo/main"]) == 2
    known = capsys.readouterr().err
    named = re.search(r"for what asks as git does \(([^)]+)\)", told)
    assert named is None or all(one.startswith("git") or one in known for one in named[1].split(", "))
