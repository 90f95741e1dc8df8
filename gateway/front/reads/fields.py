"""Which header fields does an answer with a file or a document carry?"""

import base64
import urllib.parse

from formats.kit.contract import Serve
from storage.nouns import File, Repository


def etag_of(file: File) -> str:
    """A strong validator that stays the same before and after a foreign file was pulled."""
    if file.source and "sha256" not in file.digests and file.digests:
        name, value = max(file.digests.items(), key=lambda item: len(item[1]))
        return f'"{name}-{value}"'
    return f'"{file.sha256.hex() or file.digests.get("sha256", "")}"' if file.sha256 or file.digests else ""


def file_headers(file: File, plan: Serve) -> tuple[tuple[str, str], ...]:
    """Headers that every answer with this file's bytes carries."""
    digest = file.sha256 or bytes.fromhex(file.digests.get("sha256", ""))
    headers = list(plan.headers)
    if plan.name_header:
        headers.append((plan.name_header, file.name.rpartition("/")[2]))
    for name, algorithm, ahead in plan.told if not plan.name_header else ():
        value = digest.hex() if algorithm == "sha256" else file.digests.get(algorithm, "")
        if value:
            headers.append((name, ahead + value))
    if digest:
        headers.append(("Repr-Digest", f"sha-256=:{base64.b64encode(digest).decode()}:"))
    if plan.filename:
        name = urllib.parse.quote(plan.filename, safe="")
        headers.append(("Content-Disposition", f"attachment; filename*=UTF-8''{name}"))
    return safely(tuple(headers))


def safely(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """With word to browsers that a document is what its Content-Type says, where the room has not said so."""
    if any(name.lower() == "x-content-type-options" for name, _ in headers):
        return headers
    return (*headers, ("X-Content-Type-Options", "nosniff"))


def cache_control(repository: Repository) -> tuple[str, str]:
    """Documents are asked again each time: a 304 is cheap here, a stale page elsewhere is not."""
    return ("Cache-Control", "no-cache" if repository.public else "private, no-cache")
