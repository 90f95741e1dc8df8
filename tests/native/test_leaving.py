"""Who is no more in the middle of something: does that end at every node, and is nothing of it there? (C4, C6)

Through an edge, where everything of his went before: a file that is on its way, an image of which some layers are up,
tokens, and what he may read.
"""

import http.client
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.harness.running import Up, get

pytestmark = pytest.mark.native

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
HALF = b"x" * 300_000


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("leaving") / "data", workers=2) as running:
        yield running


class Person:
    """A managed user, a member who may read and publish, and what he has running through the edge."""

    def __init__(self, up: Up, idp: httpx2.Client, name: str) -> None:
        self.up, self.idp, self.name = up, idp, name
        made = idp.post("/Users", json={"schemas": [USER], "userName": name})
        assert made.status_code == 201, made.text
        self.id = made.json()["id"]
        up.entrepot("grant", "give", up.private, f"managed:{name}", "--read", "--write", url=up.edge)
        told = up.entrepot("token", "create", "box", "--owner", f"managed:demo/{name}", url=up.edge)
        self.headers = {"Authorization": f"Bearer {told['token']}"}
        self.file, self.kept = (f"/{up.private}/generic/{name}/{one}.bin" for one in ("running", "kept"))
        assert get(f"{up.edge}{self.kept}", self.headers, "PUT", b"kept").status == 201
        assert get(f"{up.edge}{self.kept}", self.headers).status == 200
        begun = get(f"{up.edge}/v2/{up.private}/app/blobs/uploads/", self.headers, "POST", b"")
        assert begun.status == 202, begun.body
        self.image = f"{up.edge}{urlsplit(begun.headers['location']).path}"
        assert get(self.image, self.headers, "PATCH", b"a layer").status == 202
        self.upload = http.client.HTTPConnection(urlsplit(up.edge).netloc, timeout=60)
        self.upload.putrequest("PUT", self.file)
        for key, value in (self.headers | {"Content-Length": str(2 * len(HALF))}).items():
            self.upload.putheader(key, value)
        self.upload.endheaders()
        self.upload.send(HALF)

    def finish(self) -> int:
        """What comes of the file when the rest of it is sent; it may be refused before that."""
        with suppress(OSError):
            self.upload.send(HALF)
        try:
            return self.upload.getresponse().status
        finally:
            self.upload.close()

    def at_every_node(self, address: str, headers: dict[str, str]) -> list[int]:
        return [get(f"{node}{address}", headers).status for node in (self.up.edge, self.up.origin)]


def _deactivated(one: Person) -> None:
    left = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    assert one.idp.patch(f"/Users/{one.id}", json=left).status_code == 200


def _deleted(one: Person) -> None:
    assert one.idp.delete(f"/Users/{one.id}").status_code == 204


def _removed(one: Person) -> None:
    one.up.entrepot("member", "remove", "demo", f"managed:{one.name}", url=one.up.edge)


def test_c4_c6_what_runs_ends_with_its_person(up: Up) -> None:
    admin = {"Authorization": f"Bearer {up.token}"}
    idp = up.entrepot("scim", "token", "demo/idp", url=up.edge)["token"]
    ways: dict[str, Callable[[Person], None]] = {"deactivated": _deactivated, "deleted": _deleted, "removed": _removed}
    headers = {"Authorization": f"Bearer {idp}"}
    with httpx2.Client(base_url=f"{up.edge}/-/scim/v2/demo", headers=headers, trust_env=False, timeout=60) as http:
        stays = Person(up, http, "stays@acme.example")
        for name, end in ways.items():
            leaver = Person(up, http, f"{name}@acme.example")
            end(leaver)
            assert leaver.at_every_node(leaver.kept, leaver.headers) == [401, 401], name
            assert leaver.at_every_node(leaver.kept, admin) == [200, 200], "what he published stays"
            assert get(leaver.image, leaver.headers, "PATCH", b"another").status == 401, name
            assert leaver.finish() in (401, 403, 404), name
            assert leaver.at_every_node(leaver.file, admin) == [404, 404], name
        assert stays.finish() == 201
        assert stays.at_every_node(stays.file, stays.headers) == [200, 200]
        assert get(stays.image, stays.headers, "PATCH", b" more").status == 202
