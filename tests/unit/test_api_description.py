"""Does the API's document tell of every route, and of nothing else?

That answers are what it tells is checked at each call of every API test: tests/harness/answers.py.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli.main import run
from gateway.console.api import ROUTES, description
from gateway.console.calls.call import UNDECLARED, Reply, Route
from gateway.console.calls.permissions import ANYBODY
from gateway.console.document.arguments import ARGUMENTS
from gateway.console.history import exporting, traffic
from gateway.console.packages import searching
from gateway.console.repositories import replies as repository_replies
from tests.harness import answers
from tests.harness.consoles import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


def test_every_route_declares_what_it_answers() -> None:
    assert [f"{one.method} {one.rule}" for one in ROUTES if one.gives is UNDECLARED] == []


def test_a_route_takes_the_body_that_its_handler_reads() -> None:
    """A shape that is read and not declared would be missing in the document, or the other way round."""
    for route in ROUTES:
        read = re.findall(r"call\.body\((\w+)\)", inspect.getsource(route.handler))
        assert read == ([] if route.takes is None else [getattr(route.takes, "__name__", "")]), route.rule


async def test_the_document_is_served_to_anybody_and_tells_of_every_route(console: Console) -> None:
    got = await console.call("anonymous", "GET", "/openapi.json")
    assert got.status == 200
    told = got.json
    assert told["openapi"] == "3.1.0"
    operations = [one for methods in told["paths"].values() for one in methods.values()]
    assert len(operations) == len(ROUTES)
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    made = told["paths"]["/-/api/v1/repositories"]["post"]
    schema = made["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/NewRepository"}
    assert {"201", "400", "401", "403", "404", "409", "415"} <= set(made["responses"])


def test_every_argument_says_what_it_means_and_none_is_told_that_nobody_takes() -> None:
    taken = {name for route in ROUTES for name in route.arguments}
    assert taken == set(ARGUMENTS)
    assert all(one["description"].endswith(".") or "Example:" in one["description"] for one in ARGUMENTS.values())
    assert tuple(ARGUMENTS["sort"]["schema"]["enum"]) == searching.SORTS
    assert tuple(ARGUMENTS["order"]["schema"]["enum"]) == traffic.ORDERS
    assert ARGUMENTS["rows"]["schema"]["maximum"] == exporting.ROWS_MAX
    assert ARGUMENTS["versions"]["schema"]["maximum"] == searching.VERSIONS_SHOWN_MAX


async def test_what_is_told_to_be_needed_is_and_nothing_else(console: Console) -> None:
    """Without a needed argument the answer is a refusal; with the needed ones alone the request is not malformed."""
    told = msgspec.json.decode(description())["paths"]
    named = {"workspace": "acme", "repository": "main", "package": "six"}
    values = {"format": "pypi", "tag": "latest", "address": "203.0.113.7", "principal": "user:nobody"}
    looked = 0
    for path, methods in told.items():
        asked = methods.get("get", {}).get("parameters", [])
        names = {one["name"]: one["required"] for one in asked if one.get("in") == "query"}
        places = re.findall(r"{(\w+)}", path)
        if not names or not path.startswith("/-/api/v1/") or not set(places) <= set(named):
            continue
        at = path.removeprefix("/-/api/v1").format(**named)
        needed = [name for name, required in names.items() if required]
        whole = "&".join(f"{name}={values[name]}" for name in needed)
        status = (await console.call("node admin", "GET", f"{at}?{whole}")).status
        assert status != 400, path
        if status == 503:  # this one has no client log
            continue
        for one in needed:
            rest = "&".join(f"{name}={values[name]}" for name in needed if name != one)
            assert (await console.call("node admin", "GET", f"{at}?{rest}")).status in (400, 404), (path, one)
        looked += 1
    assert looked > 15


def test_no_two_shapes_have_the_same_name() -> None:
    """Then a name says in which module of ours it is, and generators of clients lose one of them."""
    schemas = msgspec.json.decode(description())["components"]["schemas"]
    assert [name for name in schemas if not re.fullmatch(r"[A-Za-z0-9_]+", name)] == []


def test_the_command_line_tells_it_without_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["api", "describe"]) == 0
    assert capsys.readouterr().out.strip() == description()


def test_every_reference_leads_somewhere() -> None:
    told = msgspec.json.decode(description())
    parts = ("schemas", "parameters", "headers")
    known = {f"#/components/{part}/{name}" for part in parts for name in told["components"][part]}
    assert set(_references(told)) == known


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


async def _handler(call: object) -> Reply:
    return Reply(200)


@pytest.mark.parametrize(
    ("status", "media", "body"),
    [
        (201, "application/json", b'{"name": "a", "created_ms": 1, "description": ""}'),
        (200, "application/json", b'{"name": "a"}'),
        (200, "application/json", b'{"name": "a", "created_ms": 1, "description": "", "more": 1}'),
        (200, "text/csv", b"name"),
        (418, "application/problem+json", b"{}"),
        (404, "application/problem+json", b'{"status": 404}'),
    ],
)
def test_what_was_not_declared_is_found(status: int, media: str, body: bytes) -> None:
    route = Route("GET", "/x", ANYBODY, _handler, frozenset(), gives=repository_replies.Workspace)
    answers.check(route, 200, "application/json", b'{"name": "a", "created_ms": 1, "description": ""}')
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        answers.check(route, status, media, body)
