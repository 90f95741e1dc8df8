"""The node that real clients talk to: one origin and one edge for all tests of this folder, two workers each.

Each file has a part of it to itself (tests/harness/guests.py).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.guests import Guest, guest
from tests.harness.running import Up


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(Path(tmp_path_factory.mktemp("node")) / "data", workers=2) as up:
        yield up


@pytest.fixture(scope="module")
def node(shared: Up, request: pytest.FixtureRequest) -> Iterator[Guest]:
    with guest(shared, Path(str(request.node.path)).stem.removeprefix("test_")) as mine:
        yield mine
