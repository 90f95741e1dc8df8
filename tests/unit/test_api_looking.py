"""Does one page of a list cost a bounded look, whoever asks, and do its cursors skip and tell nothing (A8, B9)?"""

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access import tokens
from gateway.console.calls import looking
from storage.index.bins import id_of
from storage.index.catalog import Reading, StoredView
from storage.nouns import (
    SYSTEM,
    Binned,
    Draft,
    DropPackage,
    Entitlement,
    Grant,
    Package,
    PutBinned,
    PutPackage,
    PutToken,
    Token,
)
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS

LOOKS = 7
HIDDEN = 40
MINE = ["mine1", "mine2"]
PACKAGES = "/repositories/acme/main/packages?format=pypi"
BIN = "/repositories/acme/main/bin"
TOKENS = "/tokens"
ENTITLEMENTS = "/workspaces/acme/entitlements"
SHOWN = {PACKAGES: "name", BIN: "package", TOKENS: "name", ENTITLEMENTS: "name"}


def put(console: Console, *names: str) -> None:
    changes = tuple(PutPackage("pypi", Package(name, 1)) for name in names)
    console.ledger.write(Draft("acme", "main", "t", "t", changes))


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """A world where "narrow" may know of little, and much is hidden from it."""
    made = Console(tmp_path)
    monkeypatch.setattr(looking, "LOOKS_MAX", LOOKS)
    made.add_token("narrow", Grant("acme/main", True, True, formats=("pypi",), packages=("mine*",)))
    put(made, *(f"hidden{number:02}" for number in range(HIDDEN)), *MINE, "zzhidden")
    names = [f"hidden{number:02}" for number in range(HIDDEN // 2)]
    binned = [Binned(id_of("pypi", one, "1"), "pypi", one, "1", (), 1, NOW_MS) for one in (*names, *MINE)]
    made.ledger.write(Draft("acme", "main", "t", "t", tuple(PutBinned(one) for one in binned)))
    given = [(one, parts) for one in names for parts in (tokens.mint()[1], tokens.mint()[1])]
    kinds = (("api", None), ("entitlement", Entitlement()))
    put_all = tuple(
        PutToken(Token(parts.id, name, parts.sha256, (Grant("acme/main"),), kind, NOW_MS, entitlement=limits))
        for (name, parts), (kind, limits) in zip(given, kinds * len(names), strict=True)
    )
    made.ledger.write(Draft(SYSTEM, "", "t", "t", put_all))
    yield made
    made.ledger.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In which thread each row was read, since it was cleared."""
    read: list[int] = []

    def counting(whole: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def rows(*arguments: Any) -> Iterator[Any]:
            for one in whole(*arguments):
                read.append(threading.get_ident())
                yield one

        return rows

    monkeypatch.setattr(StoredView, "packages", counting(StoredView.packages))
    for name in ("bin", "tokens", "entitlements"):
        monkeypatch.setattr(Reading, name, counting(getattr(Reading, name)))
    return read


async def pages(console: Console, role: str, path: str, limit: int = 100) -> list[Any]:
    """All of them, one after the other."""
    found, after = [], ""
    while True:
        more = f"{'&' if '?' in path else '?'}limit={limit}" + (f"&after={after}" if after else "")
        got = await console.call(role, "GET", path + more)
        assert got.status == 200, got.body
        found.append(got.json)
        assert len(found) < 100
        if (after := got.json["next"]) is None:
            return found


@pytest.mark.parametrize("path", SHOWN)
async def test_a8_a_page_looks_at_so_many_rows_at_most_and_off_the_loop(
    console: Console, looks: list[int], path: str
) -> None:
    for role in ("narrow", "acme admin"):
        after: str | None = ""
        while after is not None:
            looks.clear()
            more = f"{'&' if '?' in path else '?'}after={after}"
            got = await console.call(role, "GET", path + more)
            assert got.status == 200, got.body
            assert 0 < len(looks) <= LOOKS or got.json == {"items": [], "next": None}
            assert threading.get_ident() not in looks, "it holds nobody else up"
            after = got.json["next"]


@pytest.mark.parametrize("path", SHOWN)
async def test_pages_that_end_early_skip_and_repeat_nothing(
    console: Console, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    told: dict[str, list[str]] = {}
    for looks, limit in ((1_000_000, 100), (LOOKS, 1), (LOOKS, 2), (LOOKS, LOOKS), (LOOKS, 100), (1_000_000, 3)):
        monkeypatch.setattr(looking, "LOOKS_MAX", looks)
        for role in ("narrow", "acme admin", "node admin"):
            found = [one[SHOWN[path]] for page in await pages(console, role, path, limit) for one in page["items"]]
            assert found == told.setdefault(role, found)
    assert sorted(told["narrow"]) == {PACKAGES: MINE, BIN: MINE, TOKENS: ["narrow"], ENTITLEMENTS: []}[path]
    assert len(told["node admin"]) >= HIDDEN // 2


@pytest.mark.parametrize("path", SHOWN)
async def test_b9_a_cursor_does_not_tell_what_is_hidden(console: Console, path: str) -> None:
    """Neither by name nor by length, and nobody can make one that is opened."""
    found = await pages(console, "narrow", path)
    cursors = [page["next"] for page in found[:-1]]
    assert len(cursors) > 1, "else nothing is shown here"
    with console.ledger.catalog.read() as reading:
        ids = [one.id.encode() for one in reading.tokens()] + [one.id.encode() for one in reading.bin("acme", "main")]
    for one in cursors:
        raw = base64.urlsafe_b64decode(one + "=" * (-len(one) % 4))
        assert not any(name in raw for name in (b"hidden", *(id for id in ids if id != console.ids["narrow"].encode())))
    forged = base64.urlsafe_b64decode(cursors[0] + "=" * (-len(cursors[0]) % 4))[:-1] + b"x"
    text = base64.urlsafe_b64encode(forged).decode().rstrip("=")
    joined = f"{path}{'&' if '?' in path else '?'}after="
    assert (await console.call("narrow", "GET", joined + text)).status == 400
    again = [await console.call("narrow", "GET", path) for _ in range(2)]
    assert again[0].headers["etag"] == again[1].headers["etag"], "the same page has the same cursor"


async def test_b9_a_sealed_cursor_is_of_its_own_list_alone(console: Console) -> None:
    [first, *_] = await pages(console, "narrow", PACKAGES)
    for path in ("/repositories/acme/main/packages?format=npm", f"{PACKAGES}&prefix=m"):
        assert (await console.call("narrow", "GET", f"{path}&after={first['next']}")).status == 400


async def test_pages_stay_right_while_the_list_changes(console: Console) -> None:
    """The hidden row that a cursor stands for goes, and others come before and behind it."""
    first = (await console.call("narrow", "GET", PACKAGES)).json
    assert first["items"] == []
    last = f"hidden{LOOKS - 1:02}"
    console.ledger.write(Draft("acme", "main", "t", "t", (DropPackage("pypi", last),)))
    put(console, "aaa", "mine0", "mine3")
    found, after = [], first["next"]
    while after is not None:
        got = (await console.call("narrow", "GET", f"{PACKAGES}&after={after}")).json
        found += [one["name"] for one in got["items"]]
        after = got["next"]
    assert found == ["mine0", "mine1", "mine2", "mine3"]
