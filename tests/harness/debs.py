"""What do Debian packages look like, byte for byte, honest or not?"""

import gzip
import hashlib
import io
import lzma
import tarfile

import zstandard

AR_MAGIC = b"!<arch>\n"


def ar(*members: tuple[str, bytes]) -> bytes:
    """An ar archive of these members."""
    out = bytearray(AR_MAGIC)
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode("latin-1")
        out += data
        if len(data) & 1:
            out += b"\n"
    return bytes(out)


def tar(files: dict[str, bytes]) -> bytes:
    """A tar archive as dpkg-deb makes it: names begin with ./"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def packed(data: bytes, ending: str) -> bytes:
    match ending:
        case ".gz":
            return gzip.compress(data, mtime=0)
        case ".xz":
            return lzma.compress(data)
        case ".zst":
            return zstandard.ZstdCompressor().compress(data)
    return data


def control(name: str = "acme", version: str = "1.0-1", architecture: str = "all", **fields: str) -> bytes:
    """A control file; more fields with underscores for hyphens."""
    lines = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": "Ann <ann@acme.example>",
        "Section": "misc",
        "Description": "a package\n of several\n .\n lines",
    }
    lines.update({key.replace("_", "-"): value for key, value in fields.items()})
    return "".join(f"{key}: {value}\n" for key, value in lines.items()).encode()


def deb(
    name: str = "acme",
    version: str = "1.0-1",
    architecture: str = "all",
    *,
    files: dict[str, bytes] | None = None,
    raw_control: bytes | None = None,
    ending: str = ".xz",
    **fields: str,
) -> bytes:
    """A binary package."""
    about = raw_control if raw_control is not None else control(name, version, architecture, **fields)
    inside = files if files is not None else {f"usr/share/doc/{name}/README": b"read me\n"}
    return ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{ending}", packed(tar({"control": about}), ending)),
        (f"data.tar{ending}", packed(tar(inside), ending)),
    )


def source(name: str = "acme", version: str = "1.0-1") -> dict[str, bytes]:
    """A source package: its files by name, the .dsc last."""
    upstream = version.partition("-")[0].partition(":")[2] or version.partition("-")[0]
    members = {
        f"{name}_{upstream}.orig.tar.gz": packed(tar({"src/main.c": b"int main;\n"}), ".gz"),
        f"{name}_{version.rpartition(':')[2]}.debian.tar.xz": packed(tar({"debian/rules": version.encode()}), ".xz"),
    }
    checksums = "".join(f"\n {hashlib.sha256(data).hexdigest()} {len(data)} {key}" for key, data in members.items())
    md5 = "".join(
        f"\n {hashlib.md5(data, usedforsecurity=False).hexdigest()} {len(data)} {key}" for key, data in members.items()
    )
    text = f"Format: 3.0 (quilt)\nSource: {name}\nBinary: {name}\nArchitecture: any\nVersion: {version}\n"
    text += f"Maintainer: Ann <ann@acme.example>\nChecksums-Sha256:{checksums}\nFiles:{md5}\n"
    return {**members, f"{name}_{version.rpartition(':')[2]}.dsc": text.encode()}


def changes(
    name: str, version: str, files: dict[str, bytes], distribution: str = "unstable", section: str = "misc"
) -> bytes:
    """The .changes that tells of `files`."""
    checksums = "".join(f"\n {hashlib.sha256(data).hexdigest()} {len(data)} {key}" for key, data in files.items())
    listed = "".join(
        f"\n {hashlib.md5(data, usedforsecurity=False).hexdigest()} {len(data)} {section} optional {key}"
        for key, data in files.items()
    )
    text = f"Format: 1.8\nSource: {name}\nArchitecture: source all\nVersion: {version}\nDistribution: {distribution}\n"
    text += f"Changes:\n {name} ({version})\n .\n   * A change.\nChecksums-Sha256:{checksums}\nFiles:{listed}\n"
    return text.encode()
