"""How does the core carry a room's publish through, in little: receive, unpack, identify what was derived, decide?"""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from formats.kit.contract import Accept, Amend, Ask, Blob, Finds, Received, Reply, Room
from tests.harness.views import MemoryView

AT_MS = 1_700_000_000_123


def ask(method: str, path: str, **headers: str) -> Ask:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Ask(method, path, path, (), named, "http://127.0.0.1/acme/main/pypi", "acme", "main", "ann", AT_MS)


def identified(blob: Blob, directory: Path) -> Blob:
    data = (directory / blob.path).read_bytes() if blob.path else blob.data
    return Blob(sha256=hashlib.sha256(data).digest(), size=len(data))


def receive(room: Room, request: Ask, fields: Mapping[str, list[str]], filename: str = "", data: bytes = b"") -> Finds:
    """What the room finds in a form, with its blobs identified. The file begins later in its descriptor."""
    plan = room.read(request)
    assert isinstance(plan, Accept)
    with tempfile.TemporaryDirectory() as directory:
        packed = Path(directory, "staged")
        packed.write_bytes(b"h" * 100 + data)
        file = Blob(sha256=hashlib.sha256(data).digest(), size=len(data))
        with packed.open("rb") as staged:
            received = Received(dict(fields), filename, staged.fileno(), file, directory, plan.context, 100)
            finds = room.unpack(request, received)
        blobs = {name: identified(blob, Path(directory)) for name, blob in finds.blobs.items()}
    return msgspec.structs.replace(finds, blobs={"file": file, **blobs}, context=plan.context)


def upload(
    room: Room, view: MemoryView, fields: Mapping[str, list[str]], filename: str = "", data: bytes = b""
) -> Reply:
    """A form posted to legacy/, carried through into `view`."""
    request = ask("POST", "legacy/", content_type="multipart/form-data; boundary=x")
    decision = room.decide(request, receive(room, request, fields, filename, data), view)
    view.apply(decision)
    return decision.reply


def amend(room: Room, view: MemoryView, request: Ask, body: bytes = b"") -> Reply:
    """A small change, carried through into `view`."""
    plan = room.read(request)
    assert isinstance(plan, Amend)
    assert len(body) <= plan.bytes_max
    decision = room.decide(request, Finds(body=body, context=plan.context), view)
    view.apply(decision)
    return decision.reply
