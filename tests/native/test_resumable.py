"""Does an upload in parts, as draft-ietf-httpbis-resumable-upload has it, go through both doors and any worker?"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

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


# ---------------------------------------------------------------- parts at the same time


def parted(node: Up, door: str, path: str, data: bytes, parts: int) -> Upload:
    digest = hashlib.sha256(data).hexdigest()
    told = {"Upload_Length": str(len(data)), "Entrepot_Upload_Parts": str(parts), "X_Checksum_Sha256": digest}
    return Upload(node, door, path, b"", **told)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_parts_arrive_at_the_same_time_and_each_goes_on_where_it_broke(node: Up, door: str) -> None:
    data = os.urandom(1_000_001)
    upload = parted(node, door, f"parts/{door}-many.bin", data, 4)
    assert (upload.begun.status, upload.begun.headers["entrepot-upload-parts"]) == (201, "4")
    size = 250_001

    def send(part: int) -> int:
        mine = data[part * size : (part + 1) * size]
        place, told = f"{upload.place}/{part}", {**upload.credential, **PART, "Upload-Complete": "?0"}
        assert get(place, told | {"Upload-Offset": "0"}, "PATCH", mine[:100_000]).status == 204
        state = get(place, upload.credential, "HEAD").headers["upload-offset"]
        assert get(place, told | {"Upload-Offset": "7"}, "PATCH", b"misplaced").status == 409
        return get(place, told | {"Upload-Offset": state}, "PATCH", mine[int(state) :]).status

    early = upload.append(len(data), b"", last=True)
    assert early.status == 409, early.body
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, range(4))) == [204] * 4
    assert upload.append(len(data), b"", last=True).status == 201
    assert get(upload.file, upload.credential).body == data


def test_parts_that_cannot_be_are_refused(node: Up) -> None:
    upload = parted(node, "origin", "parts/odd.bin", b"12345678", 2)
    told = {**upload.credential, **PART, "Upload-Offset": "0"}
    for path, complete, body, status in (
        ("/2", "?0", b"1", 404),
        ("/x", "?0", b"1", 400),
        ("/0", "?1", b"1", 400),
        ("/0", "?0", b"12345", 400),
        ("", "?0", b"1", 400),
    ):
        assert get(upload.place + path, told | {"Upload-Complete": complete}, "PATCH", body).status == status, path
    other = node.entrepot("token", "create", "intruder", "--repository", node.private, "--read", "--write")
    theirs = told | {"Authorization": f"Bearer {other['token']}", "Upload-Complete": "?0"}
    assert get(f"{upload.place}/0", theirs, "PATCH", b"1").status == 404
    assert parted(node, "origin", "parts/few.bin", b"1", 2).begun.status == 400
    assert parted(node, "origin", "parts/many.bin", b"1" * 100, 65).begun.status == 400
