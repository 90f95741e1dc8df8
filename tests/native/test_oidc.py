"""Does a build get in without a secret, with real processes: by the CLI, at an edge, once among workers (C9)?"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.identities import Issuer
from tests.harness.running import ENTREPOT, Got, Up, clean_environment, get

pytestmark = pytest.mark.native

AUDIENCE = "https://entrepot.example"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("oidc") / "data", workers=2) as running:
        running.entrepot("service", "create", "demo/ci")
        running.entrepot("grant", "give", running.private, "service:ci", "--read", "--write")
        rule = ("--rule", "ci:repository_id=7,ref=refs/heads/main")
        where = ("--issuer", issuer.url, "--audience", AUDIENCE, "--private-network")
        running.entrepot("oidc", "add", "demo/local", *where, *rule)
        yield running


def identity(issuer: Issuer, name: str) -> str:
    now = int(time.time())
    told = {"iss": issuer.url, "sub": "repo:octo/app", "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": name}
    return issuer.token(told | {"repository_id": "7", "ref": "refs/heads/main"})


def test_a_build_publishes_without_a_secret_and_the_provider_ends_it(up: Up, issuer: Issuer) -> None:
    environment = clean_environment() | {"ENTREPOT_URL": up.edge, "ENTREPOT_ID_TOKEN": identity(issuer, "cli")}
    command = [*ENTREPOT, "oidc", "exchange", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    address = f"{up.edge}/{up.private}/generic/built.txt"
    assert get(address, headers, "PUT", b"built").status == 201
    assert get(address, headers).body == b"built"
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert again.returncode == 4
    assert "exchanged before" in again.stderr
    [listed] = up.entrepot("oidc", "list", "demo")["items"]
    assert listed["rules"] == [{"service": "ci", "claims": {"repository_id": "7", "ref": "refs/heads/main"}}]
    up.entrepot("oidc", "remove", "demo/local")
    assert get(address.replace(up.edge, up.origin), headers).status == 404
    up.entrepot(
        "oidc", "add", "demo/local", "--issuer", issuer.url, "--audience", AUDIENCE, "--private-network",
        "--rule", "ci:repository_id=7,ref=refs/heads/main",
    )  # fmt: skip
    assert get(address.replace(up.edge, up.origin), headers).status == 404
    assert token not in up.log.read_text()


def test_c9_one_exchange_of_a_token_wins_among_workers(up: Up, issuer: Issuer) -> None:
    def exchange(token: str) -> Got:
        body = json.dumps({"workspace": "demo", "token": token}).encode()
        return get(f"{up.origin}/-/api/v1/oidc/exchange", {"Content-Type": "application/json"}, "POST", body)

    with ThreadPoolExecutor(16) as pool:
        for number in range(20):
            token = identity(issuer, f"race {number} {os.getpid()}")
            told = sorted(one.status for one in pool.map(exchange, [token] * 16))
            assert told == [201] + [401] * 15
