"""How do the files of a folder share one running node without one ever seeing what another one did there?

Each file is a guest: it has a workspace of its own, named for it, with a private and a public repository. What is there
once for the whole node (users, hosts, edges, workspaces) carries the file's name; a file that leaves another name
there, or changes anything in the workspace that the node came with, fails when it ends, whatever ran before it. So
nothing depends on which files the workers of a run happen to be given, and in which order.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.running import Up, get

EVERYBODYS = ("users", "hosts", "edges", "workspaces")
"""Lists of what is there once for a node, each item with a name."""


class Guest(Up):
    """A running node as one file has it: `workspace`, `private` and `public` are that file's alone."""

    def __init__(self, up: Up, name: str) -> None:
        vars(self).update(vars(up))
        self.workspace, self.private, self.public = name, f"{name}/main", f"{name}/open"
        _call(up, "POST", "/workspaces", {"name": name})
        for repository in ("main", "open"):
            made = {"workspace": name, "name": repository, "public": repository == "open"}
            _call(up, "POST", "/repositories", made)

    def stop(self) -> int:
        raise AssertionError("a node that others use is not stopped")


@contextmanager
def guest(up: Up, file: str) -> Iterator[Guest]:
    """`up` for the tests of one file, whose name without `test_` and its ending is `file`."""
    name = file.replace("_", "-")
    there, words = _there(up), len(up.log.read_bytes())
    yield Guest(up, name)
    left = {one for one in _there(up) - there if name not in one}
    assert left == set(), f"{sorted(left)}: not called after {file}, so that another file may have the same"
    said = up.log.read_bytes()[words:].decode()
    assert '"level":"error"' not in said, said[-4000:]
    assert up.token not in said


def _there(up: Up) -> set[str]:
    """What is everybody's, and how far the history of the workspace is that the node came with."""
    found = {f"{kind}/{one['name']}" for kind in EVERYBODYS for one in _call(up, "GET", f"/{kind}?limit=1000")["items"]}
    (newest,) = _call(up, "GET", f"/workspaces/{up.workspace}/audit?limit=1")["items"]
    return found | {f"{up.workspace} at {newest['serial']}"}


def _call(up: Up, method: str, path: str, body: object = None) -> Any:
    """The API through the edge, which has heard of what it changed when it answers."""
    headers = {"Authorization": f"Bearer {up.token}", "Content-Type": "application/json"}
    got = get(f"{up.edge}/-/api/v1{path}", headers, method, None if body is None else json.dumps(body).encode())
    assert got.status in (200, 201), (path, got.status, got.body)
    return json.loads(got.body)
