"""What the shells themselves make of the completion that the parser gives: bash, zsh and fish, where they are."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from gateway.cli.main import run
from tests.harness.clients import program
from tests.harness.running import ENTREPOT

pytestmark = pytest.mark.native

BASH = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_entrepot
printf '%s\\n' "${COMPREPLY[@]}"
"""
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    made = {}
    for shell in ("bash", "zsh", "fish"):
        made[shell] = folder / f"entrepot.{shell}"
        done = subprocess.run([*ENTREPOT, "completion", shell], capture_output=True, text=True, check=True, timeout=60)
        made[shell].write_text(done.stdout)
    return made


CASES = [
    (("res",), {"restore"}),
    (("tag", ""), {"add", "move", "remove", "list"}),
    (("bin", "em"), {"empty"}),
    (("delete", "--dry"), {"--dry-run"}),
    (("push", "--pl"), {"--platform"}),
    (("completion", ""), {"bash", "zsh", "fish"}),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash(scripts: dict[str, Path], words: tuple[str, ...], expected: set[str]) -> None:
    command = [program("bash"), "--norc", "-c", BASH, "bash", str(scripts["bash"]), "entrepot", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert expected <= set(done.stdout.split())


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish(scripts: dict[str, Path], tmp_path: Path, words: tuple[str, ...], expected: set[str]) -> None:
    told = f"source {scripts['fish']}; complete -C 'entrepot {' '.join(words)}'"
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = [program("fish"), "--no-config", "-c", told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert expected <= {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_zsh(scripts: dict[str, Path], tmp_path: Path, words: tuple[str, ...], expected: set[str]) -> None:
    """In a terminal of its own, where zsh completes as for somebody who types."""
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "_entrepot").write_text(scripts["zsh"].read_text())
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "vt100", "ZDOTDIR": str(tmp_path), "COLUMNS": "200", "LINES": "200"}
    command = [program("zsh"), "-f", "-i"]
    shell = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        begun = f"fpath=({folder} $fpath); LISTMAX=1000; autoload -Uz compinit; compinit -D -u; echo RE''ADY\n"
        os.write(ours, begun.encode())
        until(ours, {"READY"})
        os.write(ours, f"entrepot {' '.join(words)}\t\t".encode())
        until(ours, expected)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def until(terminal: int, expected: set[str]) -> None:
    """Read what a terminal shows until all of this was there."""
    seen, end = "", time.monotonic() + PATIENCE_S
    while not all(one in seen for one in expected):
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, seen
        seen += os.read(terminal, 65536).decode(errors="replace")


def test_without_a_shell_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert run(["completion"]) == 2
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run(["completion"]) == 0
    assert capsys.readouterr().out.startswith("#compdef entrepot")
