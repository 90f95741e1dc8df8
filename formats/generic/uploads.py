"""How does a client learn where its resumable upload stands (draft-ietf-httpbis-resumable-upload)?"""

import msgspec

from formats.generic import wire
from formats.kit.contract import Ask, Progress, Reply, Resume

OFFSET_PROBLEM = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"


def progress(ask: Ask, plan: Resume, at: Progress) -> Reply:
    """The answer to a step that does not end the upload: 201 at the start, 409 where the client's offset is another
    one than ours, else 204; always with the offset, and the limits."""
    if plan.step == "cancel":
        return Reply(204)
    headers = [
        ("Upload-Offset", str(at.offset)),
        ("Upload-Complete", "?0"),
        ("Cache-Control", "no-store"),
    ]
    if at.length >= 0:
        headers.append(("Upload-Length", str(at.length)))
    if at.parts > 1:
        headers.append((wire.UPLOAD_PARTS, str(at.parts)))
    limits = (("max-size", at.bytes_max), ("max-age", at.seconds_left))
    limit = ", ".join(f"{name}={number}" for name, number in limits if number >= 0)
    headers.append(("Upload-Limit", limit or "min-size=0"))
    if at.refused:
        body = {
            "type": OFFSET_PROBLEM,
            "title": "The part does not begin where the upload stands.",
            "status": 409,
            "expected-offset": at.offset,
            "provided-offset": plan.offset,
        }
        return Reply(409, msgspec.json.encode(body), "application/problem+json", tuple(headers))
    if plan.step == "start":
        return Reply(201, headers=(("Location", wire.address(ask.base, wire.UPLOADS + at.session)), *headers))
    return Reply(204, headers=tuple(headers))
