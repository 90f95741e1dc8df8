"""Which media type does a file of a Maven repository have? By its name alone; nothing here is shown by a browser."""

_BY_ENDING = {
    ".jar": "application/java-archive",
    ".war": "application/java-archive",
    ".ear": "application/java-archive",
    ".aar": "application/octet-stream",
    ".pom": "application/xml",
    ".xml": "application/xml",
    ".module": "application/vnd.org.gradle.module+json",
    ".json": "application/json",
    ".asc": "text/plain",
    ".sigstore": "application/json",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
}
OTHER = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
XML = "application/xml"


def media_of(name: str) -> str:
    return _BY_ENDING.get("." + name.rpartition(".")[2].lower(), OTHER)
