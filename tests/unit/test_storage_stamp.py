"""An index that another version wrote is noticed, and made anew from the journal by who opens it."""

from pathlib import Path

import msgspec
import pytest

from storage.index import stamp
from storage.index.keys import seal
from storage.nouns import Entry
from storage.open import Store
from storage.upkeep.verify import verify
from tests.harness.stores import opened, publish

OLD = seal(b"of an older version"[:16])


def age(store: Store) -> None:
    """What an older program left: its stamp, and nothing in a table that it did not have."""
    with store.index.env.begin(write=True) as txn:
        txn.drop(store.index.tables.published, delete=False)
        txn.put(b"stamp", OLD, db=store.index.tables.state)


async def test_an_origin_makes_the_index_of_another_version_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("storage.open.TELL_SECONDS", 0.0)
    with opened(tmp_path) as store:
        for number in range(5):
            await publish(store, f"f{number}", b"data %d" % number)
        whole = store.index.dump()
        age(store)
        assert store.index.dump() != whole
    assert "another version" in "".join(verify(tmp_path, deep=True).problems)
    with opened(tmp_path) as store:
        assert store.index.dump() == whole
        with store.index.env.begin() as txn:
            assert not store.index.is_outdated(txn)
        assert (await publish(store, "more", b"more")).serial == 6
    said = capfd.readouterr().err
    assert "written by another version" in said
    assert "of the packs" in said
    assert "100 % of the journal, 5 entries" in said
    assert verify(tmp_path, deep=True).problems == []
    assert not (tmp_path / "index.damaged").exists(), "nothing is wrong with the old one, and it takes room"


async def test_an_edge_learns_anew_what_another_version_took_in_and_shows_it_meanwhile(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin:
        for number in range(5):
            await publish(origin, f"f{number}", b"data %d" % number)
        assert origin.journal is not None
        bodies = origin.journal.follow({}).read()
        whole = [row for row in origin.index.dump().rows if row[0] != "places"]
    with opened(tmp_path / "e", role="edge") as edge:
        assert edge.applier is not None
        assert not edge.applier.outdated, "a fresh one has nothing to learn anew"
        edge.applier.apply_raw(bodies)
        age(edge)
    for _ in range(2):  # killed while it learned, it begins again
        with opened(tmp_path / "e", role="edge") as edge:
            assert edge.applier is not None
            assert edge.applier.outdated
            edge.applier.reset_for_resync(edge.applier.epoch())
            edge.applier.apply_raw(bodies[:3])
            with edge.catalog.read() as reading:
                assert len(reading.view("acme", "main", "generic").files("pkg")) == 5
    with opened(tmp_path / "e", role="edge") as edge:
        assert edge.applier is not None
        edge.applier.reset_for_resync(edge.applier.epoch())
        edge.applier.apply_raw(bodies)
        edge.applier.take_over()
        assert not edge.applier.outdated
        assert list(edge.index.dump().rows) == whole
    with opened(tmp_path / "e", role="edge") as edge:
        assert edge.applier is not None
        assert not edge.applier.outdated


def test_a_cache_whose_tables_are_laid_out_otherwise_is_begun_anew(tmp_path: Path) -> None:
    def cached() -> bool:
        with opened(tmp_path, role="edge") as store, store.cache_intake.stage() as staged:
            staged.write(b"cached")
            staged.seal()
            found = store.cached.find(staged.sha256) is not None
            store.cached.put(staged)
            return found

    assert not cached()
    assert cached()
    mark = tmp_path / "cache" / "state.json"
    mark.write_bytes(mark.read_bytes().replace(stamp.CACHE.hex().encode(), b"00"))
    assert not cached()


def test_a_field_and_a_table_more_are_another_stamp() -> None:
    class Small(msgspec.Struct, array_like=True):
        name: str

    class Grown(Small):
        more: int = 0

    Grown.__name__ = "Small"
    holder = msgspec.defstruct("Holder", [("held", tuple[Small, ...])])
    grown = msgspec.defstruct("Holder", [("held", tuple[Grown, ...])])
    assert set(stamp.shapes(holder)) == {"Holder: held", "Small: name"}
    assert set(stamp.shapes(grown)) == {"Holder: held", "Small: name more"}
    names = {line.partition(":")[0] for line in stamp.shapes(Entry)}
    assert {"Entry", "Once", "File", "Passkey", "ClaimRule", "Saml", "SignIn", "NetworkRule", "pf"} <= names
