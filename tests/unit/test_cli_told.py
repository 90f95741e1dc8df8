"""Is somebody at a terminal told what is so, in the words of a terminal, when things are named or done wrongly?"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.cli.main import run
from tests.harness.listening import Listening

ODD = "ünï cödé #1 %41?.txt"


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "node") as listening:
        yield listening


@pytest.fixture
def entrepot(
    node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ENTREPOT_URL", node.url)

    def call(*arguments: str, role: str = "node admin") -> Said:
        monkeypatch.setenv("ENTREPOT_TOKEN", node.console.tokens.get(role, ""))
        capsys.readouterr()
        code = run(arguments)
        return Said(code, *capsys.readouterr())

    return call


def test_a_package_is_listed_by_its_very_name(entrepot: Cli, node: Listening) -> None:
    node.console.add_package("acme", "main", "generic", ODD)
    listed = entrepot("ls", "acme/main", ODD, "--format", "generic", "--json")
    assert listed.code == 0, listed.err
    assert listed.json["name"] == ODD


def test_a_seller_renews_an_entitlement_and_sees_what_is_not_limited(entrepot: Cli) -> None:
    made = entrepot("entitlement", "create", "acme", "shop", "--downloads", "2", "--expires", "1d", "--json").json
    renewed = entrepot(
        "entitlement", "edit", "acme", made["id"], "--expires", "30d", "--network", "192.0.2.0/24", "--json"
    )
    assert renewed.code == 0, renewed.err
    assert renewed.json["expires_ms"] > made["expires_ms"]
    assert renewed.json["cidrs"] == ["192.0.2.0/24"]
    assert "cidrs" not in entrepot("entitlement", "edit", "acme", made["id"], "--network", "", "--json").json
    wrong = entrepot("entitlement", "edit", "acme", made["id"], "--downloads", "-1")
    assert wrong.err == "error: --downloads: at least 0 is expected.\n"
    assert entrepot("entitlement", "revoke", "acme", made["id"]).code == 0
    assert entrepot("entitlement", "edit", "acme", made["id"], "--expires", "30d").code == 1


def test_a_token_list_tells_whose_and_from_where(entrepot: Cli) -> None:
    entrepot("user", "create", "cy")
    entrepot("token", "create", "laptop", "--owner", "user:cy", "--network", "192.0.2.0/24")
    (row,) = [one for one in entrepot("token", "list").out.splitlines() if "\tlaptop\t" in one]
    assert "\tall that user:cy may, from 192.0.2.0/24 alone\t" in row


def test_a_rotated_token_gets_a_life_of_its_own(entrepot: Cli) -> None:
    made = entrepot("token", "create", "ci", "--workspace", "acme", "--expires", "1d", "--json").json
    again = entrepot("token", "rotate", made["id"], "--overlap", "1h", "--expires", "90d", "--json").json
    assert again["expires_ms"] > made["expires_ms"] + 80 * 24 * 3600 * 1000
    assert "It ends on " in entrepot("token", "rotate", again["id"]).err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("role", "put", "acme/none"), 2, "It is not said what the role may do."),
        (("member", "add", "acme", "alice"), 1, "Write user:NAME, service:NAME or managed:NAME."),
        (("member", "remove", "acme", "user:zoe"), 3, "Those there are: entrepot member list."),
        (("access", "explain", "user:alice", "read", "acme/main/npm/app"), 2, "--format and --package"),
        (("workspace", "delete", "acme"), 1, "--force acme"),
        (("audit", "export", "acme", "--out", "/nowhere/x"), 2, "/nowhere/x"),
        (("logs", "export", "acme", "--to", "/nowhere/x"), 2, "/nowhere/x"),
        (("restore", "acme/main/npm/app@1.0"), 3, "entrepot bin list acme/main"),
        (("search", "a" * 501), 1, "has more than 500 characters"),
    ],
    ids=lambda one: "-".join(one[:2]).replace("/", ".")[:40] if isinstance(one, tuple) else "",
)
def test_what_is_wrong_is_told_with_what_to_type(
    entrepot: Cli, node: Listening, arguments: tuple[str, ...], code: int, told: str
) -> None:
    node.console.add_people("acme")
    said = entrepot(*arguments)
    assert said.code == code, said
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", ["verify", "rebuild-index", "admin-token"])
def test_the_data_of_an_edge_is_no_history(entrepot: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "tokyo").mkdir()
    (tmp_path / "tokyo" / "store.json").write_text('{"id": "x", "role": "edge", "epoch": 1, "format": 1}')
    words = ("audit", command) if command == "verify" else (command,)
    said = entrepot(*words, "--data", str(tmp_path / "tokyo"))
    assert said.code == 1
    assert "is the data of an edge" in said.err


def test_who_pushes_without_a_token_is_told_how_to_get_one(entrepot: Cli) -> None:
    said = entrepot("whoami", role="nobody")
    assert said.code == 4
    assert said.err.splitlines()[1] == "Set ENTREPOT_TOKEN, or get a token of your own: entrepot login."
