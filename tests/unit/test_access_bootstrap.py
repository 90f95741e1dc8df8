"""Is there exactly one way in at the first start, and does it leave no secret behind?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.access import bootstrap
from gateway.access.bootstrap import alone, prepare, prepare_up, renew_admin
from gateway.access.rights.verdicts import identify, judge
from storage.errors import Conflict, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, PutToken
from storage.open import open_store

NOW_MS = 1_800_000_000_000


def clock() -> int:
    return NOW_MS


@contextmanager
def opened(root: Path) -> Iterator[Reading]:
    store = open_store(root, role="origin", worker=0)
    try:
        with store.catalog.read() as reading:
            yield reading
    finally:
        store.close()


def test_f15_the_first_start_makes_one_random_admin_and_the_next_none(tmp_path: Path) -> None:
    first = prepare(tmp_path / "a", clock)
    other = prepare(tmp_path / "b", clock)
    assert first is not None
    assert first != other
    assert prepare(tmp_path / "a", clock) is None
    with opened(tmp_path / "a") as reading:
        who = identify(reading, first, NOW_MS)
        assert (who.name, [grant.scope for grant in who.grants]) == ("admin", ["*"])
        assert len(list(reading.tokens())) == 1


def test_a_start_asks_for_the_admin_token_that_it_found_last_and_looks_for_another_where_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not look through a million of tokens each time."""
    assert prepare(tmp_path, clock) is not None
    with monkeypatch.context() as patched:
        patched.setattr(Reading, "tokens", None)
        assert prepare(tmp_path, clock) is None
    noted = tmp_path / bootstrap.ADMIN_FILE_NAME
    for nothing in ("", "nobody", "x" * 4000, "a/b\0c"):
        noted.write_text(nothing)
        assert prepare(tmp_path, clock) is None
        assert noted.read_text() not in ("", nothing)
    second = renew_admin(tmp_path, clock)
    with opened(tmp_path) as reading:
        first = reading.token_by_id(noted.read_text())
        assert first is not None
    revoked = msgspec.structs.replace(first, revoked_ms=NOW_MS)
    bootstrap.write(tmp_path, [Draft(SYSTEM, "", "test", "token.revoke", (PutToken(revoked),))])
    assert prepare(tmp_path, clock) is None, "another is there"
    with opened(tmp_path) as reading:
        assert noted.read_text() == identify(reading, second, NOW_MS).id


def test_c11_the_text_is_in_no_file(tmp_path: Path) -> None:
    texts = [prepare(tmp_path / "origin", clock), renew_admin(tmp_path / "origin", clock)]
    ready = prepare_up(tmp_path / "origin", tmp_path / "edge", clock)
    texts.append(ready.admin)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "origin").rglob("*") if path.is_file())
    assert len(stored) > 1000
    for text in texts:
        assert text is not None
        assert text.encode() not in stored
    edge = ready.edge_token_file.read_text().strip()
    assert edge.encode() not in stored
    assert ready.edge_token_file.stat().st_mode & 0o777 == 0o600


def test_a_lost_admin_token_is_replaced(tmp_path: Path) -> None:
    first = prepare(tmp_path, clock)
    second = renew_admin(tmp_path, clock)
    with opened(tmp_path) as reading:
        assert identify(reading, first, NOW_MS).grants == identify(reading, second, NOW_MS).grants == bootstrap.ADMIN


def test_up_has_its_repositories_and_tokens_every_time(tmp_path: Path) -> None:
    origin, edge = tmp_path / "origin", tmp_path / "edge"
    first = prepare_up(origin, edge, clock)
    edge_text = first.edge_token_file.read_text().strip()
    second = prepare_up(origin, edge, clock)
    assert second.edge_token_file.read_text().strip() == edge_text
    with opened(origin) as reading:
        with pytest.raises(Unauthenticated, match="revoked"):
            identify(reading, first.admin, NOW_MS)
        admin = identify(reading, second.admin, NOW_MS)
        assert judge(reading, admin, "demo", "main", "admin").public is False
        assert judge(reading, admin, "demo", "open", "admin").public is True
        follower = identify(reading, edge_text, NOW_MS)
        assert (follower.kind, follower.grants) == ("edge", bootstrap.READER)
        serials = {name: serial for name, (serial, _) in reading.heads().items()}
    # workspace, up, up-edge; then up once more, its predecessor revoked in the same entry
    assert serials == {"-": 4, "demo": 2}


@pytest.mark.parametrize("broken", ["", "ent_nonsense", "\x00\xff", "other"])
def test_an_edge_token_that_is_no_good_is_made_anew(tmp_path: Path, broken: str) -> None:
    origin, edge = tmp_path / "origin", tmp_path / "edge"
    old = prepare_up(origin, edge, clock).edge_token_file.read_text().strip()
    text = (
        prepare_up(tmp_path / "foreign", tmp_path / "x", clock).edge_token_file.read_text()
        if broken == "other"
        else broken
    )
    (edge / bootstrap.EDGE_FILE_NAME).write_text(text, encoding="latin-1")
    new = prepare_up(origin, edge, clock).edge_token_file.read_text().strip()
    with opened(origin) as reading:
        assert identify(reading, new, NOW_MS).kind == "edge"
        with pytest.raises(Unauthenticated, match="revoked"):
            identify(reading, old, NOW_MS)


def test_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path):
        for other in (lambda: prepare(tmp_path), lambda: renew_admin(tmp_path), lambda: prepare_up(tmp_path, tmp_path)):
            with pytest.raises(Conflict, match="running"):
                other()
    assert prepare(tmp_path) is not None
