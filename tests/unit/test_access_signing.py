"""Does gpgv believe what a Repository signs, with any of its keys, and do the secret halves stay where they are?"""

import subprocess
from pathlib import Path

import pytest

from gateway.access.secrets.signing import FILE_NAME, SigningKeys, fingerprint, keyring
from storage.errors import Conflict, Damaged
from tests.harness.clients import program

TEXT = b"Origin: acme\nSuite: stable\n- a line that needs an escape\nSHA256:\n 00 1 x\n"


def believes(ring: Path, *files: Path) -> bool:
    done = subprocess.run([program("gpgv"), "--keyring", str(ring), *map(str, files)], capture_output=True, text=True)
    return "Good signature" in done.stderr and "BAD signature" not in done.stderr


def test_f13_what_is_sealed_is_believed_with_either_key(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path / FILE_NAME)
    (old,) = keys.ensure("w", "r", 1)
    assert keys.ensure("w", "r", 2) == (old,)
    both = (old, keys.add("w", "r", 2))
    assert keys.ensure("w", "r", 2) == both
    seals = keys.seals("w", "r", TEXT, both)
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "clear").write_bytes(seals["clear"])
    (tmp_path / "detached").write_bytes(seals["detached"])
    for number, ring in enumerate((*[keyring((one,), armored=False) for one in both], keyring(both, armored=False))):
        path = tmp_path / f"ring-{number}.gpg"
        path.write_bytes(ring)
        assert believes(path, tmp_path / "clear")
        assert believes(path, tmp_path / "detached", tmp_path / "text")
    (tmp_path / "clear").write_bytes(seals["clear"].replace(b"stable", b"unstab"))
    assert not believes(tmp_path / "ring-2.gpg", tmp_path / "clear")
    (tmp_path / "clear").write_bytes(keys.seals("w", "r", TEXT, both[1:])["clear"])
    assert not believes(tmp_path / "ring-0.gpg", tmp_path / "clear"), "what is not told does not sign"
    keys.forget("w", "r", fingerprint(old))
    assert keys.ensure("w", "r", 3) == both[1:]
    (tmp_path / "clear").write_bytes(keys.seals("w", "r", TEXT, both)["clear"])
    assert not believes(tmp_path / "ring-0.gpg", tmp_path / "clear")
    assert believes(tmp_path / "ring-1.gpg", tmp_path / "clear")


def test_f13_the_secret_half_is_in_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    (certificate,) = SigningKeys(path).ensure("w", "r", 1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" in path.read_bytes()
    assert b"PRIVATE" not in keyring((certificate,), armored=True)
    path.chmod(0o644)
    with pytest.raises(Damaged):
        SigningKeys(path).ensure("w", "r", 1)


def test_a_repository_has_not_too_many_keys(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path / FILE_NAME)
    (only,) = keys.ensure("w", "r", 1)
    for _ in range(3):
        keys.add("w", "r", 1)
    with pytest.raises(Conflict):
        keys.add("w", "r", 1)
    assert keys.ensure("w", "other", 1) != keys.ensure("w", "r", 1)
    keys.remove_repository("w", "r")
    with pytest.raises(Damaged):
        keys.seals("w", "r", b"text", (only,))
