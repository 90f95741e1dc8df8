"""Are upstream credentials kept private, whole, and away from any address they were not given for?"""

import os
import threading
from pathlib import Path

import pytest

from gateway.access.secrets.upstreams import Credential, Place, Secrets
from storage.errors import Damaged, Full

PLACE = Place("acme", "main", "pypi", "mirror")
URL = "https://registry.example/simple/"
CANARY = "canary-pass-1f9c"


def test_kept_for_every_worker_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    ours, theirs = Secrets(path), Secrets(path)
    assert theirs.get(PLACE, URL) is None
    ours.set(PLACE, Credential(URL, CANARY, "user"))
    assert theirs.get(PLACE, URL) == Credential(URL, CANARY, "user")
    assert path.stat().st_mode & 0o777 == 0o600
    ours.remove(PLACE)
    assert theirs.get(PLACE, URL) is None
    assert CANARY not in path.read_text()


def test_only_for_the_address_it_was_given_for(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets.json")
    secrets.set(PLACE, Credential(URL, CANARY))
    assert secrets.get(PLACE, "https://evil.example/simple/") is None
    assert secrets.get(PLACE, URL + "x/") is None


def test_places_do_not_run_into_each_other(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets.json")
    near = PLACE._replace(repository="main2")
    secrets.set(PLACE, Credential(URL, "one"))
    secrets.set(near, Credential(URL, "two"))
    secrets.remove_repository("acme", "main")
    assert secrets.get(PLACE, URL) is None
    assert secrets.get(near, URL) == Credential(URL, "two")


def test_authorization_by_kind() -> None:
    assert Credential(URL, "p").authorization() == "Bearer p"
    assert Credential(URL, "p", "u").authorization() == "Basic dTpw"


def test_c11_a_credential_does_not_print_itself() -> None:
    assert CANARY not in repr(Credential(URL, CANARY, "u"))
    assert CANARY not in str(Credential(URL, CANARY, "u"))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    Secrets(path).set(PLACE, Credential(URL, CANARY))
    path.chmod(0o644)
    with pytest.raises(Damaged, match="other users"):
        Secrets(path).get(PLACE, URL)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', f'{{"a": {{"url": "{CANARY}"}}}}', "\xff"])
def test_c11_a_broken_file_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(Damaged) as caught:
        Secrets(path).get(PLACE, URL)
    assert CANARY not in caught.value.text()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(tmp_path / "secrets.json")
    secrets.set(PLACE, Credential(URL, "old"))

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(Full):
        secrets.set(PLACE, Credential(URL, "new"))
    monkeypatch.undo()
    assert secrets.get(PLACE, URL) == Credential(URL, "old")
    secrets.set(PLACE, Credential(URL, "new"))
    assert Secrets(tmp_path / "secrets.json").get(PLACE, URL) == Credential(URL, "new")


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    def write(start: int) -> None:
        mine = Secrets(tmp_path / "secrets.json")
        for number in range(start, start + 10):
            mine.set(PLACE._replace(name=f"m{number}"), Credential(URL, str(number)))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = Secrets(tmp_path / "secrets.json")
    assert all(kept.get(PLACE._replace(name=f"m{n}"), URL) == Credential(URL, str(n)) for n in range(30))
