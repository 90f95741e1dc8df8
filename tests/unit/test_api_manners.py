"""Has every route of the API the manners that its document tells of: keys, ETags, cursors, fields, ids, limits?"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec
import pytest
import trio

from gateway.access.rights.verdicts import Principal
from gateway.access.secrets.upstreams import Secrets
from gateway.console.api import ROUTES, SHOWS
from gateway.console.calls import answering, callers
from gateway.console.calls.call import UNCHANGED, Route
from gateway.console.calls.once import REPLAYED, Running, key_in, keyed
from gateway.console.calls.tracing import request_id
from gateway.console.document.explaining import REMEDIES, book, kinds
from gateway.console.history.replies import Counted
from storage.commit import Committed, Decide, Decided
from storage.errors import Full, Invalid, StillRunning
from storage.index.answers import FORGOTTEN_MAX, KEPT_MS
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Grant, PutToken, Token
from tests.harness.consoles import REQUEST_ID, Console, Got
from tests.harness.ledgers import NOW_MS
from tests.unit.test_api_permissions import ASKING, BODIES, CHANGING, MAY, address, filled, key

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
OBJECTS = [route for route in ROUTES if route.method in ("PATCH", "PUT", "DELETE") and route.rule in SHOWS]
WITHOUT = {
    "DELETE /-/api/v1/repositories/<workspace>/<repository>/upstreams/<format>/allow/<path:package>",
    "DELETE /-/api/v1/repositories/<workspace>/<repository>/bin",
    "DELETE /-/api/v1/users/<user>/sessions",
    "DELETE /-/api/v1/workspaces/<workspace>/members/<member>/sessions",
    "DELETE /-/api/v1/users/<user>/device",
    "DELETE /-/api/v1/users/<user>/second-factors",
    "PUT /-/api/v1/workspaces/<workspace>/saml/<provider>",
    "PUT /-/api/v1/repositories/<workspace>/<repository>/upstreams/<format>/<name>/credential",
}
"""A name that may come from an upstream is part of the upstream, and nothing by itself; what an upstream is asked with
is shown to nobody; a bin is a list, and so are the sessions of somebody; whether there is a device of one-time codes is
told to nobody; what a provider's metadata says is shown as the provider."""


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


KEYED = [route for route in CHANGING if route.keyed]


def who(route: Route) -> str:
    return "customer" if MAY.get(key(route)) == {"customer"} else "node admin"


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("route", KEYED, ids=key)
async def test_what_is_sent_twice_with_a_key_is_done_once_and_answered_the_same(route: Route, tmp_path: Path) -> None:
    console = await filled(tmp_path)
    path, body = address(route, console), BODIES.get(key(route))
    first = await console.call(who(route), route.method, path, body, KEY)
    assert first.status in (200, 201, 202, 204), first.body
    wrote = len(console.ledger.entries)
    assert wrote >= 1
    again = await console.call(who(route), route.method, path, body, KEY)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers[REPLAYED] == "?1"
    assert REPLAYED not in first.headers
    if key(route) not in ASKING:
        assert again.headers["entrepot-serial"] == first.headers["entrepot-serial"]
    assert len(console.ledger.entries) == wrote
    assert sum(entry.once is not None for entry in console.ledger.entries) == 1
    other = await console.call(who(route), route.method, f"{path}{'&' if '?' in path else '?'}x=1", body, KEY)
    assert (other.status, other.json["code"]) == (422, "key-reused")
    assert len(console.ledger.entries) == wrote
    console.ledger.close()


async def test_the_answer_to_a_key_is_kept_once_the_credential_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream whose credential could not be stored is never answered as one that is there with it."""
    console = await filled(tmp_path)
    path = "/repositories/acme/main/upstreams"
    credential = {"username": "me", "password": "guarded"}
    body = {"format": "npm", "name": "kept", "url": "https://registry.example/", "credential": credential}
    with monkeypatch.context() as full:
        full.setattr(Secrets, "set", lambda *_: (_ for _ in ()).throw(Full("The disk is full.", "Free some of it.")))
        assert (await console.call("node admin", "POST", path, body, KEY)).status == 507
    again = await console.call("node admin", "POST", path, body, KEY)
    assert (again.status, REPLAYED in again.headers) == (409, False)
    assert (await console.call("node admin", "DELETE", f"{path}/npm/kept")).status == 204
    made = await console.call("node admin", "POST", path, body, KEY)
    twice = await console.call("node admin", "POST", path, body, KEY)
    assert (made.status, twice.status, twice.body) == (201, 201, made.body)
    assert twice.headers[REPLAYED] == "?1"
    console.ledger.close()


async def test_a_key_is_its_senders_own_and_a_failure_leaves_it_free(console: Console) -> None:
    body = {"name": "fresh"}
    assert (await console.call("reader", "POST", "/workspaces", body, KEY)).status == 403
    assert (await console.call("node admin", "POST", "/workspaces", {"name": "No!"}, KEY)).status == 400
    assert (await console.call("node admin", "POST", "/workspaces", body, KEY)).status == 201
    assert (await console.call("node admin", "POST", "/workspaces", {"name": "two"}, KEY)).status == 422
    console.add_token("second admin", Grant("*", True, True, True))
    assert (await console.call("second admin", "POST", "/workspaces", {"name": "two"}, KEY)).status == 201


async def test_what_changed_nothing_is_remembered_too(console: Console) -> None:
    """Else the request that comes again would undo what somebody else did meanwhile."""
    path = "/repositories/acme/main"
    assert (await console.call("main admin", "PATCH", path, {"public": False}, KEY)).status == 200
    assert [(one.action, one.changes) for one in console.ledger.entries] == [(UNCHANGED, ())]
    assert (await console.call("main admin", "PATCH", path, {"public": True})).status == 200
    again = await console.call("main admin", "PATCH", path, {"public": False}, KEY)
    assert (again.status, again.json["public"]) == (200, False)
    assert (await console.call("main admin", "GET", path)).json["public"] is True


async def test_c11_a_minted_token_stands_nowhere_and_its_maker_alone_gets_it_again(console: Console) -> None:
    body = {"name": "child", "grants": [{"scope": "acme/main"}]}
    made = (await console.call("acme admin", "POST", "/tokens", body, KEY)).json
    text = made["token"].encode()
    with console.ledger.index.env.begin() as txn:
        rows = [value for _, _, value in console.ledger.index.rows(txn)]
    entries = [msgspec.msgpack.encode(one) for one in console.ledger.entries]
    assert not any(text in one for one in (*rows, *entries))
    (once,) = [one.once for one in console.ledger.entries if one.once is not None]
    assert once.principal == console.ids["acme admin"]
    assert (await console.call("acme admin", "POST", "/tokens", body, KEY)).json["token"] == made["token"]
    # the same principal by another text: the answer is there, and is not for that
    with console.ledger.catalog.read() as reading:
        token = reading.token_by_id(console.ids["acme admin"])
    assert token is not None
    console.add_token("another", Grant("other", True, True, True))
    with console.ledger.catalog.read() as reading:
        other = reading.token_by_id(console.ids["another"])
    assert other is not None
    console.ledger.apply(_put(msgspec.structs.replace(other, revoked_ms=NOW_MS)))
    console.ledger.apply(_put(msgspec.structs.replace(token, sha256=other.sha256)))
    console.tokens["acme admin"] = console.tokens["another"]
    assert (await console.call("acme admin", "POST", "/tokens", body, KEY)).status == 422


def test_c11_what_a_request_is_known_by_lets_nobody_guess_at_what_it_held() -> None:
    """Its body may hold a password, and the journal goes to edges."""
    request = (b"POST", b"/x", b'{"password": "guessed"}')
    mine, theirs = keyed("tok_1", "ent_mine", "1", request), keyed("tok_1", "ent_theirs", "1", request)
    assert mine == keyed("tok_1", "ent_mine", "1", request)
    assert mine.request != theirs.request
    assert mine.sealing not in (mine.request, theirs.sealing)


def _put(token: Token) -> Decide:
    return lambda reading: Decided(Draft(SYSTEM, "", "t", "t", (PutToken(token),)), None)


async def test_a_request_that_is_still_running_is_not_begun_again(console: Console) -> None:
    inside, go_on, answers = trio.Event(), trio.Event(), []
    commit = console.services.commit
    assert commit is not None

    async def slow(decide: Decide) -> Committed:
        inside.set()
        await go_on.wait()
        return await commit(decide)

    object.__setattr__(console.services, "commit", slow)

    async def ask() -> None:
        answers.append((await console.call("node admin", "POST", "/workspaces", {"name": "fresh"}, KEY)).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await inside.wait()
        got = await console.call("node admin", "POST", "/workspaces", {"name": "fresh"}, KEY)
        assert (got.status, got.json["code"], got.headers["retry-after"]) == (409, "still-running", "1")
        go_on.set()
    assert answers == [201]
    assert (await console.call("node admin", "POST", "/workspaces", {"name": "fresh"}, KEY)).status == 201


def test_the_lock_of_a_key_is_the_kernels_and_excludes_within_a_process_too(tmp_path: Path) -> None:
    one, other = (keyed("tok_1", "s", name, (b"POST", b"/x", b"")) for name in ("a", "b"))
    first, second = Running(tmp_path / "lock"), Running(tmp_path / "lock")
    with first.hold(one), second.hold(other), pytest.raises(StillRunning), second.hold(one):
        pass
    with second.hold(one):
        pass


async def test_answers_are_kept_for_a_day_and_not_without_bound(tmp_path: Path) -> None:
    console = Console(tmp_path, keys_max=3)
    for number in range(3):
        assert (await _made(console, number)).status == 201
    assert ((await _made(console, 3)).status, (await _made(console, 2)).status) == (429, 201)
    console.now_ms = NOW_MS + KEPT_MS
    assert (await _made(console, 3)).status == 201
    assert (await _made(console, 2, "two")).status == 201, "the key is free again"
    console.ledger.close()


async def test_what_anybody_may_ask_for_keeps_no_answers(tmp_path: Path) -> None:
    """Else strangers would share one set of keys: they could fill it for all, and the journal with it."""
    console = Console(tmp_path)
    before = len(console.ledger.entries)
    for role, name in (("anonymous", "a"), ("anonymous", "b"), ("reader", "a")):
        got = await console.call(role, "POST", "/login/device", {"name": name}, KEY)
        assert (got.status, REPLAYED in got.headers) == (200, False)
    assert len(console.ledger.entries) == before
    shown = await console.call("anonymous", "POST", "/login/token", {"device_code": "x"}, KEY)
    assert shown.status == 400
    console.ledger.close()


async def _made(console: Console, number: int, name: str = "") -> Got:
    body = {"name": name or f"ws{number}"}
    return await console.call("node admin", "POST", "/workspaces", body, {"Idempotency-Key": f"k{number}"})


@pytest.mark.parametrize(
    ("value", "wanted"),
    [('"a b"', "a b"), ("plain-1", "plain-1"), (r'"a\"b\\"', 'a"b\\'), ("x" * 255, "x" * 255)],
)
def test_keys_that_are_keys(value: str, wanted: str) -> None:
    assert key_in(value) == wanted


@pytest.mark.parametrize("value", ["", '""', '"', '"a', 'a"b', "a, b", "é", "x" * 256, '"a";b=1', "a;b"])
def test_keys_that_are_none(value: str) -> None:
    with pytest.raises(Invalid):
        key_in(value)


# ---------------------------------------------------------------- ETags


def test_every_thing_that_can_be_changed_has_an_address_that_shows_it() -> None:
    changing = [route for route in ROUTES if route.mannered and route.method != "POST"]
    assert {key(route) for route in changing if route.rule not in SHOWS} == WITHOUT


@pytest.mark.parametrize("route", OBJECTS, ids=key)
async def test_a_thing_is_changed_only_as_it_was_seen(route: Route, tmp_path: Path) -> None:
    console = await filled(tmp_path)
    path, body = address(route, console), BODIES.get(key(route))
    looked = path.removesuffix("?confirm=acme")
    seen = await console.call("node admin", "GET", looked)
    if "/entitlements/" in route.rule:  # what was used is counted elsewhere; the ETag is not of that
        etag = '"unused"'
    else:
        assert seen.status == 200, seen.body
        etag = seen.headers["etag"]
        assert (await console.call("node admin", "GET", looked, None, {"If-None-Match": etag})).status == 304
    for wrong in ({"If-Match": '"other"'}, {"If-Match": f"W/{etag}"}, {"If-None-Match": "*"}):
        got = await console.call("node admin", route.method, path, body, wrong)
        assert (got.status, got.json["code"]) == (412, "precondition-failed"), wrong
    assert console.ledger.entries == []
    right = {"If-Match": '"other", ' + etag} if "/entitlements/" not in route.rule else {"If-Match": "*"}
    got = await console.call("node admin", route.method, path, body, right)
    assert got.status in (200, 204), got.body
    assert console.ledger.entries != []
    if route.method != "DELETE":
        now = await console.call("node admin", "GET", path)
        if now.status == 200:
            assert got.headers["etag"] == now.headers["etag"] != etag
        got = await console.call("node admin", route.method, path, body, {"If-Match": etag})
        assert got.status == 412
    console.ledger.close()


async def test_of_writers_that_saw_the_same_one_alone_comes_first(console: Console) -> None:
    path = "/repositories/acme/main"
    for _ in range(5):
        etag = (await console.call("main admin", "GET", path)).headers["etag"]
        statuses: list[int] = []

        async def write(seconds: int, etag: str = etag, statuses: list[int] = statuses) -> None:
            got = await console.call("main admin", "PATCH", path, {"lease_s": seconds}, {"If-Match": etag})
            statuses.append(got.status)

        start = 10 + (await console.call("main admin", "GET", path)).json["lease_s"]
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(write, start + number)
        assert sorted(statuses) == [200] + [412] * 7


async def test_what_is_not_there_is_made_only_once(console: Console) -> None:
    path, none = "/workspaces/acme/roles/fresh", {"If-None-Match": "*"}
    assert (await console.call("acme admin", "PUT", path, {"actions": ["read"]}, none)).status == 200
    assert (await console.call("acme admin", "PUT", path, {"actions": ["read"]}, none)).status == 412
    path = "/workspaces/acme/roles/none"
    assert (await console.call("acme admin", "PUT", path, {"actions": ["read"]}, {"If-Match": "*"})).status == 412


async def test_a_condition_that_can_be_about_nothing_is_not_passed_over(console: Console) -> None:
    for header in ({"If-Match": '"x"'}, {"If-Match": "*"}):
        assert (await console.call("node admin", "POST", "/workspaces", {"name": "x"}, header)).status == 412
    assert (await console.call("node admin", "GET", "/workspaces", None, {"If-None-Match": "unquoted"})).status == 400


# ---------------------------------------------------------------- fields


async def test_only_the_fields_that_are_named_are_told(console: Console) -> None:
    for name in ("alpha", "beta"):
        console.add_package("acme", "main", "pypi", name)
    whole = await console.call("reader", "GET", "/repositories/acme/main")
    part = await console.call("reader", "GET", "/repositories/acme/main?fields=name,public")
    assert part.json == {"name": "main", "public": False}
    assert part.headers["etag"] == whole.headers["etag"]
    packages = "/repositories/acme/main/packages"
    page = await console.call("reader", "GET", f"{packages}?format=pypi&limit=1&fields=name")
    assert page.json["items"] == [{"name": "alpha"}]
    assert page.json["next"]
    deep = await console.call("reader", "GET", f"{packages}/beta?format=pypi&fields=name,files.name")
    assert deep.json == {"name": "beta", "files": [{"name": "beta-1.0.tgz"}]}
    both = await console.call("reader", "GET", f"{packages}/beta?format=pypi&fields=files.name,files")
    assert len(both.json["files"][0]) > 5


@pytest.mark.parametrize("fields", ["nonsense", "name.x", "upstreams.x", "a.b.c.d.e.f", ",".join(["name"] * 101)])
async def test_a_field_that_is_not_there_is_refused(console: Console, fields: str) -> None:
    got = await console.call("reader", "GET", f"/repositories/acme/main?fields={fields}")
    assert (got.status, got.json["code"]) == (400, "invalid")


# ---------------------------------------------------------------- lists


RANKED = {"/-/api/v1/traffic", "/-/api/v1/workspaces/<workspace>/traffic"}
"""The first of an order by what is counted: there is no place in it to go on from."""


def test_every_list_has_pages() -> None:
    lists = [one for one in ROUTES if one.method == "GET" and ("Page" in str(one.gives) or one.gives is Counted)]
    assert len(lists) > 20
    assert {one.rule for one in lists if not {"after", "limit"} <= one.arguments} == RANKED
    assert all(one.paged for one in lists if one.rule not in RANKED)


async def test_the_pages_of_a_list_stay_right_while_it_changes(console: Console) -> None:
    names = [f"w{number:02}" for number in range(10)]
    for name in names:
        assert (await console.call("node admin", "POST", "/users", {"name": name})).status == 201
    seen, path = [], "/-/api/v1/users?limit=3"
    while path:
        got = await console.call("node admin", "GET", path)
        seen += [one["name"] for one in got.json["items"]]
        split = [one.split("; ") for one in got.headers["link"].split(", ")]
        links = {rel: target for target, rel in split}
        assert ('rel="next"' in links) == (got.json["next"] is not None)
        assert links['rel="first"'] == "<?limit=3>"
        following = links.get('rel="next"', "").strip("<>")
        path = urljoin(path, following) if following else ""
        if path:
            assert dict(parse_qsl(urlsplit(path).query)) == {"limit": "3", "after": got.json["next"]}
            await console.call("node admin", "DELETE", f"/users/{seen[-1]}")  # the one that the cursor stands for
            await console.call("node admin", "POST", "/users", {"name": f"a{len(seen)}"})
    assert seen == names


async def test_a_cursor_is_of_its_own_list_and_query_alone(console: Console) -> None:
    for name in ("alpha", "beta"):
        console.add_package("acme", "main", "pypi", name)
        console.add_package("acme", "open", "pypi", name)
    base = "/repositories/acme/{}/packages?format={}&limit=1"
    cursor = (await console.call("reader", "GET", base.format("main", "pypi"))).json["next"]
    assert "alpha" not in cursor
    for path in (base.format("open", "pypi"), base.format("main", "npm"), base.format("main", "pypi") + "&prefix=b"):
        assert (await console.call("reader", "GET", f"{path}&after={cursor}")).status == 400
    for wrong in ("alpha", cursor[:-1], "%F0%9F", "=", "a" * 2000):
        assert (await console.call("reader", "GET", f"{base.format('main', 'pypi')}&after={wrong}")).status == 400


async def test_a_list_in_an_order_of_its_own_goes_on_behind_what_is_gone(tmp_path: Path) -> None:
    console = Console(tmp_path)
    path = "/repositories/acme/main/upstreams"
    for name in ("c", "a", "b", "d"):
        body = {"format": "pypi", "name": name, "url": f"https://{name}.example/"}
        assert (await console.call("node admin", "POST", path, body)).status == 201
    first = (await console.call("node admin", "GET", f"{path}?limit=2")).json
    assert [one["name"] for one in first["items"]] == ["c", "a"]
    assert (await console.call("node admin", "DELETE", f"{path}/pypi/a")).status == 204
    rest = (await console.call("node admin", "GET", f"{path}?limit=2&after={first['next']}")).json
    assert [one["name"] for one in rest["items"]] == ["b", "d"]
    console.ledger.close()


# ---------------------------------------------------------------- ids, limits, problems


async def test_every_answer_has_an_id_and_a_problem_repeats_it(console: Console) -> None:
    for path in ("/whoami", "/nothing", "/repositories/acme/none", "/-/health"):
        got = await console.call("reader", "GET", path)
        assert got.headers["entrepot-request-id"] == REQUEST_ID
        if got.status >= 400:
            assert got.json["request_id"] == REQUEST_ID
            assert got.json["type"] == f"/-/problems/{got.json['code']}"
            assert (await console.call("anonymous", "GET", got.json["type"])).status == 200


@pytest.mark.parametrize(
    "parent",
    ["", "00-x-y-01", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'1' * 16}-01-x"],
)
def test_without_a_trace_the_id_is_one_of_its_own(parent: str) -> None:
    assert len({request_id(parent) for _ in range(3)}) == 3


@pytest.mark.parametrize("parent", [f"00-{'1' * 32}-{'2' * 16}-00", f"01-{'1' * 32}-{'2' * 16}-01-later"])
def test_with_a_trace_its_id_is_the_id(parent: str) -> None:
    assert request_id(parent) == "1" * 32


async def test_limits_are_told_with_every_answer(tmp_path: Path) -> None:
    fields = (("RateLimit-Policy", '"token";q=10;w=60'), ("RateLimit", '"token";r=9;t=6'))
    console = Console(tmp_path, spend=lambda principal, peer: fields)
    for path, status in (("/whoami", 200), ("/repositories/acme/none", 404), ("/workspaces?limit=x", 400)):
        got = await console.call("reader", "GET", path)
        assert (got.status, got.headers["ratelimit"], got.headers["ratelimit-policy"]) == (
            status,
            '"token";r=9;t=6',
            '"token";q=10;w=60',
        )
    console.ledger.close()


def test_every_kind_of_problem_is_explained_where_its_type_leads() -> None:
    assert set(REMEDIES) == set(kinds())
    assert (Path(__file__).parents[2] / "docs/problems.md").read_text() == book()
    assert FORGOTTEN_MAX > 1, "else the kept answers would grow without end"


async def test_a_caller_is_identified_once_and_with_a_key_again_behind_the_body(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def counted(reading: Reading, secret: str | None, now_ms: int) -> Principal:
        seen.append(secret)
        return callers.who(reading, secret, now_ms)

    monkeypatch.setattr(answering, "who", counted)
    assert (await console.call("reader", "GET", "/whoami")).status == 200
    assert seen == [console.tokens["reader"]]
    assert (await console.call("stranger", "GET", "/repositories/acme/main")).status == 404
    assert len(seen) == 2
    assert (await console.call("node admin", "POST", "/workspaces", {"name": "fresh"}, KEY)).status == 201
    assert len(seen) == 4
