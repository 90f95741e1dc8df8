"""Does an upload in parts, as draft-ietf-httpbis-resumable-upload has it, go through both doors and any worker?"""

import hashlib
import os

import pytest

from tests.harness.running import Got, Up, get, seen_in_time

pytestmark = pytest.mark.native

PART = {"Content-Type": "application/partial-upload", "Upload-Draft-Interop-Version": "8"}


class Upload:
    """An upload under way: `place` is its address, at the door where it was begun."""

    def __init__(self, node: Up, door: str, path: str, first: bytes, **headers: str) -> None:
        self.credential = {"Authorization": f"Bearer {node.token}"}
        self.file = f"{getattr(node, door)}/{node.private}/generic/{path}"
        told = {key.replace("_", "-"): value for key, value in headers.items()}
        self.begun = get(self.file, {**self.credential, **told, "Upload-Complete": "?0"}, "PUT", first)
        self.place = self.begun.headers.get("location", "")

    def state(self) -> Got:
        return get(self.place, self.credential, "HEAD")

    def append(self, offset: int, data: bytes, last: bool = False) -> Got:
        told = {"Upload-Offset": str(offset), "Upload-Complete": "?1" if last else "?0"}
        return get(self.place, {**self.credential, **PART, **told}, "PATCH", data)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_a_file_arrives_in_parts(node: Up, door: str) -> None:
    data = os.urandom(3_000_000)
    digest = hashlib.sha512(data).hexdigest()
    upload = Upload(
        node, door, f"parts/{door}.bin", data[:1_000_000], Upload_Length="3000000", X_Checksum_Sha512=digest
    )
    assert upload.begun.status == 201
    assert get(upload.file, upload.credential).status == 404
    for _ in range(4):  # whichever worker answers
        state = upload.state()
        assert (state.status, state.headers["upload-offset"], state.headers["upload-complete"]) == (
            204,
            "1000000",
            "?0",
        )
    wrong = upload.append(5, b"misplaced")
    assert (wrong.status, wrong.headers["upload-offset"]) == (409, "1000000")
    assert upload.append(1_000_000, data[1_000_000:2_500_000]).status == 204
    end = upload.append(2_500_000, data[2_500_000:], last=True)
    assert (end.status, end.headers["upload-complete"]) == (201, "?1")
    assert end.headers["location"] == upload.file
    assert get(upload.file, upload.credential).body == data
    for url in (node.origin, node.edge):
        assert seen_in_time(f"{url}/{node.private}/generic/parts/{door}.bin", upload.credential).body == data
    assert upload.state().status == 404


def test_parts_that_make_other_bytes_than_announced_leave_nothing(node: Up) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    upload = Upload(node, "origin", "parts/wrong.bin", b"these ", X_Checksum_Sha256=wrong)
    assert upload.append(6, b"bytes", last=True).status == 400
    assert get(upload.file, upload.credential).status == 404


def test_c3_an_upload_belongs_to_who_began_it(node: Up) -> None:
    upload = Upload(node, "origin", "parts/mine.bin", b"mine")
    other = node.entrepot("token", "create", "intruder", "--repository", node.private, "--read", "--write")
    upload.credential = {"Authorization": f"Bearer {other['token']}"}
    assert upload.state().status == 404
    assert upload.append(4, b"!", last=True).status == 404
    assert get(upload.place, upload.credential, "DELETE").status == 404
    upload.credential = {}
    assert upload.state().status == 401
    upload.credential = {"Authorization": f"Bearer {node.token}"}
    assert upload.state().headers["upload-offset"] == "4"
    assert get(upload.place, upload.credential, "DELETE").status == 204
    assert upload.state().status == 404
