"""Does the sandbox survive whatever a package makes a room do (THREATS D4)?"""

import os
from pathlib import Path

import pytest

from formats.kit.contract import Ask, Blob
from gateway.config import Sandbox as Limits
from gateway.sandbox import Sandbox
from storage.errors import Conflict, Invalid

ASK = Ask("PUT", "x", "x", (), {}, "http://h/w/r/bad", "w", "r")


async def unpack(sandbox: Sandbox, deed: str, data: bytes = b"", start: int = 0) -> bytes:
    number = os.memfd_create("upload")
    try:
        os.write(number, data)
        finds, workdir = await sandbox.unpack("bad", ASK, {}, deed, number, start, Blob(), None)
        with workdir:
            return finds.facts
    finally:
        os.close(number)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    limits = Limits(seconds_max=2.0, memory_bytes_max=512 << 20, derived_bytes_max=1 << 20)
    return Sandbox(limits, tmp_path / "work", "tests.harness.rooms")


async def test_a_child_reads_the_upload_and_serves_again(sandbox: Sandbox) -> None:
    try:
        assert await unpack(sandbox, "read", b"headbody", 4) == b"body"
        assert await unpack(sandbox, "read", b"again") == b"again"
    finally:
        sandbox.close()


@pytest.mark.parametrize("deed", ["loop", "memory", "exit", "write", "socket", "unknown"])
async def test_d4_no_deed_harms_the_next_job(sandbox: Sandbox, tmp_path: Path, deed: str) -> None:
    try:
        with pytest.raises(Invalid) as refused:
            await unpack(sandbox, deed)
        assert "secret" not in refused.value.text()
        assert await unpack(sandbox, "read", b"fine") == b"fine"
        assert list((tmp_path / "work").iterdir()) == []
    finally:
        sandbox.close()


async def test_a_problem_comes_out_as_itself(sandbox: Sandbox) -> None:
    try:
        with pytest.raises(Conflict, match="taken"):
            await unpack(sandbox, "problem")
    finally:
        sandbox.close()
