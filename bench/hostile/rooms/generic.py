"""What would a hostile curl send? Digests that lie, paths that leave, bodies that do not end where they say, and
resumable uploads out of order."""

import base64
import hashlib
import random
from collections.abc import Iterator, Mapping

from bench.hostile.corpus import Attack, Corpus, Expected, Request, damaged

BODY = b"some bytes " * 20
PART = "application/partial-upload"
ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5", "sha": "sha1"}


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def put(path: str, body: bytes = BODY, **headers: str) -> Request:
    return Request("PUT", path, body, {key.replace("_", "-"): value for key, value in headers.items()})


def good(number: int) -> Attack:
    body = f"file {number} ".encode() * 20
    digest = hashlib.sha256(body).hexdigest()
    return Attack(f"good {number}", (put(f"good/{number}.txt", body, X_Checksum_Sha256=digest),))


def crafted() -> Iterator[Attack]:
    yield from digests()
    yield from paths()
    yield from headers()
    yield from framings()
    yield from resumed()
    yield from collisions()


def digests() -> Iterator[Attack]:
    for name, algorithm in ALGORITHMS.items():
        right = hashlib.new(algorithm, BODY, usedforsecurity=False).digest()
        wrong = bytes(len(right))
        for header in ("Repr-Digest", "Content-Digest"):
            for kind, value in (
                ("wrong", f"{name}=:{base64.b64encode(wrong).decode()}:"),
                ("short", f"{name}=:{base64.b64encode(right[:-1]).decode()}:"),
                ("bare", f"{name}={base64.b64encode(right).decode()}"),
                ("twice", f"{name}=:{base64.b64encode(right).decode()}:, {name}=:{base64.b64encode(wrong).decode()}:"),
            ):
                yield one(f"{header} {name} {kind}", Request("PUT", "evil/digest", BODY, {header: value}))
        old = f"X-Checksum-{algorithm}"
        for kind, value in (("wrong", wrong.hex()), ("short", right.hex()[1:]), ("not hex", "z" * len(right.hex()))):
            yield one(f"{old} {kind}", Request("PUT", "evil/digest", BODY, {old: value}))
    for value in ("", ",", "sha-256", "sha-256=", "sha-256=:*:", "=:AAAA:", "sha-256=:AAAA", "\xff"):
        yield one(f"Repr-Digest {value!r}", put("evil/digest", Repr_Digest=value), expected="harmless")


PATHS = (
    "../evil", "a/../evil", "a/./evil", "a//evil", "%2e%2e/evil", "a/%2e%2e/evil", "a%2fevil", "a/..%2fevil",
    "..%5cevil", "a%5cevil", "a%00b", "%00", "a%0d%0aSet-Cookie:x", "a%252e%252e/b", "a%252fb", "%ff",
    "%c0%ae%c0%ae/evil", "%ed%a0%80", "a%u002f", "a%2", "%", "-/evil", "-", "-/uploads", "-/uploads/",
    "a%e2%80%aegpj", "a%e2%80%8fb",
    "e%cc%81", "a%ef%bb%bf", "a%7f", "a%1b%5b31m", "a/" + "b" * 256, "/".join(["abcdefgh"] * 60), "a" * 500,
    "evil/", "", "a%5c..%5cb", "%ef%bf%bf", "a%c2%85b", "a%e2%80%a8b",
)  # fmt: skip


def paths() -> Iterator[Attack]:
    for path in PATHS:
        yield one(f"PUT {path[:40]!r}", put(path))
    for path in PATHS[:20]:
        yield one(f"DELETE {path[:40]!r}", Request("DELETE", path))


def headers() -> Iterator[Attack]:
    for name, told in (
        ("content encoding", {"Content-Encoding": "gzip"}),
        ("two content encodings", {"Content-Encoding": "zstd, gzip"}),
        ("content range", {"Content-Range": "bytes 0-4/9"}),
        ("If-Match of nothing", {"If-Match": '"0"'}),
        ("If-Match star", {"If-Match": "*"}),
        ("another draft", {"Upload-Draft-Interop-Version": "3"}),
        ("Upload-Incomplete", {"Upload-Incomplete": "?1"}),
        ("Upload-Complete maybe", {"Upload-Complete": "maybe"}),
        ("Expect something else", {"Expect": "200-ok"}),
    ):
        yield one(name, Request("PUT", "evil/header", BODY, told))
    for name, value in (
        ("of 3,000 bytes", "text/" + "x" * 3_000), ("with quotes", 'text/plain; charset="'), ("not ASCII", "text/\xe9"),
        ("of script", "text/html; charset=utf-7"), ("empty", ""), ("with a comma", "text/plain, text/html"),
    ):  # fmt: skip
        yield one(f"media type {name}", put(f"evil/media-{len(name)}", Content_Type=value), expected="harmless")


def framings() -> Iterator[Attack]:
    for part in (0, 1, len(BODY) - 1):
        yield one(f"truncated after {part}", Request("PUT", "evil/cut", BODY, sent=part), expected="broken")
    large = b"x" * (3 << 20)
    yield one("truncated after 2 MB", Request("PUT", "evil/cut", large, sent=2 << 20), expected="broken")
    yield one(
        "announced without end",
        Request("PUT", "evil/cut", BODY, {"Content-Length": str((1 << 63) - 1)}),
    )
    chunked = {"Transfer-Encoding": "chunked"}
    for name, body in (
        ("a wrong size", b"zz\r\nhello\r\n0\r\n\r\n"), ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"), ("a size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("too large a size", b"f" * 17 + b"\r\nhello"), ("more than it says", b"3\r\nhello\r\n0\r\n\r\n"),
        ("less than it says", b"9\r\nhello\r\n0\r\n\r\n\r\n\r\n"),
        ("bare line ends", b"5\nhello\n0\n\n"), ("bare returns", b"5\rhello\r0\r\r"),
        ("a long extension", b"5;" + b"x" * 9_000 + b"\r\nhello\r\n0\r\n\r\n"),
        ("a NUL in its extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
        ("a malformed trailer", b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
        ("an endless trailer", b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 2_000 + b"\r\n"),
        ("a blank before its size", b" 5\r\nhello\r\n0\r\n\r\n"), ("no size", b"\r\nhello\r\n0\r\n\r\n"),
    ):  # fmt: skip
        yield one(f"chunks with {name}", Request("PUT", "evil/chunks", body, chunked))
    yield one("chunks that end early", Request("PUT", "evil/cut", b"ff\r\nhello", chunked, sent=9), expected="broken")


def begin(path: str, length: int = -1) -> Request:
    told = {"Upload-Complete": "?0", "Upload-Draft-Interop-Version": "8"}
    if length >= 0:
        told["Upload-Length"] = str(length)
    return Request("POST", path, BODY, told)


def append(offset: str, complete: str = "?1", body: bytes = BODY, path: str = "{location}", **more: str) -> Request:
    told = {"Content-Type": PART, "Upload-Offset": offset, "Upload-Complete": complete}
    return Request("PATCH", path, body, told | {key.replace("_", "-"): value for key, value in more.items()})


def resumed() -> Iterator[Attack]:
    half = str(len(BODY))
    for offset in ("0", "1", "-1", "9" * 15, "9" * 40, "x", "", "1.5", "?1"):
        yield one(f"append at {offset!r}", begin("evil/resumed"), append(offset))
    for complete in ("?2", "yes", ""):
        yield one(f"append that is complete {complete!r}", begin("evil/resumed"), append(half, complete))
    yield one("append of another media type", begin("evil/resumed"), append(half, Content_Type="text/plain"))
    yield one("append beyond the length", begin("evil/resumed", len(BODY) + 3), append(half))
    yield one("finish before the length", begin("evil/resumed", 9_999), append(half))
    yield one("append without a credential", begin("evil/resumed"), Request(
        "PATCH", "{location}", BODY, {"Content-Type": PART, "Upload-Offset": half, "Upload-Complete": "?1"}, token=False
    ))  # fmt: skip
    for session in ("x", "../x", "a" * 200, "0" * 32):
        yield one(f"append to {session[:9]!r}", append("0", path=f"-/uploads/{session}"))
        yield one(f"cancel {session[:9]!r}", Request("DELETE", f"-/uploads/{session}"))
        yield one(f"state of {session[:9]!r}", Request("GET", f"-/uploads/{session}"))
    yield one("start without saying how", Request("POST", "-/uploads/evil", BODY))
    yield one("start in a reserved place", begin("-/uploads/-/x"))
    yield one("cut within an append", begin("evil/resumed"), Request(
        "PATCH", "{location}", BODY, {"Content-Type": PART, "Upload-Offset": half, "Upload-Complete": "?1"}, sent=5
    ), expected="broken")  # fmt: skip


def collisions() -> Iterator[Attack]:
    yield one("other bytes again", put("taken/file"), put("taken/file", b"other"))
    yield one("a file within a file", put("taken/file"), put("taken/file/within"))
    yield one("a file over a directory", put("taken/file"), put("taken"))
    yield one("never over what is there", put("taken/file"), put("taken/file", If_None_Match="*"))
    yield one("over something else", put("taken/file"), put("taken/file", b"other", If_Match='"0"'))
    yield one("delete under a condition", put("taken/file"), Request("DELETE", "taken/file", b"", {"If-Match": '"0"'}))
    yield one("delete with a body", put("taken/file"), Request("DELETE", "taken/file", BODY))
    for method in ("POST", "PATCH"):
        yield one(f"{method} to a file", Request(method, "evil/method", BODY))
    yield one("delete what is not there", Request("DELETE", "evil/absent"))
    yield one("put without a credential", Request("PUT", "evil/nobody", BODY, token=False))


# ---------------------------------------------------------------- mutants

DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"


def mutant(dice: random.Random) -> Attack:
    """Other bytes than announced, or a wounded announcement, path or framing."""
    path = f"odd/{dice.randrange(1 << 40)}"
    announced = {"Repr-Digest": DIGEST}
    match dice.randrange(4):
        case 0:
            return one("other bytes", Request("PUT", path, damaged(BODY, dice), announced))
        case 1:
            return one("wounded path", Request("PUT", path + legible(damaged(b"/a/b.txt", dice)), BODY))
        case 2:
            name = dice.choice(("Repr-Digest", "Content-Digest", "X-Checksum-Md5", "If-Match", "Upload-Complete",
                                "Content-Type", "Content-Encoding", "Upload-Length"))  # fmt: skip
            value = legible(damaged(DIGEST.encode(), dice), " ")
            return one("wounded header", Request("PUT", path, BODY, {name: value}))
        case _:
            body = damaged(b"dc\r\n" + BODY + b"\r\n0\r\n\r\n", dice)
            told = {"Transfer-Encoding": "chunked", "Repr-Digest": DIGEST}
            return one("wounded chunks", Request("PUT", path, body, told, sent=len(body)), expected="broken")


def legible(raw: bytes, safe: str = "") -> str:
    """What can stand in a request line or header: the strict front has tests of its own."""
    return "".join(chr(byte) if 33 <= byte < 127 or chr(byte) in safe else f"%{byte:02x}" for byte in raw)


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """curl's user reads a line, a program a problem document."""
    media = headers.get("content-type", "")
    if status == 409 and media == "application/problem+json":
        return ""
    if not media.startswith("text/plain"):
        return f"{media} instead of plain text"
    return "" if body.count(b"\n") == 1 and body.endswith(b"\n") else "not one line"


CORPUS = Corpus("generic", "/{repository}/generic/", good, crafted, mutant, dialect)
