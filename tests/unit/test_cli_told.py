"""Is somebody at a terminal told what is so, in the words of a terminal, when things are named or done wrongly?"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.main import run
from gateway.cli.terminal.sizes import count_of
from tests.harness.listening import Listening
from tests.harness.saying import Cli, cli_of
from tests.unit.test_api_names_in_history import Rows

ODD = "ünï cödé #1 %41?.txt"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "node") as listening:
        yield listening


@pytest.fixture
def entrepot(
    node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    return cli_of(node, tmp_path, monkeypatch, capsys)


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
        (("grant", "list", "acme/mian"), 3, "entrepot repo list"),
        (("grant", "give", "acme/main", "user:alice", "--action", "audit"), 1, "Name acme alone"),
        (("token", "create", "x", "--workspace", "acme", "--network", "10.0.0.1/8"), 1, "Write 10.0.0.0/8 for"),
        (("network", "allow", "acme/main", "--network", "2001:db8::1/32"), 1, "Write 2001:db8::/32 for"),
        (("network", "allow", "acme/main", "--network", "ten"), 1, "like 192.0.2.0/24"),
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


def test_grants_are_listed_by_the_repository_in_which_they_hold(entrepot: Cli, node: Listening) -> None:
    node.console.add_people("acme")
    entrepot("grant", "give", "acme/main", "user:alice", "--read")
    entrepot("grant", "give", "acme/open", "user:alice", "--read")
    listed = entrepot("grant", "list", "acme/main", "--json").json["items"]
    assert sorted(one["scope"] for one in listed) == ["acme", "acme/main"]


def test_one_of_a_thing_is_not_told_as_many() -> None:
    assert [count_of(one, "entry", "entries") for one in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
    assert count_of(1_000, "file") == "1,000 files"
    many = re.compile(
        r"\{(?![A-Z_]+\})[^{}]+\} (?:signed |stored )?(?:files|rows|entries|problems|lines|blobs|rules|heads)\b"
    )
    sources = Path(main.__file__).parent.rglob("*.py")
    told = [(path.name, row) for path in sources for row in path.read_text().splitlines() if many.search(row)]
    assert [one for one in told if "at a time cannot be" not in one[1]] == []


def test_logs_leave_out_what_edges_fetched_and_say_so_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows()
    rows.principals = ["edge:tokyo"]
    with Listening(tmp_path / "node", questions=rows) as node:
        monkeypatch.setenv("ENTREPOT_URL", node.url)
        monkeypatch.setenv("ENTREPOT_TOKEN", node.console.tokens["node admin"])
        for more in ((), ("--edges",)):
            assert run(["logs", "acme", *more]) == 0
    assert [one.edges for one in rows.asked] == [False, True]
    assert "\tedge:tokyo\t" in capsys.readouterr().out
