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
        (201, "application/json", b'{"name": "a", "created_ms": 1}'),
        (200, "application/json", b'{"name": "a"}'),
        (200, "application/json", b'{"name": "a", "created_ms": 1, "more": 1}'),
        (200, "text/csv", b"name"),
        (418, "application/problem+json", b"{}"),
        (404, "application/problem+json", b'{"status": 404}'),
    ],
)
def test_what_was_not_declared_is_found(status: int, media: str, body: bytes) -> None:
    route = Route("GET", "/x", ANYBODY, _handler, frozenset(), gives=repository_replies.Workspace)
    answers.check(route, 200, "application/json", b'{"name": "a", "created_ms": 1}')
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        answers.check(route, status, media, body)
