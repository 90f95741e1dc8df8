"""Is a command that the tests fork like one that a shell started: its environment, folder, words and exit code?"""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness.commandline import run
from tests.harness.running import ENTREPOT, clean_environment


def test_it_says_and_ends_as_one_of_its_own_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = clean_environment() | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["--version"],
        ["profile", "list", "--json"],
        ["nonsense"],
        ["ls"],
        ["whoami", "--json", "--url", "http://127.0.0.1:1"],
        ["audit", "verify", "there-is-none.jsonl", "--json"],
    ):
        forked = run(arguments, environment)
        alone = subprocess.run([*ENTREPOT, *arguments], capture_output=True, text=True, env=environment, timeout=60)
        assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert {run(one, environment).returncode for one in (["--version"], ["nonsense"])} == {0, 2}


def test_one_call_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    for name in ("one", "two"):
        environment = clean_environment() | {"XDG_CONFIG_HOME": str(tmp_path / name)}
        done = run(["profile", "set", name, "--url", f"http://{name}.example", "--json"], environment)
        assert done.returncode == 0, done.stderr
        listed = json.loads(run(["profile", "list", "--json"], environment).stdout)
        assert [one["name"] for one in listed["items"]] == [name]


def test_what_takes_too_long_is_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(subprocess.TimeoutExpired):
        run(["whoami", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"], clean_environment(), timeout=0.2)
