"""Whose leave is it that a foreign file is fetched under? That of the upstream that says where it lies (THREATS D2)."""

from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from cache.asking.upstream import Remote
from formats import ROOMS
from formats.kit.contract import Foreign, Serve
from gateway.front.reads.needs import NeedBytes, Scope
from gateway.front.reads.reading import Reads
from gateway.front.reads.sources import UpstreamSources
from storage.errors import Absent
from storage.nouns import Draft, File, Package, PutRepository, Repository, Upstream
from tests.harness.ledgers import NOW_MS, Ledger
from tests.harness.publishing import ask

INSIDE = Upstream("pypi", "http://10.0.0.7/simple/", "inside", private_network=True)
STRANGER = Upstream("pypi", "https://stranger.example/simple/", "stranger")
AT = "http://127.0.0.1/latest/meta-data"
FILE = File("tool-1.tar.gz", "1", b"", 9, source=AT, digests={"sha256": "00" * 32})


class Telling:
    """What one upstream says of every package."""

    version, fresh_until_s = 7, float("inf")

    def __init__(self, told_by: str) -> None:
        self.told_by = (told_by,)

    def foreign(self) -> Foreign:
        return Foreign(Package("tool"), (), (FILE,))

    def peek(self, *_: object, **__: object) -> "Telling":
        return self

    def withheld(self, *_: object) -> str:
        return ""


class Empty:
    """Nothing is here."""

    def get(self, *_: object) -> None:
        return None


class Asked:
    """A Remote that keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, str]] = []

    def open_stream(self, url: str, headers: dict[str, str], **more: Any) -> None:
        self.asked.append((url, more["private_network"], headers.get("authorization", "")))


def need(tmp_path: Path, told_by: str) -> NeedBytes:
    """What a read of the file needs, in a repository that draws on both."""
    ledger = Ledger(tmp_path)
    repository = Repository("acme", "main", at_ms=NOW_MS, upstreams=(INSIDE, STRANGER))
    ledger.write(Draft("acme", "main", "t", "t", (PutRepository(repository),)))
    nothing: Any = None
    reads = Reads(None, nothing, cast("Any", Empty()), nothing, cast("Any", Telling(told_by)), nothing, nothing)
    asked = replace(ask("GET", f"files/tool/{FILE.name}"), format="pypi")
    with ledger.catalog.read() as reading:
        found = reads.resolve(reading, Scope(repository, (), 0.0), asked, ROOMS["pypi"], Serve("tool", FILE.name))
    ledger.index.close()
    assert isinstance(found, NeedBytes)
    return found


@pytest.mark.parametrize(("told_by", "private"), [("stranger", False), ("inside", True)])
def test_d2_an_upstream_leads_into_the_private_network_by_its_own_leave_alone(
    tmp_path: Path, told_by: str, private: bool
) -> None:
    """Who may add a public upstream beside a private one could else have anything inside fetched as a package."""
    found, remote = need(tmp_path, told_by), Asked()
    assert [one.name for one in found.upstreams] == [told_by]
    sources = UpstreamSources(cast("Remote", cast("Any", remote)), lambda *_: "Bearer secret")
    sources.open(replace(ask("GET", "x"), format="pypi"), found.file, found.upstreams)(0)
    assert remote.asked == [(AT, private, "")]


def test_d2_bytes_of_a_published_file_that_are_lost_are_asked_of_nobody() -> None:
    sources = UpstreamSources(cast("Remote", cast("Any", Asked())), lambda *_: "")
    with pytest.raises(Absent):
        sources.open(replace(ask("GET", "x"), format="pypi"), replace(FILE, source=""), ())
