"""Does a search find what the query says, of what the caller may see, from the commit on, and nothing else?"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.foreign.noted import Noted
from formats.npm.facts import VersionFacts
from formats.npm.facts import packed as npm_packed
from formats.pypi.facts import FileFacts
from formats.pypi.facts import packed as pypi_packed
from gateway.access.rights.verdicts import Principal, judge_workspace
from gateway.console.packages import knowing, searching
from gateway.logs.register import Pull
from gateway.queries.fields import At
from gateway.queries.parsing import DEPTH_MAX, TERMS_MAX, parse
from gateway.queries.patterns import matches
from storage.errors import Invalid
from storage.index.catalog import Reading
from storage.nouns import (
    Draft,
    DropPackage,
    DropRepository,
    DropVersion,
    File,
    Grant,
    Package,
    PutFile,
    PutPackage,
    PutQuarantine,
    PutTag,
    PutVersion,
    Quarantine,
    Version,
)
from tests.harness.consoles import Console

DAY_MS = 24 * 3600 * 1000


def publish(console: Console, ws: str, repo: str, format: str, name: str, *versions: str, size: int = 7) -> None:
    changes: list[object] = [PutPackage(format, Package(name, DAY_MS))]
    for number, one in enumerate(versions):
        file = File(f"{name.rpartition('/')[2]}-{one}.tgz", one, bytes([number + 1]) * 32, size * (number + 1))
        changes += [PutVersion(format, name, Version(one, DAY_MS * (number + 1))), PutFile(format, name, file)]
    if versions:
        changes.append(PutTag(format, name, "latest", versions[-1]))
    console.ledger.write(Draft(ws, repo, "t", "t", tuple(changes)))  # type: ignore[arg-type]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    publish(made, "acme", "main", "pypi", "django", "1.9", "1.10", "2.0")
    publish(made, "acme", "main", "pypi", "django-filter", "1.0rc1")
    publish(made, "acme", "main", "npm", "@acme/django-ui", "1.2.0", "1.10.0", "2.0.0-beta.1")
    publish(made, "acme", "open", "generic", "tools/Setup", "9", "10", size=1_000_000)
    publish(made, "other", "main", "pypi", "django", "1.0")
    publish(made, "other", "open", "pypi", "empty")
    yield made
    made.ledger.close()


async def found(console: Console, role: str, query: str, more: str = "") -> list[str]:
    got = await console.call(role, "GET", f"/search?q={quote(query, safe='')}{more}")
    assert got.status == 200, got.body
    return [f"{one['workspace']}/{one['repository']}/{one['format']}/{one['name']}" for one in got.json["items"]]


D, F, U = "acme/main/pypi/django", "acme/main/pypi/django-filter", "acme/main/npm/@acme/django-ui"
S, X, E = "acme/open/generic/tools/Setup", "other/main/pypi/django", "other/open/pypi/empty"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [U, D, F, S, X, E]),
        ("django", [U, D, F, X]),
        ("DJANGO", [U, D, F, X]),
        ("name:^django", [D, F, X]),
        ("name:^Django$", [D, X]),
        ("^Django_F", [F]),
        ("name:filter$", [F]),
        ("name:dj*r", [F]),
        ("name:*set?p", [S]),
        ('"django-f"', [F]),
        ("django NOT filter", [U, D, X]),
        ("django -filter workspace:acme", [U, D]),
        ("filter OR setup", [F, S]),
        ("django AND (format:npm OR repository:main workspace:other)", [U, X]),
        ("NOT (django OR setup)", [E]),
        ("format:pypi version:>=1.10", [D]),
        ("version:>1.9 version:<2.0", [U, D]),
        ("format:pypi version:<1.0", [F]),
        ("format:npm version:<2.0.0 version:>1.9.0", [U]),
        ("format:npm version:<2 version:>1.9", [U]),
        ("format:pypi version:~=1.9", [D]),
        ("version:1.*", [U, D, F, X]),
        ("version:=1.10", [D]),
        ("tag:latest version:1.0rc1", [F]),
        ("tag:latest version:1.9", []),
        ("filename:setup-9", [S]),
        ("checksum:" + "02" * 32, [U, D, S]),
        ("size:>1m", [S]),
        ("size:<=7 format:pypi", [D, F, X]),
        ("uploaded:>=1970-01-03", [U, D, S]),
        ("uploaded:1970-01-02 name:setup", [S]),
    ],
)
async def test_o32_what_a_query_finds(console: Console, query: str, wanted: list[str]) -> None:
    assert await found(console, "node admin", query) == wanted


async def test_all_terms_hold_for_one_version(console: Console) -> None:
    """And the versions are told that the query is about, newest first."""
    got = await console.call("node admin", "GET", "/search?q=" + quote("name:^django$ version:<2 workspace:acme"))
    (item,) = got.json["items"]
    assert item["versions_found"] == 2
    assert [one["name"] for one in item["versions"]] == ["1.10", "1.9"]
    assert item["versions"][0] == {
        "name": "1.10",
        "created_ms": 2 * DAY_MS,
        "size_bytes": 14,
        "tags": [],
        "licenses": [],
        "architectures": [],
        "types": ["sdist"],
        "uploader": "t",
        "prerelease": False,
        "status": "available",
        "quarantined": False,
        "downloads": None,
        "last_downloaded_ms": None,
    }


async def test_what_rooms_clerks_and_counters_know_is_found_too(tmp_path: Path) -> None:
    """Licenses and architectures from what was published, who published it, what is withheld, how often it went."""

    class Counted:
        def package(self, *place: str, since_ms: int) -> dict[str, Pull]:
            return {"1.0": Pull(7, 1), "2.0": Pull(40, 1)} if place[-1] == "one" else {}

    console = Console(tmp_path, register=Counted())
    facts = pypi_packed(FileFacts(license="Apache-2.0"))
    wheel = "one-2.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    manifest = b'{"license":{"type":"MIT"},"cpu":["arm64","!ia32"]}'
    sent = (
        PutPackage("pypi", Package("one", DAY_MS)),
        PutVersion("pypi", "one", Version("1.0", DAY_MS)),
        PutFile("pypi", "one", File("one-1.0.tar.gz", "1.0", b"\1" * 32, 5)),
        PutVersion("pypi", "one", Version("2.0", DAY_MS)),
        PutFile("pypi", "one", File(wheel, "2.0", b"\2" * 32, 50, facts=facts)),
        PutPackage("npm", Package("two", 3 * DAY_MS)),
        PutVersion("npm", "two", Version("1.0.0", DAY_MS, npm_packed(VersionFacts(manifest, b"{}")))),
    )
    console.ledger.write(Draft("acme", "main", console.ids["writer"], "t", sent))
    console.ledger.write(Draft("acme", "main", "t", "t", (PutQuarantine(Quarantine("pypi", "one", "1.0")),)))
    one, two = "acme/main/pypi/one", "acme/main/npm/two"
    for query, wanted in (
        ("license:apache", [one]),
        ("license:mit", [two]),
        ("architecture:x86_64", [one]),
        ("architecture:arm64", [two]),
        ("architecture:ia32", []),
        ("quarantined:true", [one]),
        ("quarantined:true version:2.0", []),
        ("quarantined:false version:2.0", [one]),
        ("downloads:>=40", [one]),
        ("downloads:0", [two]),
        (f"uploader:{console.ids['writer']}", [two, one]),
    ):
        assert await found(console, "acme admin", query) == wanted, query
    # who did what is for those that may read the audit
    assert await found(console, "reader", f"uploader:{console.ids['writer']}") == []
    got = (await console.call("reader", "GET", "/search?q=one")).json["items"][0]["versions"]
    assert [(each["uploader"], each["downloads"], each["quarantined"]) for each in got] == [
        ("", 7, True),
        ("", 40, False),
    ]
    assert got[1]["licenses"] == ["Apache-2.0"]
    for sort, order in (("updated", [two, one]), ("size", [one, two]), ("downloads", [one, two]), ("name", [two, one])):
        assert await found(console, "reader", "", f"&sort={sort}") == order, sort
    console.ledger.close()


async def test_o32_what_is_known_from_upstreams_is_found_and_marked(tmp_path: Path) -> None:
    heard = {
        "remote": Noted(("one",), ("1.0", "2.0"), DAY_MS),
        "django": Noted(("one",), ("9.0",), DAY_MS),
        "gone": Noted(("removed",), ("1.0",), DAY_MS),
    }

    def noted(*asked: str) -> list[tuple[str, Noted]]:
        here = heard if asked[:3] == ("acme", "main", "pypi") else {}
        return [one for one in sorted(here.items()) if one[0].startswith(asked[3]) and one[0] > asked[4]]

    console = Console(tmp_path, noted=noted)
    publish(console, "acme", "main", "pypi", "django", "1.0")
    body = {"format": "pypi", "name": "one", "url": "https://registry.example/simple/"}
    assert (await console.call("node admin", "POST", "/repositories/acme/main/upstreams", body)).status == 201
    remote = "acme/main/pypi/remote"
    assert await found(console, "reader", "") == [D, remote]
    assert await found(console, "reader", "upstream:*") == [remote]
    assert await found(console, "reader", "NOT upstream:one") == [D]
    assert await found(console, "reader", "^rem version:>=2") == [remote]
    assert await found(console, "reader", "version:>=2 format:pypi") == [remote]
    assert await found(console, "reader", "size:>0") == [D]
    assert await found(console, "reader", "", "&sort=updated&limit=1") == [D]
    (item,) = (await console.call("reader", "GET", "/search?q=remote")).json["items"]
    assert (item["upstream"], item["versions_found"], item["versions"][0]["downloads"]) == ("one", 2, None)
    # nobody who may not read the place learns of it (B9), and a purge ends what was heard before it
    for role in ("anonymous", "stranger"):
        assert await found(console, role, "") == []
    assert (await console.call("node admin", "POST", "/repositories/acme/main/purge", {"format": "pypi"})).status == 200
    assert await found(console, "reader", "") == [D]
    console.ledger.close()


async def test_a_workspace_is_judged_once_for_all_its_packages(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        publish(console, "acme", "open", "generic", f"tools/more-{number}", "1")
    judged: list[str] = []
    judge = judge_workspace

    def counted(reading: Reading, principal: Principal, workspace: str, action: str) -> object:
        judged.append(workspace)
        return judge(reading, principal, workspace, action)

    monkeypatch.setattr(knowing, "judge_workspace", counted)
    for sort in ("name", "updated"):
        assert len(await found(console, "anonymous", "format:generic", f"&sort={sort}")) == 11
        assert judged == ["acme"]
        judged.clear()


@pytest.mark.parametrize("sort", ["name", "updated", "size", "downloads"])
async def test_every_order_goes_on_where_its_page_ended(console: Console, sort: str) -> None:
    whole = await found(console, "node admin", "", f"&sort={sort}")
    told, path = [], f"/search?sort={sort}&limit=2"
    while path:
        got = await console.call("node admin", "GET", path)
        told += [f"{one['workspace']}/{one['repository']}/{one['format']}/{one['name']}" for one in got.json["items"]]
        path = f"/search?sort={sort}&limit=2&after={got.json['next']}" if got.json["next"] else ""
    assert told == whole
    assert len(set(told)) == 6
    assert (await console.call("node admin", "GET", "/search?sort=color")).status == 400


async def test_names_of_versions_come_and_go_with_them(console: Console) -> None:
    """As the fold keeps them: dropped versions, packages and repositories leave nothing behind."""

    def rows() -> int:
        with console.ledger.index.env.begin() as txn:
            return sum(1 for _ in console.ledger.index.rows(txn, ("published",)))

    before = rows()
    publish(console, "acme", "main", "pypi", "fresh", "1.0", "2.0")
    publish(console, "acme", "main", "pypi", "fresh", "1.0")
    assert rows() == before + 2
    console.ledger.write(Draft("acme", "main", "t", "t", (DropVersion("pypi", "fresh", "1.0"),)))
    assert rows() == before + 1
    console.ledger.write(Draft("acme", "main", "t", "t", (DropPackage("pypi", "fresh"),)))
    assert rows() == before
    for name in ("main", "open"):
        console.ledger.write(Draft("acme", name, "t", "t", (DropRepository("acme", name),)))
    assert await found(console, "node admin", "version:>=0 format:pypi") == [X]
    assert rows() == 1


async def test_o32_a_package_is_found_from_its_commit_on_and_not_behind_its_end(console: Console) -> None:
    assert await found(console, "node admin", "version:3.0") == []
    publish(console, "acme", "main", "pypi", "django", "3.0")
    assert await found(console, "node admin", "version:3.0") == [D]
    console.ledger.write(Draft("acme", "main", "t", "t", (DropVersion("pypi", "django", "3.0"),)))
    assert await found(console, "node admin", "version:3.0") == []


async def test_b9_nobody_finds_what_he_may_not_read(console: Console) -> None:
    console.add_token("filters only", Grant("acme/main", formats=("pypi",), packages=("django-f*",)))
    assert await found(console, "reader", "") == [U, D, F, S, E]
    assert await found(console, "anonymous", "django") == []
    assert await found(console, "stranger", "django") == [X]
    assert await found(console, "filters only", "django") == [F]
    assert await found(console, "filters only", "NOT django") == [S, E]


async def test_b9_what_others_keep_costs_a_search_nothing(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that ended early because of what is hidden, or a cursor that stands there, would tell of it."""
    console.add_token("filters only", Grant("acme/main", formats=("pypi",), packages=("zz*",)))
    monkeypatch.setattr(searching, "LOOKS_MAX", 3)
    who = ("anonymous", "filters only")
    before = [(await console.call(role, "GET", "/search?q=nothing")).body for role in who]
    for number in range(9):
        publish(console, "acme", "main", "pypi", f"hidden{number}", "1.0")
    assert [(await console.call(role, "GET", "/search?q=nothing")).body for role in who] == before


@pytest.mark.parametrize("looks", [1, 2, 1000])
async def test_pages_follow_each_other_without_gap_or_repetition(
    console: Console, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LOOKS_MAX", looks)
    names, after, pages = [], "", 0
    while True:
        got = await console.call("node admin", "GET", f"/search?q=django&limit=2&after={quote(after)}")
        names += [(one["workspace"], one["format"], one["name"]) for one in got.json["items"]]
        after, pages = got.json["next"], pages + 1
        if not after:
            break
    assert names == [
        ("acme", "npm", "@acme/django-ui"),
        ("acme", "pypi", "django"),
        ("acme", "pypi", "django-filter"),
        ("other", "pypi", "django"),
    ]
    assert pages <= 8


@pytest.mark.parametrize(
    "query",
    [
        "(", ")", "a)", "(a", "NOT", "a AND", "OR a", "a OR", '"open', "nonsense:x", "name:>x", "size:~=1", "size:x",
        "uploaded:yesterday", "quarantined:perhaps", "prerelease:1", "status:gone",
        "status:deleted OR a", "NOT status:deleted", "(a b) OR (b status:deleted)", "last_downloaded:never",
        "dependency:a>=", "dependency:>=1", "dependency:a>1<2", "type:>jar",
        "downloads:many", "name:", "version:>=", "size:<", "nonsense:",
        "license:>MIT", "uploaded:1970-13-01", "^", "name:^", "(" * (DEPTH_MAX + 2) + "a", "NOT " * 30 + "a",
        "a " * (TERMS_MAX + 1), "a" * 501, "a\0b",
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_refused_with_a_reason(console: Console, query: str) -> None:
    got = await console.call("node admin", "GET", f"/search?q={quote(query, safe='')}")
    assert (got.status, got.json["code"]) == (400, "invalid")
    assert len(got.json["detail"]) > 10


@given(st.text(max_size=200) | st.text(alphabet='ab()"-^$*?:<>=~ NOTANDOR', max_size=80))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    with suppress(Invalid):
        parse(text).holds(At("a", "b", "c", "d"), None, None)


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab*?", max_size=8))
def test_wildcards_mean_what_they_mean_elsewhere(text: str, pattern: str) -> None:
    """Held against the same pattern by recursion over its first character."""

    def fits(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] == "*":
            return fits(left[1:], right) or (bool(right) and fits(left, right[1:]))
        return bool(right) and left[0] in ("?", right[0]) and fits(left[1:], right[1:])

    assert matches("tag", pattern, text) == fits(pattern, text)
