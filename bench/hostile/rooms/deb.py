"""What would a hostile dput send? Paragraphs that end where they should not, names that collide or leave, descriptions
that name what is not there, distributions that are directories of others. The archives are made in hostile/debs.py."""

import hashlib
import json
import lzma
import random
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

from bench.hostile.archives import END, bare, packed, tarred
from bench.hostile.corpus import Attack, Corpus, Request, damaged
from bench.hostile.debs import DATA, VERSION, ar, ar_attacks, ar_member, archives, bombs, control, deb, one, upload
from bench.hostile.texts import ODD_TEXTS, json_attacks

TEXT_BYTES_MAX = 900
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n"


def good(number: int) -> Attack:
    return Attack(f"good {number}", (upload(deb(control(f"good-{number}"))),))


def crafted() -> Iterator[Attack]:
    yield from ar_attacks()
    yield from archives()
    yield from bombs()
    yield from paragraphs()
    yield from fields()
    yield from collisions()
    yield from descriptions()
    yield from addresses()
    yield from settings()
    yield from framings()


# ---------------------------------------------------------------- control files


def paragraphs() -> Iterator[Attack]:
    for name, text in (
        ("rubbish", bytes(range(256)) * 10), ("blank", b"\n\n\n"), ("no colon", b"Package evil\n"),
        ("two paragraphs", control() + b"\n" + control("other")),
        ("an empty line in a field", control(more=b" a\n\n b\n")), ("a line of blanks", control(more=b" a\n   \n b\n")),
        ("a line of a tab", control(more=b"\t\n b\n")),
        ("a vertical tab as a line end", control(more=b"X: a\x0bPackage: b\n")),
        ("a form feed as a line end", control(more=b"X: a\x0cb\n")),
        ("a bare return", control(more=b"X: a\rPackage: b\n")),
        ("a return and a line end twice", control(more=b"X: a\r\n\r\nPackage: b\n")),
        ("a next line sign", control(more="X: a\x85Package: b\n".encode())),
        ("a line separator", control(more="X: a\u2028Package: b\n".encode())),
        ("NUL", control(more=b"X: a\0b\n")), ("an escape", control(more=b"X: \x1b[31m\n")),
        ("not UTF-8", control(more=b"X: \xff\n")),
        ("overlong UTF-8", control(more=b"X: \xc0\x8a\n")), ("UTF-16", control().decode().encode("utf-16")),
        ("a BOM", b"\xef\xbb\xbf" + control()), ("a name twice", control(more=b"Package: other\n")),
        ("a name twice in capitals", control(more=b"PACKAGE: other\n")), ("a comment", b"#comment\n" + control()),
        ("a field that begins with a dash", control(more=b"-X: a\n")),
        ("a field without a name", control(more=b": a\n")),
        ("a field with a blank in its name", control(more=b"X Y: a\n")),
        ("a field not in ASCII", control(more="Ü: a\n".encode())),
        ("a field name of 9,000", control(more=b"X" * 9_000 + b": a\n")), ("a continuation first", b" a\n" + control()),
        ("a value of 400,000", control(more=b"X: " + b"x" * 400_000 + b"\n")),
        ("400 fields", control(more=b"".join(b"X%d: a\n" % n for n in range(400)))),
        ("an open signature", b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + control()),
        ("a signature with other headers", b"-----BEGIN PGP SIGNED MESSAGE-----\nEvil: x\n\n" + control() + SIGNATURE),
    ):  # fmt: skip
        yield one(f"paragraph: {name}", upload(deb(text)))
    for name, text in (
        ("a Filename of its own", control("own-1", more=b"Filename: ../../etc/passwd\n")),
        ("a SHA256 of its own", control("own-2", more=b"SHA256: " + b"0" * 64 + b"\n")),
        ("a Size of its own", control("own-3", more=b"size: 1\nMD5sum: x\n")),
        ("a Directory of its own", control("own-4", more=b"Directory: /\nStatus: install ok installed\n")),
        ("10,000 lines", control("own-5", more=b" x\n" * 10_000)),
        ("script in its description", control("own-6", more=b" <script>alert(1)</script>\n")),
        ("deep alternatives", control("own-7", more=b"Depends: " + b"a | " * 9_000 + b"a\n")),
        ("a section that leaves", control("own-8").replace(b"Section: misc", b"Section: ../../../x/y")),
    ):  # fmt: skip
        yield one(f"paragraph: {name}", upload(deb(text)), expected="harmless")


def fields() -> Iterator[Attack]:
    for name, text in ODD_TEXTS:
        if name in ("null", "shell", "line end"):
            continue  # names that may be, and a line end that begins another field
        raw = text.encode("utf-8", "surrogatepass").replace(b"\0", b"%00")[:4_000].decode("utf-8", "ignore")
        yield one(f"name: {name}", upload(deb(control(raw))))
        yield one(f"version: {name}", upload(deb(control(version=raw if raw != "CON" else "-1"))))
        yield one(f"architecture: {name}", upload(deb(control(architecture=raw))))
    for name in (
        "a",
        "A",
        "Evil",
        "-evil",
        ".evil",
        "+evil",
        "evil_1",
        "evil~",
        "evil:amd64",
        "evil/x",
        "e" * 129,
        "evil@x",
    ):
        yield one(f"name {name[:20]}", upload(deb(control(name))))
    for version in (
        "a:1",
        ":1",
        "1:",
        "-1:1",
        "1:2:3",
        "1.0/2",
        "1.0_2",
        "99999999999:1",
        "1" * 200,
        "..",
        "+1",
        "~1",
        "1 2",
    ):
        yield one(f"version {version[:20]}", upload(deb(control(version=version))))
    for architecture in ("source", "any", "ALL", "amd64 i386", "amd_64", "../amd64", "a" * 99, "linux-any/x"):
        yield one(f"architecture {architecture[:20]}", upload(deb(control(architecture=architecture))))
    for missing in ("Package", "Version", "Architecture"):
        lines = [line for line in control().split(b"\n") if not line.startswith(missing.encode())]
        yield one(f"without {missing}", upload(deb(b"\n".join(lines))))
        empty = [
            line if not line.startswith(missing.encode()) else missing.encode() + b":"
            for line in control().split(b"\n")
        ]
        yield one(f"an empty {missing}", upload(deb(b"\n".join(empty))))
        folded = control().replace(missing.encode() + b": ", missing.encode() + b":\n ")
        yield one(f"{missing} on the next line", upload(deb(folded)))


def collisions() -> Iterator[Attack]:
    first = upload(deb(control("taken", "1:1.0", "amd64")), where="first/main")
    other = control("taken", "1:1.0", "amd64", b"X: other\n")
    yield one("other bytes again", first, upload(deb(other), where="first/main"))
    yield one("other bytes in another distribution", first, upload(deb(other), where="second/main"))
    yield one("other bytes in another component", first, upload(deb(other), where="first/contrib"))
    yield one(
        "other bytes with another epoch", first, upload(deb(control("taken", "2:1.0", "amd64")), where="first/main")
    )
    yield one("other bytes without an epoch", first, upload(deb(control("taken", "1.0", "amd64")), where="first/main"))
    yield one("other bytes as .ddeb", first, upload(deb(other), "taken_1.0_amd64.ddeb", "first/main"))
    gone = upload(deb(control("gone", "1.0", "amd64")), where="first/main")
    removed = Request("DELETE", "pool/gone/gone_1.0_amd64.deb")
    yield one(
        "other bytes for what was removed", gone, removed, upload(deb(control("gone", "1.0", "amd64", b"X: y\n")))
    )
    yield one("another name in incoming", Request("PUT", "incoming/other_1.0_all.deb", deb(control("incoming-evil"))))
    yield one("a member with other bytes", member_of(b"one"), member_of(b"two"))
    yield one("a .dsc sent as a member", Request("PUT", "incoming/evil_1.0.dsc", b"not a description"))


def member_of(data: bytes, name: str = "evil_1.0.orig.tar.gz") -> Request:
    return Request("PUT", f"incoming/{name}", data)


# ---------------------------------------------------------------- descriptions of what was sent


def listing(*rows: tuple[str, str, str]) -> bytes:
    return "".join(f"\n {digest} {size} {name}" for digest, size, name in rows).encode()


def dsc(rows: bytes, name: bytes = b"evil", version: bytes = b"1.0", more: bytes = b"") -> bytes:
    head = b"Format: 3.0 (native)\nSource: " + name + b"\nBinary: evil\nArchitecture: any\nVersion: " + version + b"\n"
    return head + b"Maintainer: M <m@acme.example>\nChecksums-Sha256:" + rows + b"\n" + more


def changes(rows: bytes, distribution: bytes = b"sid", name: bytes = b"evil", more: bytes = b"") -> bytes:
    head = b"Format: 1.8\nSource: " + name + b"\nVersion: 1.0\nDistribution: " + distribution + b"\n"
    return head + b"Checksums-Sha256:" + rows + b"\n" + more


def row(data: bytes, name: str, **lies: str) -> tuple[str, str, str]:
    return lies.get("digest", hashlib.sha256(data).hexdigest()), lies.get("size", str(len(data))), name


def descriptions() -> Iterator[Attack]:
    tape, name = b"a tape", "sent_1.0.tar.xz"
    sent = member_of(tape, name)
    says: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "dsc": ("sent_1.0.dsc", lambda rows: dsc(rows, b"sent")),
        "changes": ("sent_1.0_source.changes", lambda rows: changes(rows, name=b"sent")),
    }
    for kind, (file, say) in says.items():
        for what, rows in (
            ("a wrong sum", listing(row(b"other", name, size="6"))),
            ("a wrong size", listing(row(tape, name, size="7"))),
            ("a size of 0", listing(row(tape, name, size="0"))),
            ("a negative size", listing(row(tape, name, size="-6"))),
            ("a size with a plus", listing(row(tape, name, size="+6"))),
            ("a size of 40 digits", listing(row(tape, name, size="6" * 40))),
            ("a sum in capitals", listing(row(tape, name, digest=hashlib.sha256(tape).hexdigest().upper()))),
            ("a short sum", listing(row(tape, name, digest="00"))),
            ("a sum of md5", listing(row(tape, name, digest="0" * 32))),
            ("a file that is not there", listing(row(tape, "absent_1.0.tar.xz"))),
            ("a file that leaves", listing(row(tape, "../sent_1.0.tar.xz"))),
            ("an absolute file", listing(row(tape, "/etc/passwd"))),
            ("a hidden file", listing(row(tape, ".sent_1.0.tar.xz"))),
            ("a file without an owner", listing(row(tape, "tape.tar.xz"))),
            ("a file twice", listing(row(tape, name), row(b"x", name))),
            ("four words", listing(row(tape, f"{name} x"))),
            ("300 files", listing(*(row(tape, f"sent_{n}.tar.xz") for n in range(300)))),
            ("no sums", b""),
        ):  # fmt: skip
            yield one(f"{kind}: {what}", sent, Request("PUT", f"upload/sid/main/{file}", say(rows)))
        yield one(f"{kind}: rubbish", Request("PUT", f"upload/sid/main/{file}", bytes(range(256)) * 8))
        yield one(f"{kind}: nothing", Request("PUT", f"upload/sid/main/{file}", b""))
        yield one(
            f"{kind}: of 2 MB",
            Request("PUT", f"upload/sid/main/{file}", say(listing(row(tape, name))) + b"X: y\n" * 500_000),
        )
        md5 = say(listing(row(tape, name))).replace(b"Checksums-Sha256", b"Files")
        yield one(f"{kind}: md5 alone", sent, Request("PUT", f"upload/sid/main/{file}", md5))
    yield from places()


def places() -> Iterator[Attack]:
    """Where a .changes says that its files go, and whose they are."""
    tape, name = b"a tape", "sent_1.0.tar.xz"
    sent = member_of(tape, name)
    good_rows = listing(row(tape, name))
    for word in (
        b"../../x",
        b"sid/../x",
        b"a b ../c",
        b"/",
        b".",
        b"..",
        b"-x",
        b"%2e%2e",
        b"sid;x",
        b"a/b/c/d/e/f",
        b"x" * 99,
        "ü".encode(),
    ):
        said = changes(good_rows, word, b"sent")
        yield one(f"changes: to {word[:20]!r}", sent, Request("PUT", "incoming/sent_1.0_source.changes", said))
    package = deb(control("listed"))
    for section in (
        "../x/misc",
        "source/misc",
        "by-hash/misc",
        "binary-amd64/misc",
        "Contents-amd64/misc",
        "/misc",
        "i18n/misc",
    ):
        file = "listed_1.0_all.deb"
        said = changes(
            listing(row(package, file)),
            b"sid",
            b"listed",
            f"Files:\n {'0' * 32} 1 {section} optional {file}\n".encode(),
        )
        yield one(
            f"changes: section {section}",
            Request("PUT", f"incoming/{file}", package),
            Request("PUT", "incoming/l_1.changes", said),
        )
    for name_said, what in (
        (b"EVIL", "capitals"),
        (b"../evil", "a path"),
        (b"", "nothing"),
        (b"evil (1.0)", "a version in its name"),
    ):
        yield one(f"dsc: source of {what}", sent, Request("PUT", "upload/sid/main/x.dsc", dsc(good_rows, name_said)))


# ---------------------------------------------------------------- addresses

PLACES = (
    "../x/main", "stable/../main", "%2e%2e/main", "stable/%2e%2e", "stable%2f..%2fx/main", "a/b/c/d/e/f/main", "-/main",
    ".hidden/main", "stable/main%00", "stable/ma%0ain", "stable/by-hash", "stable/source", "stable/binary-amd64",
    "stable/Contents-amd64", "stable/debian-installer", "stable/i18n", "stable/ma in", "st%20able/main", "stable//main",
    "//main", "stable/m%c3%bcin", "x" * 65 + "/main", "stable/" + "x" * 65, "stable/%ff", "stable/main;x",
    "stable/%252e%252e",
)  # fmt: skip
FILES = (
    "../evil.deb", "%2e%2e", "..%2fevil.deb", ".evil.deb", "evil%00.deb", "evil.deb%00.txt", "evil%0a.deb",
    "e%20vil.deb",
    "evil.rpm", "evil", "evil.tar", "x" * 300 + ".deb", "%ff.deb", "evil%5c..%5cx.deb", "-evil.deb", "evil.deb/",
    "evil.sh",
    "InRelease", "Packages.gz", "evil_1.0.tar.exe", "_1.0.tar.gz", "EVIL_1.0.tar.gz", "noowner.tar.gz",
)  # fmt: skip
READS = (
    "dists/../x", "dists/stable/../../x", "dists/%2e%2e/InRelease", "dists/stable/by-hash/SHA256/../../InRelease",
    "dists/stable/main/binary-amd64/by-hash/SHA256/zz", "dists/stable/main/binary-amd64/by-hash/SHA256/" + "0" * 64,
    "dists/stable/main/binary-amd64/by-hash/MD5Sum/" + "0" * 32,
    "dists/stable/main/binary-amd64/by-hash/SHA256/" + "A" * 64,
    "dists//InRelease", "dists/absent/InRelease", "dists/stable/main/binary-..%2f..%2fx/Packages", "pool/../key.asc",
    "pool/evil/..%2f..%2fx", "pool/evil/other_1.0_all.deb", "pool/%00/x", "pool/x/y/z",
    "dists/" + "a/" * 30 + "InRelease",
    "dists/stable/InRelease/x", "distributions/..", "distributions/%2e%2e", "distributions/absent",
    "upload/stable/main/x.deb",
    "incoming/x.deb", "-", "-/x", "dists/%ff/InRelease", "dists/stable/%00",
)  # fmt: skip


def addresses() -> Iterator[Attack]:
    body = deb(control("addressed"))
    for place in PLACES:
        yield one(f"to {place[:40]}", upload(body, where=place))
    for file in FILES:
        yield one(f"as {file[:40]}", upload(body, file))
        yield one(f"incoming as {file[:40]}", Request("PUT", f"incoming/{file}", body))
    yield one("the first key is made", Request("GET", "key.asc"), Request("GET", "key.asc/x"))
    for path in READS:
        yield one(f"GET {path[:60]}", Request("GET", path))
        yield one(f"DELETE {path[:60]}", Request("DELETE", path))
    for path in (
        "pool/evil/evil_1.0_all.deb",
        "pool/evil/evil_1.0_all.deb?distribution=../x",
        "pool/evil/evil_9_all.deb",
    ):
        yield one(f"DELETE of what is not there: {path}", Request("DELETE", path))
    kept = upload(deb(control("kept")), where="kept/main")
    for query in ("distribution=absent", "distribution=..%2fkept", "distribution=kept&component=absent"):
        yield one(f"DELETE from {query}", kept, Request("DELETE", f"pool/kept/kept_1.0_all.deb?{query}"))
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        yield one(f"{method} of a manifest", Request(method, "dists/stable/InRelease", b"x"))
        yield one(f"{method} of the key", Request(method, "key.asc", b"x"))
    yield one("a Release of one's own", Request("PUT", "dists/stable/Release", b"Origin: evil\n"))
    yield one("a file put into the pool", Request("PUT", "pool/evil/evil_1.0_all.deb", body))


def settings() -> Iterator[Attack]:
    said = {"origin": "x", "valid_s": 86400}
    for name, body in json_attacks(said):
        harmless = name in ("json {}", "json of keys that collide", "json of escaped keys that collide")
        yield one(
            f"settings: {name}",
            Request("PUT", "distributions/set", body),
            expected="harmless" if harmless else "refused",
        )
    for key, value in (
        ("valid_s", -1), ("valid_s", 1 << 70), ("valid_s", "1"), ("valid_s", 1.5), ("valid_s", True), ("origin", 3),
        ("origin", "a\nSigned-By: x"), ("origin", "a\rb"), ("label", "x" * 300), ("suite", "a\n\nPackage: b"),
        ("codename", "\0"), ("version", "\u2028"), ("description", "\x1b[31m"), ("unknown", 1), ("components", "main"),
        ("components", ["../x"]), ("components", ["by-hash"]), ("components", [3]), ("components", [""]),
        ("architectures", ["source"]), ("architectures", ["../x"]), ("architectures", ["AMD64"]), ("contents", "yes"),
        ("not_automatic", 1), ("components", [["main"]]), ("architectures", {"a": 1}),
    ):  # fmt: skip
        body = json.dumps({key: value}).encode()
        yield one(f"settings: {key} {str(value)[:30]!r}", Request("PUT", "distributions/set", body))
    yield one("settings: 1,000 components", Request(
        "PUT", "distributions/set", json.dumps({"components": [f"c{n}" for n in range(1_000)]}).encode()))  # fmt: skip
    yield one("settings: 1,000 architectures", Request(
        "PUT",
        "distributions/set", json.dumps({"architectures": [f"a{n}" for n in range(1_000)]}).encode()))  # fmt: skip
    for place in ("..", "a/../b", "%2e%2e", "x" * 99, "a/b/c/d/e"):
        yield one(f"settings of {place[:20]}", Request("PUT", f"distributions/{place}", json.dumps(said).encode()))


def framings() -> Iterator[Attack]:
    whole = deb(control("cut"))
    for part in (0, 1, 60, len(whole) // 2, len(whole) - 1):
        yield one(
            f"truncated after {part}", Request("PUT", "upload/stable/main/cut.deb", whole, sent=part), expected="broken"
        )
    yield one("Content-Encoding", Request("PUT", "upload/stable/main/cut.deb", whole, {"Content-Encoding": "gzip"}))
    yield one("Content-Range", Request("PUT", "upload/stable/main/cut.deb", whole, {"Content-Range": "bytes 0-1/9"}))
    yield one("nobody's", Request("PUT", "upload/stable/main/cut.deb", whole, token=False))


# ---------------------------------------------------------------- mutants


def mutant(dice: random.Random) -> Attack:
    """A wound anywhere: the outer archive, the inner ones, the paragraph, a description, an address, the settings."""
    number = dice.randrange(1 << 40)
    text = control(f"odd-{number}", more=b"Depends: libc6 (>= 2.36), a | b\nX-Odd: yes\n")
    tape = bare({"./control": text, "./md5sums": b"0" * 32 + b"  usr/a\n"}) + END
    match dice.randrange(9):
        case 0:
            return one("wounded package", upload(damaged(deb(text), dice)))
        case 1:
            return one("wounded control.tar", upload(deb(archive=packed(damaged(tape, dice)))))
        case 2:
            return one("wounded control.tar.gz", upload(deb(archive=damaged(packed(tape), dice))))
        case 3:
            inner = ar_member(b"control.tar.xz", damaged(lzma.compress(tape, preset=0), dice))
            return one("wounded control.tar.xz", upload(ar(VERSION, inner, DATA)))
        case 4:
            head, _, rest = text.partition(b"Section")
            return one("wounded paragraph", upload(deb(damaged(head, dice) + b"Section" + rest)))
        case 5:
            data = damaged(tarred({"usr/a": b"x", "usr/b": b"y"}), dice)
            return one("wounded data.tar.gz", upload(deb(text, data=data)))
        case 6:
            said = damaged(changes(listing(row(b"x", f"odd-{number}_1.0_all.deb")), name=b"odd"), dice)
            return one("wounded changes", Request("PUT", "incoming/odd_1.0_all.changes", said))
        case 7:
            path = quote(damaged(b"stable/main/odd_1.0.tar.gz", dice), safe="/")
            return one("wounded address", Request("PUT", f"upload/{path}", b"x%d" % number))
        case _:
            body = damaged(json.dumps({"origin": "x", "valid_s": 9, "components": ["main"]}).encode(), dice)
            return one("wounded settings", Request("PUT", "distributions/odd", body))


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """apt and dput show the status, scripts the body: one line of plain text."""
    if not headers.get("content-type", "").startswith("text/plain"):
        return f"{headers.get('content-type')} instead of plain text"
    if body.count(b"\n") != 1 or not body.endswith(b"\n") or len(body) > TEXT_BYTES_MAX:
        return "not one line"
    return ""


CORPUS = Corpus("deb", "/{repository}/deb/", good, crafted, mutant, dialect)
