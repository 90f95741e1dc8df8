"""How does a client learn where its upload stands?"""

from formats.kit.contract import Ask, Progress, Reply, Resume
from formats.oci import wire


def progress(ask: Ask, plan: Resume, at: Progress) -> Reply:
    """The answer to a step that does not end the upload. `Range` is inclusive, so of nothing it says 0-0, as the
    reference registry does; the specification has no word for it."""
    if plan.step == "cancel":
        return Reply(204)
    headers = (
        ("Location", wire.upload_address(ask, wire.route(ask).name, at.session)),
        ("Range", f"0-{max(at.offset - 1, 0)}"),
        ("Docker-Upload-UUID", at.session),
        ("Cache-Control", "no-store"),
    )
    if at.refused:
        return Reply(416, headers=headers)
    return Reply(204 if plan.step == "state" else 202, headers=headers)
