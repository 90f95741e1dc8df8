"""Does a node keep its limits, tell clients in their words, and leave others alone?"""

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.harness.registry import bearer
from tests.harness.running import Got, clean_environment, get
from tests.native.test_recall import call, publish

pytestmark = pytest.mark.native

MOST = 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    limits = {"address_requests_max": MOST, "window_seconds": 30.0}
    with Pair(tmp_path_factory.mktemp("rates") / "pair", limits=limits) as made:
        yield made


def asked(pair: Pair, path: str, token: str, times: int) -> list[Got]:
    return [get(pair.edge.url + path, bearer(token)) for _ in range(times)]


def test_c8_a_token_has_a_limit_of_its_own_and_only_it_is_held_to_it(pair: Pair) -> None:
    path = publish(pair, PRIVATE, "counted", 100)
    new = {"name": "slow", "grants": [{"scope": PRIVATE}], "requests_max": MOST}
    slow = call(pair, "POST", "/tokens", new)
    assert slow["requests_max"] == MOST
    found = asked(pair, path, slow["token"], MOST + 5)
    taken = [one for one in found if one.status == 200]
    # what comes back while they are asked is one or the other
    assert MOST <= len(taken) < MOST + 5
    assert taken[0].headers["ratelimit-policy"] == f'"token";q={MOST};w=30'
    assert taken[0].headers["ratelimit"].startswith(f'"token";r={MOST - 1};')
    last = found[-1]
    assert last.status == 429
    assert 1 <= int(last.headers["retry-after"]) <= 30
    assert last.headers["ratelimit"].startswith('"token";r=0;')
    image = get(f"{pair.edge.url}/v2/{PRIVATE}/app/tags/list", bearer(slow["token"]))
    assert (image.status, json.loads(image.body)["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")
    api = get(f"{pair.edge.url}/-/api/v1/whoami", bearer(slow["token"]))
    assert (api.status, json.loads(api.body)["code"]) == (429, "too-many")
    others = asked(pair, path, pair.token, 2 * MOST)
    assert {one.status for one in others} == {200}
    assert "ratelimit" not in others[0].headers


def test_c8_who_guesses_tokens_is_slowed_by_address_and_comes_back(pair: Pair) -> None:
    path = publish(pair, PUBLIC, "counted", 100)
    statuses = [one.status for one in asked(pair, path, "ent_" + "x" * 38, 2 * MOST)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert get(pair.edge.url + path).status == 429, "the same address without a token"
    assert get(f"{pair.edge.url}/-/health").status == 200
    assert get(f"{pair.edge.url}/-/ready").status == 200
    if shutil.which("curl") is not None:
        command = [
            "curl",
            "-sS",
            "--fail",
            "--retry",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            pair.edge.url + path,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60)
        assert done.stdout == "200", done.stderr
