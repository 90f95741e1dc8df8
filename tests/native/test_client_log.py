"""What clients did at every node: counted once at the origin, told to who may see it, and without any secret?

At a running origin and its edge. THREATS C11, F11, F12.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bench.hostile.speaking import Said
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served

pytestmark = pytest.mark.native

READS = 20
PATIENCE_S = 60.0
CANARY = "ent_" + "Canary" * 6 + "77"
CONTENT = b"content\n" * 100


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("logs") / "pair", logs={"take_every_seconds": 0.5}) as made:
        yield made
        assert '"level":"error"' not in made.words()


def ask(node: Served, method: str, path: str, token: str = "", body: bytes = b"", **headers: str) -> Said:
    fields = {
        "Host": "registry.example",
        "User-Agent": "pip/25.1",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    fields |= {"Authorization": f"Bearer {token}"} if token else {}
    fields |= {"Content-Length": str(len(body))} if body or method in ("PUT", "POST", "PATCH") else {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with node.speaker() as speaker:
        speaker.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return speaker.hear(head=method == "HEAD")


def until(look: Any, wanted: Any) -> Any:
    """What `look` gives, once it is this."""
    end = time.monotonic() + PATIENCE_S
    while (found := look()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def test_o24_requests_at_every_node_are_counted_once(pair: Pair) -> None:
    path = f"/{PUBLIC}/generic/tool/1.0/tool.bin"
    assert ask(pair.edge, "PUT", path, pair.token, CONTENT).status == 201
    for node in (pair.edge, pair.origin):
        until(lambda node=node: ask(node, "HEAD", path).status, 200)
        for _ in range(READS):
            assert ask(node, "GET", path).body == CONTENT

    def counted(*arguments: str) -> dict[str, int]:
        code, told, errors = pair.entrepot("usage", "demo", *arguments)
        assert code == 0, errors
        return {one["outcome"]: one["requests"] for one in told["items"]}

    def reads() -> dict[str, int]:
        _, told, _ = pair.entrepot("logs", "demo", "--status", "200", "--limit", "1000")
        found = [one for one in told["items"] if one["method"] == "GET" and one["bytes"] == len(CONTENT)]
        assert {one["client"] for one in found} <= {"pip"}, "what the edge fetched is not in it"
        assert {(one["format"], one["workspace"], one["repository"]) for one in found} <= {("generic", "demo", "open")}
        return {node: sum(one["node"] == node for one in found) for node in ("origin", "edge")}

    until(reads, {"origin": READS, "edge": READS})
    time.sleep(2 * 2.5)  # more rounds of taking and sending: nothing comes twice
    assert reads() == {"origin": READS, "edge": READS}
    assert counted("--by", "outcome")["HIT"] >= READS
    code, told, _ = pair.entrepot("top", "packages", "demo", node=pair.edge)
    assert (code, told["items"][0]["package"][:8]) == (0, "generic:"), "an edge hands the question on"
    _, told, _ = pair.entrepot("logs", "demo", "--status", "201", "--limit", "1000")
    published = [one for one in told["items"] if one["method"] == "PUT" and one["outcome"] != "RELAYED"]
    assert published
    assert {one["format"] for one in published} == {"generic"}
    assert all(one["package"] and one["file"] for one in published), "what a request published stands in its line"
    assert not list((pair.edge.data / "segments" / "out").glob("*.parquet"))


def test_c11_no_secret_stands_in_any_log_segment_audit_or_metric(pair: Pair) -> None:
    basic = "dG9rZW46" + "Q2FuYXJ5"
    for node in (pair.origin, pair.edge):
        for path in (
            f"/t/{CANARY}/{PUBLIC}/generic/x", f"/{PUBLIC}/generic/{CANARY}/{CANARY}.bin", f"/{PUBLIC}/npm/{CANARY}",
            f"/{PUBLIC}/generic/x?token={CANARY}", f"/{CANARY}/{CANARY}/pypi/x",
        ):  # fmt: skip
            ask(node, "GET", path, User_Agent=f"{CANARY}/1.0", Referer=f"http://x/{CANARY}", Cookie=f"s={CANARY}")
            ask(node, "GET", path, CANARY, User_Agent=f"pip/1 {CANARY}")
            ask(node, "GET", path, Authorization=f"Basic {basic}", X_Api_Key=CANARY)
        body = json.dumps({"name": "x", "grants": [{"scope": PRIVATE}], "token": CANARY}).encode()
        ask(node, "POST", "/-/api/v1/tokens", pair.token, body, Content_Type="application/json")
        ask(node, "PATCH", f"/-/api/v1/repositories/{PUBLIC}", pair.token, b'{"public":true}',
            Content_Type="application/json", Entrepot_Reason=f"because of {CANARY}")  # fmt: skip
        ask(node, "PUT", f"/{PUBLIC}/generic/told", pair.token, b"x", Entrepot_Reason=CANARY)
    mark = f"/{PUBLIC}/generic/last"
    for node in (pair.origin, pair.edge):
        ask(node, "GET", mark, User_Agent="Wget/1.25")
    rows = until_taken(pair, "wget")
    assert len(rows) > READS
    told = json.dumps([pair.entrepot(*question)[1] for question in (
        ("audit", "list"), ("logs", "--limit", "1000"), ("top", "packages"), ("top", "principals"), ("audit", "heads"),
    )])  # fmt: skip
    metrics = b"".join(ask(node, "GET", "/-/metrics", pair.token).body for node in (pair.origin, pair.edge))
    logged = pair.origin.logged() + pair.edge.logged() + pair.words()
    for secret in (CANARY, pair.token, basic):
        for where, text in (
            ("rows", json.dumps(rows)), ("told", told), ("metrics", metrics.decode()), ("logged", logged),
        ):  # fmt: skip
            assert secret not in text, where


def until_taken(pair: Pair, client: str) -> list[list[str]]:
    """Every row of every segment of the origin, once both nodes' requests by this client are there."""
    end = time.monotonic() + PATIENCE_S
    while True:
        rows: list[list[str]] = []
        for path in (pair.origin.data / "segments" / "kept").rglob("*.parquet"):
            rows += [list(map(str, row)) for row in read(path)]
        if len({row[1] for row in rows if client in row}) == 2:
            return rows
        assert time.monotonic() < end, rows[-5:]
        time.sleep(0.2)


def read(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as engine:
        return engine.execute("select * from read_parquet(?)", [str(path)]).fetchall()


def test_who_may_see_it(pair: Pair) -> None:
    body = json.dumps({"name": "reader", "grants": [{"scope": "demo"}]}).encode()
    made = ask(pair.origin, "POST", "/-/api/v1/tokens", pair.token, body, Content_Type="application/json")
    reader = json.loads(made.body)["token"]
    for path in ("/traffic", "/logs", "/workspaces/demo/traffic", "/workspaces/demo/logs", "/audit",
                 "/workspaces/demo/audit"):  # fmt: skip
        for token in ("", reader):
            assert ask(pair.origin, "GET", f"/-/api/v1{path}", token).status in (401, 403), path
    for bad in ("by=peer", "by=day,day", "order=x", "since_ms=x", "status=9999", "limit=0", "by=" + "x" * 50):
        assert ask(pair.origin, "GET", f"/-/api/v1/workspaces/demo/traffic?{bad}", pair.token).status == 400, bad


def test_what_somebody_did_is_found_by_his_name(pair: Pair) -> None:
    """At the origin and at an edge, by any of his tokens; of a workspace that he is not in nothing is told by it."""
    for words in (
        ("workspace", "create", "elsewhere"), ("user", "create", "ann"), ("user", "create", "bob"),
        ("member", "add", "demo", "user:ann"), ("member", "add", "elsewhere", "user:bob"),
        ("grant", "give", PRIVATE, "user:ann", "--read"),
    ):  # fmt: skip
        code, _, errors = pair.entrepot(*words)
        assert code == 0, errors
    ids = {}
    for owner, node in (("ann", pair.origin), ("ann", pair.edge), ("bob", pair.origin)):
        _, made, _ = pair.entrepot("token", "create", "t", "--owner", f"user:{owner}")
        path = f"/{PRIVATE if owner == 'ann' else PUBLIC}/generic/none"
        until(lambda node=node, path=path, made=made: ask(node, "GET", path, made["token"]).status, 404)
        ids[made["id"]] = owner
    anns = {id for id, owner in ids.items() if owner == "ann"}

    def found(workspace: str, principal: str) -> set[str]:
        code, told, errors = pair.entrepot("logs", *([workspace] if workspace else []), "--principal", principal)
        assert code == 0, errors
        return {one["principal"] for one in told["items"] if one["outcome"] != "LOST"}

    for principal in ("ann", "user:ann"):
        until(lambda principal=principal: found("demo", principal), anns)
    until(lambda: found("", "bob"), set(ids) - anns)
    assert found("demo", "bob") == found("demo", "user:none") == found("elsewhere", "ann") == set()
    assert found("demo", min(anns)) == {min(anns)}


def test_a_token_tells_when_and_where_it_was_last_used(pair: Pair) -> None:
    """Wherever it was used, and by whatever: packages and the API; asked at an edge as at the origin."""
    body = json.dumps({"name": "seldom", "grants": [{"scope": "demo", "read": True}]}).encode()
    said = ask(pair.edge, "POST", "/-/api/v1/tokens", pair.token, body, Content_Type="application/json")
    made = json.loads(said.body)

    def use(node: Served) -> Any:
        listed = json.loads(ask(node, "GET", "/-/api/v1/tokens?limit=1000", pair.token).body)["items"]
        found = next(one for one in listed if one["id"] == made["id"])
        return {name: found.get("last_used", {}).get(name) for name in ("node", "address")}

    assert use(pair.edge) == {"node": None, "address": None}
    for node, name, path in (
        (pair.edge, "edge", f"/{PRIVATE}/generic/no"),
        (pair.origin, "origin", "/-/api/v1/whoami"),
    ):
        until(lambda node=node, path=path: ask(node, "GET", path, made["token"]).status in (200, 404), True)
        for at in (pair.origin, pair.edge):
            until(lambda at=at: use(at), {"node": name, "address": "127.0.0.1"})
    answer = ask(pair.origin, "GET", "/-/api/v1/whoami", made["token"])
    assert "x-entrepot-principal" not in answer.headers
    code, told, errors = pair.entrepot("token", "list", node=pair.edge)
    assert (code, errors) == (0, "")
    assert any(one.get("last_used", {}).get("node") == "origin" for one in told["items"])


def test_f11_an_owner_sees_what_was_done_to_the_workspace_in_the_nodes_own_history_too(pair: Pair) -> None:
    """Tokens, services, hosts and quotas stand in the node's journal. No other workspace is named, and no edge."""

    def did(*arguments: str) -> Any:
        code, told, errors = pair.entrepot(*arguments)
        assert code == 0, (arguments, errors)
        return told

    did("workspace", "create", "shop")
    did("workspace", "create", "rival")
    did("repo", "create", "shop/tools")
    did("service", "create", "shop/ci")
    did("quota", "set", "shop", "1G")
    customer = did("entitlement", "create", "shop", "Big Customer", "--repository", "tools")
    both = did("token", "create", "both", "--workspace", "shop", "--workspace", "rival")
    did("token", "create", "rivals", "--workspace", "rival")
    did("token", "revoke", customer["id"])
    owner = did("token", "create", "owner", "--workspace", "shop", "--admin")["token"]

    listed = ask(pair.edge, "GET", "/-/api/v1/workspaces/shop/audit", owner)
    assert listed.status == 200
    entries = json.loads(listed.body)["items"]
    told = [(one["workspace"], one["action"]) for one in entries]
    assert told == [
        ("-", "token.create"), ("-", "token.revoke"), ("-", "token.create"), ("-", "entitlement.create"),
        ("-", "workspace.quota"), ("shop", "member.add"), ("-", "service.create"), ("shop", "repository.create"),
        ("-", "workspace.create"),
    ]  # fmt: skip
    assert b"rival" not in listed.body, "a token of two workspaces is told with the scopes in this one (F5)"
    grants = entries[2]["changes"][0]["token"]["grants"]
    assert (entries[2]["changes"][0]["subject"], [one["scope"] for one in grants]) == (
        ["token", "", both["id"]],
        ["shop"],
    )

    def one(serial: int, **more: str) -> Said:
        query = "&".join(f"{name}={value}" for name, value in more.items())
        return ask(pair.edge, "GET", f"/-/api/v1/workspaces/shop/audit/{serial}?{query}", owner)

    changed = json.loads(one(entries[1]["serial"], journal="-").body)["changes"][0]
    assert changed["before"]["token"]["revoked_ms"] == 0 < changed["after"]["token"]["revoked_ms"]
    serials = {one["serial"] for one in did("audit", "list", "-")["items"]}
    strange = sorted(serials - {one["serial"] for one in entries if one["workspace"] == "-"})
    assert strange
    assert {one(serial, journal="-").status for serial in strange} == {404}, "what concerns others is not there"
    assert one(1, journal="rival").status == 404
    code, words, _ = pair.entrepot("audit", "show", "shop", str(entries[3]["serial"]), "--system")
    assert (code, words["changes"][0]["after"]["token"]["name"]) == (0, "Big Customer")


def test_who_was_refused_a_package_is_in_the_log_of_the_node_that_refused(pair: Pair) -> None:
    """And who was let in nowhere is nobody there: a stranger's guess is in no log as somebody's token."""
    body = json.dumps({"name": "elsewhere", "grants": [{"scope": PUBLIC, "read": True}]}).encode()
    made = json.loads(
        ask(pair.edge, "POST", "/-/api/v1/tokens", pair.token, body, Content_Type="application/json").body
    )
    path = f"/{PUBLIC}/generic/refused.bin"
    assert ask(pair.edge, "PUT", path, made["token"], CONTENT).status == 403
    assert ask(pair.edge, "PUT", path, "ent_" + "A" * 38, CONTENT).status == 401

    def refused() -> set[tuple[str, int, str]]:
        _, told, _ = pair.entrepot("logs", "demo", "--limit", "1000")
        mine = (one for one in told["items"] if one["method"] == "PUT" and one["status"] in (401, 403))
        return {(one["node"], one["status"], one["principal"]) for one in mine}

    until(lambda: refused() >= {("edge", 403, made["id"]), ("edge", 401, "")}, True)
