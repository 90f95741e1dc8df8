"""Which media type does a file have? The one it was sent with when that says something, else the one of its ending."""

import re

OCTETS = "application/octet-stream"

BY_ENDING = {
    "7z": "application/x-7z-compressed",
    "apk": "application/vnd.android.package-archive",
    "asc": "text/plain",
    "avif": "image/avif",
    "bz2": "application/x-bzip2",
    "cfg": "text/plain",
    "conf": "text/plain",
    "css": "text/css",
    "csv": "text/csv",
    "deb": "application/vnd.debian.binary-package",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "iso": "application/x-iso9660-image",
    "jar": "application/java-archive",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "log": "text/plain",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp4": "video/mp4",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "pem": "application/x-pem-file",
    "png": "image/png",
    "rpm": "application/x-rpm",
    "sh": "text/x-shellscript",
    "sha256": "text/plain",
    "sig": "application/pgp-signature",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "toml": "application/toml",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "webp": "image/webp",
    "whl": "application/zip",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}

NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}"
"""A restricted name of RFC 6838 section 4.2."""
PARAMETER = r" ?; ?[a-z0-9_-]{1,32}=\"?[a-z0-9_.+:/-]{1,64}\"?"
SANE = re.compile(rf"{NAME}/{NAME}(?:{PARAMETER}){{0,3}}", re.IGNORECASE)
SAYS_NOTHING = (OCTETS, "application/x-www-form-urlencoded", "binary/octet-stream", "application/partial-upload")
"""Types that clients put there by themselves, whatever the file is."""


def media_of(name: str, sent: str) -> str:
    """The media type to keep for a file `name` that was sent as `sent` ("" = not said)."""
    sent = sent.strip()
    kind = sent.partition(";")[0].strip().lower()
    if SANE.fullmatch(sent) and kind not in SAYS_NOTHING and not kind.startswith(("multipart/", "message/")):
        return sent
    return BY_ENDING.get(name.rpartition(".")[2].lower(), OCTETS) if "." in name else OCTETS
