"""Is every refusal of the API a problem document, whatever was wrong?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.console.calls.call import BODY_BYTES_MAX
from storage.errors import Full, Problem, TooMany, Unavailable
from tests.harness.consoles import Console

CANARY = "canary-77ab"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/-/", 404, "absent"),
        ("GET", "/-/api/v1", 404, "absent"),
        ("GET", "/-/api/v1/", 404, "absent"),
        ("GET", "/-/api/v2/workspaces", 404, "absent"),
        ("GET", "/-/api/v1/workspaces/", 404, "absent"),
        ("GET", "/-/api/v1//workspaces", 404, "absent"),
        ("GET", "/-/static/x", 404, "absent"),
        ("PUT", "/-/api/v1/workspaces", 405, "method-refused"),
        ("OPTIONS", "/-/api/v1/workspaces", 405, "method-refused"),
        ("DELETE", "/-/health", 405, "method-refused"),
        ("TRACE", "/-/health", 405, "method-refused"),
    ],
)
async def test_what_is_not_there(console: Console, method: str, path: str, status: int, code: str) -> None:
    got = await console.call("node admin", method, path)
    assert (got.status, got.json["code"], got.json["status"]) == (status, code, status)
    assert got.headers["content-type"] == "application/problem+json"
    assert ("allow" in got.headers) == (status == 405)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"{}", b'{"name": 1}', b'{"name": "x", "other": 1}', b"[" * 60_000,
     b'{"name": "\\ud800"}', b'{"name": NaN}'],
)  # fmt: skip
async def test_bodies_that_are_not_what_is_taken(console: Console, body: bytes) -> None:
    got = await console.call("node admin", "POST", "/workspaces", body)
    assert (got.status, got.json["code"]) == (400, "invalid")
    assert console.ledger.entries == []


async def test_a_body_of_another_kind_is_refused(console: Console) -> None:
    """Also what a form on a foreign page could make a browser send."""
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        got = await console.call("node admin", "POST", "/workspaces", b'{"name": "x"}', {"Content-Type": media})
        assert (got.status, got.json["code"]) == (415, "unsupported")


async def test_a_body_over_the_limit_is_refused(console: Console) -> None:
    got = await console.call("node admin", "POST", "/workspaces", b'{"name": "' + b"x" * (BODY_BYTES_MAX + 1) + b'"}')
    assert (got.status, got.json["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    ("problem", "status", "retry_after"),
    [(Full("No room.", "Make some."), 507, None), (Unavailable("Not now.", retry_after_s=3), 503, "3"),
     (TooMany("Slower.", retry_after_s=9), 429, "9"), (Problem("Odd."), 500, None)],
)  # fmt: skip
async def test_problems_keep_their_words(
    tmp_path: Path, problem: Problem, status: int, retry_after: str | None
) -> None:
    async def commit(decide: object) -> None:
        raise problem

    console = Console(tmp_path, commit=commit)
    got = await console.call("node admin", "POST", "/workspaces", {"name": "x"})
    assert (got.status, got.json["detail"], got.json.get("remedy", "")) == (status, problem.message, problem.remedy)
    assert got.headers.get("retry-after") == retry_after
    console.ledger.close()


async def test_c11_a_bug_is_told_by_its_number_and_not_by_its_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise RuntimeError("the inner life of the node")

    console = Console(tmp_path, metrics=broken)
    got = await console.call("node admin", "GET", "/-/metrics")
    assert (got.status, got.json["code"]) == (500, "problem")
    assert b"inner life" not in got.body
    assert f"request {got.json['request_id']} failed" in caplog.text
    assert "inner life" in caplog.text
    assert console.tokens["node admin"] not in caplog.text
    console.ledger.close()


async def test_c11_a_secret_in_the_wrong_place_is_not_repeated(console: Console) -> None:
    body = {"name": "n", "grants": [{"scope": "acme"}], "kind": CANARY}
    got = await console.call("node admin", "POST", "/tokens", body)
    assert got.status == 400
    assert CANARY.encode() not in got.body


async def test_every_answer_is_for_its_asker_alone(console: Console) -> None:
    for role, path in (("node admin", "/tokens"), ("anonymous", "/tokens"), ("node admin", "/nowhere")):
        got = await console.call(role, "GET", path)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in got.headers
