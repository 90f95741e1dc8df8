"""What would a hostile mvn deploy? Poms that speak of others, XML that hurts, checksums and moments that lie."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping

from bench.hostile.corpus import Attack, Corpus, Expected, Request, damaged
from bench.hostile.markup import xml_attacks, xml_oddities
from bench.hostile.texts import ODD_TEXTS, json_attacks, json_oddities

EVIL = "org/evil/demo/1.0/demo-1.0"
METADATA = "maven-metadata.xml"
SUMS = ("md5", "sha1", "sha256", "sha512")
JAR = b"PK\5\6" + b"\0" * 18
LONG_PAST = "20200102.030405"


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def put(path: str, body: bytes = JAR, **headers: str) -> Request:
    return Request("PUT", path, body, {key.replace("_", "-"): value for key, value in headers.items()})


def pom(group: str = "org.evil", artifact: str = "demo", version: str = "1.0", more: str = "") -> bytes:
    said = "".join(
        f"<{key}>{text}</{key}>" for key, text in (("groupId", group), ("artifactId", artifact), ("version", version))
    )
    return f"<project>{said}<description>{'words ' * 20}</description>{more}</project>".encode()


def module(**component: str) -> dict[str, object]:
    own = {"group": "org.evil", "module": "demo", "version": "1.0", **component}
    return {"formatVersion": "1.1", "component": own, "variants": [{"name": "api", "files": []}]}


def metadata(inner: str = "<plugin><prefix>x</prefix><artifactId>x-maven-plugin</artifactId></plugin>") -> bytes:
    return f"<metadata><plugins>{inner}</plugins></metadata>".encode()


def good(number: int) -> Attack:
    """A jar with the right announcement or a pom, and its checksum."""
    top, name = f"org/good/g{number}/1.0", f"g{number}-1.0"
    if number % 2:
        body = JAR + b"%d" % number
        return one(f"good {number}", put(f"{top}/{name}.jar", body, X_Checksum_Sha1=hashlib.sha1(body).hexdigest()))
    return one(f"good {number}", put(f"{top}/{name}.pom", pom("org.good", f"g{number}")))


# ---------------------------------------------------------------- crafted


def crafted() -> Iterator[Attack]:
    yield from documents()
    yield from coordinates()
    yield from modules()
    yield from checksums()
    yield from paths()
    yield from snapshots()
    yield from lists()
    yield from releases()
    yield from framings()


def documents() -> Iterator[Attack]:
    for name, raw in xml_attacks(pom(), "project"):
        yield one(f"pom: {name}", put(f"{EVIL}.pom", raw))
    for number, (name, raw) in enumerate(xml_oddities(pom(), "project")):
        body = raw.replace(b">demo<", b">odd%d<" % number) if b"\0" not in raw else raw
        yield one(f"pom: {name}", put(f"org/evil/odd{number}/1.0/odd{number}-1.0.pom", body), expected="harmless")
    for name, raw in xml_attacks(metadata(), "metadata"):
        yield one(f"metadata: {name}", put(f"org/evil/{METADATA}", raw))
    for name, raw in xml_oddities(metadata(), "metadata"):
        yield one(f"metadata: {name}", put(f"org/evil/{METADATA}", raw), expected="harmless")
    yield one("pom of 5 MB", put(f"{EVIL}.pom", pom(more="<a>" + "x" * (5 << 20) + "</a>")))
    yield one("metadata of 5 MB", put(f"org/evil/{METADATA}", metadata("<a>" + "x" * (5 << 20) + "</a>")))
    yield one("module of 17 MB", put(f"{EVIL}.module", json.dumps(module()).encode() + b" " * (17 << 20)))


def coordinates() -> Iterator[Attack]:
    """A pom that two readers take for two artifacts."""
    for field, said in (("group", "org.acme"), ("artifact", "other"), ("version", "2.0")):
        yield one(f"pom of another {field}", put(f"{EVIL}.pom", pom(**{field: said})))
        yield one(f"pom without {field}", put(f"{EVIL}.pom", pom(**{field: ""})))
        yield one(f"pom of a {field} with a blank in it", put(f"{EVIL}.pom", pom(**{field: f"{said} x"})))
    for name, more in (
        ("group twice", "<groupId>org.acme</groupId>"),
        ("artifact twice", "<artifactId>other</artifactId>"),
        ("version twice, the same", "<version>1.0</version>"),
        ("two parents", "<parent><groupId>a</groupId></parent><parent><groupId>b</groupId></parent>"),
        ("packaging twice", "<packaging>jar</packaging><packaging>war</packaging>"),
    ):
        yield one(f"pom with {name}", put(f"{EVIL}.pom", pom(more=more)))
    for name, body in (
        ("group in pieces", pom("org.<x/>evil")),
        ("group in another namespace", pom().replace(b"groupId", b"x:groupId")),
        ("group in capitals", pom().replace(b"groupId", b"GROUPID")),
        ("root in another namespace", pom().replace(b"project>", b"x:project>")),
        ("group in an attribute", b"<project groupId='org.evil' artifactId='demo' version='1.0'/>"),
        ("coordinates one deeper", b"<project><x>" + pom()[9:-10] + b"</x></project>"),
    ):
        yield one(f"pom with {name}", put(f"{EVIL}.pom", body))
    for name, text in ODD_TEXTS:
        if name not in ("NUL", "empty", "script", "shell"):
            yield one(f"pom of the group {name}", put(f"{EVIL}.pom", pom(text)))


def modules() -> Iterator[Attack]:
    for name, raw in json_attacks(module()):
        yield one(f"module: {name}", put(f"{EVIL}.module", raw))
    for number, (name, raw) in enumerate(json_oddities(module(module="odd", version="2.0"))):
        body = raw.replace(b'"odd"', b'"odd%d"' % number)
        yield one(f"module: {name}", put(f"org/evil/odd{number}/2.0/odd{number}-2.0.module", body), expected="harmless")
    for field, said in (("group", "org.acme"), ("module", "other"), ("version", "2.0"), ("group", "../evil")):
        raw = json.dumps(module(**{field: said})).encode()
        yield one(f"module of the {field} {said}", put(f"{EVIL}.module", raw))


def checksums() -> Iterator[Attack]:
    first = put("org/evil/summed/1.0/summed-1.0.jar")
    for algorithm in SUMS:
        right = hashlib.new(algorithm, JAR, usedforsecurity=False).hexdigest()
        sibling = f"{first.path}.{algorithm}"
        for name, text in (
            ("wrong", "0" * len(right)), ("short", right[1:]), ("long", right + "0"), ("not hex", "z" * len(right)),
            ("of two", f"{'0' * len(right)}  a\n{right}  b"), ("empty", ""), ("a page", f"<html>{right}</html>"),
            ("of 5,000 bytes", right + " " * 5_000), ("in UTF-16", right.encode("utf-16").decode("latin-1")),
        ):  # fmt: skip
            yield one(f"{algorithm} {name}", first, put(sibling, text.encode("latin-1")))
        yield one(f"{algorithm} of nothing", put(f"org/evil/none/1.0/none-1.0.jar.{algorithm}", right.encode()))
        yield one(f"{algorithm} of a {algorithm}", first, put(f"{sibling}.{algorithm}", right.encode()))
        yield one(f"{algorithm} deleted", first, Request("DELETE", sibling))
        header = {f"X-Checksum-{algorithm}": "0" * len(right)}
        yield one(f"header {algorithm} wrong", Request("PUT", f"{EVIL}.jar", JAR, header))
        yield one(
            f"header {algorithm} short", Request("PUT", f"{EVIL}.jar", JAR, {f"X-Checksum-{algorithm}": right[1:]})
        )


PATHS = (
    "../evil/a/1/a-1.jar", "org/../evil/a/1/a-1.jar", "org/./a/1/a-1.jar", "org//a/1/a-1.jar", "%2e%2e/a/1/a-1.jar",
    "org/%2e%2e/a/1/a-1.jar", "org%2fevil/a/1/a-1.jar", "org/a/1/..%2fa-1.jar", "org/a/1/a-1%2fjar", "..%5ca/a/1/a.jar",
    "org/a/1/a%5c1.jar", "org/a/1/a%00.jar", "org/a/1/%00", "org/a/1/a%0d%0aX:y", "org/%252e%252e/a/1/a.jar",
    "org/a/1/a%252f.jar", "org/a/1/%ff", "%c0%ae%c0%ae/a/1/a.jar", "org/a/1/%ed%a0%80", "org/a/1/a%u002f",
    "org/a/1/a%2",
    "org/a/1/.htaccess", ".git/a/1/a.jar", "-/a/1/a.jar", "org/a/1/a.", "org/a/1/a%20", "org/a./1/a.jar",
    "org/a/1/a%e2%80%aegpj", "org/a/1/e%cc%81", "org/a/1/a%ef%bb%bf", "org/a/1/a%7f", "org/a/1/a%1b%5b31m",
    "org/a/1/" + "b" * 256, "/".join(["abcdefgh"] * 60), "org/a/1/" + "a" * 3_000, "a.jar", "1/a.jar", "org/a/1/", "",
    "org/a/1/a%3Cscript%3E.jar", "org/a/1/%22.jar", "org/a/1/a;b.jar", "org/a/1/a%7Cb", "org/a/1/a%3Ab", "org/a/1/a*",
    f"{METADATA}", f"/org/{METADATA}.sha1.md5", "org/a/1/a.jar.sha1.sha1", "org/a/1/a.jar.md5.sha512",
)  # fmt: skip
"""Ways out of the repository, into others' names, and what no file of Maven's is called."""


def paths() -> Iterator[Attack]:
    for path in PATHS:
        path = path.removeprefix("/")
        yield one(f"PUT {path[:60]!r}", put(path))
    for path in PATHS[:30]:
        yield one(f"DELETE {path[:60]!r}", Request("DELETE", path.removeprefix("/")))
    taken = put("org/evil/cased/1.0/cased-1.0.jar")
    for path in ("org/evil/Cased/1.0/cased-1.0.jar", "org/evil/cased/1.0/CASED-1.0.jar"):
        yield one(f"a name in another case, {path[9:19]}", taken, put(path, b"other"), expected="harmless")
    for path in (
        "org/evil/Maven-Metadata.xml",
        "org/evil/cased/1.0/MAVEN-METADATA.XML",
        "org.evil/cased/1.0/cased-1.0.jar",
    ):
        yield one(f"PUT {path}", put(path), expected="harmless")


def snapshots() -> Iterator[Attack]:
    """Builds whose moments lie: one that is the newest for ever would keep all later ones from being seen."""
    top = "org/evil/snap/1.0-SNAPSHOT/snap-1.0"
    for name, build in (
        ("in the year 9999", "99991231.235959-1"), ("next year", "20991231.000000-1"),
        ("of month 13", "20201301.000000-1"),
        ("of day 0", "20200100.000000-1"), ("at 25 o'clock", "20200101.250000-1"), ("of nines", "99999999.999999-1"),
        ("of zeros", "00000000.000000-0"), ("on February 30", "20200230.000000-1"),
    ):  # fmt: skip
        yield one(f"build {name}", put(f"{top}-{build}.jar"))
    yield one("a build twice", put(f"{top}-{LONG_PAST}-7.jar"), put(f"{top}-{LONG_PAST}-7.jar", b"other"))
    plain = Request("DELETE", "org/evil/snap/1.0-SNAPSHOT/snap-1.0-SNAPSHOT.jar")
    yield one("delete what only shows a build", put(f"{top}-{LONG_PAST}-7.jar"), plain)
    for name, path in (
        ("of a huge number", f"{top}-{LONG_PAST}-{'9' * 60}.jar"),
        ("of another artifact", f"org/evil/snap/1.0-SNAPSHOT/other-1.0-{LONG_PAST}-1.jar"),
        ("of another version", f"org/evil/snap/1.0-SNAPSHOT/snap-2.0-{LONG_PAST}-1.jar"),
        ("without an ending", f"{top}-{LONG_PAST}-1"),
        ("among releases", f"org/evil/snap/1.0/snap-1.0-{LONG_PAST}-1.jar"),
    ):
        yield one(f"a build {name}", put(path), expected="harmless")


def lists() -> Iterator[Attack]:
    """Metadata that disagrees with what is here. None of it is believed; it may be taken and forgotten."""
    versions = "".join(f"<version>{n}</version>" for n in range(50_000))
    build = "<snapshot><timestamp>99991231.235959</timestamp><buildNumber>2147483648</buildNumber></snapshot>"
    for name, path, body in (
        ("of versions that are not here", "demo", f"<versioning><versions>{versions}</versions></versioning>"),
        ("of no versions", "demo", "<versioning><versions/></versioning>"),
        ("of another artifact", "demo", "<groupId>org.acme</groupId><artifactId>other</artifactId>"),
        ("of a build that never was", "demo/1.0-SNAPSHOT", f"<versioning>{build}</versioning>"),
        ("with a latest that is a path", "demo", "<versioning><latest>../../x</latest></versioning>"),
        ("with a moment that is none", "demo", "<versioning><lastUpdated>never</lastUpdated></versioning>"),
    ):
        at = f"org/evil/{path}/{METADATA}"
        yield one(f"metadata {name}", put(at, f"<metadata>{body}</metadata>".encode()), expected="harmless")
    many = "".join(f"<plugin><prefix>p{n}</prefix><artifactId>a{n}</artifactId></plugin>" for n in range(30_000))
    yield one("metadata of 30,000 plug-ins", put(f"org/evil/{METADATA}", metadata(many)), expected="harmless")
    for name, text in ODD_TEXTS:
        if name not in ("NUL", "script", "very long", "shell", "quote"):
            inner = f"<plugin><prefix>{text}</prefix><artifactId>{text}</artifactId></plugin>"
            yield one(
                f"metadata of the plug-in {name}", put(f"org/evil/{METADATA}", metadata(inner)), expected="harmless"
            )
    for sum_, text in (("sha1", "0" * 39), ("md5", "zz"), ("sha256", "")):
        yield one(f"metadata's {sum_} that is none", put(f"org/evil/demo/{METADATA}.{sum_}", text.encode()))


def releases() -> Iterator[Attack]:
    taken = put("org/evil/taken/1.0/taken-1.0.jar")
    yield one("a release again, other bytes", taken, put(taken.path, b"other"))
    described = put("org/evil/taken/1.0/taken-1.0.pom", pom(artifact="taken"))
    yield one("its pom again, other words", described, put(described.path, pom(artifact="taken", more="<a/>")))
    gone = put("org/evil/gone/1.0/gone-1.0.jar")
    yield one("a removed release, other bytes", gone, Request("DELETE", gone.path), put(gone.path, b"other"))
    version = Request("DELETE", "org/evil/gone/1.0/")
    yield one("a removed version, other bytes", gone, version, put(gone.path, b"another"))
    whole = Request("DELETE", "org/evil/gone/")
    yield one("a removed artifact, other bytes", gone, whole, put(gone.path, b"a third"))
    yield one("delete with a body", taken, Request("DELETE", taken.path, b"body"))
    for path in (
        "org/evil/absent/",
        "org/evil/absent/1.0/",
        "org/evil/taken/9/",
        "org/evil/absent/1/absent-1.jar",
        METADATA,
    ):
        yield one(f"delete {path}, which is not there", Request("DELETE", path))
    for method in ("POST", "PATCH"):
        for path in (taken.path, f"org/evil/{METADATA}", "org/evil/"):
            yield one(f"{method} {path}", Request(method, path, JAR))
    yield one("put without a credential", Request("PUT", f"{EVIL}.jar", JAR, token=False))
    yield one("delete without a credential", Request("DELETE", f"{EVIL}.jar", token=False))


def framings() -> Iterator[Attack]:
    for encoding in ("gzip", "zstd, gzip", "br"):
        yield one(f"content encoding {encoding}", put(f"{EVIL}.jar", Content_Encoding=encoding))
    for part in (0, 1, 9):
        yield one(f"pom truncated after {part}", Request("PUT", f"{EVIL}.pom", pom(), sent=part), expected="broken")
        yield one(f"jar truncated after {part}", Request("PUT", f"{EVIL}.jar", JAR, sent=part), expected="broken")
    chunked = {"Transfer-Encoding": "chunked"}
    for name, body in (
        ("a wrong size", b"zz\r\nhello\r\n0\r\n\r\n"), ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("too large a size", b"f" * 17 + b"\r\nhello"), ("bare line ends", b"5\nhello\n0\n\n"),
        ("more than it says", b"3\r\nhello\r\n0\r\n\r\n"),
    ):  # fmt: skip
        yield one(f"chunks with {name}", Request("PUT", f"{EVIL}.jar", body, chunked))
    yield one("pom announced without end", Request("PUT", f"{EVIL}.pom", pom(), {"Content-Length": str(1 << 62)}))
    yield one("Expect something else", put(f"{EVIL}.jar", Expect="200-ok"))


# ---------------------------------------------------------------- mutants


def mutant(dice: random.Random) -> Attack:
    """A wound in a pom, a module, metadata, a checksum, an announcement or a path."""
    number = dice.randrange(1 << 40)
    artifact = f"odd{number}"
    path = f"org/evil/{artifact}/1.0/{artifact}-1.0"
    match dice.randrange(6):
        case 0:
            return one("wounded pom", put(f"{path}.pom", damaged(pom(artifact=artifact), dice)))
        case 1:
            raw = json.dumps(module(module=artifact)).encode()
            return one("wounded module", put(f"{path}.module", damaged(raw, dice)))
        case 2:
            return one("wounded metadata", put(f"org/evil/{artifact}/{METADATA}", damaged(metadata(), dice)))
        case 3:
            return one("wounded checksum", put(f"{path}.jar.sha1", damaged(b"0" * 40, dice)))
        case 4:
            algorithm = dice.choice(SUMS)
            right = hashlib.new(algorithm, JAR, usedforsecurity=False).hexdigest()
            value = legible(damaged(right.encode(), dice))
            return one("wounded announcement", Request("PUT", f"{path}.jar", JAR, {f"X-Checksum-{algorithm}": value}))
        case _:
            tail = legible(damaged(f"/{artifact}-1.0-SNAPSHOT.jar".encode(), dice))
            return one("wounded path", put(f"org/evil/{artifact}/1.0-SNAPSHOT{tail}"))


def legible(raw: bytes) -> str:
    """What can stand in a request line or header: the strict front has tests of its own."""
    return "".join(chr(byte) if 33 <= byte < 127 else f"%{byte:02x}" for byte in raw)


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """mvn shows the status and Gradle the body: one line of plain text, never a page."""
    if not headers.get("content-type", "").startswith("text/plain"):
        return f"{headers.get('content-type')} instead of plain text"
    if body.count(b"\n") != 1 or not body.endswith(b"\n") or len(body) > 2_000:
        return "not one line"
    return "it looks like a page" if body.lstrip().startswith(b"<") else ""


CORPUS = Corpus("maven", "/{repository}/maven/", good, crafted, mutant, dialect)
