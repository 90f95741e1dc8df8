"""Do the network rules of a repository hold for what the API tells of what it holds, as for its files (THREATS B9)?"""

from pathlib import Path

import msgspec
import pytest

from gateway.logs.register import Known, Pull
from storage.nouns import Draft, Grant, NetworkRule, PutRepository
from tests.harness.consoles import Console

INSIDE, OUTSIDE = {"X-Entrepot-Peer": "10.0.0.7"}, {"X-Entrepot-Peer": "203.0.113.5"}
AT = "/repositories/acme/main"
TELLING = (
    f"{AT}/packages?format=npm",
    f"{AT}/packages/gadget?format=npm",
    f"{AT}/files/gadget?format=npm",
    f"{AT}/storage",
    f"{AT}/pulls/gadget?format=npm",
    f"{AT}/quarantine",
    f"{AT}/tags/gadget?format=npm",
    f"{AT}/bin",
)


class Counted:
    """A register that has seen pulls of everything."""

    def package(self, *place: str, since_ms: int) -> dict[str, Pull]:
        return {"1.0": Pull(7, 1)}

    def tags(self, *place: str, since_ms: int) -> dict[str, Pull]:
        return {}

    def known(self, nodes: list[str]) -> dict[str, Known]:
        return dict.fromkeys(nodes, Known(1, 0))


def ruled(console: Console) -> None:
    """acme/main can be used from 10.0.0.0/8 alone."""
    with console.ledger.catalog.read() as reading:
        repository = reading.repository("acme", "main")
    assert repository is not None
    rules = (NetworkRule(True, ("10.0.0.0/8",)), NetworkRule(False))
    put = PutRepository(msgspec.structs.replace(repository, networks=rules))
    console.ledger.write(Draft("acme", "main", "t", "t", (put,)))


@pytest.mark.parametrize("path", TELLING)
async def test_b9_what_a_repository_holds_is_told_where_its_rules_let_clients_in(path: str, tmp_path: Path) -> None:
    console = Console(tmp_path, register=Counted())
    console.add_package("acme", "main", "npm", "gadget")
    console.add_binned("acme", "main", "npm", "two")
    ruled(console)
    inside = await console.call("acme admin", "GET", path, None, INSIDE)
    assert inside.status == 200, inside.body
    outside = await console.call("acme admin", "GET", path, None, OUTSIDE)
    assert (outside.status, b"gadget" in outside.body) == (403, False)
    unknown = await console.call("stranger", "GET", path, None, OUTSIDE)
    assert unknown.status == 404, "whom it is hidden from learns of no rule"
    console.ledger.close()


async def test_b9_a_search_finds_nothing_in_a_repository_that_keeps_the_client_out(tmp_path: Path) -> None:
    console = Console(tmp_path)
    console.add_package("acme", "main", "npm", "gadget")
    console.add_package("acme", "open", "npm", "gadget-more")
    ruled(console)
    for headers, wanted in ((INSIDE, ["gadget", "gadget-more"]), (OUTSIDE, ["gadget-more"]), ({}, ["gadget-more"])):
        for sort in ("name", "updated"):
            got = await console.call("reader", "GET", f"/search?q=gadget&sort={sort}", None, headers)
            assert sorted(item["name"] for item in got.json["items"]) == wanted
    console.ledger.close()


async def test_b9_what_is_in_the_bin_cannot_be_looked_at_or_brought_back_from_outside(tmp_path: Path) -> None:
    console = Console(tmp_path)
    console.add_binned("acme", "main", "npm", "two")
    ruled(console)
    listed = await console.call("acme admin", "GET", f"{AT}/bin", None, INSIDE)
    id = listed.json["items"][0]["id"]
    for method, path in (("GET", f"{AT}/bin/{id}"), ("POST", f"{AT}/bin/{id}/restore"), ("DELETE", f"{AT}/bin/{id}")):
        assert (await console.call("acme admin", method, path, None, OUTSIDE)).status == 403
    assert (await console.call("acme admin", "GET", f"{AT}/bin/{id}", None, INSIDE)).status == 200
    console.ledger.close()


async def test_f5_where_an_edge_has_no_say_the_client_is_nowhere(tmp_path: Path) -> None:
    """It counts in the workspaces that the edge may see: not for a source in another, nor in a search."""
    console = Console(tmp_path)
    console.add_package("acme", "main", "pypi", "gadget")
    console.add_token("both", Grant("acme", True, True, True), Grant("other", True, True, True))
    ruled(console)
    said = INSIDE | {"X-Entrepot-Client": "10.0.0.7", "X-Entrepot-Client-Within": "other"}
    copy = {"source": "acme/main", "format": "pypi", "package": "gadget"}
    at = "/repositories/other/main/copies"
    for headers, status in ((said, 403), (OUTSIDE, 403), (INSIDE, 200)):
        assert (await console.call("both", "POST", at, copy, headers)).status == status
    found = await console.call("both", "GET", "/search?q=gadget", None, said)
    assert [item["repository"] for item in found.json["items"]] == ["main"], "the copy, and not what it is of"
    assert {item["workspace"] for item in found.json["items"]} == {"other"}
    console.ledger.close()
