"""Are people told by name who did what, and who had what: in the client log, in its counts and in the audit? (B9)"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.logs.tasks import Counted, Filter, Missing
from storage.nouns import Grant
from tests.harness.consoles import Console

EMPTY: dict[str, Any] = {
    "node": "origin", "peer": "", "country": "", "method": "GET", "status": 200, "bytes": 1, "outcome": "HIT",
    "workspace": "acme", "repository": "main", "format": "npm", "package": "app", "version": "", "file": "", "tag": "",
    "client": "", "seconds": None, "lost": None, "lost_since_ms": None, "time_ms": 1,
}  # fmt: skip


class Rows:
    """A client log that holds one line of each of these."""

    def __init__(self) -> None:
        self.principals: list[str] = []
        self.asked: list[Filter] = []

    async def find(self, filter: Filter, sees: Callable[[str], bool], limit: int, skip: int) -> list[dict[str, Any]]:
        self.asked.append(filter)
        return [EMPTY | {"principal": one} for one in self.principals]

    async def count(
        self, filter: Filter, sees: Callable[[str], bool], by: tuple[str, ...], limit: int, *, by_bytes: bool
    ) -> Counted:
        return Counted([{"principal": one, "requests": 1, "bytes": 1} for one in self.principals], Missing())


@pytest.mark.parametrize("path", ["/logs", "/traffic?by=principal"])
async def test_a_customer_is_told_by_name_and_b9_a_stranger_is_not(tmp_path: Path, path: str) -> None:
    rows = Rows()
    console = Console(tmp_path, questions=rows)
    console.add_people("acme")
    console.add_token("Big Shop", Grant("acme/main"))
    rows.principals = [
        console.ids["Big Shop"],
        console.ids["alice's session"],
        console.ids["stranger"],
        "tok_gone",
        "",
        "edge:tokyo",
    ]
    got = await console.call("acme admin", "GET", f"/workspaces/acme{path}")
    assert got.status == 200, got.body
    names = [one["principal_name"] for one in got.json["items"]]
    assert names[0] == "Big Shop"
    assert names[1].startswith("user:alice (")
    assert names[2:] == ["", "", "", ""]
    of_all = await console.call("node admin", "GET", path)
    assert [one["principal_name"] for one in of_all.json["items"]][2] == "stranger"
    console.ledger.close()


@pytest.mark.parametrize(
    ("arguments", "edges"),
    [("", False), ("?edges=true", True), ("?principal=edge:tokyo", True), ("?edges=false", False)],
)
async def test_fetches_of_edges_are_shown_to_who_asks_for_them(tmp_path: Path, arguments: str, edges: bool) -> None:
    rows = Rows()
    console = Console(tmp_path, questions=rows)
    for path in ("/logs", "/workspaces/acme/logs"):
        assert (await console.call("node admin", "GET", path + arguments)).status == 200
    assert [one.edges for one in rows.asked] == [edges, edges]
    assert (await console.call("node admin", "GET", "/traffic?edges=true")).status == 400
    console.ledger.close()
