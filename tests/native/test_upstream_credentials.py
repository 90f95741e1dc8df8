"""Is an upstream's credential given up only for one that the registry takes? A repository of the node stands for the
registry (THREATS F8)."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.running import ENTREPOT, Up, clean_environment, get
from tests.native.test_python_clients import upload_by_twine, wheel

pytestmark = pytest.mark.native


def rotate(node: Up, folder: Path, secret: str) -> tuple[int, str]:
    """By the CLI through the edge; the exit code, and what it said."""
    (folder / "secret").write_text(secret)
    command = [
        *ENTREPOT,
        "upstream",
        "rotate",
        f"{node.workspace}/guarded",
        "pypi",
        "--password-file",
        str(folder / "secret"),
    ]
    environment = clean_environment() | {"ENTREPOT_URL": node.edge, "ENTREPOT_TOKEN": node.token}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_f8_a_wrong_credential_never_takes_the_place_of_a_good_one(node: Up, tmp_path: Path) -> None:
    upload_by_twine(node, "edge", node.private, wheel(tmp_path, "drawn-thing", "1.0"))
    first, second = (
        node.entrepot("token", "create", name, "--repository", node.private, "--read") for name in ("first", "second")
    )
    (tmp_path / "first").write_text(first["token"])
    guarded = f"{node.workspace}/guarded"
    node.entrepot("repo", "create", guarded, "--public", url=node.edge)
    address = f"{node.origin}/{node.private}/pypi/simple/"
    more = ("--private-network", "--password-file", str(tmp_path / "first"), "--fresh", "0s", "--negative", "0s")
    node.entrepot("upstream", "add", guarded, "pypi", address, *more, url=node.edge)
    page = f"{node.edge}/{guarded}/pypi/simple/drawn-thing/"
    assert get(page).status == 200

    code, said = rotate(node, tmp_path, "ent_" + "x" * 38)
    assert code != 0
    assert "answers 401" in said
    assert "The old credential stays." in said
    assert get(page).status == 200

    code, said = rotate(node, tmp_path, second["token"])
    assert code == 0, said
    node.entrepot("token", "revoke", first["id"])
    asked = get(f"{node.edge}/{guarded}/pypi/simple/drawn-thing/", {"Accept": "text/html"})
    assert asked.status == 200
    assert any(
        row["action"] == "upstream.credential" for row in node.entrepot("audit", "list", node.workspace)["items"]
    )
