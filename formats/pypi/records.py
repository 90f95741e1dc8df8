"""Does the RECORD of a wheel tell the truth about it?

Every file of the wheel is in its RECORD and the other way round, and where RECORD says a hash and a size, the file has
them. What is larger than CHECKED_BYTES_MAX when unpacked is compared by names and sizes alone: hashing it would take
longer than one package may take. RECORD itself and the signatures of it have no hash, as they cannot.
"""

import base64
import csv
import hashlib
import io

from formats.kit.archive import shown
from formats.kit.zips import Zip
from storage.errors import Invalid

RECORD_BYTES_MAX = 32 << 20
CHECKED_BYTES_MAX = 512 << 20
UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_ALGORITHMS = ("sha256", "sha384", "sha512")


def check_record(archive: Zip, info: str) -> None:
    """Raises Invalid where `info`/RECORD is false."""
    rows = _rows(archive.read(f"{info}/RECORD", RECORD_BYTES_MAX))
    files = {name: member.size for name, member in archive.members.items() if member.kind == "file"}
    recorded = {row[0] for row in rows}
    loose = files.keys() - recorded - {f"{info}/{one}" for one in UNRECORDED}
    missing = recorded - files.keys()
    if loose or missing:
        raise _disagree(min(loose or missing))
    hashed = sum(files.values()) <= CHECKED_BYTES_MAX
    for name, announced, size in rows:
        if size and (not (size.isascii() and size.isdigit()) or int(size[:20]) != files[name]):
            raise _disagree(name)
        if announced:
            algorithm, _, text = announced.partition("=")
            if algorithm not in _ALGORITHMS:
                raise Invalid(f"The wheel's RECORD has a hash of {shown(name)} that is not sha256 or better.")
            if hashed and _hash(archive, name, algorithm) != text.rstrip("="):
                raise _disagree(name)


def _rows(raw: bytes) -> list[tuple[str, str, str]]:
    """(path, hash, size) as RECORD has them; the last two may be empty."""
    try:
        lines = [line for line in csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), strict=True) if line]
    except (csv.Error, UnicodeDecodeError):
        raise Invalid("The wheel's RECORD is malformed.", "Build it anew.") from None
    wide = [[*line, "", ""] for line in lines]
    return [(line[0].removeprefix("./"), line[1], line[2]) for line in wide]


def _hash(archive: Zip, name: str, algorithm: str) -> str:
    """As RECORD writes it: URL-safe base64 without padding."""
    hashing = hashlib.new(algorithm)
    for data in archive.chunks(name):
        hashing.update(data)
    return base64.urlsafe_b64encode(hashing.digest()).rstrip(b"=").decode()


def _disagree(name: str) -> Invalid:
    return Invalid(f"The wheel and its RECORD disagree, for example about {shown(name)}.", "Build it anew.")
