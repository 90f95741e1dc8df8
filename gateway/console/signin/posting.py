"""How is a browser made to bring something on to an identity provider, by an address or by a form?

A form leads to another site on this page alone, by itself where scripts run and by its button where they do not. Its
policy names the scheme and no host: browsers hold every redirect behind a form against it, and a provider that signs
somebody out sends him on through the other sites that he was signed in at.
"""

from collections.abc import Mapping
from typing import NamedTuple

from quart import Response

from gateway.console.signin.script import ONWARD
from gateway.console.signin.style import policy
from gateway.console.signin.visits import Visit


class Onward(NamedTuple):
    """Where to go on to; with `fields` by a form that has them. `plain`: it may be over plain HTTP."""

    address: str
    fields: Mapping[str, str] = {}
    plain: bool = False


def posting(visit: Visit, onward: Onward, told: str) -> Response:
    """The page that leads on by a form."""
    return visit.page(
        "posting.html",
        policy=policy("https: http:" if onward.plain else "https:", ONWARD),
        action=onward.address,
        fields=onward.fields,
        told=told,
        script=ONWARD,
        who="",
    )
