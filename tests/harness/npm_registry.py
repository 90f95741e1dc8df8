"""What do npm's clients send, and what does the room make of it without a node around it?

`tarball` and `document` build what clients build; Registry walks a request through the room as the core would: read,
unpack from a descriptor, blobs hashed, decide, apply; or read and render.
"""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import msgspec

from formats.kit.contract import Accept, Amend, Ask, Blob, Decision, Finds, Plan, Received, Reply, Serve, Show
from formats.npm import ROOM
from storage.digest import Hasher
from tests.harness.views import MemoryView

BASE = "http://127.0.0.1:8080/demo/main/npm"
START_MS = 1_700_000_000_000


def ask(path: str, method: str = "GET", principal: str = "ada", at_ms: int = START_MS, **headers: str) -> Ask:
    """A request; a query may follow the path; header names are written with underscores."""
    path, _, query = path.partition("?")
    pairs = tuple((key, value) for key, _, value in (one.partition("=") for one in query.split("&") if one))
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Ask(method, path, path, pairs, named, BASE, "demo", "main", principal, at_ms)


def tarball(manifest: object, files: dict[str, bytes] | None = None, top: str = "package") -> bytes:
    """What npm pack makes. `manifest` may be bytes, to be written as they are; None leaves it out."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        held = dict(files or {})
        if manifest is not None:
            data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
            held = {f"{top}/package.json": data, **held}
        for name, data in held.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def dist(data: bytes) -> dict[str, str]:
    return {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode(),
        "shasum": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "tarball": "http://elsewhere.example/what-the-client-believes.tgz",
    }


def document(
    name: str = "demo",
    version: str = "1.0.0",
    data: bytes | None = None,
    *,
    tag: str = "latest",
    bundle: str | None = None,
    attachments_first: bool = False,
    length: int | None = None,
    **manifest: Any,
) -> dict[str, Any]:
    """A publish document as npm writes it; yarn puts `_attachments` first."""
    own = {"name": name, "version": version, **manifest}
    data = tarball(own) if data is None else data
    encoded = base64.b64encode(data).decode()
    attachments: dict[str, Any] = {
        f"{name}-{version}.tgz": {
            "content_type": "application/octet-stream",
            "data": encoded,
            "length": len(data) if length is None else length,
        }
    }
    if bundle is not None:
        attachments[f"{name}-{version}.sigstore"] = {
            "content_type": "application/vnd.dev.sigstore.bundle+json;version=0.2",
            "data": bundle,
            "length": len(bundle),
        }
    said = {
        "_id": name,
        "name": name,
        "description": manifest.get("description", ""),
        "dist-tags": {tag: version},
        "versions": {version: {**own, "_id": f"{name}@{version}", "readme": "# Hello", "dist": dist(data)}},
        "access": None,
    }
    if attachments_first:
        return {"_attachments": attachments, **said}
    return {**said, "_attachments": attachments}


def sigstore(name: str, version: str, data: bytes, **other: Any) -> str:
    """A provenance bundle, unsigned, that speaks of these bytes."""
    purl = "pkg:npm/" + name.replace("@", "%40") + "@" + version
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": purl, "digest": {"sha512": hashlib.sha512(data).hexdigest()}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
        **other,
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({"mediaType": "bundle", "dsseEnvelope": {"payload": payload, "signatures": [{"sig": "eA=="}]}})


class Registry:
    """One repository's npm side, in memory. `bytes` holds what was kept, by identity."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.view = MemoryView()
        self.bytes: dict[bytes, bytes] = {}
        self.at_ms = START_MS

    def send(self, method: str, path: str, body: object = b"", **headers: str) -> tuple[int, Any]:
        """A write, whole: what the client gets as status and JSON. A Problem comes out as it is raised."""
        self.at_ms += 1000
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = ask(path, method, at_ms=self.at_ms, **headers)
        plan = ROOM.read(request)
        if isinstance(plan, Reply):
            return plan.status, json.loads(plan.body)
        decision = ROOM.decide(request, self._finds(request, plan, raw), self.view)
        self._round_trip(decision)
        self.view.apply(decision)
        return decision.reply.status, json.loads(decision.reply.body)

    def _finds(self, request: Ask, plan: Plan, raw: bytes) -> Finds:
        if isinstance(plan, Amend):
            return Finds(body=raw, context=plan.context)
        assert isinstance(plan, Accept)
        spool = self.directory / "spool"
        spool.write_bytes(raw)
        with spool.open("rb") as file:
            received = Received({}, "", file.fileno(), Blob(), str(self.directory), plan.context)
            finds = ROOM.unpack(request, received)
        return msgspec.structs.replace(finds, blobs={name: self._kept(one) for name, one in finds.blobs.items()})

    def _kept(self, blob: Blob) -> Blob:
        data = Path(blob.path).read_bytes() if blob.path else blob.data
        hasher = Hasher(blob.digests_wanted)
        hasher.update(data)
        self.bytes[hasher.sha256] = data
        return Blob(sha256=hasher.sha256, size=hasher.size, digests=hasher.others)

    @staticmethod
    def _round_trip(decision: Decision) -> None:
        """Whatever is decided must survive the journal."""
        assert msgspec.msgpack.encode(decision.changes)

    def publish(self, name: str = "demo", version: str = "1.0.0", **options: Any) -> tuple[int, Any]:
        return self.send("PUT", name, document(name, version, **options))

    def get(self, path: str, **headers: str) -> Any:
        """A read: a document as JSON, a file as its bytes."""
        plan = ROOM.read(ask(path, at_ms=self.at_ms, **headers))
        if isinstance(plan, Reply):
            return json.loads(plan.body)
        if isinstance(plan, Serve):
            file = self.view.file(plan.package, plan.file)
            return self.bytes[file.sha256] if file else None
        assert isinstance(plan, Show)
        return json.loads(ROOM.render(plan, self.view, BASE).body)
