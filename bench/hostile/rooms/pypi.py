"""What would a hostile twine upload? Wheels and sdists that lie, forms that lie about them, names that collide."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence

from bench.hostile.archives import (
    HARMLESS,
    ODD_NAMES,
    plain_zip,
    tar_attacks,
    tar_bombs,
    tarred,
    zip_attacks,
    zip_bombs,
)
from bench.hostile.corpus import Attack, Corpus, Expected, Request, damaged
from bench.hostile.texts import BOUNDARY, FORM, ODD_TEXTS, form, form_attacks

Fields = Sequence[tuple[str, str]]


def metadata(name: str, version: str, *lines: str) -> bytes:
    return "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, "", "About."]).encode()


def wheel_members(name: str, version: str, info: bytes | None = None, **more: bytes) -> dict[str, bytes]:
    """The members of a good wheel, in an order that ends with RECORD."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    held = {
        "pkg/__init__.py": f"# {name}\n".encode() * 40,
        f"{folder}/METADATA": metadata(name, version) if info is None else info,
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **more,
    }
    return {**held, f"{folder}/RECORD": "".join(f"{one},,\n" for one in [*held, f"{folder}/RECORD"]).encode()}


def sdist_members(name: str, version: str, info: bytes | None = None) -> dict[str, bytes]:
    top = f"{name.replace('-', '_')}-{version}"
    return {f"{top}/PKG-INFO": metadata(name, version) if info is None else info, f"{top}/setup.py": b"# nothing\n"}


def fields_of(data: bytes, **more: str) -> list[tuple[str, str]]:
    told = {":action": "file_upload", "protocol_version": "1", "sha256_digest": hashlib.sha256(data).hexdigest()}
    return list((told | {key.replace("action", ":action"): value for key, value in more.items()}).items())


def post(body: bytes, **headers: str) -> Request:
    return Request("POST", "legacy/", body, FORM | {key.replace("_", "-"): value for key, value in headers.items()})


def upload(filename: str, data: bytes, fields: Fields | None = None) -> Request:
    return post(form(fields_of(data) if fields is None else fields, "content", filename, data))


def wheel_upload(name: str, version: str, data: bytes | None = None, fields: Fields | None = None) -> Request:
    data = plain_zip(wheel_members(name, version)) if data is None else data
    return upload(f"{name.replace('-', '_')}-{version}-py3-none-any.whl", data, fields)


def good(number: int) -> Attack:
    name = f"good-{number}"
    if number % 2:
        return Attack(name, (upload(f"good_{number}-1.0.tar.gz", tarred(sdist_members(name, "1.0"))),))
    return Attack(name, (wheel_upload(name, "1.0"),))


# ---------------------------------------------------------------- crafted


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def crafted() -> Iterator[Attack]:
    yield from archives()
    yield from forms()
    yield from told_wrongly()
    yield from metadata_attacks()
    yield from collisions()
    yield from framings()


def archives() -> Iterator[Attack]:
    members = wheel_members("evil", "1.0")
    read = "evil-1.0.dist-info/METADATA"
    for name, data in (*zip_attacks(members), *zip_bombs(members, read)):
        yield one(f"wheel: {name}", upload("evil-1.0-py3-none-any.whl", data))
    sources = sdist_members("evil", "1.0")
    for name, data in (*tar_attacks(sources), *tar_bombs(sources, "evil-1.0/PKG-INFO")):
        expected: Expected = "harmless" if name in HARMLESS else "refused"
        yield one(f"sdist: {name}", upload("evil-1.0.tar.gz", data), expected=expected)
    for name, data in zip_bombs(sources, "evil-1.0/PKG-INFO"):
        yield one(f"sdist: {name}", upload("evil-1.0.zip", data), expected="harmless")


def forms() -> Iterator[Attack]:
    data = plain_zip(wheel_members("evil", "1.0"))
    for name, body in form_attacks(fields_of(data), "content", "evil-1.0-py3-none-any.whl", data):
        harmless = name == "form with a nested form"
        yield one(name, post(body), expected="harmless" if harmless else "refused")
    whole = form(fields_of(data), "content", "evil-1.0-py3-none-any.whl", data)
    for name, media in (
        ("no boundary", "multipart/form-data"),
        ("an empty boundary", "multipart/form-data; boundary="),
        ("a boundary of 200 bytes", f"multipart/form-data; boundary={'b' * 200}"),
        ("two boundaries", f"multipart/form-data; boundary=a; boundary={BOUNDARY}"),
        ("a boundary that ends with a blank", f'multipart/form-data; boundary="{BOUNDARY} "'),
        ("another boundary", "multipart/form-data; boundary=other"),
        ("a mixed form", f"multipart/mixed; boundary={BOUNDARY}"),
        ("no media type", ""),
        ("JSON", "application/json"),
    ):
        yield one(f"form with {name}", Request("POST", "legacy/", whole, {"Content-Type": media}))
    yield one("form compressed", post(whole, Content_Encoding="gzip"), expected="harmless")


def told_wrongly() -> Iterator[Attack]:
    """The form says other things than the file."""
    data = plain_zip(wheel_members("evil", "1.0"))
    wrong = "0" * 64
    for field, value in (
        ("sha256_digest", wrong), ("sha256_digest", "x"), ("name", "other"), ("version", "2.0"), ("version", "x"),
        ("filetype", "sdist"), ("requires_python", ">=4"), ("requires_python", "x"), ("action", ""),
        ("action", "submit"), ("action", "x" * 900), ("attestations", "[]x"), ("attestations", "[" * 50_000),
        ("attestations", "{}"), ("attestations", "null"), ("attestations", '[{"version":1}]'),
    ):  # fmt: skip
        told = fields_of(data, **{field: value})
        yield one(f"form says {field} {value[:8]!r}", wheel_upload("evil", "1.0", data, told))
    for field in ("md5_digest", "blake2_256_digest"):
        fields = [(":action", "file_upload"), (field, "0" * 32)]
        yield one(f"form says {field} alone, wrongly", wheel_upload("evil", "1.0", data, fields))
    twice = [*fields_of(data), ("sha256_digest", wrong)]
    yield one("form says sha256_digest twice", wheel_upload("evil", "1.0", data, twice))
    yield one("form without :action", wheel_upload("evil", "1.0", data, [("name", "evil")]))
    for name, text in ODD_TEXTS:
        yield one(f"form names {name}", wheel_upload("evil", "1.0", data, fields_of(data, name=text or "-")))
        yield one(f"file called {name}", upload(text.replace('"', "")[:4_000] + "-1.0.tar.gz", data, fields_of(data)))
    for name, raw in ODD_NAMES:
        filename = raw.decode("utf-8", "surrogateescape").replace('"', "")[:4_000]
        yield one(f"file called by {name}", upload(f"{filename}.whl", data, fields_of(data)))
    for filename in ("evil-1.0-py3-none-any.exe", "evil-1.0", ".whl", "evil-1.0-a-b-c-d-e.whl", "-1.0.tar.gz",
                     "evil-x.tar.gz", "evil-1.0.tar.xz", "evil-1.0-py3-none-any.whl.metadata",
                     "evil--.whl"):  # fmt: skip
        yield one(f"file called {filename}", upload(filename, data, fields_of(data)))


def metadata_attacks() -> Iterator[Attack]:
    whole = metadata("evil", "1.0")
    for name, info in (
        ("not UTF-8", whole + b"\nSummary: \xff\xfe"),
        ("name not UTF-8", b"Metadata-Version: 2.1\nName: ev\xffil\nVersion: 1.0\n\n"),
        ("name with NUL", b"Metadata-Version: 2.1\nName: evil\0\nVersion: 1.0\n\n"),
        ("other name", metadata("other", "1.0")),
        ("other version", metadata("evil", "2.0")),
        ("name twice", metadata("evil", "1.0", "Name: other")),
        ("version twice", metadata("evil", "1.0", "Version: 2.0")),
        ("no name", b"Metadata-Version: 2.1\nVersion: 1.0\n\n"),
        ("no version", b"Metadata-Version: 2.1\nName: evil\n\n"),
        ("nothing", b""),
        ("rubbish", bytes(range(256)) * 20),
        ("requires what cannot be read", metadata("evil", "1.0", "Requires-Dist: ???")),
        ("requires-python that cannot be read", metadata("evil", "1.0", "Requires-Python: !!")),
        ("requires-python twice", metadata("evil", "1.0", "Requires-Python: >3", "Requires-Python: >2")),
        ("of 9 MB", whole + b"x" * (9 << 20)),
        ("script as a name", metadata("<script>", "1.0")),
    ):
        yield one(f"metadata {name}", wheel_upload("evil", "1.0", plain_zip(wheel_members("evil", "1.0", info))))
    for name, info in (
        ("100,000 lines", whole.replace(b"\n\n", b"\n" + b"Classifier: x\n" * 100_000 + b"\n", 1)),
        ("a line of 4 MB", metadata("evil-line", "1.0", "Summary: " + "x" * (4 << 20))),
        ("escape signs", metadata("evil-escape", "1.0", "Summary: \x1b[31mred\x07")),
        ("a deep marker", metadata("evil-marker", "1.0", "Requires-Dist: a; " + "(" * 3_000 + "os_name" + ")" * 3_000)),
    ):
        yield one(
            f"metadata {name}",
            wheel_upload("evil", "1.0", plain_zip(wheel_members("evil", "1.0", info))),
            expected="harmless",
        )
    folder = "evil-1.0.dist-info"
    for missing in ("METADATA", "WHEEL", "RECORD"):
        members = {k: v for k, v in wheel_members("evil", "1.0").items() if not k.endswith(missing)}
        yield one(f"wheel without {missing}", wheel_upload("evil", "1.0", plain_zip(members)))
    for name, more in (
        ("two dist-info", {"evil-2.0.dist-info/METADATA": b""}),
        ("a dist-info in capitals", {"EVIL-1.0.DIST-INFO/METADATA": b""}),
        ("a member that RECORD does not know", {}),
    ):
        members = wheel_members("evil", "1.0", **more) if more else {**wheel_members("evil", "1.0"), "loose": b"x"}
        yield one(f"wheel with {name}", wheel_upload("evil", "1.0", plain_zip(members)))
    for name, text in (("missing files", b"absent,,\n"), ("NUL", b"a\0b,,\n"), ("not UTF-8", b"\xff,,\n"),
                       ("an open quote", b'"a,,\n')):  # fmt: skip
        members = {**wheel_members("evil", "1.0"), f"{folder}/RECORD": text}
        yield one(f"RECORD with {name}", wheel_upload("evil", "1.0", plain_zip(members)))


def collisions() -> Iterator[Attack]:
    """One distribution under two spellings, and other bytes under one name."""
    first = wheel_upload("Taken.Name", "1.0")
    other = plain_zip(wheel_members("Taken.Name", "1.0", metadata("Taken.Name", "1.0", "Summary: other")))
    yield one("other bytes again", first, wheel_upload("Taken.Name", "1.0", other))
    for filename in ("taken_name-1.0-py3-none-any.whl", "TAKEN.NAME-1.0.0-py3-none-any.whl",
                     "taken__name-1.0-py3-none-any.whl", "Taken.Name-01.0-py3-none-any.whl"):  # fmt: skip
        yield one(f"other bytes as {filename}", first, upload(filename, other))
    sources = tarred(sdist_members("Taken.Name", "1.0"))
    yield one(
        "two packings of one source",
        upload("Taken.Name-1.0.tar.gz", sources),
        upload("Taken.Name-1.0.zip", plain_zip(sdist_members("Taken.Name", "1.0"))),
    )
    yield one("yank what is not there", post(form([(":action", "yank"), ("name", "absent"), ("version", "1.0")])))
    yield one("status that there is not", post(form([(":action", "status"), ("name", "x"), ("status", "y")])))


def framings() -> Iterator[Attack]:
    whole = wheel_upload("evil", "1.0")
    for part in (0, 1, len(whole.body) // 2, len(whole.body) - 1):
        yield one(
            f"truncated after {part}",
            Request("POST", "legacy/", whole.body, FORM, sent=part),
            expected="broken",
        )
    chunked = FORM | {"Transfer-Encoding": "chunked"}
    for name, body in (
        ("a wrong size", b"zz\r\nhello\r\n0\r\n\r\n"), ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("too large a size", b"f" * 17 + b"\r\nhello"), ("more than it says", b"3\r\nhello\r\n0\r\n\r\n"),
        ("bare line ends", b"5\nhello\n0\n\n"), ("a long extension", b"5;" + b"x" * 9_000 + b"\r\nhello\r\n0\r\n\r\n"),
    ):  # fmt: skip
        yield one(f"chunks with {name}", Request("POST", "legacy/", body, chunked))
    yield one("chunks that end early", Request("POST", "legacy/", b"ff\r\nhello", chunked, sent=9), expected="broken")
    for method in ("PUT", "PATCH", "DELETE"):
        yield one(f"{method} to legacy/", Request(method, "legacy/", whole.body, FORM))
    yield one("POST to simple/", Request("POST", "simple/", whole.body, FORM))


# ---------------------------------------------------------------- mutants


def mutant(dice: random.Random) -> Attack:
    """A wound anywhere: in the archive, in its metadata, in its name, in a field, in the form."""
    number = dice.randrange(1 << 40)
    name = f"odd-{number}"
    match dice.randrange(6):
        case 0:
            return one("wounded wheel", wheel_upload(name, "1.0", damaged(plain_zip(wheel_members(name, "1.0")), dice)))
        case 1:
            data = damaged(tarred(sdist_members(name, "1.0")), dice)
            return one("wounded sdist", upload(f"odd_{number}-1.0.tar.gz", data))
        case 2:
            info = damaged(metadata(name, "1.0", "Requires-Python: >=3.8", "Requires-Dist: a>1; os_name=='x'"), dice)
            return one("wounded metadata", wheel_upload(name, "1.0", plain_zip(wheel_members(name, "1.0", info))))
        case 3:
            filename = damaged(f"odd_{number}-1.0-py3-none-any.whl".encode(), dice).decode("latin-1").replace('"', "")
            return one("wounded name", upload(filename, plain_zip(wheel_members(name, "1.0"))))
        case 4:
            data = plain_zip(wheel_members(name, "1.0"))
            told = dict(fields_of(data, name=name, version="1.0", attestations=attestations(data)))
            key = dice.choice(sorted(told))
            told[key] = damaged(told[key].encode(), dice).decode("latin-1")
            return one("wounded field", wheel_upload(name, "1.0", data, list(told.items())))
        case _:
            return one("wounded form", post(damaged(wheel_upload(name, "1.0").body, dice)))


def attestations(data: bytes) -> str:
    statement = {"subject": [{"name": "x", "digest": {"sha256": hashlib.sha256(data).hexdigest()}}]}
    envelope = {"statement": base64.b64encode(json.dumps(statement).encode()).decode(), "signature": "c2ln"}
    return json.dumps([{"version": 1, "verification_material": {}, "envelope": envelope}])


def dialect(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """pip, twine and uv show the body: one line of plain text."""
    if not headers.get("content-type", "").startswith("text/plain"):
        return f"{headers.get('content-type')} instead of plain text"
    if body.count(b"\n") != 1 or not body.endswith(b"\n") or len(body) > 2_000:
        return "not one line"
    return ""


CORPUS = Corpus("pypi", "/{repository}/pypi/", good, crafted, mutant, dialect)
