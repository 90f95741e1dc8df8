"""How does a program learn the API? From its OpenAPI document, which needs no node to be told."""

import sys

from cyclopts import App

from gateway.cli.terminal.words import AsJson
from gateway.console.api import description

app = App(name="api", help="The management API, for programs.")


@app.command(name="describe")
def describe(*, json: AsJson = False) -> None:
    """Print the OpenAPI document of this version's API; a node serves its own at /-/api/v1/openapi.json."""
    sys.stdout.write(description() + "\n")
