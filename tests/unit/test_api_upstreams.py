"""Can a repository's upstreams be managed without a credential, or a way into our own network, getting out?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access.secrets.upstreams import Credential, Place
from storage.errors import Problem, UpstreamFailed
from storage.nouns import Upstream
from tests.harness.consoles import Console, Got

BASE = "/repositories/acme/main/upstreams"
URL = "https://registry.example/simple/"
CANARY = "canary-51d0"
PLACE = Place("acme", "main", "pypi", "default")


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def add(console: Console, role: str = "acme admin", **body: Any) -> Got:
    return await console.call(role, "POST", BASE, {"format": "pypi", "url": URL} | body)


def stored(console: Console) -> tuple[Upstream, ...]:
    with console.ledger.catalog.read() as reading:
        repository = reading.repository("acme", "main")
    assert repository is not None
    return repository.upstreams


async def test_an_upstream_is_added_listed_and_removed(console: Console) -> None:
    got = await add(console, url="https://registry.example/simple", fresh_s=10, allow=["Some", "some"])
    assert got.status == 201
    assert stored(console) == (Upstream("pypi", URL, "default", 10, 60, ("some",), False),)
    assert (await console.call("reader", "GET", BASE)).json["items"] == [got.json]
    assert (await add(console)).status == 409
    assert (await add(console, name="second")).status == 201
    gone = await console.call("acme admin", "DELETE", f"{BASE}/pypi/default")
    assert (gone.status, gone.headers["entrepot-serial"]) == (204, "acme=5")
    assert [one.name for one in stored(console)] == ["second"]
    assert (await console.call("acme admin", "DELETE", f"{BASE}/pypi/default")).status == 404
    assert [entry.action for entry in console.ledger.entries] == ["upstream.add", "upstream.add", "upstream.remove"]


async def test_c11_a_credential_goes_to_the_secrets_and_nowhere_else(console: Console, tmp_path: Path) -> None:
    got = await add(console, credential={"username": "u", "password": CANARY})
    assert got.status == 201
    assert console.secrets.get(PLACE, URL) == Credential(URL, CANARY, "u")
    listed = await console.call("node admin", "GET", BASE)
    assert CANARY.encode() not in got.body + listed.body
    assert CANARY not in repr(console.ledger.entries)
    holding = [path.name for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert holding == ["secrets.json"]
    await console.call("acme admin", "DELETE", f"{BASE}/pypi/default")
    assert console.secrets.get(PLACE, URL) is None


async def test_a_second_upstream_of_the_name_does_not_take_the_credential_of_the_first(console: Console) -> None:
    await add(console, credential={"password": CANARY})
    again = await add(console, url="https://evil.example/", credential={"password": "mine"})
    assert again.status == 409
    assert console.secrets.get(PLACE, URL) == Credential(URL, CANARY)


@pytest.mark.parametrize(
    "body",
    [
        {"url": f"https://user:{CANARY}@registry.example/"},
        {"url": f"https://{CANARY}@registry.example/"},
        {"url": f"ftp://{CANARY}/"},
        {"url": "https:///simple/"},
        {"url": "https://registry.example:99999/"},
        {"url": "https://registry.example:0/"},
        {"url": "https://[::1/"},
        {"url": "https://registry.example/?x=1"},
        {"url": "https://registry.example/?"},
        {"url": "https://registry.example/#x"},
        {"url": "https://registry.example/a b"},
        {"url": "https://registry.example/\r\nX: y"},
        {"url": "https://registry.example\\@evil.example/"},
        {"url": "https://r\u00e9gistry.example/"},
        {"url": ""},
        {"url": "https://registry.example/" + "a" * 3000},
        {"format": "generic"},
        {"format": "cargo"},
        {"name": "allow"},
        {"name": "A/b"},
        {"fresh_s": -1},
        {"fresh_s": 1e9},
        {"allow": ["a"] * 1001},
        {"credential": {"user": "x", "password": CANARY}},
        {"credential": {"password": ""}},
        {"credential": CANARY},
        {"url": "http://registry.example/", "credential": {"password": CANARY}},
    ],
)
async def test_upstreams_that_cannot_be(console: Console, body: dict[str, Any]) -> None:
    got = await add(console, **body)
    assert (got.status, got.json["code"]) == (400, "invalid"), got.body
    assert CANARY.encode() not in got.body
    assert stored(console) == ()
    assert console.ledger.entries == []


async def test_a_tenant_cannot_point_into_the_nodes_own_network(console: Console) -> None:
    refused = await add(console, private_network=True)
    assert refused.status == 403
    assert stored(console) == ()
    allowed = await add(
        console, "node admin", private_network=True, url="http://127.0.0.1:9/", credential={"password": "p"}
    )
    assert allowed.status == 201


async def test_an_address_that_could_never_be_asked_is_refused_with_the_way_out(tmp_path: Path) -> None:
    console = Console(tmp_path, inside_only=lambda url: "registry.example" if "example" in url else "")
    got = await add(console)
    assert (got.status, got.json["detail"]) == (400, "registry.example is not on the public Internet.")
    assert "--private-network" in got.json["remedy"]
    assert stored(console) == ()
    assert (await add(console, "node admin", private_network=True)).status == 201
    assert (await add(console, name="other", url="https://elsewhere.test/")).status == 201
    console.ledger.close()


async def test_there_is_an_end_to_upstreams(console: Console) -> None:
    for number in range(20):
        assert (await add(console, name=f"m{number}")).status == 201
    assert (await add(console, name="one-more")).status == 413


async def test_names_are_allowed_and_disallowed_for_all_or_one(console: Console) -> None:
    await add(console)
    await add(console, name="second")
    await add(console, format="npm", name="default")
    got = await console.call("acme admin", "POST", f"{BASE}/pypi/allow", {"name": "Thing"})
    assert (got.status, got.json) == (200, {"name": "thing", "allowed": True})
    await console.call("acme admin", "POST", f"{BASE}/pypi/allow", {"name": "other", "upstream": "second"})
    await console.call("acme admin", "POST", f"{BASE}/npm/allow", {"name": "@scope/thing"})
    assert [one.allow for one in stored(console)] == [("thing",), ("thing", "other"), ("@scope/thing",)]
    count = len(console.ledger.entries)
    assert (await console.call("acme admin", "POST", f"{BASE}/pypi/allow", {"name": "thing"})).status == 200
    assert len(console.ledger.entries) == count
    assert (await console.call("acme admin", "DELETE", f"{BASE}/npm/allow/@scope/thing")).status == 204
    assert (await console.call("acme admin", "DELETE", f"{BASE}/npm/allow/@scope%2fthing")).status == 204
    assert (await console.call("acme admin", "DELETE", f"{BASE}/pypi/allow/thing?upstream=second")).status == 204
    assert [one.allow for one in stored(console)] == [("thing",), ("other",), ()]
    for path, body in ((f"{BASE}/cargo/allow", {"name": "x"}), (f"{BASE}/pypi/allow", {"name": "x", "upstream": "no"})):
        assert (await console.call("acme admin", "POST", path, body)).status == 404


async def test_upstreams_survive_a_change_of_access(console: Console) -> None:
    await add(console)
    await console.call("acme admin", "PATCH", "/repositories/acme/main", {"public": True})
    assert [one.url for one in stored(console)] == [URL]


AT = f"{BASE}/pypi/default/credential"
OLD = Credential(URL, "old", "u")


async def rotate(console: Console, role: str = "acme admin", **body: Any) -> Got:
    return await console.call(role, "PUT", AT, {"username": "u", "password": CANARY} | body)


async def test_f8_a_credential_is_shown_to_the_registry_before_the_old_one_goes(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    answers: list[int | Problem] = [200, 401, 503, UpstreamFailed("registry.example fell silent.")]

    async def answer(upstream: Upstream, authorization: str) -> int:
        asked.append((upstream.url, authorization))
        said = answers.pop(0)
        if isinstance(said, Problem):
            raise said
        return said

    console = Console(tmp_path, try_credential=answer)
    await add(console, credential={"username": "u", "password": "old"})
    before = len(console.ledger.entries)
    got = await rotate(console)
    assert (got.status, got.json["url"]) == (200, URL)
    assert asked == [(URL, Credential(URL, CANARY, "u").authorization())]
    assert console.secrets.get(PLACE, URL) == Credential(URL, CANARY, "u")
    assert [entry.action for entry in console.ledger.entries[before:]] == ["upstream.credential"]
    assert CANARY not in repr(console.ledger.entries)
    for status, words in ((400, "answers 401"), (400, "answers 503"), (503, "fell silent")):
        refused = await rotate(console, password="wrong-51d0")
        assert refused.status == status
        assert words in refused.json["detail"]
        assert "The old credential stays." in refused.json["detail"]
        assert b"wrong-51d0" not in refused.body
    assert console.secrets.get(PLACE, URL) == Credential(URL, CANARY, "u")
    assert len(console.ledger.entries) == before + 1
    assert (await rotate(console, password="unseen", unchecked=True)).status == 200
    assert console.secrets.get(PLACE, URL) == Credential(URL, "unseen", "u")
    assert len(asked) == 4
    console.ledger.close()


async def test_f8_only_its_administrator_gives_an_upstream_another_credential(console: Console) -> None:
    assert (await rotate(console)).status == 404
    await add(console, credential={"username": "u", "password": "old"})
    assert (await rotate(console, "reader")).status == 403
    assert (await rotate(console, password="")).status == 400
    assert console.secrets.get(PLACE, URL) == OLD
