"""Does anybody get to see what is not theirs: from memory, at a first look, by a condition, a range, an error?

At a running origin and its edge. THREATS B1, B2, B9, C3, C11.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.hostile.corpus import Request
from bench.hostile.rooms import npm, pypi
from bench.hostile.speaking import Said
from tests.harness.pairs import PRIVATE, PUBLIC, Pair, Served
from tests.harness.waiting import until

pytestmark = pytest.mark.native

MARK = "marked"
CONTENT = f"{MARK} content\n".encode() * 50
OF_THE_MOMENT = ("date",)


def asked(node: Served, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Said:
    """One request on a connection of its own."""
    fields = {"Host": "registry.example", **(headers or {})}
    if body or method in ("POST", "PUT", "PATCH"):
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with node.speaker() as speaker:
        speaker.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return speaker.hear(head=method == "HEAD")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass
class World:
    """A pair with a private and a public package of each room, and principals of every kind by name."""

    pair: Pair
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The origin's API, as its admin."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = bearer(self.pair.token) | {"Content-Type": "application/json"}
        said = asked(self.pair.origin, method, f"/-/api/v1{path}", headers, data)
        assert 200 <= said.status < 300, said
        return json.loads(said.body) if said.body else None

    def publish(self, repository: str, room: str, request: Request) -> None:
        headers = dict(request.headers) | bearer(self.pair.token)
        said = asked(self.pair.origin, request.method, f"/{repository}/{room}/{request.path}", headers, request.body)
        assert 200 <= said.status < 300, said

    def token(self, name: str, *grants: dict[str, Any], **more: Any) -> None:
        made = self.call("POST", "/tokens", {"name": name, "grants": grants} | more)
        self.tokens[name], self.ids[name] = made["token"], made["id"]

    def settled(self, node: Served, path: str, token: str, status: int) -> Said:
        """The answer once it is this one: an edge follows its origin in its own time."""

        def holds() -> Said | None:
            said = asked(node, "GET", path, bearer(token))
            return said if said.status == status else None

        return until(holds, f"{path} is answered with {status}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Pair(tmp_path_factory.mktemp("leaks") / "pair") as pair:
        made = World(pair)
        made.call("POST", "/workspaces", {"name": "other"})
        made.call("POST", "/repositories", {"workspace": "other", "name": "main"})
        for repository in (PRIVATE, PUBLIC):
            made.publish(repository, "generic", Request("PUT", f"{MARK}/file.txt", CONTENT))
            made.publish(repository, "pypi", pypi.wheel_upload(MARK, "1.0"))
            made.publish(repository, "npm", npm.put(MARK, npm.document(MARK)))
        made.token("reader", {"scope": PRIVATE, "read": True})
        made.token("revoked", {"scope": PRIVATE, "read": True})
        made.token("writer", {"scope": PRIVATE, "read": False, "write": True})
        made.token("writer two", {"scope": PRIVATE, "read": True, "write": True})
        made.token("stranger", {"scope": "other", "read": True, "write": True, "admin": True})
        made.settled(pair.edge, "/-/api/v1/whoami", made.tokens["stranger"], 200)
        yield made
        assert '"level":"error"' not in pair.words()


READS = (
    f"generic/{MARK}/file.txt", f"generic/{MARK}/file.txt?x=1", f"generic/{MARK}/", "generic/?limit=5",
    "generic/absent", "pypi/simple/", f"pypi/simple/{MARK}/", f"pypi/files/{MARK}/{MARK}-1.0-py3-none-any.whl",
    f"pypi/files/{MARK}/{MARK}-1.0-py3-none-any.whl.metadata", f"pypi/simple/{MARK.title()}/",
    "pypi/simple/absent/",
    f"npm/{MARK}", f"npm/{MARK}/latest", f"npm/{MARK}/-/{MARK}-1.0.0.tgz", "npm/-/all", f"npm/-/v1/search?text={MARK}",
    f"npm/-/package/{MARK}/dist-tags", "npm/absent", "nowhere/x",
)  # fmt: skip
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "hit": ("GET", {}),
    "again": ("GET", {}),
    "head": ("HEAD", {}),
    "range": ("GET", {"Range": "bytes=0-9"}),
    "range beyond": ("GET", {"Range": "bytes=999999999-"}),
    "not modified": ("GET", {"If-None-Match": "*"}),
    "modified since": ("GET", {"If-Modified-Since": "Sun, 06 Nov 2033 08:49:37 GMT"}),
    "if match": ("GET", {"If-Match": '"x"'}),
    "compressed": ("GET", {"Accept-Encoding": "gzip, zstd"}),
    "json": ("GET", {"Accept": "application/vnd.pypi.simple.v1+json"}),
    "delete": ("DELETE", {}),
    "put": ("PUT", {}),
    "options": ("OPTIONS", {}),
}


def lasting(said: Said) -> tuple[int, dict[str, str], bytes]:
    """An answer without what changes from one moment to the next."""
    return said.status, {k: v for k, v in said.headers.items() if k not in OF_THE_MOMENT}, said.body


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b1_b9_what_is_private_cannot_be_told_from_what_is_not_there(world: World, door: str) -> None:
    """Each way of asking, by everybody who may not: no byte of the package, and the answer is that of no repository."""
    node: Served = getattr(world.pair, door)
    reader = world.tokens["reader"]
    world.settled(node, f"/{PRIVATE}/generic/{MARK}/file.txt", reader, 200)
    denied = {"anonymous": "", "stranger": world.tokens["stranger"], "unknown": "ent_" + "0" * 38}
    looked = 0
    for read in READS:
        for name, (method, more) in WAYS.items():
            mine = asked(node, method, f"/{PRIVATE}/{read}", bearer(reader) | more)
            assert mine.status < 500, (read, name, mine)
            for who, token in denied.items():
                theirs = asked(node, method, f"/{PRIVATE}/{read}", bearer(token) | more)
                where = (read, name, who, theirs)
                assert theirs.status in (401, 404), where
                told = json.dumps(theirs.headers) + theirs.body.decode()
                assert MARK not in told, where
                assert mine.headers.get("etag", "no etag") not in told, where
                for absent in ("demo/absent", "nowhere/main"):
                    none = asked(node, method, f"/{absent}/{read}", bearer(token) | more)
                    assert lasting(none) == lasting(theirs), (*where, none)
                looked += 1
    assert looked == len(READS) * len(WAYS) * len(denied)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b1_the_right_to_write_is_not_the_right_to_read(world: World, door: str) -> None:
    node: Served = getattr(world.pair, door)
    for read in READS:
        said = asked(node, "GET", f"/{PRIVATE}/{read}", bearer(world.tokens["writer"]))
        assert said.status in (403, 404), (read, said)
        assert MARK not in said.body.decode()


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b1_each_way_of_showing_a_credential_is_judged_alike(world: World, door: str) -> None:
    node, path = getattr(world.pair, door), f"/{PRIVATE}/generic/{MARK}/file.txt"
    for name, status in (("reader", 200), ("stranger", 404)):
        token = world.tokens[name]
        basic = base64.b64encode(f"token:{token}".encode()).decode()
        for headers, place in (
            ({"Authorization": f"Bearer {token}"}, path), ({"Authorization": f"bearer {token}"}, path),
            ({"Authorization": f"Basic {basic}"}, path), ({"Authorization": f"token {token}"}, path),
            ({}, f"/t/{token}{path}"),
        ):  # fmt: skip
            said = asked(node, "GET", place, headers)
            assert said.status == status, (name, headers, said)
            assert (said.body == CONTENT) == (status == 200)
    # the one in the path counts, whatever stands in the header
    assert asked(node, "GET", f"/t/{world.tokens['stranger']}{path}", bearer(world.tokens["reader"])).status == 404


def test_b1_f1_a_revoked_credential_is_of_no_use_though_its_answers_are_remembered(world: World) -> None:
    pair, token = world.pair, world.tokens["revoked"]
    hot = [f"/{PRIVATE}/generic/{MARK}/file.txt", f"/{PRIVATE}/npm/{MARK}", f"/t/{token}/{PRIVATE}/pypi/simple/{MARK}/"]
    for node in (pair.origin, pair.edge):
        for path in hot * 2:
            world.settled(node, path, token, 200)
    world.call("DELETE", f"/tokens/{world.ids['revoked']}")
    for path in hot:
        said = asked(pair.origin, "GET", path, bearer(token))
        assert said.status == 401, "the origin knows at once"
        assert MARK not in said.body.decode()
        world.settled(pair.edge, path, token, 401)
    for more in ({"If-None-Match": "*"}, {"Range": "bytes=0-1"}):
        assert asked(pair.edge, "GET", hot[0], bearer(token) | more).status == 401


# ---------------------------------------------------------------- what is not asked about

UNKEYED = {
    "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "444", "X-Forwarded-Scheme": "https",
    "Forwarded": "host=evil.example",
    "X-Host": "evil.example", "X-Original-URL": "/-/health", "X-Rewrite-URL": "/-/health",
    "X-HTTP-Method-Override": "DELETE",
    "X-Method-Override": "DELETE", "Cookie": "session=evil; a=b", "Origin": "http://evil.example",
    "Referer": "http://evil.example/", "User-Agent": "evil/1.0", "X-Entrepot-Peer": "192.0.2.1",
    "X-Entrepot-Scheme": "https", "Via": "1.1 evil.example", "X-Real-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1",
    "X-Forwarded-User": "admin", "X-Remote-User": "admin", "Proxy-Authorization": "Bearer x", "Front-End-Https": "on",
    "Accept-Language": "xx", "Cache-Control": "no-cache", "Pragma": "no-cache", "X-Http-Version": "2",
    "Max-Forwards": "0",
}  # fmt: skip


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b2_no_header_that_is_not_understood_changes_an_answer(world: World, door: str) -> None:
    node: Served = getattr(world.pair, door)
    world.settled(node, f"/{PUBLIC}/generic/{MARK}/file.txt", "", 200)
    for read in (f"npm/{MARK}", f"pypi/simple/{MARK}/", f"generic/{MARK}/file.txt", "generic/", "pypi/simple/absent/"):
        path = f"/{PUBLIC}/{read}"
        asked(node, "GET", path)
        plain = asked(node, "GET", path)
        for name, value in UNKEYED.items():
            assert lasting(asked(node, "GET", path, {name: value})) == lasting(plain), (read, name)
        assert lasting(asked(node, "GET", path)) == lasting(plain), "nothing of it was remembered"
        assert b"evil" not in plain.body


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b2_another_host_gets_its_own_addresses_and_changes_nobody_elses(world: World, door: str) -> None:
    node, path = getattr(world.pair, door), f"/{PUBLIC}/npm/{MARK}"
    world.settled(node, path, "", 200)
    mine = asked(node, "GET", path)
    theirs = asked(node, "GET", path, {"Host": "evil.example"})
    assert b"//evil.example/" in theirs.body
    assert b"evil.example" not in mine.body
    assert lasting(asked(node, "GET", path)) == lasting(mine)


# ---------------------------------------------------------------- uploads in parts, and secrets


def test_c3_an_upload_is_known_to_who_began_it_and_to_nobody_else(world: World) -> None:
    for node in (world.pair.origin, world.pair.edge):
        begun = asked(
            node, "POST", f"/{PRIVATE}/generic/parts/{node.data.name}",
            bearer(world.tokens["writer two"]) | {"Upload-Complete": "?0"}, b"part",
        )  # fmt: skip
        assert begun.status == 201, begun
        place = "/" + begun.headers["location"].split("/", 3)[3]
        elsewhere = place.replace(PRIVATE, PUBLIC)
        told = {"Content-Type": "application/partial-upload", "Upload-Offset": "4", "Upload-Complete": "?1"}
        for token, path, status in (
            ("", place, 401), (world.tokens["stranger"], place, 404), (world.tokens["writer"], place, 404),
            (world.tokens["reader"], place, 403), (world.pair.token, place, 404), (world.pair.token, elsewhere, 404),
        ):  # fmt: skip
            for method in ("PATCH", "HEAD", "DELETE"):
                said = asked(node, method, path, bearer(token) | told, b"more" if method == "PATCH" else b"")
                assert said.status == status, (token[:8], path, method, said)
        said = asked(node, "PATCH", place, bearer(world.tokens["writer two"]) | told, b"more")
        assert said.status == 201, said


def test_c11_no_secret_is_written_down_or_sent_back(world: World) -> None:
    """Canaries in every place where a credential can stand, then a look at all that was answered, logged and stored."""
    pair = world.pair
    secrets = [*world.tokens.values(), pair.token]
    token, canary = world.tokens["reader"], "ent_" + "Canary" * 6 + "77"
    for node in (pair.origin, pair.edge):
        for one in (token, canary):
            for path in (
                f"/t/{one}/{PRIVATE}/pypi/simple/{MARK.title()}", f"/t/{one}/{PRIVATE}/npm/{MARK}", f"/t/{one}/x",
                f"/t/{one}/{PRIVATE}/generic/absent", f"/{PRIVATE}/generic/absent?token={one}", f"/t/{one}",
                f"/t/{one}/{PRIVATE}/generic/a%2fb", f"/-/api/v1/whoami?access_token={one}",
                f"/{one}/{one}/{one}/{one}", f"/%74/{one}/{PRIVATE}/generic/absent", f"/t/{one}/../x",
                f"/{PRIVATE}/npm/-/user/token/{one}",
            ):  # fmt: skip
                for headers in ({}, bearer(one), {"Authorization": one}, {"Authorization": f"Basic {one}"}):
                    for method in ("GET", "DELETE"):
                        said = asked(node, method, path, headers)
                        assert said.status < 500, (path, said)
                        assert one not in json.dumps(said.headers) + said.body.decode(), (path, headers, said)
        node.logged()
    for file in (path for node in (pair.origin, pair.edge) for path in node.data.rglob("*") if path.is_file()):
        data = file.read_bytes()
        assert canary.encode() not in data, file
        if "token" not in file.name:
            assert not [one for one in secrets if one.encode() in data], file
    assert not [one for one in (*secrets, canary) if one in pair.words()]


def test_where_a_wait_or_a_credential_helps_the_answer_says_so(tmp_path: Path) -> None:
    """The origin goes away: reads of what is public go on, writes and calls are put off with a time to come back."""
    with Pair(tmp_path / "pair") as pair:
        path = f"/{PUBLIC}/generic/file.txt"
        assert pair.origin.ask("PUT", path, pair.token, b"here").status == 201
        until(lambda: pair.edge.ask("GET", path).body == b"here", "the edge has it")
        pair.origin.stop()
        assert pair.edge.ask("GET", path).body == b"here"
        for method, place in (("PUT", f"/{PUBLIC}/generic/new"), ("PUT", f"/{PRIVATE}/npm/new"),
                              ("DELETE", "/-/api/v1/tokens/x")):  # fmt: skip
            said = asked(pair.edge, method, place, bearer(pair.token), b"x")
            assert said.status == 503, said
            assert said.headers["retry-after"].isdigit()
        for room in ("generic", "pypi", "npm"):
            said = asked(pair.edge, "GET", f"/{PRIVATE}/{room}/x")
            assert said.status == 401
            assert said.headers["www-authenticate"]
