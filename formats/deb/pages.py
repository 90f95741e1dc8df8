"""Which distributions are there, and what is said of each? For people and scripts, as JSON."""

import msgspec

from formats.deb.facts import distribution_facts
from formats.deb.indexes import known
from formats.deb.names import DISTRIBUTION
from formats.kit.contract import Document, Show
from storage.nouns import View


def render(show: Show, view: View) -> Document:
    """One distribution with its settings, or all of them. Raises Absent."""
    if show.argument:
        told = msgspec.to_builtins(known(show.argument, view))
        return Document(msgspec.json.encode({"distribution": show.argument, **told}) + b"\n")
    items = []
    for package in view.packages(DISTRIBUTION):
        facts = distribution_facts(package.facts)
        items.append(
            {
                "distribution": package.name[len(DISTRIBUTION) :],
                "components": facts.components,
                "architectures": facts.architectures,
            }
        )
    return Document(msgspec.json.encode({"items": items}) + b"\n")
