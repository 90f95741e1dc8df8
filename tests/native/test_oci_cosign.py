"""Does cosign sign an image, attest to it and verify both through a node, with keys and without a transparency log?

THREATS C1, C2: a signature is pushed and found like any other artifact, by its tag or as a referrer, and never seen
from another image.
"""

import json
import uuid
from pathlib import Path

import pytest

from tests.harness import layouts
from tests.harness.clients import program, run
from tests.harness.registry import Image, bearer
from tests.harness.running import Up, clean_environment

pytestmark = pytest.mark.native

DOORS = ("origin", "edge")
KINDS = ("referrer", "tag")
PLAIN = ("--allow-http-registry", "--allow-insecure-registry")
OFFLINE = ("--tlog-upload=false", "--use-signing-config=false", "--yes")
"""No word to a public transparency log: keys alone."""


class Cosign:
    """cosign with a home, a login and a pair of keys of its own. `kind`: signatures as referrers, or under tags
    as older versions keep them."""

    def __init__(self, folder: Path, kind: str, *, like: "Cosign | None" = None) -> None:
        """`like`: with the login of another."""
        self.folder = folder
        self._bundle = f"--new-bundle-format={'true' if kind == 'referrer' else 'false'}"
        self._environment = clean_environment() | {
            "HOME": str(folder),
            "DOCKER_CONFIG": str((like or self).folder / ".docker"),
            "COSIGN_PASSWORD": uuid.uuid4().hex,
        }
        folder.mkdir()
        self("generate-key-pair")

    def __call__(self, *arguments: str, ok: bool = True) -> str:
        return run([program("cosign"), *arguments], cwd=self.folder, env=self._environment, ok=ok)

    def sign(self, address: str, *, ok: bool = True) -> str:
        return self("sign", *PLAIN, *OFFLINE, self._bundle, "--key", "cosign.key", address, ok=ok)

    def attest(self, address: str, predicate: Path) -> str:
        what = ("--key", "cosign.key", "--type", "custom", "--predicate", str(predicate))
        return self("attest", *PLAIN, *OFFLINE, self._bundle, *what, address)

    def verify(self, address: str, *, word: str = "verify", key: str = "cosign.pub", ok: bool = True) -> str:
        more = ("--type", "custom") if word == "verify-attestation" else ()
        told = ("--insecure-ignore-tlog=true", self._bundle, "--key", key, *more)
        return self(word, *PLAIN, *told, address, ok=ok)


def pushed(node: Up, folder: Path, address: str, *, write: bool = True) -> str:
    """An image of this test's own at the address, or the one that the folder holds; its digest."""
    if write:
        layouts.write(folder, "v1", {"etc/motd": uuid.uuid4().bytes})
    run(
        [program("skopeo"), "copy", "-q", "--dest-tls-verify=false", "--dest-creds", f"u:{node.token}",
         f"oci:{folder}:v1", f"docker://{address}:v1"],
        env=clean_environment() | {"HOME": str(folder.parent)},
    )  # fmt: skip
    return str(json.loads((folder / "index.json").read_text())["manifests"][0]["digest"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_an_image_is_signed_attested_and_verified(node: Up, tmp_path: Path, door: str, kind: str) -> None:
    name = f"{node.private}/{uuid.uuid4().hex[:12]}"
    hosts = {one: getattr(node, one).partition("://")[2] for one in DOORS}
    digest = pushed(node, tmp_path / "layout", f"{hosts[door]}/{name}")
    cosign = Cosign(tmp_path / "home", kind)
    address = f"{hosts[door]}/{name}@{digest}"
    cosign.sign(address, ok=False)
    for host in hosts.values():
        cosign("login", host, "-u", "u", "-p", node.token)
    cosign.verify(address, ok=False)
    cosign.sign(address)
    (tmp_path / "said.json").write_text(json.dumps({"tested": name}))
    cosign.attest(address, tmp_path / "said.json")
    for host in hosts.values():
        there = f"{host}/{name}@{digest}"
        assert digest in cosign.verify(there)
        assert cosign.verify(there, word="verify-attestation")
        cosign.verify(f"{host}/{name}:v1")
    image = Image(getattr(node, door), name, bearer(node.token))
    about = json.loads(image.ask("GET", f"referrers/{digest}").body)["manifests"]
    tags = json.loads(image.ask("GET", "tags/list").body)["tags"]
    assert (len(about) >= 2, len(tags)) == ((True, 1) if kind == "referrer" else (False, 3)), (about, tags)
    stranger = Cosign(tmp_path / "stranger", kind, like=cosign)
    stranger.verify(address, ok=False)


@pytest.mark.parametrize("kind", KINDS)
def test_c1_a_signature_is_seen_of_its_own_image_alone(node: Up, tmp_path: Path, kind: str) -> None:
    """The same image under another name is not signed by it, though all its bytes are there."""
    host, signed, bare = node.edge.partition("://")[2], uuid.uuid4().hex[:12], uuid.uuid4().hex[:12]
    digest = pushed(node, tmp_path / "layout", f"{host}/{node.private}/{signed}")
    assert pushed(node, tmp_path / "layout", f"{host}/{node.private}/{bare}", write=False) == digest
    cosign = Cosign(tmp_path / "home", kind)
    cosign("login", host, "-u", "u", "-p", node.token)
    cosign.sign(f"{host}/{node.private}/{signed}@{digest}")
    cosign.verify(f"{host}/{node.private}/{signed}@{digest}")
    cosign.verify(f"{host}/{node.private}/{bare}@{digest}", ok=False)


def test_a_signature_of_a_public_image_is_verified_by_everybody(node: Up, tmp_path: Path) -> None:
    host, name = node.edge.partition("://")[2], uuid.uuid4().hex[:12]
    digest = pushed(node, tmp_path / "layout", f"{host}/{node.public}/{name}")
    cosign = Cosign(tmp_path / "home", "referrer")
    cosign.verify(f"{host}/{node.public}/{name}@{digest}", ok=False)
    cosign("login", host, "-u", "u", "-p", node.token)
    cosign.sign(f"{host}/{node.public}/{name}@{digest}")
    (tmp_path / "home" / ".docker" / "config.json").unlink()
    cosign.verify(f"{host}/{node.public}/{name}@{digest}")
