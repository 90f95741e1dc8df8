"""Which archives do two readers understand differently, or not survive? Made from the members of a valid one.

`zip_attacks` and `tar_attacks` give (name, bytes) for any room whose packages are such archives: the room wraps them
in its own upload. All are meant to be refused by a reader that wants one meaning, but for what HARMLESS names: a member
that is itself a small archive is data, which nobody here unpacks.
"""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Members = Mapping[str, bytes]
Made = tuple[str, bytes]

HARMLESS = ("tar of a bomb",)
BOMB_BYTES = 96 << 20
"""More than any room lets grow at a ratio of a thousand."""
MANY = 60_000
LINK_MODE = 0o120777 << 16
DEVICE_MODE = 0o060644 << 16


@dataclass
class Entry:
    """One member of a zip, with every lie that its headers can tell. None = the truth."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0x800
    mode: int = 0o100644 << 16
    extra: bytes = b""
    packed: bytes | None = None
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    local_crc: int | None = None
    central_extra: bytes | None = None
    offset_shift: int = 0
    hidden: bool = False
    made: int = 0x0314


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zipped(entries: list[Entry], *, prefix: bytes = b"", comment: bytes = b"", suffix: bytes = b"",
           gap: bytes = b"", count: int | None = None) -> bytes:  # fmt: skip
    """A zip of these entries, byte by byte; `gap` lies between the members and the directory."""
    out, central = bytearray(prefix), bytearray()
    listed = 0
    for one in entries:
        packed = one.packed if one.packed is not None else deflated(one.data) if one.method == 8 else one.data
        crc = zlib.crc32(one.data) if one.crc is None else one.crc
        size = len(one.data) if one.size is None else one.size
        packed_size = len(packed) if one.packed_size is None else one.packed_size
        offset = len(out)
        local = one.name if one.local_name is None else one.local_name
        local_size = size if one.local_size is None else one.local_size
        local_crc = crc if one.local_crc is None else one.local_crc
        fields = (20, one.flags, one.method, 0, 33, local_crc, packed_size, local_size, len(local), len(one.extra))
        out += struct.pack("<4s5H3L2H", b"PK\3\4", *fields) + local + one.extra + packed
        if one.hidden:
            continue
        listed += 1
        extra = one.extra if one.central_extra is None else one.central_extra
        at = offset + one.offset_shift
        told = (one.made, 20, one.flags, one.method, 0, 33, crc, packed_size, size, len(one.name), len(extra))
        central += struct.pack("<4s6H3L5H2L", b"PK\1\2", *told, 0, 0, 0, one.mode & 0xFFFFFFFF, at) + one.name + extra
    out += gap
    total = listed if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(central), len(out), len(comment))
    return bytes(out + central + end + comment + suffix)


def entries_of(members: Members) -> list[Entry]:
    return [Entry(name.encode(), data) for name, data in members.items()]


def plain_zip(members: Members) -> bytes:
    return zipped(entries_of(members))


ODD_NAMES: tuple[tuple[str, bytes], ...] = (
    ("dot dot", b"../evil"),
    ("dot dot inside", b"pkg/../../evil"),
    ("absolute", b"/etc/evil"),
    ("backslash", b"..\\evil"),
    ("drive", b"C:\\evil"),
    ("drive and slash", b"C:/evil"),
    ("NUL in the name", b"pkg/a\0.py"),
    ("line end in the name", b"pkg/a\r\nb"),
    ("empty segment", b"pkg//a"),
    ("dot segment", b"pkg/./a"),
    ("not UTF-8", b"pkg/\xff\xfe"),
    ("overlong UTF-8", b"\xc0\xae\xc0\xae/a"),
    ("surrogate", b"pkg/\xed\xa0\x80"),
    ("long name", b"pkg/" + b"a" * 5_000),
    ("empty name", b""),
)


def zip_attacks(members: Members) -> Iterator[Made]:
    """Zips that hold `members` and something evil."""
    good = entries_of(members)
    first = good[0]
    for name, raw in ODD_NAMES:
        yield f"zip {name}", zipped([*good, Entry(raw, b"x")])
    yield "zip symlink", zipped([*good, Entry(b"pkg/link", b"/etc/passwd", mode=LINK_MODE)])
    yield "zip device", zipped([*good, Entry(b"pkg/dev", b"", mode=DEVICE_MODE)])
    yield "zip member twice", zipped([*good, Entry(first.name, b"other")])
    yield "zip file and directory", zipped([*good, Entry(first.name + b"/x", b"other")])
    yield "zip directory with contents", zipped([*good, Entry(b"pkg/d/", b"contents")])
    yield "zip hidden member", zipped([*good, Entry(b"pkg/hidden", b"x", hidden=True)])
    yield "zip other local name", zipped([*good, Entry(b"pkg/a", b"x", local_name=b"pkg/b")])
    yield "zip other local size", zipped([*good, Entry(b"pkg/a", b"x" * 9, local_size=3)])
    yield "zip other local checksum", zipped([*good, Entry(b"pkg/a", b"x" * 9, local_crc=1)])
    yield "zip overlap", zipped([*good, Entry(b"pkg/a", b"x" * 90, offset_shift=-40)])
    yield "zip gap", zipped(good, gap=b"between")
    yield "zip prefix", zipped(good, prefix=b"MZ" + b"\0" * 64)
    yield "zip suffix", zipped(good, suffix=b"trailer")
    yield "zip comment", zipped(good, comment=b"PK\5\6" + b"\0" * 18)
    yield "zip comment that is a zip", zipped(good, comment=plain_zip({"other": b"x"}))
    yield "zip behind a zip", plain_zip({"other": b"x"}) + plain_zip(members)
    yield "zip count too small", zipped(good, count=len(good) - 1)
    yield "zip count too large", zipped(good, count=len(good) + 1)
    yield "zip count of 65535", zipped(good, count=0xFFFF)
    yield "zip encrypted", zipped([*good, Entry(b"pkg/a", b"x", flags=0x801)])
    yield "zip bzip2 member", zipped([*good, Entry(b"pkg/a", b"x", method=12, packed=b"BZh9")])
    yield "zip stored with two sizes", zipped([*good, Entry(b"pkg/a", b"x" * 9, method=0, size=4)])
    yield "zip64 field twice", zipped([*good, Entry(b"pkg/a", b"x", extra=b"\1\0\0\0\1\0\0\0")])
    yield "zip64 needed and missing", zipped([*good, Entry(b"pkg/a", b"x", size=0xFFFFFFFF)])
    yield "zip unicode path field", zipped([*good, Entry(b"pkg/a", b"x", extra=b"up\5\0\1\0\0\0\0")])
    yield "zip cut extra field", zipped([*good, Entry(b"pkg/a", b"x", extra=b"\x99\x99\xff\0x")])
    yield "zip many members", zipped([*good, *(Entry(b"m/%d" % n, b"", method=0) for n in range(MANY))])
    yield "zip empty", zipped([])
    yield "zip nothing", b""
    yield "zip four bytes", b"PK\3\4"
    yield "zip end record alone", b"PK\5\6" + b"\0" * 18
    yield "zip cut in the middle", plain_zip(members)[: len(plain_zip(members)) // 2]
    yield "zip cut at the end", plain_zip(members)[:-1]
    yield "zip is a tar", tarred(members)


def zip_bombs(members: Members, read: str) -> Iterator[Made]:
    """Zips that grow: in any member, in the member `read` that is read, nested, and by a lie about sizes."""
    rest = {name: data for name, data in members.items() if name != read}
    good, zeros = entries_of(rest), b"\0" * BOMB_BYTES
    bomb = deflated(zeros)
    whole = zipped([*entries_of(members), Entry(b"pkg/bomb", zeros, packed=bomb)])
    yield "zip bomb", whole
    yield "zip bomb in what is read", zipped([*good, Entry(read.encode(), zeros, packed=bomb)])
    yield (
        "zip bomb that lies about its size",
        zipped([*good, Entry(read.encode(), members[read], packed=bomb, size=len(members[read]))]),
    )
    yield (
        "zip bomb of 4 GB less one",
        zipped([*entries_of(members), Entry(b"pkg/bomb", b"", packed=bomb, size=0xFFFFFFFE)]),
    )
    nested = whole
    for _ in range(3):
        nested = zipped([*entries_of(members), Entry(b"pkg/inner.zip", nested)])
    yield "zip nested bombs", nested
    yield "zip wrong checksum in what is read", zipped([*good, Entry(read.encode(), members[read], crc=1)])
    yield (
        "zip damaged data in what is read",
        zipped([*good, Entry(read.encode(), members[read], packed=b"\xff" * 40, size=len(members[read]))]),
    )
    yield (
        "zip data behind the end of what is read",
        zipped([*good, Entry(read.encode(), members[read], packed=deflated(members[read]) + b"more")]),
    )


# ---------------------------------------------------------------- tar


def header(name: bytes, size: int = 0, *, kind: bytes = b"0", link: bytes = b"", size_field: bytes | None = None,
           checksum: int | None = None, magic: bytes = b"ustar\x0000", prefix: bytes = b"") -> bytes:  # fmt: skip
    """A tar header, with a right checksum unless told otherwise."""
    told = size_field if size_field is not None else b"%011o\0" % size
    front = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + told.ljust(12, b"\0") + b"%011o\0" % 0
    back = kind + link[:100].ljust(100, b"\0") + magic + b"\0" * 64 + b"0000000\0" * 2 + prefix.ljust(155, b"\0")
    block = (front + b" " * 8 + back).ljust(512, b"\0")
    total = sum(block) if checksum is None else checksum
    return block[:148] + b"%06o\0 " % total + block[156:]


def member(name: bytes, data: bytes = b"", **lies: object) -> bytes:
    return header(name, len(data), **lies) + data + b"\0" * (-len(data) % 512)  # type: ignore[arg-type]


END = b"\0" * 1024


def bare(members: Members) -> bytes:
    return b"".join(member(name.encode(), data) for name, data in members.items())


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def tarred(members: Members) -> bytes:
    return packed(bare(members) + END)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return member(b"pax", records, kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3
    while size != len(b"%d" % size) + len(key) + len(value) + 3:
        size = len(b"%d" % size) + len(key) + len(value) + 3
    return b"%d %b=%b\n" % (size, key, value)


def tar_attacks(members: Members) -> Iterator[Made]:
    """gzipped tars that hold `members`, all under one directory, and something evil."""
    good = bare(members)
    first = next(iter(members))
    top = first.partition("/")[0].encode()

    def behind(evil: bytes) -> bytes:
        return packed(good + evil + END)

    for name, raw in ODD_NAMES:
        if raw:
            evil = pax(record(b"path", raw)) + member(b"x", b"x") if len(raw) > 100 or b"\0" in raw else member(raw)
            yield f"tar {name}", behind(evil)
    for name, kind in (("symlink", b"2"), ("hard link", b"1")):
        yield f"tar {name} outside", behind(member(top + b"/l", kind=kind, link=b"../../etc/passwd"))
        yield f"tar {name} absolute", behind(member(top + b"/l", kind=kind, link=b"/etc/passwd"))
    yield (
        "tar symlink as a directory",
        behind(member(top + b"/d", kind=b"2", link=b"/tmp") + member(top + b"/d/evil", b"x")),
    )
    for name, kind in (("character device", b"3"), ("block device", b"4"), ("fifo", b"6"), ("sparse", b"S")):
        yield f"tar {name}", behind(member(top + b"/dev", kind=kind))
    yield "tar member twice", behind(member(first.encode(), b"other"))
    yield "tar file and directory", behind(member(first.encode() + b"/x", b"other"))
    yield "tar wrong checksum", behind(member(top + b"/a", b"x", checksum=1))
    yield "tar size of base 256", behind(header(top + b"/a", size_field=b"\x80" + b"\xff" * 11))
    yield "tar negative size", behind(header(top + b"/a", size_field=b"\xff" * 12))
    yield "tar size that is no number", behind(header(top + b"/a", size_field=b"zzzzzzzzzzz\0"))
    yield "tar size beyond the end", behind(header(top + b"/a", 1 << 33))
    yield "tar pax size", behind(pax(record(b"size", b"5")) + member(top + b"/a", b"x" * 700))
    yield "tar pax size negative", behind(pax(record(b"size", b"-5")) + member(top + b"/a", b"x"))
    yield "tar pax size no number", behind(pax(record(b"size", b"1e3")) + member(top + b"/a", b"x"))
    yield "tar pax other path", behind(pax(record(b"path", b"../../evil")) + member(top + b"/a", b"x"))
    yield "tar pax broken length", behind(pax(b"999 path=a\n") + member(top + b"/a", b"x"))
    yield "tar pax length zero", behind(pax(b"0 path=a\n") + member(top + b"/a", b"x"))
    yield (
        "tar pax link path",
        behind(pax(record(b"linkpath", b"/etc/passwd")) + member(top + b"/l", kind=b"2", link=b"a")),
    )
    yield "tar pax global path", packed(pax(record(b"path", b"../evil"), b"g") + good + END)
    yield "tar pax sparse", behind(pax(record(b"GNU.sparse.realsize", b"9" * 15)) + member(top + b"/a", b"x"))
    yield "tar pax alone", behind(pax(record(b"path", b"a")))
    yield "tar pax bomb", behind(pax(record(b"comment", b"x" * (32 << 20))) + member(top + b"/a", b"x"))
    yield "tar pax without end", behind(pax(record(b"path", b"a")) * 3_000)
    yield "tar long name bomb", behind(member(b"././@LongLink", b"a" * (16 << 20), kind=b"L") + member(b"x"))
    yield "tar unknown kind", behind(member(top + b"/a", kind=b"Z"))
    yield "tar contents behind the end", packed(good + END + member(b"evil/x", b"x") + END)
    yield "tar without an end, cut", packed(good[:-300])
    yield "tar many members", behind(b"".join(member(top + b"/m%d" % n) for n in range(MANY)))
    yield "tar empty", packed(END)
    yield "tar nothing", packed(b"")
    yield "tar no bytes", b""
    yield "tar of rubbish", packed(b"rubbish" * 400)
    yield "tar not compressed rightly", b"\x1f\x8b\x08\0" + b"\xff" * 400
    whole = packed(good + END)
    yield "gzip cut", whole[: len(whole) // 2]
    yield "gzip without its checksum", whole[:-8]
    yield "gzip wrong checksum", whole[:-8] + b"\0" * 8
    yield "gzip behind a gzip", whole + packed(bare({f"{top.decode()}/evil": b"x"}) + END)
    yield "gzip trailer", whole + b"trailer"
    yield "gzip is a zip", plain_zip(members)


def tar_bombs(members: Members, read: str) -> Iterator[Made]:
    """gzipped tars that grow, somewhere and in the member `read` that is read."""
    rest = {name: data for name, data in members.items() if name != read}
    top = read.partition("/")[0].encode()
    zeros = b"\0" * BOMB_BYTES
    yield "tar bomb", packed(bare(members) + member(top + b"/bomb", zeros) + END)
    yield "tar bomb in what is read", packed(bare(rest) + member(read.encode(), zeros) + END)
    yield "tar bomb behind the end", packed(bare(members) + END + zeros)
    yield "tar gzip in gzip", packed(packed(packed(bare(members) + member(top + b"/bomb", zeros) + END)))
    yield "tar of a bomb", packed(bare(members) + member(top + b"/inner.tgz", packed(zeros)) + END)


# ---------------------------------------------------------------- that these writers write what others read


def readable(members: Members) -> bool:
    """Do the standard library's readers find `members` in what is written here?"""
    with zipfile.ZipFile(io.BytesIO(plain_zip(members))) as archive:
        zips = {name: archive.read(name) for name in archive.namelist()}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tarred(members)), mode="r:gz") as tape:
        for one in tape:
            file = tape.extractfile(one)
            found[one.name] = file.read() if file else b""
    return zips == dict(members) == found
