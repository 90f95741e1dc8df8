"""Does nothing leave quarantine by a copy, however it is named? THREATS F14."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.nouns import Draft, File, Package, PutFile, PutPackage, PutQuarantine, PutVersion, Quarantine, Version
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS

FORMAT, NAME, FILE = "pypi", "demo", "demo-1.0.tar.gz"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    changes = (
        PutPackage(FORMAT, Package(NAME, NOW_MS)),
        PutVersion(FORMAT, NAME, Version("1.0", NOW_MS)),
        PutFile(FORMAT, NAME, File(FILE, "1.0", b"\1" * 32, 7, at_ms=NOW_MS)),
    )
    made.ledger.write(Draft("acme", "main", "t", "t", changes))
    yield made
    made.ledger.close()


@pytest.mark.parametrize("spelt", ["1.0", "1.0.0", "v1.0", ""])
async def test_f14_no_spelling_of_a_version_leads_out_of_quarantine(console: Console, spelt: str) -> None:
    body = {"source": "acme/main", "format": FORMAT, "package": NAME, "version": spelt, "place": "", "move": False}
    held = PutQuarantine(Quarantine(FORMAT, NAME, "1.0", at_ms=NOW_MS))
    console.ledger.write(Draft("acme", "main", "t", "t", (held,)))
    before = len(console.ledger.entries)
    refused = await console.call("acme admin", "POST", "/repositories/acme/open/copies", body)
    assert (refused.status, len(console.ledger.entries)) == (403, before), refused.body
