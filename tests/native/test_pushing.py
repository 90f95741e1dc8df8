"""A large file that is pushed from a terminal: in parts, through connections that break, after the command was ended.

Between the command and the node stands a door of the test that breaks connections when so many bytes have come.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.packages.uploading import PARTS_BYTES_MIN
from tests.harness.pushing import Shaky, ended, push
from tests.harness.registry import bearer
from tests.harness.running import ENTREPOT, Up, clean_environment, get

pytestmark = pytest.mark.native
SIZE = PARTS_BYTES_MIN + 1_234_567


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    yield path
    path.unlink()


def there(node: Up, path: str) -> bytes:
    return get(f"{node.edge}/{node.private}/generic/{path}", bearer(node.token)).body


def test_a_large_file_goes_on_where_its_connections_broke(node: Up, file: Path, tmp_path: Path) -> None:
    door = Shaky(node.edge, breaks=6, bytes_max=2_000_000)
    try:
        done = push(node, door.url, tmp_path, str(file), f"{node.private}/generic/shaky/")
        out, words = ended(done)
        assert done.returncode == 0, words
        assert (door.left, f'"size_bytes":{SIZE}' in out) == (0, True)
        assert there(node, "shaky/large.bin") == file.read_bytes()
        assert door.passed < SIZE + 6 * 2_200_000 + 500_000, "nothing that was there is sent again"
        assert list(tmp_path.glob("entrepot/uploads/*")) == []
    finally:
        door.close()


def test_a_command_that_was_ended_is_gone_on_with(node: Up, file: Path, tmp_path: Path) -> None:
    """Killed half way; the same command sends only what is missing."""
    door = Shaky(node.edge, breaks=1000, bytes_max=3_000_000)
    arguments = (str(file), f"{node.private}/generic/ended/")
    begun = push(node, door.url, tmp_path, *arguments)
    while door.passed < 9_000_000:
        assert begun.poll() is None, begun.communicate()
        threading.Event().wait(0.02)
    begun.kill()
    begun.communicate()
    assert len(list(tmp_path.glob("entrepot/uploads/*"))) == 1
    door.left, door.passed = 0, 0
    try:
        done = push(node, door.url, tmp_path, *arguments)
        _, words = ended(done)
        assert done.returncode == 0, words
        assert there(node, "ended/large.bin") == file.read_bytes()
        assert door.passed < SIZE - 1_000_000
    finally:
        door.close()


def test_a_file_is_replaced_where_that_is_said(node: Up, file: Path, tmp_path: Path) -> None:
    """A small one in one request, a large one in parts, by way of the edge."""
    small = tmp_path / "small.bin"
    small.write_bytes(b"one")
    arguments = (str(small), str(file), f"{node.private}/generic/replaced/")

    def pushed(*more: str) -> tuple[int, str]:
        done = push(node, node.edge, tmp_path, *arguments, *more)
        return (done.wait(), ended(done)[1])

    assert pushed("--replace")[0] == 0, "nothing need be there"
    small.write_bytes(b"two")
    file.write_bytes(os.urandom(SIZE))
    code, words = pushed()
    assert code == 1
    assert "--replace" in words
    assert "If-Match" not in words
    assert there(node, "replaced/small.bin") == b"one"
    code, words = pushed("--replace")
    assert code == 0, words
    assert there(node, "replaced/small.bin") == b"two"
    assert there(node, "replaced/large.bin") == file.read_bytes()


def test_many_files_are_sent_at_the_same_time(node: Up, tmp_path: Path) -> None:
    files = [tmp_path / f"f{number}.bin" for number in range(20)]
    for one in files:
        one.write_bytes(os.urandom(20_000))
    done = push(node, node.edge, tmp_path, *map(str, files), f"{node.private}/generic/many/", "--at-a-time", "8")
    _, words = ended(done)
    assert done.returncode == 0, words
    for one in files:
        assert there(node, f"many/{one.name}") == one.read_bytes()


def test_files_and_their_parts_have_one_bound_together(node: Up, tmp_path: Path) -> None:
    """The parts of a large file and the small files beside them are four connections together. Without the bound the
    parts had four, and the others three of their own."""
    files = [tmp_path / "large.bin", *(tmp_path / f"small{number:02}.bin" for number in range(40))]
    files[0].write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    for one in files[1:]:
        one.write_bytes(os.urandom(1000))
    door = Shaky(node.edge, breaks=0, bytes_max=0, hold_s=0.02)
    try:
        done = push(node, door.url, tmp_path, *map(str, files), f"{node.private}/generic/bound/", "--at-a-time", "4")
        _, words = ended(done)
        assert done.returncode == 0, words
        assert door.most == 4
        for one in files:
            assert there(node, f"bound/{one.name}") == one.read_bytes()
    finally:
        door.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_that_is_interrupted_says_how_to_go_on(node: Up, file: Path, tmp_path: Path, as_json: bool) -> None:
    """Ctrl-C while every connection stands still: it ends at once, with 130 and no traceback, and is gone on with."""
    door = Shaky(node.edge, breaks=0, bytes_max=0)
    door.stops_at = 9_000_000
    small = tmp_path / "small.bin"
    small.write_bytes(b"small")
    arguments = (str(small), str(file), f"{node.private}/generic/stopped{as_json}/")
    environment = clean_environment() | {
        "ENTREPOT_URL": door.url, "ENTREPOT_TOKEN": node.token, "XDG_CACHE_HOME": str(tmp_path)
    }  # fmt: skip
    command = [*ENTREPOT, "push", *arguments, *(["--json"] if as_json else [])]
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        while door.passed < door.stops_at:
            assert begun.poll() is None, begun.communicate()
            threading.Event().wait(0.02)
        begun.send_signal(signal.SIGINT)
        out, words = ended(begun)
        assert begun.returncode == 130
        assert out == ""
        assert "Traceback" not in words
        assert "1 of 2 files are there" in words
        assert "Give the same command again" in words
        assert not as_json or json.loads(words)["error"]["message"].startswith("Interrupted")
        door.stops_at, door.passed = 1 << 60, 0
        done = push(node, door.url, tmp_path, *arguments)
        _, words = ended(done)
        assert done.returncode == 0, words
        assert there(node, f"stopped{as_json}/large.bin") == file.read_bytes()
        assert door.passed < SIZE - 1_000_000, "what was there is not sent again"
    finally:
        door.close()
