"""Which .deb files do two readers understand differently, or not survive? The ar archive and the two tars in it."""

import bz2
import lzma
from collections.abc import Iterator

import zstandard

from bench.hostile.archives import BOMB_BYTES, END, MANY, ODD_NAMES, bare, member, packed, tar_attacks, tarred
from bench.hostile.corpus import Attack, Expected, Request

TYPES_OF_COMPRESSION = ("gz", "xz", "zst")


def one(name: str, *requests: Request, expected: Expected = "refused") -> Attack:
    return Attack(name, requests, expected)


def control(name: str = "evil", version: str = "1.0", architecture: str = "all", more: bytes = b"") -> bytes:
    head = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: M <m@acme.example>\n"
    return head.encode("utf-8", "surrogatepass") + b"Section: misc\nDescription: evil\n of course\n" + more


def ar_member(name: bytes, data: bytes, size: bytes | None = None, end: bytes = b"`\n") -> bytes:
    told = b"%d" % len(data) if size is None else size
    head = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8) + told.ljust(10) + end
    return head + data + b"\n" * (len(data) & 1)


def ar(*members: bytes) -> bytes:
    return b"!<arch>\n" + b"".join(members)


VERSION = ar_member(b"debian-binary", b"2.0\n")
DATA = ar_member(b"data.tar.gz", tarred({"./usr/share/evil": b"evil"}))


def control_tar(text: bytes) -> bytes:
    return tarred({"./control": text})


def deb(text: bytes | None = None, *, archive: bytes | None = None, data: bytes | None = None) -> bytes:
    """A package of this control file, or of this whole control.tar.gz; `data` is a whole data.tar.gz."""
    inside = control_tar(control() if text is None else text) if archive is None else archive
    return ar(VERSION, ar_member(b"control.tar.gz", inside), DATA if data is None else ar_member(b"data.tar.gz", data))


def upload(body: bytes, file: str = "evil.deb", where: str = "stable/main") -> Request:
    return Request("PUT", f"upload/{where}/{file}", body)


# ---------------------------------------------------------------- the package's own archive


def ar_attacks() -> Iterator[Attack]:
    inside = ar_member(b"control.tar.gz", control_tar(control()))
    whole, tape = ar(VERSION, inside, DATA), bare({"control": control()}) + END
    for name, data in (
        ("nothing", b""), ("the magic alone", b"!<arch>\n"), ("half the magic", b"!<ar"),
        ("a thin archive", b"!<thin>\n"),
        ("no members but the first", ar(VERSION)), ("no data", ar(VERSION, inside)), ("no control", ar(VERSION, DATA)),
        ("the members in another order", ar(VERSION, DATA, inside)), ("the version last", ar(inside, DATA, VERSION)),
        ("two controls", ar(VERSION, inside, inside, DATA)), ("two data", ar(VERSION, inside, DATA, DATA)),
        ("a control of another name first", ar(VERSION, ar_member(b"control.tar", END), inside, DATA)),
        ("a member that is not known", ar(VERSION, inside, ar_member(b"evil.tar", b"x"), DATA)),
        ("twenty members", ar(VERSION, inside, DATA, *(ar_member(b"_m%d" % n, b"x") for n in range(20)))),
        ("version 3", ar(ar_member(b"debian-binary", b"3.0\n"), inside, DATA)),
        ("an empty version", ar(ar_member(b"debian-binary", b""), inside, DATA)),
        ("a version with NUL", ar(ar_member(b"debian-binary", b"2.0\n\0"), inside, DATA)),
        ("a version of 1 MB", ar(ar_member(b"debian-binary", b"2.0\n" + b"x" * (1 << 20)), inside, DATA)),
        ("a negative size", ar(VERSION, ar_member(b"control.tar.gz", b"", b"-1"), DATA)),
        ("a size beyond the end", ar(VERSION, ar_member(b"control.tar.gz", b"", b"9999999999"), DATA)),
        ("a size in hex", ar(VERSION, ar_member(b"control.tar.gz", b"", b"0x40"), DATA)),
        ("a size with a plus", ar(VERSION, ar_member(b"control.tar.gz", b"", b"+4"), DATA)),
        ("a size of blanks", ar(VERSION, ar_member(b"control.tar.gz", b"", b""), DATA)),
        ("a size that leaves the padding out", whole[:-3] + b"x"),
        ("a broken header end", ar(VERSION, ar_member(b"control.tar.gz", control_tar(control()), end=b"`\r"), DATA)),
        ("a long name in GNU's way", ar(ar_member(b"//", b"control.tar.gz/\n"), VERSION, inside, DATA)),
        ("a long name in BSD's way", ar(VERSION, ar_member(b"#1/14", b"control.tar.gz"), DATA)),
        ("a name with a path", ar(VERSION, ar_member(b"../control.tar", control_tar(control())), DATA)),
        ("a name in capitals", ar(VERSION, ar_member(b"CONTROL.TAR.GZ", control_tar(control())), DATA)),
        ("control.tar.bz2", ar(VERSION, ar_member(b"control.tar.bz2", bz2.compress(tape)), DATA)),
        ("control.tar.lzma", ar(VERSION, ar_member(b"control.tar.lzma", b"x"), DATA)),
        ("bytes behind it", whole + b"behind"), ("a second package behind it", whole + whole),
        ("bytes before it", b"#!/bin/sh\n" + whole), ("odd padding", whole.replace(b"2.0\n", b"2.0\n\n", 1)),
        ("cut in a header", whole[:80]), ("cut in the control", whole[:190]), ("cut at the end", whole[:-20]),
        ("a zip", b"PK\3\4" + whole), ("an rpm", b"\xed\xab\xee\xdb" + whole),
        ("a bare tar", tarred({"control": control()})),
        ("a signature first", ar(ar_member(b"_gpgorigin", b"x"), VERSION, inside, DATA)),
    ):  # fmt: skip
        yield one(f"ar: {name}", upload(data))
    for ending in TYPES_OF_COMPRESSION:
        for real, pack in (("gz", packed), ("xz", lzma.compress), ("zst", zstandard.ZstdCompressor().compress)):
            if real != ending:
                inner = pack(bare({"./control": control(f"{ending}-{real}")}) + END)
                parts = ar(VERSION, ar_member(f"control.tar.{ending}".encode(), inner), DATA)
                yield one(f"ar: control.tar.{ending} that is {real}", upload(parts))
    inner = ar_member(b"control.tar", control_tar(control("control-gz")))
    yield one("ar: control.tar that is gz", upload(ar(VERSION, inner, DATA)))
    inside = ar_member(b"control.tar.gz", control_tar(control("data-xz")))
    yield one("ar: data.tar.xz that is gz", upload(ar(VERSION, inside, ar_member(b"data.tar.xz", tarred({"a": b""})))))
    signed = ar(VERSION, ar_member(b"control.tar.gz", control_tar(control("signed"))), DATA)
    yield one("ar: a signature last", upload(signed + ar_member(b"_gpgorigin", b"x")), expected="harmless")


def archives() -> Iterator[Attack]:
    members = {"d/a": b"a", "control": control()}
    for name, data in tar_attacks(members):
        yield one(f"control: {name}", upload(deb(archive=data)))
    for number, (name, data) in enumerate(tar_attacks({"usr/a": b"a"})):
        yield one(f"data: {name}", upload(deb(control(f"data-{number}"), data=data)), expected="harmless")
    for number, (name, raw) in enumerate(ODD_NAMES):
        if raw and len(raw) < 100:
            said = deb(control(f"line-{number}"), data=packed(member(b"usr/" + raw) + END))
            yield one(f"data: a line of Contents with {name}", upload(said), expected="harmless")
    for name, data in (
        ("no control", tarred({"./other": b"x"})), ("control in a directory", tarred({"./d/control": control()})),
        ("a control in capitals", tarred({"./CONTROL": control()})),
        ("two controls", packed(member(b"./control", control()) + member(b"control", control("other")) + END)),
        ("control as a link", packed(member(b"./control", kind=b"2", link=b"md5sums") + END)),
        ("control as a directory", packed(member(b"./control/", kind=b"5") + END)),
        ("an empty control", tarred({"./control": b""})),
        ("a control of 2 MB", tarred({"./control": control(more=b"X: " + b"x" * (2 << 20) + b"\n")})),
    ):  # fmt: skip
        yield one(f"control: {name}", upload(deb(archive=data)))


def bombs() -> Iterator[Attack]:
    zeros = b"\0" * BOMB_BYTES
    whole = bare({"./control": control()})
    for ending, data in (
        ("gz", packed), ("xz", lzma.compress), ("zst", zstandard.ZstdCompressor().compress), ("bz2", bz2.compress),
    ):  # fmt: skip
        grown = data(whole + member(b"./bomb", zeros) + END)
        if ending != "bz2":
            yield one(
                f"bomb: control.tar.{ending}",
                upload(ar(VERSION, ar_member(f"control.tar.{ending}".encode(), grown), DATA)),
            )
            control_is_one = data(member(b"./control", b"X: " + zeros) + END)
            name = f"control.tar.{ending}".encode()
            yield one(
                f"bomb: control within control.tar.{ending}", upload(ar(VERSION, ar_member(name, control_is_one), DATA))
            )
        inside = ar_member(b"control.tar.gz", control_tar(control(f"bomb-{ending}")))
        parts = ar(VERSION, inside, ar_member(f"data.tar.{ending}".encode(), grown))
        yield one(f"bomb: data.tar.{ending}", upload(parts), expected="harmless")
    yield one("bomb: gz in gz", upload(deb(archive=packed(packed(packed(whole + END))))))
    many = b"".join(member(b"usr/m%d" % n) for n in range(MANY))
    yield one("bomb: many names", upload(deb(control("bomb-names"), data=packed(many + END))), expected="harmless")
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27))
    parts = ar(VERSION, ar_member(b"control.tar.zst", wide.compress(whole + zeros[: 32 << 20])), DATA)
    yield one("bomb: a zstd window of 128 MB", upload(parts))
    heavy = lzma.compress(whole + END, preset=9 | lzma.PRESET_EXTREME, filters=None)
    large = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    yield one("bomb: an xz dictionary of 1 GB", upload(ar(
        VERSION, ar_member(b"control.tar.xz", _declaring(heavy, large)), DATA)))  # fmt: skip


def _declaring(stream: bytes, filters: list[dict[str, int]]) -> bytes:
    """An xz stream whose header asks for another dictionary than it needs."""
    wide = lzma.compress(b"x", lzma.FORMAT_XZ, filters=[{**filters[0], "dict_size": 1 << 20}])
    at = wide.index(b"\x21\x01")
    return wide[: at + 2] + bytes([36]) + wide[at + 3 :] + stream
