"""Do curl's own ways of putting, getting, ranging and resuming work through origin and edge?"""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, get, seen_in_time

pytestmark = pytest.mark.native


def curl(*arguments: str, ok: bool = True) -> str:
    return run([program("curl"), "--silent", "--show-error", "--fail", *arguments], ok=ok)


@pytest.mark.parametrize("door", ["origin", "edge"])
@pytest.mark.parametrize("size", [0, 1, 5_000, 3_000_000])
def test_what_is_put_comes_back_at_both_doors(node: Up, tmp_path: Path, door: str, size: int) -> None:
    data = os.urandom(size)
    sent, got = tmp_path / "sent.bin", tmp_path / "got.bin"
    sent.write_bytes(data)
    path = f"/{node.private}/generic/curl/{door}-{size}.bin"
    curl("-u", f"token:{node.token}", "-T", str(sent), getattr(node, door) + path)
    for url in (node.origin, node.edge):
        seen_in_time(url + path, {"Authorization": f"Bearer {node.token}"})
        curl("-u", f"token:{node.token}", "-o", str(got), url + path)
        assert got.read_bytes() == data


def test_a_cold_download_resumes_at_the_edge(node: Up, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    sent, got = tmp_path / "sent.bin", tmp_path / "got.bin"
    sent.write_bytes(data)
    path = f"/{node.public}/generic/curl/resume.bin"
    curl("-u", f"token:{node.token}", "-T", str(sent), node.origin + path)
    got.write_bytes(data[:700_001])
    seen_in_time(node.edge + path, method="HEAD")  # a GET would warm it
    curl("-C", "-", "-o", str(got), node.edge + path)
    assert got.read_bytes() == data
    curl("-r", "1999990-", "-o", str(got), node.edge + path)
    assert got.read_bytes() == data[1_999_990:]


def test_conditional_puts_protect_what_is_there(node: Up, tmp_path: Path) -> None:
    url = f"{node.edge}/{node.private}/generic/curl/conditional.txt"
    credential = {"Authorization": f"Bearer {node.token}"}
    assert get(url, credential | {"If-None-Match": "*"}, "PUT", b"first").status == 201
    assert get(url, credential | {"If-None-Match": "*"}, "PUT", b"second").status == 412
    assert get(url, credential, "PUT", b"second").status == 409
    etag = get(url, credential).headers["etag"]
    assert get(url, credential | {"If-Match": etag}, "PUT", b"second").status in (200, 201)
    assert get(url, credential).body == b"second"


def test_wrong_digest_stores_nothing(node: Up) -> None:
    url = f"{node.origin}/{node.private}/generic/curl/wrong-digest.bin"
    credential = {"Authorization": f"Bearer {node.token}"}
    wrong = {"X-Checksum-Sha256": hashlib.sha256(b"other").hexdigest()}
    refused = get(url, credential | wrong, "PUT", b"these bytes")
    assert refused.status == 400
    assert get(url, credential).status == 404


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_a_deleted_file_is_gone_at_once(node: Up, door: str) -> None:
    base = getattr(node, door)
    url = f"{base}/{node.private}/generic/curl/{door}-deleted.txt"
    credential = {"Authorization": f"Bearer {node.token}"}
    assert get(url, credential, "PUT", b"soon gone").status == 201
    assert get(url, credential).body == b"soon gone"
    assert get(url, credential, "DELETE").status in (200, 204)
    assert get(url, credential).status == 404


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_b9_strangers_cannot_tell_private_from_absent(node: Up, door: str) -> None:
    base = getattr(node, door)
    private = get(f"{base}/{node.private}/generic/x")
    absent = get(f"{base}/{node.workspace}/nosuchrepository/generic/x")
    assert private.status == absent.status == 401
    assert private.body == absent.body


def test_a_revoked_token_is_refused_at_the_edge(node: Up) -> None:
    made = node.entrepot("token", "create", "short-lived", "--repository", node.private, "--read", url=node.edge)
    url = f"{node.edge}/{node.private}/generic/curl/revoked.txt"
    put = get(url, {"Authorization": f"Bearer {node.token}"}, "PUT", b"secret")
    assert put.status == 201
    assert get(url, {"Authorization": f"Bearer {made['token']}"}).body == b"secret"
    assert get(url, {"Authorization": f"Bearer {made['token']}"}, "PUT", b"other").status == 403
    node.entrepot("token", "revoke", made["id"], url=node.edge)
    assert get(url, {"Authorization": f"Bearer {made['token']}"}).status == 401


def test_c3_a_token_revoked_while_its_upload_runs_stores_nothing(node: Up) -> None:
    made = node.entrepot("token", "create", "uploader", "--repository", node.private, "--read", "--write")
    path = f"/{node.private}/generic/curl/revoked-upload.bin"
    host, _, port = node.origin.removeprefix("http://").partition(":")
    head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n"
    head += f"Authorization: Bearer {made['token']}\r\n\r\n"
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(head.encode() + b"12345")
        node.entrepot("token", "revoke", made["id"])
        client.sendall(b"67890")
        assert client.recv(4096).startswith(b"HTTP/1.1 401")
    assert get(node.origin + path, {"Authorization": f"Bearer {node.token}"}).status == 404


def test_listings_show_what_was_put(node: Up) -> None:
    credential = {"Authorization": f"Bearer {node.token}"}
    base = f"{node.edge}/{node.private}/generic/listing"
    for name in ("a.txt", "sub/b.txt"):
        assert get(f"{base}/{name}", credential, "PUT", b"x").status == 201
    listing = get(f"{base}/", credential | {"Accept": "application/json"})
    assert listing.status == 200
    assert b"a.txt" in listing.body
    assert b"sub" in listing.body
    assert b"<script" not in get(f"{base}/", credential | {"Accept": "text/html"}).body
