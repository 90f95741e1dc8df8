"""Who may manage which webhook, what is refused, and what is never shown (C5, D14)?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.hooks import PutWebhook
from storage.nouns import Draft, DropRepository
from tests.harness.consoles import Console

AT = "/workspaces/acme/webhooks"
SECRET_URL = "https://receiver.example/T0secret0path?k=v0secret0query"
HEADER = "v0secret0header"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.telling.records.close()
    made.ledger.close()


async def create(console: Console, role: str = "acme admin", **more: Any) -> Any:
    body = {"name": "all", "url": SECRET_URL, "headers": {"X-Key": HEADER}} | more
    got = await console.call(role, "POST", AT, body)
    assert got.status == 201, got.body
    return got.json


async def test_the_secret_is_told_once_and_the_address_never(console: Console) -> None:
    made = await create(console)
    assert made["secret"].startswith("whsec_")
    assert (made["host"], made["headers"]) == ("https://receiver.example", ["x-key"])
    texts = [(await console.call("acme admin", "GET", f"{AT}{path}")).body for path in ("", "/all", "/all/deliveries")]
    ping = await console.call("acme admin", "POST", f"{AT}/all/ping")
    texts.append(ping.body)
    assert (ping.status, ping.json["status"], ping.json["problem"]) == (
        200,
        0,
        "The name receiver.example cannot be resolved.",
    )
    edited = await console.call("acme admin", "PATCH", f"{AT}/all", {"query": "name:x"})
    assert edited.status == 200
    texts.append(edited.body)
    for text in texts:
        for hidden in ("secret0", made["secret"].removeprefix("whsec_"), HEADER):
            assert hidden.encode() not in text
    journal = repr(console.ledger.all)
    assert "secret0" not in journal
    assert made["secret"].removeprefix("whsec_") not in journal


async def test_c5_a_repositorys_webhooks_are_its_managers_and_a_workspaces_its_managers_alone(console: Console) -> None:
    await create(console, name="whole")
    await create(console, "main admin", name="part", repository="main")
    await create(console, name="other", repository="open")

    async def seen(role: str) -> list[str]:
        got = await console.call(role, "GET", AT)
        return [one["name"] for one in got.json["items"]] if got.status == 200 else [str(got.status)]

    assert await seen("acme admin") == ["other", "part", "whole"]
    assert await seen("main admin") == ["part"]
    assert await seen("writer") == await seen("reader") == await seen("stranger") == []
    assert await seen("anonymous") == ["401"]
    for method, rest, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/replay", {"serial": 0}),
        ("POST", "/ping", None),
        ("GET", "/deliveries", None),
        ("POST", "/deliveries/1/redeliver", None),
    ):
        there = await console.call("main admin", method, f"{AT}/whole{rest}", body)
        nowhere = await console.call("main admin", method, f"{AT}/never{rest}", body)
        assert (there.status, there.body) == (404, nowhere.body), rest
    for role, status in (("main admin", 403), ("writer", 403), ("stranger", 403), ("anonymous", 401)):
        got = await console.call(role, "POST", AT, {"name": "n", "url": SECRET_URL})
        assert got.status == status, (role, got.body)


@pytest.mark.parametrize(
    "more",
    [
        {"name": "No Slug"},
        {"url": "http://receiver.example/"},
        {"url": "https://user:secret0@receiver.example/"},
        {"url": "https://receiver.example:22/"},
        {"url": "not an address"},
        {"events": ["package.exploded"]},
        {"events": ["member.*"], "repository": "main"},
        {"events": ["member.added"], "query": "name:x"},
        {"query": "(("},
        {"query": "nofield:x"},
        {"query": "name:x (license:MIT OR NOT prerelease:true)"},
        {"template": "{{type}}"},
        {"template": '{"a": "{{data.secret}}"}'},
        {"media": "text/html"},
        {"media": "text/plain"},
        {"headers": {"Host": "x"}},
        {"headers": {"Webhook-Id": "x"}},
        {"headers": {"X-Key": "a\r\nX-Other: secret0"}},
        {"headers": {"X Key": "x"}},
        {"secret": "mine"},
    ],
)
async def test_what_cannot_be_used_is_refused_and_leaves_nothing(console: Console, more: dict[str, Any]) -> None:
    got = await console.call("node admin", "POST", AT, {"name": "all", "url": SECRET_URL} | more)
    assert got.status == 400, got.body
    assert b"secret0" not in got.body
    assert console.ledger.entries == []
    assert list(Path(console.ledger.index.path).parent.glob("webhooks.json")) == []


async def test_a_name_is_taken_once_and_a_refused_commit_leaves_no_secret(console: Console) -> None:
    await create(console)
    file = Path(console.ledger.index.path).parent / "webhooks.json"
    before = file.read_text()
    got = await console.call("acme admin", "POST", AT, {"name": "all", "url": SECRET_URL})
    assert got.status == 409
    got = await console.call("acme admin", "POST", AT, {"name": "b", "url": SECRET_URL, "private_network": True})
    assert got.status == 403, "what only the node can reach is not for a tenant to point at (D2)"
    assert file.read_text() == before


async def test_every_change_is_an_entry_with_its_own_revision(console: Console) -> None:
    made = await create(console)
    url = f"{AT}/all"
    for method, path, body in (
        ("PATCH", url, {"url": "https://elsewhere.example/x"}),
        ("POST", f"{url}/rotate", {"overlap_s": 60}),
        ("PATCH", url, {"enabled": False}),
        ("PATCH", url, {"enabled": True}),
        ("POST", f"{url}/replay", {"serial": 1}),
    ):
        assert (await console.call("acme admin", method, path, body)).status == 200
    assert (await console.call("acme admin", "PATCH", url, {"enabled": True})).status == 200, "nothing to change"
    actions = [entry.action for entry in console.ledger.entries]
    edits = ["webhook.edit", "webhook.rotate", "webhook.edit", "webhook.edit", "webhook.replay"]
    assert actions == ["webhook.create", *edits]
    hooks = [one.webhook for each in console.ledger.entries for one in each.changes if isinstance(one, PutWebhook)]
    assert len({one.revision for one in hooks}) == 3
    assert hooks[-1].host == "https://elsewhere.example"
    assert (hooks[-1].after, hooks[-1].run) == (1, 2)
    sealed = console.telling.sealing.find(hooks[-1].revision)
    assert sealed is not None
    assert sealed.url == "https://elsewhere.example/x"
    assert (len(sealed.secrets), sealed.secrets[1].text) == (2, made["secret"])
    assert len(sealed.good(console.now_ms + 59_000)) == 2
    assert len(sealed.good(console.now_ms + 60_000)) == 1
    assert console.telling.sealing.find(hooks[0].revision) is None, "the old half is gone"
    got = await console.call("acme admin", "POST", f"{url}/replay", {"serial": 10**6})
    assert got.status == 400


async def test_a_repository_takes_its_webhooks_along(console: Console) -> None:
    await create(console, repository="main")
    console.ledger.write(Draft("acme", "main", "t", "t", (DropRepository("acme", "main"),)))
    assert (await console.call("acme admin", "GET", f"{AT}/all")).status == 404
    with console.ledger.catalog.read() as reading:
        assert reading.webhooks() == []


async def test_a_lost_file_is_told_and_mended(console: Console) -> None:
    await create(console)
    (Path(console.ledger.index.path).parent / "webhooks.json").unlink()
    ping = await console.call("acme admin", "POST", f"{AT}/all/ping")
    assert (ping.status, "are lost" in ping.json["problem"]) == (200, True)
    assert (await console.call("acme admin", "POST", f"{AT}/all/rotate", {})).status == 503
    assert (await console.call("acme admin", "PATCH", f"{AT}/all", {"url": SECRET_URL})).status == 200
    assert (await console.call("acme admin", "POST", f"{AT}/all/rotate", {})).status == 200


async def test_the_events_are_told(console: Console) -> None:
    got = await console.call("reader", "GET", "/webhook-events")
    assert {"package.published", "token.revoked"} <= {one["name"] for one in got.json["events"]}
    assert (await console.call("anonymous", "GET", "/webhook-events")).status == 401


INSIDE_URL = "http://10.0.0.9:8080/hook"


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://10.0.0.10/other"},
        {"url": "http://10.0.0.10/other", "private_network": True},
        {"url": "https://receiver.example/x"},
        {"headers": {"X-Key": "mine"}},
        {"headers": {}},
        {"template": '{"drop": "{{type}}"}'},
        {"template": "{{type}}", "media": "text/plain"},
        {"template": '{"drop": "{{type}}"}', "enabled": False},
    ],
)
@pytest.mark.parametrize("role", ["acme admin", "main admin"])
async def test_d2_what_goes_into_the_private_network_is_said_by_who_may_give_leave_alone(
    console: Console, body: dict[str, Any], role: str
) -> None:
    await create(console, "node admin", url=INSIDE_URL, private_network=True, repository="main")
    file = Path(console.ledger.index.path).parent / "webhooks.json"
    before, entries = file.read_text(), len(console.ledger.entries)
    got = await console.call(role, "PATCH", f"{AT}/all", body)
    assert (got.status, b"private network" in got.body) == (403, True), got.body
    assert (file.read_text(), len(console.ledger.entries)) == (before, entries), "nothing is left of it"
    assert (await console.call("node admin", "PATCH", f"{AT}/all", body)).status == 200


async def test_d2_who_manages_the_repository_may_do_all_the_rest_and_take_the_leave_away(console: Console) -> None:
    """With it go the headers, which were for inside: where they would go now, he reads them."""
    await create(console, "node admin", url=INSIDE_URL, private_network=True, repository="main")
    for body in ({"enabled": False}, {"enabled": True}, {"events": ["package.published"]}, {"query": "name:x"}):
        got = await console.call("main admin", "PATCH", f"{AT}/all", body)
        assert (got.status, got.json["private_network"]) == (200, True), got.body
    same = {"media": "application/json", "template": ""}
    assert (await console.call("main admin", "PATCH", f"{AT}/all", same)).status == 200, "nothing of it is another"
    out = {"url": "https://mine.example/x", "private_network": False, "template": '{"a": "{{type}}"}'}
    got = await console.call("main admin", "PATCH", f"{AT}/all", out)
    assert got.status == 200, got.body
    assert (got.json["private_network"], got.json["host"], got.json["headers"]) == (False, "https://mine.example", [])
    assert HEADER not in (Path(console.ledger.index.path).parent / "webhooks.json").read_text()
    back = {"url": INSIDE_URL, "private_network": True}
    assert (await console.call("main admin", "PATCH", f"{AT}/all", back)).status == 403
