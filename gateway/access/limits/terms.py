"""Has a customer accepted the terms of its token, and how does it?"""

import json

from storage.errors import Forbidden
from storage.nouns import Entitlement


def check_terms(limits: Entitlement) -> None:
    """Raises Forbidden, which says what to send where the present revision is not accepted."""
    if limits.eula != limits.accepted:
        asked = json.dumps({"revision": limits.eula})  # ASCII, so that it fits into the fields of an answer too
        raise Forbidden(
            "The terms of this token are not accepted yet.",
            f"Accept them once: POST {asked} as application/json to /-/api/v1/eula with this token.",
        )
