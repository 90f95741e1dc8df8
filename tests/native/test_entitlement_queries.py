"""Does a customer get the versions that its query names, and no others, at the origin and at an edge, by pip too?"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.npm_registry import document
from tests.harness.running import Got, Up, get
from tests.native.test_python_clients import heard, install_by_pip, upload_by_twine, wheel

pytestmark = pytest.mark.native
VERSIONS = ("1.9", "2.0", "2.10", "3.0")
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("queries")
    with Up(folder / "data") as running:
        for project in ("tool", "other"):
            files = [wheel(folder, project, one) for one in VERSIONS]
            upload_by_twine(running, "origin", running.private, *files)
            heard(running, running.private, project, files[-1])
        yield running


def entitle(up: Up, query: str, url: str = "") -> tuple[str, str]:
    made = up.entrepot("entitlement", "create", "demo", "customer", "--query", query, url=url)
    return made["id"], made["token"]


def ask(up: Up, door: str, token: str, version: str, project: str = "tool") -> Got:
    file = f"{project}-{version}-py3-none-any.whl"
    url = f"{getattr(up, door)}/{up.private}/pypi/files/{project}/{file}"
    return get(url, {"Authorization": f"Bearer {token}"})


def read(up: Up, door: str, token: str, project: str = "tool") -> list[str]:
    return [one for one in VERSIONS if ask(up, door, token, one, project).status == 200]


def history(up: Up, which: str) -> Got:
    return get(f"{up.origin}/-/api/v1/audit{which}", {"Authorization": f"Bearer {up.token}"})


def in_time(up: Up, door: str, token: str, wanted: list[str]) -> None:
    """What the origin was told is so at an edge once its journal is there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := read(up, door, token)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_c_pip_gets_the_versions_of_the_query_and_is_refused_the_others(up: Up, door: str, tmp_path: Path) -> None:
    _, token = entitle(up, "name:^tool$ version:>=2.0 AND version:<3", getattr(up, door))
    in_time(up, door, token, ["2.0", "2.10"])
    base = getattr(up, door).replace("://", f"://token:{token}@", 1)
    index = f"{base}/{up.private}/pypi/simple/"
    install_by_pip(index, tmp_path / "good", "tool<3")
    assert "tool-2.10.dist-info" in os.listdir(tmp_path / "good")
    for wanted in ("tool==1.9", "tool"):
        assert "403" in install_by_pip(index, tmp_path / "bad", wanted, ok=False)
    assert "No matching distribution" in install_by_pip(index, tmp_path / "bad", "other", ok=False)
    assert not (tmp_path / "bad").exists()


def test_b9_what_the_query_refuses_and_what_never_was_are_refused_alike(up: Up) -> None:
    _, token = entitle(up, "name:^tool$ version:>=2.0")
    in_time(up, "edge", token, ["2.0", "2.10", "3.0"])
    for door in ("origin", "edge"):
        told = {
            (got.status, got.body)
            for project, version in (("tool", "1.9"), ("tool", "0.1"), ("other", "2.0"), ("never", "2.0"))
            for got in [ask(up, door, token, version, project)]
        }
        assert [status for status, _ in told] == [403]


def test_c_what_is_remembered_for_one_customer_is_not_given_to_another(up: Up) -> None:
    """The same file again and again, by turns, on connections that answer from memory."""
    _, old = entitle(up, "version:<2")
    _, new = entitle(up, "version:>=2")
    for door in ("origin", "edge"):
        in_time(up, door, old, ["1.9"])
        in_time(up, door, new, ["2.0", "2.10", "3.0"])
        for _ in range(3):
            for version in VERSIONS:
                got = [ask(up, door, token, version).status for token in (old, up.token, new)]
                assert got == ([200, 200, 403] if version == "1.9" else [403, 200, 200])


def test_c6_another_query_and_a_quarantine_take_effect_everywhere(up: Up) -> None:
    id, token = entitle(up, "version:2.*", up.edge)
    in_time(up, "edge", token, ["2.0", "2.10"])
    at = ("--format", "pypi", "--package", "Tool", "--version")
    told = up.entrepot("access", "explain", f"entitlement:{id}", "read", up.private, *at, "3.0", url=up.edge)
    assert (told["allowed"], told["query_part"]) == (False, "version:2.*")
    assert told["why"] == 'the query of grant 1 of the token "customer" does not find it'
    told = up.entrepot("access", "explain", f"entitlement:{id}", "read", up.private, *at, "2.10", url=up.edge)
    assert (told["allowed"], told["query_part"]) == (True, "version:2.*")
    shown = up.entrepot("entitlement", "show", "demo", id, url=up.edge)
    assert [one["query"] for one in shown["grants"]] == ["version:2.*"]
    up.entrepot("entitlement", "edit", "demo", id, "--query", "version:<2.5", url=up.edge)
    for door in ("origin", "edge"):
        in_time(up, door, token, ["1.9", "2.0"])
    edits = json.loads(history(up, "?workspace=-&action=entitlement.edit").body)["items"]
    [change] = json.loads(history(up, f"/{edits[0]['serial']}").body)["changes"]
    assert change["before"]["token"]["grants"][0]["query"] == "version:2.*"
    assert change["after"]["token"]["grants"][0]["query"] == "version:<2.5"
    up.entrepot("quarantine", "add", f"{up.private}/pypi/tool", "--version", "2.0")
    for door in ("origin", "edge"):
        in_time(up, door, token, ["1.9"])
    up.entrepot("quarantine", "release", f"{up.private}/pypi/tool", "--version", "2.0")
    up.entrepot("entitlement", "edit", "demo", id, "--query", "")
    for door in ("origin", "edge"):
        in_time(up, door, token, list(VERSIONS))


def test_c_a_tag_that_moves_takes_its_version_along(up: Up) -> None:
    npm = f"{up.origin}/{up.private}/npm"
    bearer = {"Authorization": f"Bearer {up.token}", "Content-Type": "application/json"}
    for version in ("1.0.0", "2.0.0"):
        body = json.dumps(document("left", version)).encode()
        assert get(f"{npm}/left", bearer, "PUT", body).status in (200, 201)
    _, token = entitle(up, "format:npm tag:stable")

    def readable(door: str) -> list[int]:
        at = f"{getattr(up, door)}/{up.private}/npm/left/-/left-"
        return [get(f"{at}{one}.tgz", {"Authorization": f"Bearer {token}"}).status for one in ("1.0.0", "2.0.0")]

    for version, wanted in (("1.0.0", [200, 403]), ("2.0.0", [403, 200])):
        tagged = get(f"{npm}/-/package/left/dist-tags/stable", bearer, "PUT", f'"{version}"'.encode())
        assert tagged.status in (200, 201)
        for door in ("origin", "edge"):
            end = time.monotonic() + PATIENCE_SECONDS
            while (found := readable(door)) != wanted:
                assert time.monotonic() < end, found
                time.sleep(0.05)
