"""Do the commands do at a node what they say, and say it to people and to programs alike?"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.tokens import mint, well_formed
from gateway.cli.main import joined
from tests.harness.listening import Listening
from tests.harness.saying import Cli, cli_of


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "node") as listening:
        yield listening


@pytest.fixture
def entrepot(
    node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    return cli_of(node, tmp_path, monkeypatch, capsys)


def test_the_form_that_scripts_rely_on(entrepot: Cli, node: Listening) -> None:
    made = entrepot("token", "create", "ci", "--repository", "acme/main", "--read", "--json")
    assert made.code == 0
    assert well_formed(made.json["token"])
    assert made.json["grants"] == [{"scope": "acme/main", "read": True, "write": False, "admin": False}]
    node.console.tokens["ci"] = made.json["token"]
    assert entrepot("repo", "show", "acme/main", role="ci").code == 0
    gone = entrepot("token", "revoke", made.json["id"])
    assert (gone.code, gone.out) == (0, f"Token {made.json['id']} is revoked.\n")
    assert entrepot("repo", "show", "acme/main", role="ci").code == 4


@pytest.mark.parametrize(
    ("options", "grant"),
    [
        ((), (True, False, False)),
        (("--read",), (True, False, False)),
        (("--write",), (True, True, False)),
        (("--write", "--no-read"), (False, True, False)),
        (("--admin",), (True, True, True)),
    ],
)
def test_rights_of_a_new_token(entrepot: Cli, options: tuple[str, ...], grant: tuple[bool, bool, bool]) -> None:
    made = entrepot("token", "create", "ci", "--workspace", "acme", *options, "--json").json
    assert [tuple(one[right] for right in ("read", "write", "admin")) for one in made["grants"]] == [grant]


def test_scopes_and_expiry_of_a_new_token(entrepot: Cli, node: Listening) -> None:
    made = entrepot(
        "token", "create", "ci", "--repository", "acme/main", "--repository", "other/open", "--expires", "2h", "--json"
    ).json
    assert [one["scope"] for one in made["grants"]] == ["acme/main", "other/open"]
    assert made["expires_ms"] == node.console.now_ms + 7_200_000
    assert entrepot("token", "create", "e", "--edge", "--json").json["kind"] == "edge"
    assert entrepot("token", "create", "e", "--everything", "--json").json["grants"][0]["scope"] == "*"


def test_people_are_told_that_a_token_is_shown_once(entrepot: Cli) -> None:
    made = entrepot("token", "create", "ci", "--workspace", "acme")
    assert "ent_" in made.out
    assert "ent_" not in made.err
    assert "once" in made.err


def test_c11_tokens_are_listed_without_their_texts(entrepot: Cli, node: Listening) -> None:
    for said in (entrepot("token", "list"), entrepot("token", "list", "--json"), entrepot("token", "whoami")):
        assert said.code == 0
        assert not any(text and text in said.out + said.err for text in node.console.tokens.values())
    lines = entrepot("token", "list").out.splitlines()
    assert len(lines) == len(node.console.ids)
    assert all(len(line.split("\t")) == 8 for line in lines)


def test_workspaces_and_repositories(entrepot: Cli) -> None:
    assert entrepot("workspace", "create", "fresh").code == 0
    assert entrepot("repo", "create", "fresh/lib", "--public").out == "Repository fresh/lib is made, public.\n"
    listed = entrepot("repo", "list", "fresh", "--json").json["items"]
    assert [(one["name"], one["public"]) for one in listed] == [("lib", True)]
    assert entrepot("repo", "edit", "fresh/lib", "--no-public", "--json").json["public"] is False
    assert entrepot("workspace", "list").out.splitlines() == ["acme", "fresh", "other"]
    assert entrepot("repo", "delete", "fresh/lib").code == 2
    assert entrepot("repo", "delete", "fresh/lib", "--yes", "--json").json == {"deleted": "fresh/lib"}
    assert entrepot("repo", "list", "fresh", "--json").json == {"items": []}


def test_the_life_of_a_workspace(entrepot: Cli, node: Listening) -> None:
    """It is never deleted by accident, and what goes with it is told before and after."""
    assert entrepot("workspace", "create", "fresh", "--description", "Tools of all teams").code == 0
    assert entrepot("repo", "create", "fresh/lib").code == 0
    assert entrepot("token", "create", "ci", "--workspace", "fresh").code == 0
    shown = entrepot("workspace", "show", "fresh")
    assert shown.out.splitlines() == ["fresh: Tools of all teams", "lib: private"]
    edited = entrepot("workspace", "edit", "fresh", "--description", "", "--quota", "1k", "--json").json
    assert (edited["description"], edited["quota_bytes"]) == ("", 1024)
    assert entrepot("workspace", "edit", "fresh").code == 2
    kept = entrepot("workspace", "delete", "fresh")
    assert kept.code != 0
    assert "holds 1 repositories" in kept.err
    assert entrepot("workspace", "delete", "fresh", "--force", "acme").code != 0
    would = entrepot("workspace", "delete", "fresh", "--dry-run").out
    assert would == (
        "This would delete the workspace fresh, 0 files of 0 B, 1 repository, 1 token. Nothing was deleted.\n"
    )
    assert entrepot("workspace", "list").out.splitlines() == ["acme", "fresh", "other"]
    gone = entrepot("workspace", "delete", "fresh", "--force", "fresh", "--json").json
    assert (gone["workspace"], gone["repositories"], gone["tokens"]) == ("fresh", 1, 1)
    assert entrepot("workspace", "list").out.splitlines() == ["acme", "other"]
    assert [one["name"] for one in entrepot("workspace", "list", "--deleted", "--json").json["items"]] == ["fresh"]
    assert "never given again" in entrepot("workspace", "create", "fresh").err
    empty = entrepot("workspace", "create", "empty")
    assert (empty.code, entrepot("workspace", "delete", "empty").code) == (0, 0), "an empty one needs no more"


def test_lists_come_whole_over_many_pages(entrepot: Cli, node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.calls.call.PAGE_ITEMS", 2)
    assert len(entrepot("token", "list", "--json").json["items"]) == len(node.console.ids)


def test_search_tells_of_nothing_and_of_a_query_that_cannot_be_read(entrepot: Cli) -> None:
    nothing = entrepot("search", "name:^nothing version:>=1", "--json")
    assert (nothing.code, nothing.json) == (0, {"items": []})
    wrong = entrepot("search", "(nothing")
    assert wrong.code == 1
    assert "nothing closes" in wrong.err


def test_keys(entrepot: Cli) -> None:
    old, new = (entrepot("key", "add", "acme/main", "--json").json["fingerprint"] for _ in range(2))
    assert entrepot("key", "list", "acme/main").out == f"{old}\n{new}\n"
    assert entrepot("key", "list", "acme/main", role="writer").code == 4
    assert entrepot("key", "retire", "acme/main", old).code == 0
    assert entrepot("key", "retire", "acme/main", old).code == 3
    assert entrepot("key", "retire", "acme/main", new).code == 1


def test_upstreams(entrepot: Cli, node: Listening, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hidden-word\n")
    made = entrepot(
        "upstream", "add", "acme/main", "pypi", "https://registry.example/simple", "--fresh", "1h",
        "--username", "me", "--password-file", str(secret), "--json",
    )  # fmt: skip
    assert (made.json["fresh_s"], made.json["name"]) == (3600, "default")
    assert "hidden-word" in (tmp_path / "node" / "secrets.json").read_text()
    assert "https://registry.example/simple/" in entrepot("upstream", "list", "acme/main").out
    assert entrepot("upstream", "allow", "acme/main", "pypi", "Thing").code == 0
    assert entrepot("upstream", "disallow", "acme/main", "pypi", "Thing").code == 0
    assert entrepot("upstream", "remove", "acme/main", "pypi").code == 0
    assert entrepot("upstream", "remove", "acme/main", "pypi").code == 3


def test_c11_a_credential_in_an_address_is_taken_out_of_it(entrepot: Cli, tmp_path: Path) -> None:
    made = entrepot("upstream", "add", "acme/main", "npm", "https://u:hidden%21@registry.example/x/", "--json")
    assert made.json["url"] == "https://registry.example/x/"
    assert "hidden" not in made.out + made.err
    assert '"hidden!"' in (tmp_path / "node" / "secrets.json").read_text()


def test_packages_are_listed(entrepot: Cli, node: Listening) -> None:
    node.console.add_package("acme", "main", "pypi", "thing")
    node.console.add_package("acme", "main", "npm", "@scope/thing")
    listed = entrepot("ls", "acme/main", "--json").json["items"]
    assert entrepot("ls", "acme/main", "--format", "npm", "--json").json["items"] == listed[1:]
    assert [(one["format"], one["name"]) for one in listed] == [("pypi", "thing"), ("npm", "@scope/thing")]
    files = entrepot("ls", "acme/main", "@scope/thing", "--format", "npm").out
    assert files.startswith("@scope/thing-1.0.tgz\t1.0\t7\t")


def test_status(entrepot: Cli, node: Listening) -> None:
    told = entrepot("status", "--json").json
    assert (told["status"], told["role"], told["heads"], told["url"]) == ("ok", "origin", {"acme": 1}, node.url)
    assert "status: ok" in entrepot("status", role="nobody").out
    node.console.health = type(node.console.health)(draining=True)
    assert entrepot("status", role="nobody").code == 5


@pytest.mark.parametrize("format", ["pypi", "npm", "maven", "generic"])
def test_setup_shows_lines_with_the_address_and_never_the_token(entrepot: Cli, node: Listening, format: str) -> None:
    said = entrepot("setup", format, "acme/main")
    assert said.code == 0
    assert f"{node.url.partition('//')[2]}/acme/main/{format}" in said.out
    assert "ENTREPOT_TOKEN" in said.out
    assert node.console.tokens["node admin"] not in said.out
    assert entrepot("setup", format, "acme/main", "--json").json["lines"] == said.out.splitlines()


# ---------------------------------------------------------------- refusals and exit codes


@pytest.mark.parametrize(
    ("arguments", "role", "code"),
    [
        (("repo", "show", "acme/gone"), "node admin", 3),
        (("repo", "show", "acme/main"), "stranger", 3),
        (("repo", "show", "acme/main"), "anonymous", 4),
        (("repo", "show", "acme/main"), "revoked", 4),
        (("repo", "show", "acme/main"), "malformed", 4),
        (("repo", "create", "acme/fresh"), "reader", 4),
        (("repo", "create", "acme/main"), "node admin", 1),
        (("repo", "create", "acme/UPPER"), "node admin", 1),
        (("repo", "create", "acme"), "node admin", 2),
        (("repo", "create", "a/b/c"), "node admin", 2),
        (("token", "create", "x"), "node admin", 2),
        (("token", "create", "x", "--edge", "--workspace", "acme"), "node admin", 2),
        (("token", "create", "x", "--workspace", "acme", "--expires", "soon"), "node admin", 2),
        (("token", "revoke", "ent_abc"), "node admin", 2),
        (("token", "revoke"), "node admin", 2),
        (("token", "revoke", "x", "--bogus"), "node admin", 2),
        (("bogus",), "node admin", 2),
        (("ls", "acme/main", "thing"), "node admin", 2),
        (("status", "--profile", "none"), "node admin", 3),
        (("status", "--url", "ftp://x"), "node admin", 2),
        (("setup", "cargo", "acme/main"), "node admin", 2),
        (("setup", "pypi", "acme/gone"), "node admin", 3),
    ],
)
def test_exit_codes(entrepot: Cli, arguments: tuple[str, ...], role: str, code: int) -> None:
    people = entrepot(*arguments, role=role)
    assert (people.code, people.out) == (code, ""), people
    assert people.err.startswith("error: ")
    program = entrepot(*arguments, "--json", role=role)
    assert (program.code, program.out) == (code, "")
    told = json.loads(program.err)["error"]
    assert set(told) == {"code", "message", "remedy"}
    assert told["message"] in people.err.replace("\n", " ")


def test_a_node_that_is_not_there(entrepot: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_URL", "http://127.0.0.1:9")
    said = entrepot("repo", "list", "--json")
    assert (said.code, json.loads(said.err)["error"]["code"]) == (5, "unavailable")


def test_something_else_than_a_node(entrepot: Cli, node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.terminal.client.API", "/else")
    node.answers["/else/whoami"] = (200, "text/html", b"<html>hello</html>")
    assert entrepot("token", "whoami").code == 5
    node.answers["/else/whoami"] = (502, "text/html", b"<html>bad gateway</html>")
    said = entrepot("token", "whoami")
    assert (said.code, "html" in said.err) == (5, False)


def test_a_strangers_words_do_not_steer_the_terminal(entrepot: Cli, node: Listening) -> None:
    node.console.add_package("acme", "main", "generic", "a\x1b]0;gotcha\x07[bold]b")
    said = entrepot("ls", "acme/main")
    assert said.out.startswith("generic\ta\ufffd]0;gotcha\ufffd[bold]b\t")


# ---------------------------------------------------------------- profiles


def test_profiles(entrepot: Cli, node: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = tmp_path / "reader"
    reader.write_text(node.console.tokens["reader"] + "\n")
    assert entrepot("profile", "set", "near", "--url", node.url, "--token-file", str(reader)).code == 0
    config = tmp_path / "config" / "entrepot" / "config.toml"
    assert config.stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv("ENTREPOT_URL")
    assert entrepot("token", "whoami", "--json", role="nobody").json["name"] == "reader"
    assert entrepot("token", "whoami", "--json", role="writer").json["name"] == "writer"
    assert entrepot("token", "whoami", "--json", "--profile", "near", role="writer").json["name"] == "reader"
    listed = entrepot("profile", "list", "--json")
    assert listed.json == {"items": [{"name": "near", "url": node.url, "token": True, "current": True}]}
    assert entrepot("profile", "use", "far").code == 3
    assert entrepot("profile", "remove", "near").code == 0
    assert entrepot("profile", "list").out == ""


def test_c11_a_profiles_token_goes_to_no_other_node(entrepot: Cli, node: Listening, tmp_path: Path) -> None:
    stored = tmp_path / "token"
    stored.write_text(mint()[0])
    entrepot("profile", "set", "far", "--url", "https://far.example", "--token-file", str(stored), role="nobody")
    said = entrepot("token", "whoami", role="nobody")
    assert (said.code, "This needs a token." in said.err) == (4, True)


def test_a_profile_takes_the_token_of_the_environment(entrepot: Cli, node: Listening) -> None:
    entrepot("profile", "set", "near.by", "--url", node.url + "/", role="writer")
    assert entrepot("token", "whoami", "--profile", "near.by", "--json", role="nobody").json["name"] == "writer"


@pytest.mark.parametrize("text", ["current = 1", "x = 1", "[profiles", '[profiles.a]\nurl = "x"\ntokens = ""'])
def test_a_broken_file_of_profiles(entrepot: Cli, tmp_path: Path, text: str) -> None:
    config = tmp_path / "config" / "entrepot" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    assert entrepot("status").code == 2


def test_a_lone_dash_is_the_standard_input_of_the_option_before_it() -> None:
    assert joined(["upstream", "add", "--token-file", "-", "x"]) == ["upstream", "add", "--token-file=-", "x"]
    assert joined(["a", "-", "--b=c", "-", "--", "-"]) == ["a", "-", "--b=c", "-", "--", "-"]


def test_c11_a_webhooks_address_and_headers_come_from_files(entrepot: Cli, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://receiver.example/T0secret\n")
    (tmp_path / "bad").write_text("secret and no value\n")
    (tmp_path / "headers").write_text("X-Key=v0=secret\n\nX-Other: two words\n")
    files = ("--to-file", str(tmp_path / "url"), "--header-file", str(tmp_path / "headers"))
    made = entrepot("webhook", "create", "acme/ci", *files, "--json")
    assert made.code == 0, made.err
    assert (made.json["host"], made.json["headers"]) == ("https://receiver.example", ["x-key", "x-other"])
    changed = entrepot("webhook", "update", "acme/ci", "--to-file", str(tmp_path / "url"), "--json")
    assert (changed.code, changed.json["host"]) == (0, "https://receiver.example")
    for wrong in (
        (),
        ("--to-file", str(tmp_path / "none")),
        ("--to", "https://a.example", *files[:2]),
        (*files[:2], "--header-file", str(tmp_path / "bad")),
    ):
        said = entrepot("webhook", "create", "acme/other", *wrong)
        assert said.code == 2, said
        assert "secret" not in said.err


# ---------------------------------------------------------------- what a wrong use is told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("member", "add", "acme", "user:x", "--role", "king"), 1, "one of collaborator, manager, member, owner is"),
        (("role", "put", "acme/owner", "read"), 1, "of this name in every workspace"),
        (("network", "allow", "acme/main", "--country", "Germany"), 1, "^[A-Z]{2}$, at rules[0].countries[0]"),
        (("token", "create", "x", "--owner", "service:ci"), 1, "Write service:WORKSPACE/NAME."),
        (("token", "create", "x", "--workspace", "acme", "--expires", "2020-01-31"), 2, "is over"),
        (("token", "create", "x", "--workspace", "acme", "--expires", "2027-13-31"), 2, "is no day"),
        (("grant", "give", "acme/main", "members", "--read", "--format", "x"), 1, "It knows generic, pypi, npm."),
        (("grant", "give", "acme/main", "members", "--role", "none"), 1, "entrepot role put"),
        (("grant", "list", "a/b/c"), 2, "WORKSPACE/REPOSITORY"),
        (("role", "list", "acme/main"), 2, "Write its name alone"),
        (("member", "list", "acme/main"), 2, "Write its name alone"),
        (("logs", "acme/main"), 2, "Write its name alone"),
        (("usage", "acme/main"), 2, "Write its name alone"),
        (("entitlement", "create", "acme", "x", "--metadata", "plan"), 2, "KEY=VALUE"),
        (("entitlement", "create", "acme", "x", "--bytes", "much"), 2, "no size"),
        (("entitlement", "edit", "acme", "tok_x"), 2, "what is to be changed"),
        (("webhook", "create", "acme/x", "--to", "receiver"), 1, "The address is not http or https."),
        (("oidc", "add", "acme/x", "--issuer", "ci", "--audience", "a", "--rule", "ci:a=b"), 1, "The address is not"),
    ],
)
def test_a_wrong_use_is_told_what_is_right(entrepot: Cli, arguments: tuple[str, ...], code: int, told: str) -> None:
    said = entrepot(*arguments)
    assert (said.code, said.out) == (code, "")
    assert told in said.err.replace("\n", " ")


def test_what_is_out_of_bounds_is_told_in_the_words_and_units_of_who_typed_it(entrepot: Cli) -> None:
    made = entrepot("token", "create", "x", "--workspace", "acme", "--json").json
    for typed in (("--overlap", "60d"), ("--overlap=60d",)):
        said = entrepot("token", "rotate", made["id"], *typed)
        assert (said.code, said.out) == (1, "")
        assert "--overlap: at most 30 days is expected." in said.err
        assert "_s" not in said.err
        assert "2592000" not in said.err


def test_who_is_in_a_team_and_by_what_people_come_in(entrepot: Cli) -> None:
    assert entrepot("user", "create", "ann").code == 0
    assert entrepot("member", "add", "acme", "user:ann").code == 0
    assert entrepot("team", "create", "acme/web").code == 0
    assert entrepot("team", "add", "acme/web", "user:ann", "--role", "manager").code == 0
    assert entrepot("team", "show", "acme/web").out == "user:ann\tmanager\n"
    assert entrepot("team", "show", "acme/web", "--json").json["name"] == "web"
    assert entrepot("team", "show", "acme/none").code == 3
    made = entrepot("scim", "token", "acme/entra", "--expires", "365d", "--json").json
    assert entrepot("scim", "token", "other/entra").code == 0
    [line] = entrepot("scim", "list", "acme").out.splitlines()
    assert line.split("\t")[:3] == [made["id"], "entra", "active"]
    assert made["token"] not in entrepot("scim", "list", "acme", "--json").out
    issuer = ("--issuer", "https://id.example", "--client-id", "entrepot", "--domain", "acme.example")
    assert entrepot("sso", "add", "acme/corp", *issuer).code == 0
    rule = ("--audience", "acme", "--rule", "ci:repository=acme/web")
    assert entrepot("service", "create", "acme/ci").code == 0
    assert entrepot("oidc", "add", "acme/builds", "--issuer", "https://ci.example", *rule).code == 0
    [line] = entrepot("sso", "list", "acme").out.splitlines()
    assert line.split("\t")[:5] == ["corp", "OpenID", "https://id.example", "acme.example", "enabled"]
    assert entrepot("sso", "disable", "acme/corp").code == 0
    assert "disabled since" in entrepot("sso", "list", "acme").out


def test_grants_are_listed_of_a_repository_alone(entrepot: Cli) -> None:
    for scope in ("acme", "acme/main", "acme/open"):
        assert entrepot("grant", "give", scope, "members", "--read").code == 0
    scopes = [one["scope"] for one in entrepot("grant", "list", "acme/main", "--json").json["items"]]
    assert sorted(scopes) == ["acme", "acme/main"]
    assert len(entrepot("grant", "list", "acme", "--json").json["items"]) == 3


def test_countries_are_taken_in_small_letters_too(entrepot: Cli) -> None:
    rules = entrepot("network", "allow", "acme/main", "--country", "de", "--json").json["rules"]
    assert rules[0]["countries"] == ["DE"]


def test_tokens_are_listed_with_whom_they_act_for(entrepot: Cli) -> None:
    assert entrepot("service", "create", "acme/ci").code == 0
    assert entrepot("token", "create", "build", "--owner", "service:acme/ci").code == 0
    lines = [line.split("\t") for line in entrepot("token", "list").out.splitlines()]
    assert [line[2:4] for line in lines if line[1] == "build"] == [["api", "service:acme/ci"]]


def test_a_customers_limits_are_given_shown_and_changed(entrepot: Cli, node: Listening) -> None:
    made = entrepot(
        "entitlement", "create", "acme", "shop", "--repository", "main", "--format", "generic", "--package", "web/*",
        "--downloads", "3", "--bytes", "2M", "--clients", "4", "--period", "30d", "--eula", "r7",
        "--network", "10.0.0.0/8", "--metadata", "plan=gold", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    [line] = entrepot("entitlement", "list", "acme").out.splitlines()
    limits = "3 downloads, 4 clients, 2.0 MiB, every 30d, networks 10.0.0.0/8, terms r7 not accepted yet"
    reads = "acme/main, formats generic, packages web/*"
    assert line.split("\t") == [made.json["id"], "shop", "active", reads, limits]
    changed = entrepot(
        "entitlement", "edit", "acme", made.json["id"], "--bytes", "1K", "--period", "0", "--eula", "r8",
        "--metadata", "plan=iron", "--json",
    ).json  # fmt: skip
    assert changed["limits"] | {"from_ms": 0} == {
        "downloads_max": 3, "bytes_max": 1024, "clients_max": 4, "period_s": 0, "from_ms": 0,
    }  # fmt: skip
    assert (changed["eula"]["revision"], changed["metadata"]) == ("r8", {"plan": "iron"})


def test_an_end_can_be_a_day(entrepot: Cli) -> None:
    day = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)).date().isoformat()
    made = entrepot("token", "create", "x", "--workspace", "acme", "--expires", day, "--json")
    assert made.code == 0, made.err
    left_s = (made.json["expires_ms"] - made.json["created_ms"]) / 1000
    assert 28 * 24 * 3600 < left_s <= 30 * 24 * 3600
    told = entrepot("entitlement", "create", "acme", "x", "--starts", "2020-01-31", "--expires", f"{day}T12:00")
    assert told.code == 0, told.err


def test_help_tells_the_exit_codes(entrepot: Cli) -> None:
    told = entrepot("--help")
    assert told.code == 0
    assert "Exit codes: 0 done" in told.out


def test_a_template_is_told_which_place_is_filled_by_nothing(entrepot: Cli, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text('{"text": "{{data.packge}}"}')
    to = ("--to", "https://receiver.example/", "--template", str(tmp_path / "chat.json"))
    said = entrepot("webhook", "create", "acme/chat", *to, "--event", "package.published")
    assert (said.code, "data.packge" in said.err) == (1, True)


def test_a_bad_identity_token_is_no_missing_token(entrepot: Cli, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("not.a.token")
    said = entrepot("oidc", "exchange", "acme", "--from-file", str(tmp_path / "id"))
    assert said.code == 4
    assert "identity token is no good" in said.err
    assert "entrepot login" not in said.err, "that would be a token of a person"


def test_a_list_of_hosts_tells_where_each_is_reached_and_whether_it_sends_on(entrepot: Cli) -> None:
    assert entrepot("host", "add", "eu.pkgs.example", "--region", "eu", "--at", "http://eu.pkgs.example:8080").code == 0
    assert entrepot("host", "add", "pkgs.example", "--redirect").code == 0
    rows = [line.split("\t") for line in entrepot("host", "list").out.splitlines()]
    assert ["eu.pkgs.example", "", "eu", "http://eu.pkgs.example:8080", ""] in rows
    assert ["pkgs.example", "", "", "https://pkgs.example", "to the nearest region"] in rows


@pytest.mark.parametrize(("lease", "code"), [("4s", 2), ("301s", 2), ("10m", 2), ("5s", 0), ("300s", 0), ("0", 0)])
def test_a_lease_that_cannot_be_is_refused_in_words(entrepot: Cli, lease: str, code: int) -> None:
    done = entrepot("repo", "edit", "acme/main", "--lease", lease)
    assert done.code == code
    assert ("Use 5s to 300s, or 0" in done.err) == (code == 2)


def test_a_query_that_finds_nothing_is_told_so(entrepot: Cli) -> None:
    done = entrepot("warm", "acme/main", "--query", "name:nothing-of-the-kind")
    assert (done.code, done.out) == (
        0, "The query finds nothing in acme/main. What one finds: entrepot search QUERY.\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [("warm", "acme/mian"), ("delete", "--in", "acme/mian"), ("copy", "--in", "acme/mian", "--to", "acme/main")],
)
def test_a_query_in_a_repository_that_is_not_there_is_no_success(entrepot: Cli, command: tuple[str, ...]) -> None:
    done = entrepot(*command, "--query", "name:*")
    assert done.code == 3
    assert "There is no such repository" in done.err
