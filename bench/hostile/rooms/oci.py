"""What would a hostile docker push? Manifests that are two things at once, digests that lie, parts out of order, names
and graphs that lead elsewhere."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from bench.hostile.corpus import Attack, Corpus, Expected, Request, damaged
from bench.hostile.texts import json_attacks, json_oddities

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
BLOB = b"a layer " * 40
SETTINGS = b'{"architecture":"amd64","os":"linux"}'
ABSENT = "sha256:" + "0" * 64


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def blob(name: str, data: bytes, digest: str = "") -> Request:
    """A whole blob in one request."""
    told = digest or digest_of(data)
    return Request("POST", f"{name}/blobs/uploads/?digest={told}", data, {"Content-Type": "application/octet-stream"})


def descriptor(data: bytes, media: str, **changed: Any) -> dict[str, Any]:
    return {"mediaType": media, "digest": digest_of(data), "size": len(data)} | changed


def image(layer: bytes = BLOB, **changed: Any) -> dict[str, Any]:
    told = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(SETTINGS, CONFIG)}
    return told | {"layers": [descriptor(layer, LAYER)]} | changed


def put(name: str, said: object, reference: str = "latest", media: str = MANIFEST) -> Request:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return Request("PUT", f"{name}/manifests/{reference}", body, {"Content-Type": media})


def parts(name: str = "evil", layer: bytes = BLOB) -> tuple[Request, Request]:
    """What an image is made of."""
    return blob(name, layer), blob(name, SETTINGS)


def good(number: int) -> Attack:
    layer = f"layer {number} ".encode() * 20
    return Attack(f"good {number}", (*parts(f"good/image-{number}", layer), put(f"good/image-{number}", image(layer))))


def crafted() -> Iterator[Attack]:
    yield from manifests()
    yield from confusions()
    yield from digests()
    yield from uploads()
    yield from names()
    yield from graphs()


def manifests() -> Iterator[Attack]:
    for name, body in json_attacks(image()):
        harmless = name == "json with an escaped __proto__" or name == "json with __proto__"
        yield one(name, *parts(), put("evil", body), expected="harmless" if harmless else "refused")
    for name, body in json_oddities(image()):
        yield one(name, *parts(), put("evil", body), expected="harmless")
    yield one("a manifest of 5 MB", put("evil", json.dumps(image()).encode() + b" " * (5 << 20)))
    yield one("100,000 layers", *parts(), put("evil", image(layers=[descriptor(BLOB, LAYER)] * 100_000)))
    for field, value in (
        ("schemaVersion", 1), ("schemaVersion", "2"), ("mediaType", 5), ("mediaType", "x" * 300), ("config", None),
        ("config", []),
        ("config", "x"), ("layers", {}), ("layers", "x"), ("layers", [None]), ("layers", [[]]), ("layers", [{}]),
        ("subject", "x"),
        ("subject", {}), ("annotations", [1]), ("annotations", {"a": 1}), ("artifactType", 5), ("artifactType",
        "x" * 300),
    ):  # fmt: skip
        yield one(f"{field} of {str(value)[:9]}", *parts(), put("evil", image() | {field: value}))
    for part, lie in (
        ("digest", ""), ("digest", "x"), ("digest", "md5:" + "0" * 32), ("digest", "sha256:" + "0" * 63), ("digest", 5),
        ("digest", digest_of(BLOB).upper()), ("digest", digest_of(BLOB) + "\n"), ("digest", "sha256:../../x"),
        ("size", -1),
        ("size", "5"), ("size", 1.5), ("size", True), ("size", None), ("mediaType", 5), ("mediaType", "x" * 300),
    ):  # fmt: skip
        layer = descriptor(BLOB, LAYER) | {part: lie}
        yield one(f"a layer's {part} of {str(lie)[:12]!r}", *parts(), put("evil", image(layers=[layer])))


def confusions() -> Iterator[Attack]:
    """One document, two readings (CVE-2021-41190)."""
    child = [descriptor(BLOB, MANIFEST)]
    for name, said, media in (
        ("another media type than its own", image(), INDEX),
        ("an unknown media type", image(mediaType="text/html"), "text/html"),
        ("no media type", image(mediaType=""), ""), ("an image with manifests", image(manifests=child), MANIFEST),
        ("an index with layers", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []}, INDEX),
        ("an index with a config", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "config": {}}, INDEX),
        ("an image of old layers", image(fsLayers=[]), MANIFEST),
        ("a list of one media type", image(), f"{MANIFEST}, {INDEX}"),
        ("html", image(), "text/html"),
        ("an old image", image(schemaVersion=1), "application/vnd.docker.distribution.manifest.v1+json"),
    ):  # fmt: skip
        yield one(name, *parts(), put("evil", said, media=media))


def digests() -> Iterator[Attack]:
    for algorithm in ("sha256", "sha512"):
        yield one(f"a blob of another {algorithm}", blob("evil", BLOB, digest_of(b"other", algorithm)))
        yield one(f"a manifest of another {algorithm}", *parts(), put("evil", image(), digest_of(b"other", algorithm)))
    for told in ("x", "sha256:", "sha256:" + "0" * 63, "md5:" + "0" * 32, "sha1:" + "0" * 40, "sha256:" + "G" * 64,
                 digest_of(BLOB).upper(), "sha384:" + "0" * 96, "sha256:..%2f..%2fx"):  # fmt: skip
        yield one(f"a blob called {told[:14]}", blob("evil", BLOB, told))
        if ":" in told:  # else it is a tag
            yield one(f"a manifest called {told[:14]}", *parts(), put("evil", image(), told))
    yield one("many tags at once", *parts(), put("evil", image(), "latest?" + "&".join(["tag=a"] * 40)))


def begin(name: str = "evil") -> Request:
    return Request("POST", f"{name}/blobs/uploads/")


def patch(told: str = "", body: bytes = BLOB, **more: str) -> Request:
    headers = {"Content-Type": "application/octet-stream"} | ({"Content-Range": told} if told else {})
    return Request("PATCH", "{location}", body, headers | more)


def uploads() -> Iterator[Attack]:
    for told in ("5-9", "1-320", "320-639", "-1-5", "9-5", "x", "0-", f"0-{1 << 70}", "bytes */5", "0-3"):
        yield one(f"a first part at {told}", begin(), patch(told))
    for told in ("", "x", digest_of(b"other"), "md5:" + "0" * 32):
        yield one(f"an end of {told[:12]!r}", begin(), Request("PUT", "{location}?digest=" + told, BLOB))
    yield one("an end without a digest", begin(), Request("PUT", "{location}", BLOB))
    yield one("an end with two digests", begin(), Request(
        "PUT", f"{{location}}?digest={digest_of(b'other')}&digest={digest_of(BLOB)}", BLOB
    ))  # fmt: skip
    yield one("a part without a credential", begin(), Request("PATCH", "{location}", BLOB, token=False))
    yield one("a part that is cut", begin(), Request("PATCH", "{location}", BLOB, sent=9), expected="broken")
    yield one("a blob that is cut", Request("POST", f"evil/blobs/uploads/?digest={digest_of(BLOB)}", BLOB, sent=9),
              expected="broken")  # fmt: skip
    for session in ("x", "../x", "a" * 200, "0" * 32):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            tail = f"?digest={digest_of(BLOB)}" if method == "PUT" else ""
            yield one(f"{method} of the upload {session[:9]}", Request(method, f"evil/blobs/uploads/{session}{tail}"))
    yield one("an unknown algorithm", Request("POST", "evil/blobs/uploads/?digest-algorithm=md5"))


NAMES = ("UPPER", "a//b", "a/", ".a", "a.", "a..b", "-a", "a/-b", "_a", "a___b", "a/../b", "a/%2e%2e/b", "a%2fb",
    "a%00", "%ff", "a b",
         "a%20b", "a" * 256, "é", "%c3%a9", "a:b", "a@b", "a%5cb", "a%0d%0ab")  # fmt: skip
TAGS = (".a", "-a", "a" * 129, "a b", "a%2fb", "%00", "a%0d%0ab", "a+b", "%c3%a9", "..", "a,b")


def names() -> Iterator[Attack]:
    for name in NAMES:
        at = name.encode().decode("latin-1").replace(" ", "%20%20")
        yield one(f"an image called {name[:14]!r}", put(at, image()))
        yield one(f"a blob of {name[:14]!r}", blob(at, BLOB))
    for tag in TAGS:
        at = tag.replace(" ", "%20%20")
        yield one(f"a tag called {tag[:14]!r}", *parts(), put("evil", image(), at))


def graphs() -> Iterator[Attack]:
    """What refers to something that is not here, or that is somebody else's."""
    yield one("an image without its blobs", put("alone", image()))
    yield one("an image without its layer", blob("half", SETTINGS), put("half", image()))
    yield one("an image of another image's blobs", *parts("first"), put("second", image()))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(b"absent", MANIFEST)]}
    yield one("an index of what is not there", put("evil", index, media=INDEX))
    yield one(
        "an index of a blob", *parts(), put("evil", index | {"manifests": [descriptor(BLOB, MANIFEST)]}, media=INDEX)
    )
    yield one("delete a blob that is not there", Request("DELETE", f"evil/blobs/{ABSENT}"))
    yield one("delete a manifest that is not there", Request("DELETE", f"evil/manifests/{ABSENT}"))
    yield one("delete a tag that is not there", Request("DELETE", "evil/manifests/absent"))
    for method in ("POST", "PATCH", "PUT"):
        yield one(f"{method} to a blob", Request(method, f"evil/blobs/{digest_of(BLOB)}", BLOB))
    for n in ("-1", "x", "9" * 40, "1e3"):
        yield one(f"tags, {n[:5]} of them", *parts("list"), Request("GET", f"list/tags/list?n={n}"))
    yield one(
        "put without a credential",
        Request("PUT", "evil/manifests/latest", b"{}", {"Content-Type": MANIFEST}, token=False),
    )


def mutant(dice: random.Random) -> Attack:
    """A wound in a manifest, in what it says of its parts, in a blob or in a digest."""
    name, layer = f"odd/n{dice.randrange(1 << 40)}", BLOB
    match dice.randrange(4):
        case 0:
            return one("wounded blob", blob(name, damaged(layer, dice), digest_of(layer)))
        case 1:
            told = legible(damaged(digest_of(layer).encode(), dice))
            return one("wounded digest", blob(name, layer, told))
        case 2:
            # most manifests of no parts are refused for that: this one needs none
            bare = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": "b"}}
            return one("wounded index", put(name, damaged(json.dumps(bare).encode(), dice), media=INDEX))
        case _:
            said = damaged(json.dumps(image(layer)).encode(), dice)
            return one("wounded image", put(name, said, media=MANIFEST))


def legible(raw: bytes) -> str:
    """What can stand in a request line."""
    return "".join(chr(byte) if 33 <= byte < 127 and byte not in b"#&" else f"%{byte:02x}" for byte in raw)


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Clients print `errors`: a list of objects with a code in capitals and a message."""
    if status == 416 and "range" in headers and "location" in headers:
        return ""  # where the upload stands, which is all that the specification asks for
    if not headers.get("content-type", "").startswith("application/json"):
        return f"{headers.get('content-type')} instead of JSON"
    try:
        said = json.loads(body)
    except ValueError:
        return "not JSON"
    errors = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(errors, list) or not errors:
        return "no errors"
    well = all(isinstance(one, dict) and str(one.get("code", "")).isupper() and one.get("message") for one in errors)
    return "" if well else "an error without code or message"


CORPUS = Corpus("oci", "/v2/{repository}/", good, crafted, mutant, dialect)
