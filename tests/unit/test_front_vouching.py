"""Is an edge believed about its clients as far as its sight goes, and no farther? THREATS B9, F5."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.following.relay import CLIENT, EDGE, SCHEME, WITHIN
from gateway.delivery.messages.heads import LISTED_CHARS_MAX, Head, Told
from gateway.front.peers.vouching import settle
from storage.nouns import SYSTEM, Draft, Edge, Grant, PutEdge
from tests.harness.consoles import Console

OWN, SAID = "192.0.2.1", "10.0.0.7"
KEY = b"k" * 32


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    made.add_token("edge of acme", Grant("acme"), kind="edge")
    made.add_token("edge of all", Grant("*"), kind="edge")
    edge = Edge("tokyo", "asia", ("acme",), key=KEY)
    made.ledger.write(Draft(SYSTEM, "", "t", "t", (PutEdge(edge),)))
    yield made
    made.vault.close()
    made.ledger.close()


def asked(console: Console, workspace: str, role: str = "", *, key: bytes = b"", within: str | None = None) -> Head:
    """A head as an edge sends it, settled."""
    headers = {CLIENT: SAID, SCHEME: "https"} | ({EDGE: console.tokens[role]} if role else {})
    head = Head("POST", f"/{workspace}/main/generic/f", peer=OWN, key=key, scheme="http")
    head.headers = headers | ({} if within is None else {WITHIN: within})
    with console.ledger.catalog.read() as reading:
        settle(reading, head, workspace)
    assert not any(name.startswith("x-entrepot-") for name in head.headers)
    return head


def seen(head: Head) -> list[str]:
    return [head.peer, head.scheme, head.peer_in("acme"), head.peer_in("other")]


def test_f5_an_edge_is_believed_where_it_may_see_and_nobody_elsewhere(console: Console) -> None:
    for how in ({"role": "edge of acme"}, {"key": KEY}):
        assert seen(asked(console, "acme", **how)) == [SAID, "https", SAID, ""]  # type: ignore[arg-type]
        assert seen(asked(console, "other", **how)) == [OWN, "http", SAID, ""]  # type: ignore[arg-type]
    assert seen(asked(console, "other", "edge of all")) == [SAID, "https", SAID, SAID]
    for nobody in ("", "acme admin", "unknown", "malformed"):
        assert seen(asked(console, "acme", nobody)) == [OWN, "http", OWN, OWN], nobody


def test_f5_a_shield_passes_on_how_far_it_believes_an_edge_and_widens_nothing(console: Console) -> None:
    assert seen(asked(console, "acme", "edge of all", within="acme")) == [SAID, "https", SAID, ""]
    assert seen(asked(console, "other", "edge of all", within="acme")) == [OWN, "http", SAID, ""]
    assert seen(asked(console, "acme", "edge of acme", within="acme,other")) == [SAID, "https", SAID, ""]
    assert seen(asked(console, "acme", key=KEY, within="other")) == [OWN, "http", "", ""]
    assert seen(asked(console, "acme", "edge of all", within="")) == [OWN, "http", "", ""]


def test_what_is_listed_goes_into_a_header_with_what_is_asked_for_first() -> None:
    many = frozenset(f"workspace-{number}" for number in range(10_000))
    text = Told(SAID, many, "workspace-9999").listed()
    assert len(text) <= LISTED_CHARS_MAX + 100
    assert text.startswith("workspace-9999,")
    assert set(text.split(",")) < many
    assert Told(SAID, frozenset(("b", "a")), "x").listed() == "a,b"
