"""Do the README's two commands stand alone, and does CI run the very one that the README shows?"""

import re
import subprocess
from pathlib import Path

import pytest

from bench.options import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]


def shell_blocks(section: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    parts = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    return re.findall(r"^```sh\n(.*?)^```$", parts[section], re.M | re.S)


@pytest.mark.parametrize("section", ["Run it", "Test it"])
def test_section_has_one_block_with_one_command(section: str) -> None:
    blocks = shell_blocks(section)
    assert len(blocks) == 1
    lines = blocks[0].strip().splitlines()
    assert all(line.endswith("&&") for line in lines[:-1]), "lines of one command are joined by &&"
    assert not lines[-1].endswith("&&")
    assert subprocess.run(["bash", "-n", "-c", blocks[0]]).returncode == 0


def test_ci_extracts_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    function = re.search(r"^test_command\(\) \{\n.*?^\}\n", script, re.M | re.S)
    assert function is not None
    shown = subprocess.run(
        ["bash", "-c", function[0] + "test_command"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == shell_blocks("Test it")[0].strip()
    assert 'bash -c "$command"' in script


def test_ci_is_valid_shell_and_executable() -> None:
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_commands_install_locked_versions_only() -> None:
    for section, lock in (("Run it", "requirements.txt"), ("Test it", "requirements-test.txt")):
        command = shell_blocks(section)[0]
        assert f"--require-hashes -r {lock}" in command
        assert "--no-deps --no-build-isolation" in command


def test_the_bench_tells_of_every_scenario() -> None:
    text = (ROOT / "bench/README.md").read_text()
    for name in SCENARIOS:
        assert f"python -m bench {name} " in text, name
