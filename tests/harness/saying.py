"""How does a test call the command line within its own process, and see what it says?"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli.main import run
from tests.harness.listening import Listening


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, "one document, on one line"
        return json.loads(self.out)


Cli = Callable[..., Said]


def cli_of(node: Listening, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`entrepot` against this node, as whoever `role` names; profiles are kept in `folder`."""
    for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("ENTREPOT_URL", node.url)

    def call(*arguments: str, role: str = "node admin") -> Said:
        monkeypatch.setenv("ENTREPOT_TOKEN", node.console.tokens.get(role, ""))
        capsys.readouterr()
        code = run(arguments)
        return Said(code, *capsys.readouterr())

    return call
