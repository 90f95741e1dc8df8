"""Whom does an identity provider let in, and as whom? The options that every kind of provider has."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.terminal.output import Usage

_SEVERAL = "may be given several times."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Joining:
    """What OpenID calls a claim is an attribute to SAML; either word is taken for either."""

    name_claim: Annotated[
        str,
        Parameter(
            name=("--name-claim", "--name-attribute"),
            help="What is a person's userName here. OpenID: preferred_username, which it is by default, upn, or email, "
            "which must then be verified. SAML: an attribute by its Name, or NameID for that itself, the default.",
        ),
    ] = ""
    domain: Annotated[tuple[str, ...], Parameter(help=f"Only names at this mail domain; {_SEVERAL}")] = ()
    require: Annotated[tuple[str, ...], Parameter(help=f"CLAIM=VALUE that everybody must have; {_SEVERAL}")] = ()
    join: Annotated[
        bool,
        Parameter(
            help="Who is not known yet becomes a member. Without it only those sign in whom SCIM has brought.",
        ),
    ] = False
    groups_claim: Annotated[
        str,
        Parameter(name=("--groups-claim", "--groups-attribute"), help="What lists a person's groups."),
    ] = ""
    team: Annotated[
        tuple[str, ...],
        Parameter(help=f"GROUP=TEAM: who is in that group is in that team, and who is not is not; {_SEVERAL}"),
    ] = ()

    def told(self, name: str) -> dict[str, object]:
        """As the API takes it; `name` is what a userName is where nothing is said. Raises Usage."""
        return {
            "name": self.name_claim or name,
            "domains": list(self.domain),
            "claims": pairs(self.require, "CLAIM=VALUE"),
            "joins": self.join,
            "groups": self.groups_claim,
            "teams": pairs(self.team, "GROUP=TEAM"),
        }


def pairs(texts: tuple[str, ...], form: str) -> dict[str, str]:
    """Each NAME=VALUE once. Raises Usage."""
    split = [one.partition("=") for one in texts]
    if not all(name and equals and value for name, equals, value in split):
        raise Usage("This is not understood.", f"Write it as {form}.")
    found = {name: value for name, _, value in split}
    if len(found) != len(split):
        raise Usage("Something is named twice.", f"Write {form} once for each.")
    return found
