"""How does a test speak the OCI protocol without a client that hides what is said?"""

import base64
import json
from typing import Any
from urllib.parse import quote, urljoin

from tests.harness import images
from tests.harness.running import Got, get


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"any:{secret}".encode()).decode()} if secret else {}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def fetched_pass(door: str, secret: str, *scopes: str) -> str:
    """A pass as a client fetches it, with or without a credential."""
    query = "&".join(f"scope={quote(scope)}" for scope in scopes)
    got = get(f"{door}/v2/-/token?service=x&{query}", basic(secret))
    assert got.status == 200, got.body
    answer: dict[str, Any] = json.loads(got.body)
    assert answer["token"] == answer["access_token"]
    assert 0 < answer["expires_in"] <= 300
    return str(answer["token"])


class Image:
    """One image name at one door, with the headers that its requests carry."""

    def __init__(self, door: str, name: str, headers: dict[str, str]) -> None:
        self.door = door
        self.name = name
        self.headers = headers

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("http") else f"{self.door}/v2/{self.name}/{path}"
        return get(url, self.headers | named, method, body)

    def at(self, location: str) -> str:
        """A Location as an address at this door."""
        return urljoin(self.door, location)

    def push_blob(self, data: bytes) -> Got:
        return self.ask("POST", f"blobs/uploads/?digest={images.digest_of(data)}", data)

    def push_manifest(self, document: dict[str, Any], reference: str) -> Got:
        body = json.dumps(document).encode()
        return self.ask("PUT", f"manifests/{reference}", body, Content_Type=document["mediaType"])

    def push(self, tag: str, *layers: bytes, **more: Any) -> str:
        """A whole image; its digest."""
        for part in (b"{}", *layers):
            assert self.push_blob(part).status == 201
        done = self.push_manifest(images.manifest(b"{}", *layers, **more), tag)
        assert done.status == 201, done.body
        return done.headers["docker-content-digest"]


def code_of(got: Got) -> str:
    return str(json.loads(got.body)["errors"][0]["code"])
