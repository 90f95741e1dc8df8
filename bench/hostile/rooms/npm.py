"""What would a hostile npm publish? Documents that lie about their tarball, tarballs that lie, and JSON that hurts."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from bench.hostile.archives import HARMLESS, bare, packed, tar_attacks, tar_bombs, tarred
from bench.hostile.corpus import Attack, Corpus, Expected, Request, damaged
from bench.hostile.texts import DEPTH, ODD_TEXTS, json_attacks, json_oddities

JSON = {"Content-Type": "application/json"}


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def members(manifest: object) -> dict[str, bytes]:
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return {"package/package.json": data, "package/index.js": b"module.exports = 1\n" * 30}


def document(
    name: str, version: str = "1.0.0", data: bytes | None = None, *, announce: bytes | None = None, **manifest: Any
) -> dict[str, Any]:
    """What npm publishes; `announce` are the bytes whose digests it tells."""
    own = {"name": name, "version": version, **manifest}
    data = tarred(members(own)) if data is None else data
    of = data if announce is None else announce
    dist = {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(of).digest()).decode(),
        "shasum": hashlib.sha1(of, usedforsecurity=False).hexdigest(),
    }
    attachment = {
        "content_type": "application/octet-stream",
        "data": base64.b64encode(data).decode(),
        "length": len(data),
    }
    return {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {**own, "_id": f"{name}@{version}", "dist": dist}},
        "_attachments": {f"{name}-{version}.tgz": attachment},
    }


def with_manifest(name: str, field: str, value: object) -> dict[str, Any]:
    """A document whose manifest and package.json both say this."""
    own: dict[str, Any] = {field: value}
    return document(name, **own)


def put(name: str, said: object, **headers: str) -> Request:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    path = name.replace("/", "%2f") if name.startswith("@") else name
    return Request("PUT", path, body, JSON | {key.replace("_", "-"): value for key, value in headers.items()})


def good(number: int) -> Attack:
    name = f"good-{number}" if number % 2 else f"@good/p{number}"
    return Attack(name, (put(name, document(name)),))


# ---------------------------------------------------------------- crafted


def crafted() -> Iterator[Attack]:
    yield from tarballs()
    yield from texts()
    yield from documents()
    yield from manifests()
    yield from names()
    yield from collisions()
    yield from framings()


def tarballs() -> Iterator[Attack]:
    own = members({"name": "evil", "version": "1.0.0"})
    for name, data in (*tar_attacks(own), *tar_bombs(own, "package/package.json")):
        expected: Expected = "harmless" if name in HARMLESS else "refused"
        yield one(f"tarball: {name}", put("evil", document("evil", data=data)), expected=expected)
    yield one("tarball not compressed", put("evil", document("evil", data=bare(own) + b"\0" * 1024)))
    for name, more in (
        ("two tops", {"other/x": b"x"}), ("a second package.json", {"other/package.json": b"{}"}),
        ("a package.json in capitals", {"package/PACKAGE.JSON": b"{}"}), ("a file outside", {"loose": b"x"}),
    ):  # fmt: skip
        yield one(f"tarball with {name}", put("evil", document("evil", data=tarred({**own, **more}))),
                  expected="harmless" if name == "a file outside" else "refused")  # fmt: skip
    yield one("tarball without package.json", put("evil", document("evil", data=tarred({"package/a": b"x"}))))
    wrong = document("evil", announce=b"other bytes")
    yield one("wrong digests", put("evil", wrong))
    for kind, value in (("shasum", "0" * 40), ("shasum", "x"), ("integrity", "sha512-AAAA"), ("integrity", "x"),
                        ("integrity", "sha512-" + "A" * 86 + "==")):  # fmt: skip
        said = document("evil")
        said["versions"]["1.0.0"]["dist"] = {kind: value}
        yield one(f"{kind} {value[:13]}", put("evil", said))
    for length in (0, 1, -5, 1 << 62, 1 << 80):
        said = document("evil")
        said["_attachments"]["evil-1.0.0.tgz"]["length"] = length
        yield one(f"attachment of length {length}", put("evil", said))
    for name, text in (("not base64", "***"), ("base64 of another alphabet", "_-_-"), ("half a sign", "AAAAA"),
                       ("padding in the middle", "AA==AAAA"), ("blanks", "AAAA AAAA"), ("line ends", "AAAA\r\nAAAA"),
                       ("NUL", "AAAA\0AAA"), ("nothing", ""), ("a lone surrogate", "AAAA\ud800AAA")):  # fmt: skip
        said = document("evil")
        said["_attachments"]["evil-1.0.0.tgz"]["data"] = text
        yield one(f"attachment of {name}", put("evil", said))


def texts() -> Iterator[Attack]:
    for name, body in json_attacks(document("evil")):
        yield one(name, put("evil", body))
    for name, body in json_oddities(document(f"odd-{len(dict(json_oddities({})))}")):
        yield one(name, put("evil", body.replace(b"odd-8", b"evil")), expected="harmless")
    manifest = {"name": "evil", "version": "1.0.0"}
    for name, body in json_attacks(manifest):
        # npm itself reads a package.json that begins with a BOM.
        expected: Expected = "harmless" if "BOM" in name else "refused"
        yield one(f"package.json: {name}", put("evil", document("evil", data=tarred(members(body)))), expected=expected)
    wide = b'{"a":' * 40 + b"1" + b"}" * 40
    yield one("package.json of 40 levels", put("evil", document("evil", data=tarred(members(wide)))))
    deep = json.dumps(document("evil")).encode().replace(b'"_id"', b'"z":' + b"[" * DEPTH + b"]" * DEPTH + b',"_id"', 1)
    yield one("deep before anything else", put("evil", deep))


def documents() -> Iterator[Attack]:
    """The document disagrees with itself, with its address or with its tarball."""
    for name, change in (
        ("another name", {"name": "other"}), ("another _id", {"_id": "other"}), ("no versions", {"versions": {}}),
        ("null versions", {"versions": None}), ("a list of versions", {"versions": []}),
        ("versions that are texts", {"versions": {"1.0.0": "x"}}), ("attachments as a list", {"_attachments": []}),
        ("attachments as texts", {"_attachments": {"evil-1.0.0.tgz": "x"}}),
        ("a tag that is a number", {"dist-tags": {"latest": 1}}), ("tags as a list", {"dist-tags": []}),
        ("a tag that is a version", {"dist-tags": {"1.0.0": "1.0.0"}}),
        ("a tag with a slash", {"dist-tags": {"a/b": "1.0.0"}}),
        ("the tag __proto__", {"dist-tags": {"constructor": "1.0.0"}}),
        ("an unknown attachment", {"_attachments": {**document("evil")["_attachments"], "x": {"data": "AAAA"}}}),
        ("two tarballs", {"_attachments": {**document("evil")["_attachments"], "evil-2.0.0.tgz": {"data": "AAAA"}}}),
        ("a tarball of no version", {"_attachments": {"evil-9.9.9.tgz": {"data": "AAAA"}}}),
        ("a tarball called ../x", {"_attachments": {"../../evil-1.0.0.tgz": {"data": "AAAA"}}}),
        ("provenance that is none", {"_attachments": {**document("evil")["_attachments"],
                                                      "evil-1.0.0.sigstore": {"data": "{", "length": 1}}}),
        ("provenance that is deep", {"_attachments": {**document("evil")["_attachments"],
                                                      "evil-1.0.0.sigstore": {"data": "[" * 50_000}}}),
    ):  # fmt: skip
        yield one(f"document with {name}", put("evil", document("evil") | change))
    for name, own in (
        ("name", {"name": "other", "version": "1.0.0"}), ("version", {"name": "evil", "version": "2.0.0"}),
        ("dependencies", {"name": "evil", "version": "1.0.0", "dependencies": {"a": "1"}}),
        ("install script", {"name": "evil", "version": "1.0.0", "scripts": {"install": "x"}}),
        ("peers", {"name": "evil", "version": "1.0.0", "peerDependencies": {"a": "1"}}),
    ):  # fmt: skip
        yield one(f"tarball of another {name}", put("evil", document("evil", data=tarred(members(own)))))
    many = document("evil")
    many["versions"] |= {f"1.0.{n}": {"name": "evil", "version": f"1.0.{n}"} for n in range(1, 20_000)}
    yield one("document with 20,000 versions", put("evil-many", many), expected="harmless")


def manifests() -> Iterator[Attack]:
    for version in ("1", "1.0", "01.0.0", "1.0.0.0", "v1.0.0", "1.0.0-", "1.0.0+", "1.0.0-01", "latest", "", "1.0.0 ",
                    "9" * 300, f"{1 << 60}.0.0", "1.0.0-" + "a" * 300, "../1.0.0", "1.0.0\0",
                    "1.0.0\r\nX: y"):  # fmt: skip
        yield one(f"version {version[:12]!r}", put("evil", document("evil", version)))
    for field, value in (
        ("dependencies", "x"), ("dependencies", [1]), ("dependencies", {"a": 1}), ("scripts", [1]), ("bin", 5),
        ("keywords", {"a": [1]}), ("description", ["x"]), ("engines", "x" * 100_000), ("os", {"a": {}}),
        ("readme", "x" * 3_000_000), ("funding", [[[[]]]]), ("deprecated", {"a": 1}),
    ):  # fmt: skip
        said = with_manifest("evil-odd", field, value)
        yield one(f"manifest with odd {field} {str(value)[:6]}", put("evil-odd", said),
                  expected="harmless")  # fmt: skip


def names() -> Iterator[Attack]:
    for name in ("UPPER", ".hidden", "_hidden", "node_modules", "favicon.ico", "@a", "@/b", "@a/", "@a/b/c", "@A/b",
                 "@a/.b", "@a/..", "a" * 215, "a%20b", "a%00b", "%e2%80%aea", "a%0d%0ab", "..", "%2e%2e", "a%2f..%2fb",
                 "@a%2f..%2f..%2fb", "@a%252fb", "-", "a%5cb", "@a%2f%2fb", "e%cc%81", "%ff"):  # fmt: skip
        yield one(f"name {name[:20]!r}", Request("PUT", name, json.dumps(document("evil")).encode(), JSON))
    for kind, text in ODD_TEXTS:
        said = document("evil") | {"name": text}
        yield one(f"document names {kind}", put("evil", json.dumps(said).encode()))


def collisions() -> Iterator[Attack]:
    first = put("taken", document("taken"))
    other = put("taken", document("taken", keywords=["other"]))
    yield one("other bytes again", first, other)
    yield one("the same version with build data", first, put("taken", document("taken", "1.0.0+build")))
    yield one("a name in capitals", first, put("Taken", document("Taken")))
    yield one("a revision that is not the last", first, put("taken/-rev/1-0", {"_id": "taken", "versions": {}}))
    yield one("a tag of an absent version", first, Request("PUT", "-/package/taken/dist-tags/x", b'"9.9.9"', JSON))
    for name, body in (("no JSON", b"x"), ("a number", b"1"), ("deep", b"[" * DEPTH), ("1 MB", b'"' + b"x" * (1 << 20)),
                       ("not UTF-8", b'"\xff"'), ("nothing", b"")):  # fmt: skip
        yield one(f"a tag with {name}", first, Request("PUT", "-/package/taken/dist-tags/x", body, JSON))
    yield one("delete the tag latest", first, Request("DELETE", "-/package/taken/dist-tags/latest"))
    for name, body in (("no JSON", b"x"), ("a list", b"[]"), ("deep", b"[" * DEPTH), ("nothing", b"")):
        yield one(f"login with {name}", Request("PUT", "-/user/org.couchdb.user:x", body, JSON, token=False))
        yield one(f"audit with {name}", Request("POST", "-/npm/v1/security/advisories/bulk", body, JSON),
                  expected="harmless")  # fmt: skip
    yield one("unpublish what is not there", Request("DELETE", "absent/-rev/1-0"))


def framings() -> Iterator[Attack]:
    body = json.dumps(document("evil")).encode()
    for part in (0, 1, len(body) // 2, len(body) - 1):
        yield one(f"truncated after {part}", Request("PUT", "evil", body, JSON, sent=part), expected="broken")
    for coding in ("gzip", "br", "zstd, gzip"):
        yield one(f"document in {coding}", put("evil", document("evil"), Content_Encoding=coding))
    chunked = JSON | {"Transfer-Encoding": "chunked"}
    for name, wrong in (("a wrong size", b"zz\r\n{}\r\n0\r\n\r\n"), ("more than it says", b"1\r\n{}\r\n0\r\n\r\n")):
        yield one(f"chunks with {name}", Request("PUT", "evil", wrong, chunked))
    for method in ("POST", "PATCH", "DELETE"):
        yield one(f"{method} to a package", Request(method, "evil", body, JSON))


# ---------------------------------------------------------------- mutants


def mutant(dice: random.Random) -> Attack:
    """A wound in the document, in the tarball of one that fits it, or in the package.json inside."""
    name = f"odd-{dice.randrange(1 << 40)}"
    match dice.randrange(4):
        case 0:
            own = members({"name": name, "version": "1.0.0"})
            return one("wounded tarball", put(name, document(name, data=damaged(tarred(own), dice))))
        case 1:
            said = {"name": name, "version": "1.0.0", "scripts": {"install": "x"}, "dependencies": {"a": "1"}}
            text = json.dumps(said)
            inner = members(damaged(text.encode(), dice))
            return one("wounded manifest", put(name, document(name, data=tarred(inner))))
        case 2:
            own = members({"name": name, "version": "1.0.0"})
            return one("wounded tar", put(name, document(name, data=packed(damaged(bare(own) + b"\0" * 1024, dice)))))
        case _:
            return one("wounded document", put(name, damaged(json.dumps(document(name)).encode(), dice)))


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """npm prints the member `error` of a JSON object."""
    if headers.get("content-type") != "application/json":
        return f"{headers.get('content-type')} instead of JSON"
    try:
        said = json.loads(body)
    except ValueError:
        return "not JSON"
    error = said.get("error") if isinstance(said, dict) else None
    return "" if isinstance(error, str) and error else "no error to print"


CORPUS = Corpus("npm", "/{repository}/npm/", good, crafted, mutant, dialect)
