"""Wheels and source distributions, made by hand: good ones, and ones with anything about them changed."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import zipfile

Fields = dict[str, list[str]]


def core_metadata(name: str, version: str, *lines: str) -> bytes:
    return "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, "", "About."]).encode()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def wheel(
    name: str, version: str, *lines: str, files: dict[str, bytes] | None = None, record: str | None = None
) -> bytes:
    """A wheel whose dist-info is NAME-VERSION as spelt here. `lines` go to METADATA."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    held = {
        "pkg/__init__.py": b"",
        f"{info}/METADATA": core_metadata(name, version, *lines),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(files or {}),
    }
    listed = record if record is not None else "".join(f"{one},,\n" for one in [*held, f"{info}/RECORD"])
    held[f"{info}/RECORD"] = listed.encode()
    return zipped(held)


def recorded(name: str, version: str, *, algorithm: str = "sha256", size: int = 0, turn: bool = False) -> bytes:
    """A wheel whose RECORD says hashes and sizes, as build back ends write it. `size` is added to what is said of the
    size of pkg/code.py; `turn` says a hash of other bytes for it."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    code = b"print('hello')\n" * 200_000

    def line(path: str, data: bytes, more: int = 0) -> str:
        digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
        return f"{path},{algorithm}={digest},{len(data) + more}\n"

    told = line("pkg/code.py", code + b"\n" * turn, size - turn)
    told += line(f"{info}/METADATA", core_metadata(name, version)) + line("pkg/__init__.py", b"")
    return wheel(name, version, files={"pkg/code.py": code}, record=f"{told}{info}/WHEEL,,\n{info}/RECORD,,\n")


def sdist(name: str, version: str, *lines: str, top: str = "") -> bytes:
    top = top or f"{name.replace('-', '_')}-{version}"
    return tarred({f"{top}/PKG-INFO": core_metadata(name, version, *lines), f"{top}/pyproject.toml": b"[project]\n"})


def attestation(filename: str, data: bytes, **changed: object) -> str:
    """The `attestations` field of an upload with one attestation of the right form."""
    digest = {"sha256": hashlib.sha256(data).hexdigest()}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": filename, "digest": digest}]}
    told = {
        "version": 1,
        "verification_material": {"certificate": "AAAA", "transparency_entries": [{}]},
        "envelope": {
            "statement": base64.b64encode(json.dumps(statement).encode()).decode(),
            "signature": base64.b64encode(b"sig").decode(),
        },
    }
    return json.dumps([{**told, **changed}])
